//! `cargo xtask bpf`: compiles the kernel programs, or checks the compiled ones.
//!
//! The objects are in the repository, so that the agent builds with a plain
//! stable toolchain. The manifest beside them says from which sources and by which
//! tools they were made, and the check holds both to it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::manifest::{Manifest, Object};
use crate::shell::{root, run, say, target};

mod manifest;
pub(crate) mod toolchain;

/// Processors that there are objects for.
const ARCHITECTURES: &[&str] = &["x86_64", "aarch64"];

/// How records reach user space, and the cargo features that choose it.
const TRANSPORTS: &[(&str, &[&str])] = &[("ring", &[]), ("perf", &["perf"])];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compare with what is in the repository instead of writing it.
    #[arg(long)]
    check: bool,
    /// Install the toolchain first, where it is missing.
    #[arg(long)]
    install: bool,
    /// Write objects that log what they do to this directory, for an agent built with
    /// `APISCOPE_BPF_OBJECT_DIR=DIR` and `--features kernel-log`.
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    log: Option<PathBuf>,
}

pub(crate) fn task(args: &Args) -> Result<()> {
    if args.install {
        toolchain::install()?;
    }
    match &args.log {
        Some(directory) => write_logging(directory),
        None if args.check => check(),
        None => write(),
    }
}

/// Compiles objects for debugging, away from those of the repository.
fn write_logging(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    for (name, content) in compile(&toolchain::find()?, &["log"])? {
        let file = directory.join(&name);
        fs::write(&file, &content).with_context(|| format!("write {}", file.display()))?;
        say(&format!("{}: {} bytes", file.display(), content.len()));
    }
    Ok(())
}

/// Where the objects are checked in.
fn directory() -> PathBuf {
    root().join("agent/bpf")
}

/// Compiles all objects and writes them with their manifest.
fn write() -> Result<()> {
    let tools = toolchain::find()?;
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let mut objects = Vec::new();
    for (name, content) in compile(&tools, &[])? {
        let file = directory.join(&name);
        fs::write(&file, &content).with_context(|| format!("write {}", file.display()))?;
        say(&format!("{}: {} bytes", file.display(), content.len()));
        objects.push(Object::new(name, &content));
    }
    Manifest { sources: manifest::sources()?, toolchain: tools.versions()?, objects }
        .write(&directory)
}

/// Holds the sources and the objects to the manifest, and rebuilds the objects
/// where that can prove something.
pub(crate) fn check() -> Result<()> {
    const REMEDY: &str =
        "run `cargo xtask bpf` (with `--install` for its toolchain) and commit agent/bpf";
    let directory = directory();
    say("check the kernel programs against their manifest");
    let manifest = Manifest::read(&directory).context(REMEDY)?;
    ensure!(
        manifest.sources == manifest::sources()?,
        "the sources of the kernel programs changed since the objects were made: {REMEDY}"
    );
    let expected: Vec<String> = names().map(|(name, ..)| name).collect();
    let listed: Vec<&String> = manifest.objects.iter().map(|object| &object.name).collect();
    ensure!(listed.iter().copied().eq(&expected), "the manifest lists {listed:?}: {REMEDY}");
    for object in &manifest.objects {
        let file = directory.join(&object.name);
        let content =
            fs::read(&file).with_context(|| format!("read {}: {REMEDY}", file.display()))?;
        ensure!(
            *object == Object::new(object.name.clone(), &content),
            "{} is not the file that the manifest describes: {REMEDY}",
            file.display()
        );
    }
    rebuild(&manifest)
}

/// Compiles again and compares byte for byte, with the tools of the manifest.
fn rebuild(manifest: &Manifest) -> Result<()> {
    let tools = match toolchain::find() {
        Ok(tools) => tools,
        Err(error) => {
            say(&format!("not rebuilt, only compared with the manifest: {error:#}"));
            return Ok(());
        }
    };
    let versions = tools.versions()?;
    if versions != manifest.toolchain {
        say(&format!(
            "not rebuilt, only compared with the manifest: made by {}, here is {versions}",
            manifest.toolchain
        ));
        return Ok(());
    }
    let mut different = Vec::new();
    for (name, content) in compile(&tools, &[])? {
        if !manifest.objects.contains(&Object::new(name.clone(), &content)) {
            different.push(name);
        }
    }
    if different.is_empty() {
        say("the rebuilt objects are the same, byte for byte");
        return Ok(());
    }
    bail!("rebuilding gives other bytes for {}: run `cargo xtask bpf`", different.join(", "))
}

/// File name, architecture, transport and features of every object.
fn names() -> impl Iterator<Item = (String, &'static str, &'static [&'static str])> {
    ARCHITECTURES.iter().flat_map(|&architecture| {
        TRANSPORTS.iter().map(move |&(transport, features)| {
            (format!("apiscope-{architecture}-{transport}.o"), architecture, features)
        })
    })
}

/// Compiles every object, with `extra` features.
fn compile(tools: &toolchain::Tools, extra: &[&'static str]) -> Result<Vec<(String, Vec<u8>)>> {
    say("compile the kernel programs");
    let scratch = target().join("bpf");
    let built = scratch.join("bpfel-unknown-none/release/agent-ebpf");
    let mut objects = Vec::new();
    for (name, architecture, features) in names() {
        run(&mut tools.build(architecture, &[features, extra].concat())?)?;
        // Line numbers for debuggers; the BTF that the kernel wants stays.
        let stripped = scratch.join(&name);
        run(crate::shell::command(&tools.objcopy).arg("--strip-debug").args([&built, &stripped]))?;
        let content =
            fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))?;
        objects.push((name, content));
    }
    Ok(objects)
}
