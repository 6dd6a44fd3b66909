//! Other releases of Debian: packages of theirs, downloaded, checked by apt's signatures
//! and unpacked. Nothing of them is installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::shell::{command, output, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release, and a directory to work in.
pub(crate) struct Suite {
    work: PathBuf,
    options: Vec<String>,
}

impl Suite {
    /// Reads the list of its packages. Whatever is in `work` is removed.
    pub(crate) fn open(name: &str, work: &Path) -> Result<Self> {
        if work.exists() {
            fs::remove_dir_all(work).with_context(|| format!("remove {}", work.display()))?;
        }
        for directory in ["lists/partial", "cache/archives/partial"] {
            let directory = work.join(directory);
            fs::create_dir_all(&directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        let sources = work.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] {} {name} main\n", archive()?);
        fs::write(&sources, line).with_context(|| format!("write {}", sources.display()))?;
        let status = work.join("status");
        fs::write(&status, []).with_context(|| format!("write {}", status.display()))?;
        let options = [
            ("Dir::Etc::SourceList", sources.display().to_string()),
            ("Dir::Etc::SourceParts", "-".into()),
            ("Dir::State::Lists", work.join("lists").display().to_string()),
            ("Dir::State::Status", status.display().to_string()),
            ("Dir::Cache", work.join("cache").display().to_string()),
            ("APT::Architecture", "amd64".into()),
            ("APT::Sandbox::User", "root".into()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
        ];
        let options: Vec<String> =
            options.into_iter().map(|(key, value)| format!("-o{key}={value}")).collect();
        run(command("apt-get").args(&options).args(["-q", "update"]))?;
        Ok(Self { work: work.to_owned(), options })
    }

    /// What apt knows of a package.
    pub(crate) fn show(&self, package: &str) -> Result<String> {
        output(command("apt-cache").args(&self.options).args(["show", package]))
    }

    /// Downloads packages and unpacks them into one tree; where it is.
    pub(crate) fn unpack(&self, packages: &[String]) -> Result<PathBuf> {
        run(command("apt-get")
            .args(&self.options)
            .args(["-q", "download"])
            .args(packages)
            .current_dir(&self.work))?;
        self.unpack_from(&self.work)
    }

    /// The same with all that the packages depend on.
    pub(crate) fn unpack_whole(&self, packages: &[&str]) -> Result<PathBuf> {
        run(command("apt-get")
            .args(&self.options)
            .args(["-q", "-y", "--download-only", "--no-install-recommends", "install"])
            .args(packages))?;
        self.unpack_from(&self.work.join("cache/archives"))
    }

    fn unpack_from(&self, folder: &Path) -> Result<PathBuf> {
        let tree = self.work.join("tree");
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "deb") {
                output(command("dpkg").arg("-x").args([&entry.path(), &tree]))?;
            }
        }
        Ok(tree)
    }
}

/// The archive that the machine itself installs from, a mirror perhaps.
fn archive() -> Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"];
    let targets = output(command("apt-get").args(format))?;
    let own = targets.lines().find_map(|line| line.strip_suffix(" bookworm"));
    Ok(own.unwrap_or("http://deb.debian.org/debian").to_owned())
}
