//! Probes in files: which are attached, and their end.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{Ebpf, programs::UProbe, util::KernelVersion};

use super::{
    file::FileId,
    functions::{At, Point},
    placing::Placing,
    process::boot_time,
    tls::Hooked,
    uprobe::{Link, Place},
};

/// Files, or processes of a file that is attached to process by process, that are attached
/// to at once.
const BURST: u32 = 256;

/// What comes beyond that waits so long each: attaching changes the memory of all that
/// map a file, and whoever makes many files must not keep the host busy with it.
const PACE: Duration = Duration::from_millis(100);

/// `bpf_get_attach_cookie` and cookies of perf events (5.15).
pub(super) fn has_cookies() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 15, 0))
}

/// Processes whose ciphertext is looked at in one file, at most: whatever process runs through
/// a place, the kernel asks the probe of each whether it is meant.
const WITNESSES_MAX: usize = 64;

/// What came of attaching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placed {
    /// Probes are there that were not.
    New,
    /// They were there.
    Before,
    /// There were too many at once.
    Later,
}

/// The probes that are attached, by file and process; without one those of everyone.
#[derive(Debug)]
pub(super) struct Links {
    cookies: bool,
    return_probes: bool,
    held: HashMap<(FileId, Option<u32>), Vec<Link>>,
    /// Those that see ciphertext, by file and process.
    witnesses: HashMap<(FileId, u32), Vec<Link>>,
    retired: Retired,
    pace: Pace,
}

impl Links {
    pub(super) fn new(return_probes: bool) -> Self {
        Self {
            cookies: has_cookies(),
            return_probes,
            held: HashMap::new(),
            witnesses: HashMap::new(),
            retired: Retired::default(),
            pace: Pace::new(Instant::now()),
        }
    }

    /// Files, counted for each process that is told apart.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Processes that are told apart.
    pub(super) fn processes(&self) -> HashSet<u32> {
        self.held.keys().filter_map(|(_, pid)| *pid).collect()
    }

    /// Attaches to the functions of a file, in one process or in all.
    pub(super) fn place(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileId,
        hooked: &Hooked,
        pid: Option<u32>,
    ) -> Result<Placed> {
        if self.held.contains_key(&(key, pid)) {
            return Ok(Placed::Before);
        }
        if !self.pace.take(Instant::now()) {
            return Ok(Placed::Later);
        }
        let links = self.attach_whole(ebpf, key, hooked, pid)?;
        self.held.insert((key, pid), links);
        Ok(Placed::New)
    }

    /// Whether there may be probes in one more file, or process, now.
    pub(super) fn may_place(&mut self) -> bool {
        self.pace.take(Instant::now())
    }

    /// Attaches to the functions of a file that a process moves ciphertext by.
    pub(super) fn witness(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileId,
        hooked: &Hooked,
        pid: u32,
    ) -> Result<()> {
        if self.witnesses.contains_key(&(key, pid)) {
            return Ok(());
        }
        let others = self.witnesses.keys().filter(|(file, _)| *file == key).count();
        ensure!(others < WITNESSES_MAX, "ciphertext is looked at in {others} other processes");
        let links = self.attach(ebpf, hooked, Some(pid))?;
        self.witnesses.insert((key, pid), links);
        Ok(())
    }

    /// Processes whose ciphertext is looked at.
    pub(super) fn witnessed(&self) -> usize {
        self.witnesses.keys().map(|(_, pid)| *pid).collect::<HashSet<u32>>().len()
    }

    /// Nobody looks any more at the ciphertext of a process.
    pub(super) fn dismiss(&mut self, pid: u32) {
        self.dismiss_those(|_, witnessed| witnessed == pid);
    }

    /// Nobody looks any more at the ciphertext that goes through a file.
    pub(super) fn dismiss_from(&mut self, key: FileId) {
        self.dismiss_those(|file, _| file == key);
    }

    fn dismiss_those(&mut self, which: impl Fn(FileId, u32) -> bool) {
        let Self { witnesses, retired, .. } = self;
        for (_, links) in witnesses.extract_if(|(file, pid), _| which(*file, *pid)) {
            retired.put(links);
        }
    }

    /// Attaches to the functions of a file, whose calls are not taken before all have their
    /// probes; a process that has some of its own keeps them meanwhile.
    fn attach_whole(
        &self,
        ebpf: &mut Ebpf,
        key: FileId,
        hooked: &Hooked,
        pid: Option<u32>,
    ) -> Result<Vec<Link>> {
        // Without cookies a call does not tell which library it is of; and what everyone's
        // probes show meanwhile is whole.
        if !self.cookies || (pid.is_some() && self.held.contains_key(&(key, None))) {
            return self.attach(ebpf, hooked, pid);
        }
        let own = self.held.keys().filter(|(held, _)| *held == key).filter_map(|(_, pid)| *pid);
        let placing = Placing::begin(ebpf, hooked.library.index, pid, own)?;
        let links = self.attach(ebpf, hooked, pid);
        placing.end(ebpf)?;
        links
    }

