//! The tools that compile for the kernel: a rustc with its library's sources, and
//! bpf-linker with the same LLVM.
//!
//! Debian's packages come first, because everybody has the same build of them; a
//! rustup nightly with `rust-src` does as well.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::manifest::Versions;
use crate::{
    setup,
    shell::{cargo, command, find as find_program, output, root, run, say, target},
};

/// LLVM of Debian's rustc; bpf-linker must be built with no older one.
const LLVM: &str = "/usr/lib/llvm-22";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

const PACKAGES: &[&str] = &[
    "cargo-web",
    "libpolly-22-dev",
    "llvm-22-dev",
    "rust-web-clippy",
    "rust-web-src",
    "rustc-web",
];

/// Where the tools are.
pub(crate) struct Tools {
    cargo: PathBuf,
    rustc: PathBuf,
    pub(super) objcopy: PathBuf,
}

/// Finds the tools, or says which one is missing.
pub(crate) fn find() -> Result<Tools> {
    ensure!(
        find_program("bpf-linker").is_some(),
        "bpf-linker is not installed (`cargo xtask bpf --install` does it)"
    );
    let objcopy = [Path::new(LLVM).join("bin/llvm-objcopy")]
        .into_iter()
        .find(|file| file.is_file())
        .or_else(|| find_program("llvm-objcopy"))
        .context("llvm-objcopy is not installed (`cargo xtask bpf --install` does it)")?;
    let debian = (PathBuf::from("/usr/bin/cargo"), PathBuf::from(DEBIAN_RUSTC));
    for (cargo, rustc) in [Some(debian), nightly()].into_iter().flatten() {
        if cargo.is_file() && has_sources(&rustc) {
            return Ok(Tools { cargo, rustc, objcopy });
        }
    }
    bail!("no rustc with its library's sources (`cargo xtask bpf --install` installs one)")
}

/// Installs what [`find`] wants and does not find.
pub(crate) fn install() -> Result<()> {
    // Debian has clippy in a package of its own; with another toolchain, what
    // compiles is enough.
    if find().is_ok_and(|tools| tools.has_clippy() || tools.rustc != Path::new(DEBIAN_RUSTC)) {
        say("the kernel programs' toolchain: nothing to install");
        return Ok(());
    }
    setup::packages("the kernel programs' toolchain", PACKAGES)?;
    if find_program("bpf-linker").is_none() {
        say("install bpf-linker with Debian's LLVM");
        run(cargo()
            .env("LLVM_PREFIX", LLVM)
            .env("RUSTFLAGS", format!("-L {LLVM}/lib"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args(["install", "--locked", "bpf-linker"])
            .args(["--no-default-features", "--features", "llvm-22"]))?;
    }
    find().map(|_| ())
}

fn nightly() -> Option<(PathBuf, PathBuf)> {
    let which = |program: &str| {
        let path = output(command("rustup").args(["which", "--toolchain", "nightly", program]));
        path.ok().map(|path| PathBuf::from(path.trim()))
    };
    Some((which("cargo")?, which("rustc")?))
}

fn sysroot(rustc: &Path) -> Result<PathBuf> {
    Ok(PathBuf::from(output(command(rustc).args(["--print", "sysroot"]))?.trim()))
}

fn has_sources(rustc: &Path) -> bool {
    let library = "lib/rustlib/src/rust/library/core/src/lib.rs";
    rustc.is_file() && sysroot(rustc).is_ok_and(|sysroot| sysroot.join(library).is_file())
}

impl Tools {
    /// The versions that decide the bytes of the objects.
    pub(super) fn versions(&self) -> Result<Versions> {
        let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        let llvm = output(command(&self.objcopy).arg("--version"))?;
        let llvm = llvm
            .lines()
            .find_map(|line| line.split_once("LLVM version "))
            .map(|(_, version)| version.trim().to_owned())
            .context("llvm-objcopy does not say its version")?;
        Ok(Versions {
            rustc: first(output(command(&self.rustc).arg("--version"))?),
            bpf_linker: first(output(command("bpf-linker").arg("--version"))?),
            llvm,
        })
    }

    /// Compiles the kernel programs for one kind of processor.
    pub(super) fn build(&self, architecture: &str, features: &[&str]) -> Result<Command> {
        self.cargo(&self.cargo, "build", architecture, features)
    }

    /// Whether [`Tools::clippy`] can run.
    pub(crate) fn has_clippy(&self) -> bool {
        self.cargo_clippy().is_file()
    }

    /// Lints the kernel programs.
    pub(crate) fn clippy(&self, features: &[&str]) -> Result<Command> {
        self.cargo(&self.cargo_clippy(), "clippy", "x86_64", features)
    }

    /// The one beside the compiler: `cargo clippy` looks in rustup's directory first.
    fn cargo_clippy(&self) -> PathBuf {
        self.rustc.with_file_name("cargo-clippy")
    }

    fn cargo(
        &self,
        program: &Path,
        task: &str,
        architecture: &str,
        features: &[&str],
    ) -> Result<Command> {
        let mut command = command(program);
        // Cargo passes its own choices on to the tasks that it runs; here they
        // would bring rustup's compiler back.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PROFILE_") || name.starts_with("RUSTC") {
                command.env_remove(&*name);
            }
        }
        for name in ["RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CARGO_BUILD_TARGET"] {
            command.env_remove(name);
        }
        command
            .env("CARGO", &self.cargo)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(architecture)?)
            .arg(task)
            .args(["--quiet", "--release", "--locked", "-Zbuild-std=core"])
            .args(["--target", "bpfel-unknown-none", "--package", "agent-ebpf"])
            .arg("--target-dir")
            .arg(target().join("bpf"));
        if !features.is_empty() {
            command.args(["--features", &features.join(",")]);
        }
        Ok(command)
    }

    /// The flags, with the machine's own paths replaced, because the paths of
    /// sources are part of an object's BTF.
    fn rustflags(&self, architecture: &str) -> Result<OsString> {
        let mut flags = vec![
            OsString::from(format!("--cfg=bpf_target_arch=\"{architecture}\"")),
            "-Cdebuginfo=2".into(),
            "-Clink-arg=--btf".into(),
        ];
        for (from, to) in
            [(root(), "/apiscope"), (cargo_home()?, "/cargo"), (sysroot(&self.rustc)?, "/rust")]
        {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        }
        Ok(flags.join(&OsString::from("\u{1f}")))
    }
}

fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}
