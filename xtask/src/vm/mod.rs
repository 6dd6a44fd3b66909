//! `cargo xtask vm`: a command as root in an emulated machine with another kernel.
//!
//! The guest sees this machine's root read-only under a layer in memory, so every
//! program is there and nothing that the command does lasts.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::shell::{command, find, quote, root, say, target};

mod cpio;
mod initramfs;
pub(crate) mod kernel;

/// What `init.sh` says just before the command, and just after it.
const READY: &str = "vm-init: ready";
const DONE: &str = "vm-init: done";

/// Lines of a guest's start that are kept, to be shown if it does not get ready.
const BOOT_LINES: usize = 200;

/// Lines that a guest may tell.
const TOLD_MAX: usize = 1000;

/// A guest that does not get there by then never will.
const BOOT_TIMEOUT: Duration = Duration::from_mins(3);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: 5.10, 6.1, 6.12, sid, or all of them one after the other.
    #[arg(long, value_name = "NAME", default_value = "6.1")]
    kernel: String,
    /// Emulated processors. Two may panic a guest that patches its own kernel under load.
    #[arg(long, default_value_t = 1)]
    smp: u8,
    /// Memory of the guest, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Seconds that the command may take.
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

/// What a guest is and does.
pub(crate) struct Guest {
    /// Number of emulated processors.
    pub(crate) smp: u8,
    /// Memory, in MiB.
    pub(crate) memory: u32,
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
    let words: Vec<String> = args.command.iter().map(|word| quote(word)).collect();
    let guest = Guest {
        smp: args.smp,
        memory: args.memory,
        timeout: Duration::from_secs(args.timeout),
        script: words.join(" "),
    };
    let mut first = 0;
    for kernel in kernel::named(&args.kernel)? {
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
            .args(["-append", "console=ttyS0 panic=-1 oops=panic quiet"])
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

/// How far a guest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Boot,
    Command,
    End,
}

impl Phase {
    fn what(self) -> &'static str {
        match self {
            Self::Boot => "the guest's start",
            Self::Command => "the command",
            Self::End => "the guest's end",
        }
    }
}

/// What a guest prints, of which only the command's part is shown as it comes.
#[derive(Default)]
struct Console {
    phase: Phase,
    boot: Vec<String>,
    fault: Fault,
}

impl Console {
    /// Takes a line and returns what to show of it.
    fn line(&mut self, line: &str) -> Option<String> {
        self.fault.see(line);
        match (self.phase, line.trim_end()) {
            // The firmware leaves what clears the screen in front of it.
            (Phase::Boot, line) if line.ends_with(READY) => self.phase = Phase::Command,
            (Phase::Boot, _) => {
                if self.boot.len() < BOOT_LINES {
                    self.boot.push(line.chars().filter(|char| !char.is_control()).collect());
                }
            }
            (Phase::Command, text) => {
                let Some(rest) = text.strip_suffix(DONE) else {
                    return Some(line.trim_end_matches('\r').to_owned());
                };
                self.phase = Phase::End;
                // The command's last line may have had no end.
                return (!rest.is_empty()).then(|| rest.to_owned());
            }
            (Phase::End, _) => {}
        }
        None
    }

    /// Shows the start of a guest that did not get ready.
    fn show_boot(&self) -> Result<()> {
        if self.phase != Phase::Boot {
            return Ok(());
        }
        self.boot.iter().try_for_each(|line| show(line))
    }
}

/// What the console says about a kernel that failed.
///
/// Only a panic counts, and every oops becomes one: the words of an oops alone may
/// be the command's own.
#[derive(Default)]
struct Fault {
    first: Option<String>,
    panic: Option<String>,
}

impl Fault {
    fn see(&mut self, line: &str) {
        if self.first.is_none() && (line.contains("BUG: ") || line.contains("Oops: ")) {
            self.first = Some(line.trim().to_owned());
        }
        if self.panic.is_none() && line.contains("Kernel panic - not syncing") {
            self.panic = Some(self.first.take().unwrap_or_else(|| line.trim().to_owned()));
        }
    }
}

fn show(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("write the guest's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commands_lines_are_shown() {
        let mut console = Console::default();
        assert_eq!(console.line("\u{1b}c\u{1b}[2JSeaBIOS\r"), None);
        assert_eq!(console.line("\u{1b}[?7l\u{1b}[2Jvm-init: ready\r"), None);
        assert_eq!(console.phase, Phase::Command);
        assert_eq!(console.line("hello\r").unwrap(), "hello");
        assert_eq!(console.line("no end of linevm-init: done\r").unwrap(), "no end of line");
        assert_eq!(console.line("[    3.5] reboot: Power down\r"), None);
        assert_eq!(console.boot, ["c[2JSeaBIOS"]);
    }

    #[test]
    fn a_panic_is_reported_by_the_oops_before_it() {
        let mut fault = Fault::default();
        fault.see("[  3.1] Oops: int3: 0000 [#1] PREEMPT SMP");
        assert_eq!(fault.panic, None);
        fault.see("[  3.2] Kernel panic - not syncing: Fatal exception");
        assert_eq!(fault.panic.unwrap(), "[  3.1] Oops: int3: 0000 [#1] PREEMPT SMP");
    }
}
