//! `cargo xtask vm`: a command as root in an emulated machine with another kernel.
//!
//! The guest sees this machine's root read-only under a layer in memory, so every
//! program is there and nothing that the command does lasts.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::console::{Console, Phase, show};
use crate::{
    guests,
    shell::{command, find, quote, root, say, target},
};

mod console;
mod cpio;
mod initramfs;
pub(crate) mod kernel;

/// Lines that a guest may tell.
const TOLD_MAX: usize = 1000;

/// A guest that does not get there by then never will.
const BOOT_TIMEOUT: Duration = Duration::from_mins(3);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: 5.10, 6.1, 6.12, sid, or all of them one after the other.
    #[arg(long, value_name = "NAME", default_value = "6.1")]
    kernel: String,
    /// The same as --kernel all.
    #[arg(long, conflicts_with = "kernel")]
    all_kernels: bool,
    /// Version of cgroups that the guest has.
    #[arg(long, value_name = "VERSION", value_enum, default_value = "2")]
    cgroup: Cgroup,
    /// Without a command: only what `cargo xtask test` runs in guests.
    #[arg(long, conflicts_with = "command")]
    few: bool,
    /// Emulated processors. Two may panic a guest that patches its own kernel under load.
    #[arg(long, default_value_t = 1)]
    smp: u8,
    /// Memory of the guest, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Seconds that the command may take.
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// The command and its arguments. Without one, the tests that are for guests and the
    /// whole capture suite run, and a report tells of each kernel.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Version of the control groups that a guest has mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Cgroup {
    /// A hierarchy for each controller.
    #[value(name = "1")]
    V1,
    /// One hierarchy.
    #[value(name = "2")]
    V2,
}

impl Cgroup {
    /// Its number.
    pub(crate) const fn version(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// What a guest is and does.
pub(crate) struct Guest {
    /// Number of emulated processors.
    pub(crate) smp: u8,
    /// Memory, in MiB.
    pub(crate) memory: u32,
    /// Which version of cgroups it mounts.
    pub(crate) cgroup: Cgroup,
    /// How long the command may take.
    pub(crate) timeout: Duration,
    /// A shell script, run in the repository.
    pub(crate) script: String,
}

/// How a guest's command ended.
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) status: u8,
    /// What it told: the lines that begin as the caller said, without that beginning.
    pub(crate) told: Vec<String>,
}

