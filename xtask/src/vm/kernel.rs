//! The kernels that the tests run on: downloaded from the Debian archive, and kept.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    shell::{command, output, run, say, target},
    suite::Suite,
};

/// The one list of kernels: what `--kernel` takes, and the suite it comes from.
const KERNELS: &[(&str, &str)] =
    &[("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("sid", "sid")];

/// What the guest needs before it sees the machine's root, and for tests: `veth` for those
/// with network namespaces, `tls` and its ciphers for those with TLS in the kernel.
const MODULES: &[Module] = &[
    Module::needed("virtio_pci"),
    Module::needed("9pnet_virtio"),
    Module::needed("9p"),
    Module::needed("overlay"),
    Module::needed("veth"),
    Module::if_there("tls"),
    Module::if_there("aes_generic"),
    Module::if_there("ctr"),
    Module::if_there("ghash-generic"),
    Module::if_there("gcm"),
];

/// A module by its name.
struct Module {
    name: &'static str,
    /// Kernels that lack it have what it does elsewhere.
    optional: bool,
}

impl Module {
    const fn needed(name: &'static str) -> Self {
        Self { name, optional: false }
    }

    const fn if_there(name: &'static str) -> Self {
        Self { name, optional: true }
    }
}

/// Where it is kept which modules were asked for.
const ASKED: &str = "asked";

/// The plain image: the `-cloud-` images lack 9p.
const PACKAGE: &str = "linux-image-amd64";

/// A kernel by its name on the command line.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    suite: &'static str,
}

/// A kernel in the cache.
pub(super) struct Image {
    /// The kernel itself.
    pub(super) vmlinuz: PathBuf,
    /// Its full version.
    pub(super) release: String,
    /// Files to load, uncompressed, in order.
    pub(super) modules: Vec<PathBuf>,
}

/// All kernels, oldest first.
pub(crate) fn all() -> impl Iterator<Item = Kernel> {
    KERNELS.iter().map(|&(name, suite)| Kernel { name, suite })
}

/// The kernels that `name` stands for.
pub(crate) fn named(name: &str) -> Result<Vec<Kernel>> {
    let found: Vec<Kernel> = all().filter(|kernel| name == "all" || kernel.name == name).collect();
    if found.is_empty() {
        let names: Vec<&str> = all().map(|kernel| kernel.name).collect();
        bail!("no kernel {name:?}: there are {} and all", names.join(", "));
    }
    Ok(found)
}

/// Where kernels are kept: `APISCOPE_CACHE`, or the target directory.
fn cache() -> PathBuf {
    env::var_os("APISCOPE_CACHE").map_or_else(|| target().join("vm"), PathBuf::from)
}

impl Kernel {
    /// Puts the kernel into the cache unless it is there.
    pub(crate) fn fetch(self) -> Result<()> {
        let kept = self.directory();
        if fs::read_to_string(kept.join(ASKED)).is_ok_and(|kept| kept == asked()) {
            say(&format!("kernel {}: in {}", self.name, kept.display()));
            return Ok(());
        }
        if kept.exists() {
            fs::remove_dir_all(&kept).with_context(|| format!("remove {}", kept.display()))?;
        }
        say(&format!("kernel {}: download {PACKAGE} of Debian {}", self.name, self.suite));
        let work = cache().join("kernels").join(format!("{}-partial", self.name));
        let tree = self.unpack(&work)?;
        keep(&tree, &work.join("kept"))?;
        fs::rename(work.join("kept"), &kept)
            .with_context(|| format!("move the kernel to {}", kept.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
    }

    /// The kernel in the cache.
    pub(super) fn image(self) -> Result<Image> {
        self.fetch()?;
        let kept = self.directory();
        let release = fs::read_to_string(kept.join("release")).context("read kernel release")?;
        let mut modules = Vec::new();
        let directory = kept.join("modules");
        for entry in fs::read_dir(&directory).with_context(|| read(&directory))? {
            modules.push(entry.with_context(|| read(&directory))?.path());
        }
        modules.sort();
        Ok(Image { vmlinuz: kept.join("vmlinuz"), release, modules })
    }

    fn directory(self) -> PathBuf {
        cache().join("kernels").join(format!("{}-amd64", self.name))
    }

    /// Downloads the newest image package of the suite and unpacks it.
    fn unpack(self, work: &Path) -> Result<PathBuf> {
        let suite = Suite::open(self.suite, work)?;
        let mut packages = kernel_packages(&suite.show(PACKAGE)?);
        let image = packages
            .iter()
            .find(|package| package.starts_with("linux-image-"))
            .with_context(|| format!("Debian {} has no {PACKAGE}", self.suite))?;
        // In newer suites the image is itself a list: of the kernel, its modules
        // and the files that describe them.
        packages.extend(kernel_packages(&suite.show(image)?));
        let tree = suite.unpack(&packages)?;
        // From trixie on the package holds /usr/lib alone; modprobe looks in /lib.
        if !tree.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", tree.join("lib")).context("link lib")?;
        }
        Ok(tree)
    }
}

/// The packages with parts of a kernel that the given package depends on.
fn kernel_packages(shown: &str) -> Vec<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let parts = ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];
    let is_part = |word: &&str| parts.iter().any(|part| word.starts_with(part));
    depends.split([',', ' ', '(']).filter(is_part).map(str::to_owned).collect()
}

