//! Programs built with the Go toolchains that `cargo xtask setup` installs.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use anyhow::{Context as _, Result, ensure};

use crate::{child::output, program};

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Build {
    /// By the newest Go, as it builds by itself.
    Newest,
    /// By the newest Go, to be loaded anywhere, without symbols and without C.
    Stripped,
    /// By the oldest Go that there is a toolchain of, without symbols and without C.
    Oldest,
}

impl Build {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Newest, Self::Stripped, Self::Oldest];

    const fn toolchain(self) -> &'static str {
        match self {
            Self::Newest | Self::Stripped => "newest",
            Self::Oldest => "oldest",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Newest => &[],
            Self::Stripped => &["-buildmode=pie", "-ldflags=-s -w"],
            Self::Oldest => &["-ldflags=-s -w"],
        }
    }
}

/// Builds `NAME.go` of the programs, if it is not built yet; where it is.
pub fn program_of(name: &str, build: Build) -> Result<PathBuf> {
    /// One build at a time: they share a cache.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/go");
    let go = folder.join(build.toolchain()).join("go/bin/go");
    ensure!(go.exists(), "there is no {}; cargo xtask setup installs it", go.display());
    let built = folder.join(format!("{build:?}").to_lowercase());
    let to = built.join(name);
    // An emulated machine takes what the machine around it has built.
    if env::var_os("APISCOPE_VM").is_some() && to.exists() {
        return Ok(to);
    }
    fs::create_dir_all(&built).context("make a directory")?;
    let mut command = Command::new(go);
    command.arg("build").args(build.arguments()).arg("-o").arg(&to);
    command.arg(program(&format!("{name}.go")));
    // No network, no modules, no home.
    command.envs([("GOTOOLCHAIN", "local"), ("GO111MODULE", "off"), ("GOFLAGS", "")]);
    command.envs([("GOPATH", folder.join("path")), ("GOCACHE", folder.join("cache"))]);
    if build != Build::Newest {
        command.env("CGO_ENABLED", "0");
    }
    output(&mut command)?;
    Ok(to)
}

/// The same, as the start of a command.
pub fn command(name: &str, build: Build) -> Result<Vec<OsString>> {
    Ok(vec![program_of(name, build)?.into()])
}