    fn attach(&self, ebpf: &mut Ebpf, hooked: &Hooked, pid: Option<u32>) -> Result<Vec<Link>> {
        let _first = self.retired.pause();
        // The file that was looked into, whatever has its name by now.
        let file = PathBuf::from(format!("/proc/self/fd/{}", hooked.file.as_raw_fd()));
        let cookie = self.cookies.then_some(u64::from(hooked.library.index));
        let mut links = Vec::new();
        for &Point { offset, at, program: name, symbol } in &*hooked.points {
            let at_return = at == At::Return;
            let unused = if self.return_probes { At::InsteadOfReturn } else { At::Return };
            if at == unused {
                continue;
            }
            let program = program(ebpf, name)?;
            let place = Place { file: &file, offset, at_return, pid };
            let link = Link::new(program.fd()?.as_fd(), place, cookie);
            links.push(link.with_context(|| {
                format!("attach {name} to {symbol} of {}", hooked.library.name)
            })?);
        }
        Ok(links)
    }

    /// Takes the probes of a file away, in one process or those of everyone. Whether there
    /// were any.
    pub(super) fn take_away(&mut self, key: FileId, pid: Option<u32>) -> bool {
        let Some(links) = self.held.remove(&(key, pid)) else { return false };
        self.retired.put(links);
        true
    }

    /// Takes the probes of a file away from all processes that have their own.
    pub(super) fn take_own_away(&mut self, key: FileId) {
        let own = |(held, pid): &(FileId, Option<u32>)| *held == key && pid.is_some();
        let pids: Vec<_> = self.held.keys().filter(|it| own(it)).map(|(_, pid)| *pid).collect();
        for pid in pids {
            self.take_away(key, pid);
        }
    }

    /// Since when, in nanoseconds of `CLOCK_BOOTTIME`, all probes are gone that were to be
    /// taken away; `None` while some are there.
    pub(super) fn detached(&self) -> Option<u64> {
        let going = lock(&self.retired.going);
        (going.left == 0).then_some(going.gone_ns)
    }

    /// Takes probes away in a thread from here on, which runs `enter` first.
    pub(super) fn retire_in_thread(&mut self, enter: impl FnOnce() + Send + 'static) -> Result<()> {
        self.retired.start(enter)
    }
}

/// Probes that are to be taken away, which takes the kernel 0.1 s for each: no time that
/// the thread has which reads the buffers.
#[derive(Debug, Default)]
struct Retired {
    /// Those that wait until there is a thread.
    kept: Vec<Vec<Link>>,
    thread: Option<Sender<Vec<Link>>>,
    going: Arc<Mutex<Going>>,
    resumed: Arc<Condvar>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Going {
    /// Probes are being placed: each one would have to wait for one that is taken away.
    paused: bool,
    /// How many times probes are to be taken away still.
    left: usize,
    /// When that was done for the last time, nanoseconds of `CLOCK_BOOTTIME`.
    gone_ns: u64,
}

fn lock(going: &Mutex<Going>) -> MutexGuard<'_, Going> {
    going.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this is there, no more probes are taken away.
struct Pause<'a>(&'a Retired);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        lock(&self.0.going).paused = false;
        self.0.resumed.notify_all();
    }
}

impl Retired {
    /// Lets probes be placed first: somebody may be about to use what they are for.
    fn pause(&self) -> Pause<'_> {
        lock(&self.going).paused = true;
        Pause(self)
    }

    fn put(&mut self, links: Vec<Link>) {
        lock(&self.going).left += 1;
        match &self.thread {
            None => self.kept.push(links),
            // Without the thread they are dropped here.
            Some(thread) => drop(thread.send(links)),
        }
    }

    fn start(&mut self, enter: impl FnOnce() + Send + 'static) -> Result<()> {
        let (sender, receiver) = channel::<Vec<Link>>();
        let (going, resumed) = (Arc::clone(&self.going), Arc::clone(&self.resumed));
        thread::Builder::new()
            .name("detach".to_owned())
            .spawn(move || {
                enter();
                for links in receiver {
                    for link in links {
                        let going = resumed.wait_while(lock(&going), |going| going.paused);
                        drop(going);
                        drop(link);
                    }
                    let mut going = lock(&going);
                    going.left -= 1;
                    going.gone_ns = boot_time();
                }
            })
            .context("start the thread that detaches")?;
        for links in self.kept.drain(..) {
            drop(sender.send(links));
        }
        self.thread = Some(sender);
        Ok(())
    }
}

/// How often may be attached.
#[derive(Debug)]
struct Pace {
    left: u32,
    since: Instant,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Whether it may be once more.
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since).as_millis();
        let gained = u32::try_from(elapsed / PACE.as_millis()).unwrap_or(BURST);
        if gained > 0 {
            self.since = now;
        }
        self.left = self.left.saturating_add(gained).min(BURST);
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe> {
    let found =
        ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(found.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_goes_before_what_is_taken_away() {
        let mut retired = Retired::default();
        retired.put(vec![Link::for_tests()]);
        lock(&retired.going).paused = true;
        retired.start(|| {}).unwrap();
        assert_eq!(lock(&retired.going).left, 1);
        drop(retired.pause());
        let deadline = Instant::now() + Duration::from_mins(1);
        while lock(&retired.going).left > 0 {
            assert!(Instant::now() < deadline, "nothing is taken away any more");
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_too_much_at_once_goes_on_at_its_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let taken = |pace: &mut Pace, now| (0..1000).filter(|_| pace.take(now)).count();
        assert_eq!(taken(&mut pace, start), BURST as usize);
        assert_eq!(taken(&mut pace, start + PACE / 2), 0);
        assert_eq!(taken(&mut pace, start + PACE * 3), 3);
        assert_eq!(taken(&mut pace, start + PACE * 1_000_000), BURST as usize);
    }
}