/// Copies the few files that a guest needs out of an unpacked package.
fn keep(tree: &Path, kept: &Path) -> Result<()> {
    create(&kept.join("modules"))?;
    let versions = tree.join("lib/modules");
    let release = fs::read_dir(&versions)
        .with_context(|| read(&versions))?
        .flatten()
        .next()
        .with_context(|| format!("{} is empty", versions.display()))?
        .file_name()
        .to_string_lossy()
        .into_owned();
    run(command("depmod").arg("-b").arg(tree).arg(&release))?;
    let mut modules: Vec<String> = Vec::new();
    for module in MODULES {
        let listed = output(command("modprobe").arg("-d").arg(tree).args([
            "-S",
            &release,
            "--show-depends",
            module.name,
        ]));
        let listed = match listed {
            Err(_) if module.optional => continue,
            other => {
                other.with_context(|| format!("find the module {} of {release}", module.name))?
            }
        };
        for file in listed.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = file.trim().to_owned();
            if !modules.contains(&file) {
                modules.push(file);
            }
        }
    }
    for (index, module) in modules.iter().enumerate() {
        let file = Path::new(module);
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".ko").unwrap_or(&name);
        let content = decompressed(file)?;
        let to = kept.join("modules").join(format!("{index:02}-{name}.ko"));
        fs::write(&to, content).with_context(|| format!("write {}", to.display()))?;
    }
    let places = [format!("boot/vmlinuz-{release}"), format!("lib/modules/{release}/vmlinuz")];
    let image = places
        .iter()
        .map(|place| tree.join(place))
        .find(|file| file.is_file())
        .with_context(|| format!("the package of {release} holds no kernel"))?;
    fs::copy(&image, kept.join("vmlinuz")).with_context(|| format!("copy {}", image.display()))?;
    fs::write(kept.join("release"), release).context("write the kernel's release")?;
    fs::write(kept.join(ASKED), asked()).context("write the names of the modules")
}

/// The modules that were asked for: with others, a kernel in the cache is of no use.
fn asked() -> String {
    MODULES.iter().map(|module| module.name).collect::<Vec<_>>().join(" ")
}

/// A module as the kernel takes it: older kernels do not unpack it themselves.
fn decompressed(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "ko") {
        return fs::read(file).with_context(|| read(file));
    }
    let unpacked = command("xz")
        .arg("-dc")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("unpack {}", file.display()))?;
    ensure!(unpacked.status.success(), "unpack {}: {}", file.display(), unpacked.status);
    Ok(unpacked.stdout)
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))
}

fn read(path: &Path) -> String {
    format!("read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_kernel_are_found_among_what_a_package_depends_on() {
        let shown = "Package: linux-image-amd64\n\
                     Depends: linux-base-amd64 (= 7.2-1), linux-image-7.2+deb14-amd64 (= 7.2-1)\n";
        assert_eq!(kernel_packages(shown), ["linux-base-amd64", "linux-image-7.2+deb14-amd64"]);
        let shown = "Depends: kmod, linux-base (>= 4.3~), linux-binary-7.2 (= 7.2-1), \
                     dracut | initramfs-tools (>= 0.120), linux-modules-7.2 (= 7.2-1)\n";
        assert_eq!(kernel_packages(shown), ["linux-binary-7.2", "linux-modules-7.2"]);
        assert_eq!(kernel_packages("Package: other\n"), Vec::<String>::new());
    }

    #[test]
    fn a_name_stands_for_its_kernel_and_all_for_all() {
        assert_eq!(named("6.1").unwrap().len(), 1);
        assert_eq!(named("all").unwrap().len(), KERNELS.len());
        assert!(named("4.4").is_err());
    }
}