/// Runs the command and passes its exit status on: the first one that is not zero.
pub(crate) fn task(args: &Args) -> ExitCode {
    match run_all(args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(args: &Args) -> Result<u8> {
    let kernels = kernel::named(if args.all_kernels { "all" } else { &args.kernel })?;
    if args.command.is_empty() {
        return Ok(u8::from(!guests::report(&kernels, args.few)?));
    }
    let words: Vec<String> = args.command.iter().map(|word| quote(word)).collect();
    let guest = Guest {
        smp: args.smp,
        memory: args.memory,
        cgroup: args.cgroup,
        timeout: Duration::from_secs(args.timeout),
        script: words.join(" "),
    };
    let mut first = 0;
    for kernel in kernels {
        let status = guest.run(kernel, None)?.status;
        if first == 0 {
            first = status;
        }
    }
    Ok(first)
}

impl Guest {
    /// Boots the kernel, runs the command, and shows what the guest prints. Lines that
    /// begin with `told` are returned.
    pub(crate) fn run(&self, kernel: kernel::Kernel, told: Option<&str>) -> Result<Ended> {
        let name = kernel.name;
        let qemu = find("qemu-system-x86_64")
            .context("no qemu-system-x86_64: run `cargo xtask setup --vm`")?;
        let image = kernel.image()?;
        let work = target().join("vm").join(format!("run-{}-{name}", std::process::id()));
        fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
        let result = self.boot(&qemu, &image, &work, told);
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        result.with_context(|| format!("kernel {name}"))
    }

    fn boot(
        &self,
        qemu: &Path,
        image: &kernel::Image,
        work: &Path,
        told: Option<&str>,
    ) -> Result<Ended> {
        let initrd = work.join("initrd");
        let packed = initramfs::build(image, &self.wrapped()?)?;
        fs::write(&initrd, packed).with_context(|| format!("write {}", initrd.display()))?;
        let status = work.join("status");
        say(&format!("kernel {}: boot a guest", image.release));
        let started = Instant::now();
        let mut child = self
            .qemu(qemu, image, &initrd, &status)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", qemu.display()))?;
        let watched = self.watch(&mut child, started, told);
        if watched.is_err() {
            child.kill().context("end the emulator")?;
        }
        let ended = child.wait().context("wait for the emulator")?;
        let (fault, told) = watched?;
        let text = fs::read_to_string(&status).unwrap_or_default();
        match (fault, text.trim().parse()) {
            (Some(fault), _) => bail!("the guest's kernel failed: {fault}"),
            (None, Ok(code)) => {
                let seconds = started.elapsed().as_secs_f32();
                say(&format!("kernel {}: exit status {code} after {seconds:.1} s", image.release));
                Ok(Ended { status: code, told })
            }
            (None, Err(_)) => bail!("the guest ended before the command did (emulator: {ended})"),
        }
    }

    /// The script, with the place and the search path that it has outside.
    fn wrapped(&self) -> Result<String> {
        let directory = root();
        let directory = directory.to_str().context("the repository's path is not UTF-8")?;
        let path = env::var("PATH").context("read PATH")?;
        Ok(format!(
            "export PATH={} HOME=/root TERM=dumb APISCOPE_VM=1\ncd {}\n{}\n",
            quote(&path),
            quote(directory),
            self.script
        ))
    }

    fn qemu(&self, qemu: &Path, image: &kernel::Image, initrd: &Path, status: &Path) -> Command {
        let thread = if self.smp > 1 { "multi" } else { "single" };
        let mut command = command(qemu);
        command
            .args(["-accel", &format!("tcg,thread={thread}"), "-cpu", "max"])
            .args(["-smp", &self.smp.to_string(), "-m", &self.memory.to_string()])
            .args(["-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio"])
            .args(["-serial", &format!("file:{}", status.display())])
            .args([
                "-virtfs",
                "local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap",
            ])
            .args([
                "-append",
                &format!(
                    "console=ttyS0 panic=-1 oops=panic quiet apiscope.cgroup={}",
                    self.cgroup.version()
                ),
            ])
            .arg("-kernel")
            .arg(&image.vmlinuz)
            .arg("-initrd")
            .arg(initrd);
        command
    }

    /// Shows the console until it ends; returns the line in which the kernel says
    /// that it failed, if it does, and what was told.
    fn watch(
        &self,
        child: &mut Child,
        started: Instant,
        prefix: Option<&str>,
    ) -> Result<(Option<String>, Vec<String>)> {
        let console = child.stdout.take().context("the emulator has no console")?;
        let (sender, lines) = mpsc::sync_channel(64);
        thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n') {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut console = Console::default();
        let mut told = Vec::new();
        let mut deadline = started + BOOT_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    let was_booting = console.phase == Phase::Boot;
                    if let Some(line) = console.line(&String::from_utf8_lossy(&line)) {
                        show(&line)?;
                        let rest = prefix.and_then(|prefix| line.strip_prefix(prefix));
                        if told.len() < TOLD_MAX {
                            told.extend(rest.map(str::to_owned));
                        }
                    }
                    if was_booting && console.phase == Phase::Command {
                        deadline = Instant::now() + self.timeout;
                        let seconds = started.elapsed().as_secs_f32();
                        say(&format!("the guest is ready after {seconds:.1} s"));
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // Asked for after each line too: a guest may print without end.
            if Instant::now() >= deadline {
                console.show_boot()?;
                bail!("{} took longer than it may", console.phase.what());
            }
        }
        console.show_boot()?;
        Ok((console.fault.panic, told))
    }
}
