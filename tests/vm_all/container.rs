//! A container by crun, as podman and container engines start it: an overlay over an image,
//! namespaces, and a cgroup that has its id.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::{
    child::{Process, output},
    program,
    server::Server,
};
use tempfile::TempDir;

/// The release of Debian that is the image: its Python and its OpenSSL are at paths that this
/// system does not have, so that what is found of them was found in the container.
const IMAGE: &str = "bullseye";

/// The program that serves in a container of [`IMAGE`], as the container names it.
pub(crate) const PROGRAM: &str = "/usr/bin/python3.9";

/// The library that it talks TLS by.
pub(crate) const LIBRARY: &str = "libssl.so.1.1";

/// The cgroup that podman has its containers under.
const PARENT: &str = "/libpod_parent";

/// A network namespace of its own, reached over a pair of interfaces; the number tells it from
/// others.
#[derive(Clone, Copy)]
pub(crate) struct Network(pub(crate) u8);

/// A container that runs; it ends, and is gone, when this is dropped.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) server: Server,
    network: Network,
    runtime: PathBuf,
    directory: TempDir,
    process: Option<Process>,
}

impl Container {
    /// Starts one with a server in it. The id is that byte again and again.
    pub(crate) fn start(byte: u8, network: Network, tls: bool) -> Result<Self> {
        let ip = network.open()?;
        // Not below the root: an overlay cannot lie over the second overlay on it.
        let directory = tempfile::Builder::new().prefix("container-").tempdir_in("/run")?;
        let mut container = Self {
            id: format!("{byte:02x}").repeat(32),
            server: Server::python_in_container(IpAddr::V4(ip), tls)?,
            network,
            runtime: runtime(directory.path())?,
            directory,
            process: None,
        };
        container.mount()?;
        let bundle = container.directory.path();
        let text = serde_json::to_string_pretty(&container.configuration()?)?;
        fs::write(bundle.join("config.json"), text).context("write the configuration")?;
        let mut command = container.crun();
        command.args(["run", "--bundle"]).arg(bundle).arg(&container.id);
        let process = container.process.insert(Process::start(&mut command)?);
        container.server.wait_ready().with_context(|| process.said())?;
        process.running()?;
        Ok(container)
    }

    /// The cgroup of its processes.
    pub(crate) fn cgroup(&self) -> String {
        format!("{PARENT}/libpod-{}", self.id)
    }

    fn crun(&self) -> Command {
        let mut command = Command::new(&self.runtime);
        // Its way to know that it is where nobody can write it.
        command.env("_LIBCONTAINER_CLONED_BINARY", "1");
        command
    }

    /// Lays its overlay over the image.
    fn mount(&self) -> Result<()> {
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python").join(IMAGE);
        let image = image
            .canonicalize()
            .with_context(|| format!("find {}; cargo xtask setup installs it", image.display()))?;
        let directory = self.directory.path();
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir(directory.join(name)).context("make a directory")?;
        }
        let at = directory.display();
        let layers = format!("lowerdir={},upperdir={at}/upper,workdir={at}/work", image.display());
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "-o", &layers, "overlay"]).arg(directory.join("rootfs"));
        output(&mut mount).map(drop)
    }

    /// `config.json`: OCI runtime specification 1.0.
    fn configuration(&self) -> Result<Value> {
        let command: Result<Vec<&str>> = self
            .server
            .command()
            .iter()
            .map(|word: &OsString| word.to_str().context("a path is not UTF-8"))
            .collect();
        let mut namespaces: Vec<Value> =
            ["pid", "mount", "ipc", "uts"].map(|kind| json!({ "type": kind })).into();
        let path = format!("/run/netns/{}", self.network.name());
        namespaces.push(json!({ "type": "network", "path": path }));
        let mount =
            |kind: &str, to: &str| json!({ "destination": to, "type": kind, "source": kind });
        // What the server reads, at the path that it has outside.
        let bind = |path: &Path| {
            json!({
                "destination": path, "type": "bind", "source": path,
                "options": ["rbind", "ro"],
            })
        };
        let files = [bind(&program("")), bind(self.server.directory())];
        let kinds = [mount("proc", "/proc"), mount("tmpfs", "/dev"), mount("tmpfs", "/tmp")];
        let mounts: Vec<Value> = kinds.into_iter().chain(files).collect();
        Ok(json!({
            "ociVersion": "1.0.0",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": command?,
                "env": ["PATH=/usr/bin:/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "root": { "path": "rootfs" },
            "hostname": "container",
            "mounts": mounts,
            "linux": { "cgroupsPath": self.cgroup(), "namespaces": namespaces },
        }))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Whatever of it was made; the guest ends soon in any case.
        self.crun().args(["delete", "--force", &self.id]).output().ok();
        self.process = None;
        let mounted = ["rootfs", "crun"].map(|name| self.directory.path().join(name));
        Command::new("umount").args(mounted).output().ok();
        self.network.close();
    }
}

impl Network {
    fn name(self) -> String {
        format!("container{}", self.0)
    }

    /// Makes it, as a network plugin would; the container's address in it.
    fn open(self) -> Result<Ipv4Addr> {
        let Self(number) = self;
        let (name, link) = (self.name(), format!("veth{number}"));
        let [host, inside] = [1, 2].map(|last| Ipv4Addr::new(10, 99, number, last));
        let ip = |args: &str| output(Command::new("ip").args(args.split(' '))).map(drop);
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {link} type veth peer name eth0 netns {name}"))?;
        ip(&format!("addr add {host}/24 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("-n {name} addr add {inside}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(inside)
    }

    fn close(self) {
        // The interfaces go with it.
        Command::new("ip").args(["netns", "delete", &self.name()]).output().ok();
    }
}

/// crun, where nobody can write it: it starts itself again from such a place, and 5.10 refuses
/// it the one that it makes itself.
fn runtime(directory: &Path) -> Result<PathBuf> {
    let installed = Path::new("/usr/bin/crun");
    ensure!(installed.is_file(), "no crun: cargo xtask setup --vm");
    let path = directory.join("crun");
    fs::write(&path, []).context("make a file")?;
    output(Command::new("mount").arg("--bind").args([installed, &path]))?;
    output(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&path))?;
    Ok(path)
}
