//! Finds TLS libraries in what processes map, and attaches to their functions.
//!
//! A file is attached to once, for everyone who maps it. Process by process it is while
//! the file is on trial, so that one process of each program shows what comes of it before
//! all have it; from then
//! on only if a program that maps it is spared, or if the set of processes never changes.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::Path,
    sync::Arc,
};

use agent_common::limits::LOCATED_LIBRARIES;
use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;

use super::{
    Scope,
    file::{FileId, is_deleted, is_gone, open},
    functions::{FUNCTIONS, Point, do_without_return_probes},
    go,
    library::{self, Found},
    links::{Links, Placed, has_cookies, program},
    mapping::mappings,
    returns::ReturnProbes,
    users::Users,
};
use crate::{
    event::verdict::{Embedded, FileVerdict, Unhooked},
    inspect::Inspector,
};

/// Files with TLS functions that are attached to at most.
const LIBRARIES_MAX: usize = 1024;

/// Files that were looked into and are remembered at most.
const FILES_MAX: usize = 65536;

/// A file that was attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Number that data records carry.
    pub index: u16,
    /// File name, for people.
    pub name: Arc<str>,
    /// Its sessions may work on buffers in memory, and what moves through those can be looked
    /// at, see [`Libraries::witness`].
    pub on_buffers: bool,
}

/// A file with functions to attach to.
#[derive(Clone, Debug)]
pub(super) struct Hooked {
    pub(super) points: Arc<[Point]>,
    pub(super) library: Attached,
    /// Open, for other processes that map it later.
    pub(super) file: Arc<File>,
}

/// What is known of a file.
#[derive(Clone, Debug)]
enum Looked {
    Hooked(Hooked),
    /// It has nothing to attach to.
    Not(FileVerdict),
}

/// A file that a process executes or maps.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Where it can be opened.
    pub file: &'a Path,
    /// What it is called.
    pub name: &'a Path,
    /// The process, if it was one.
    pub pid: Option<u32>,
    /// What it runs: the same for all processes that run the same.
    pub program: u64,
    /// Its program gets no probes.
    pub spared: bool,
}

/// What came of a look into a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it is.
    pub verdict: FileVerdict,
    /// What was attached to, when that is new.
    pub news: Option<Attached>,
    /// Its name to the kernel, when it has TLS functions.
    pub key: Option<FileId>,
}

impl Outcome {
    const fn not(verdict: FileVerdict) -> Self {
        Self { verdict, news: None, key: None }
    }
}

/// What is known of the files that processes map.
#[derive(Debug)]
pub struct Libraries {
    /// Probes see one process each, because the set never changes.
    per_process: bool,
    return_probes: ReturnProbes,
    /// While the first processes show what comes of probes: the files that have some, and
    /// in which program.
    on_trial: Option<HashSet<(FileId, u64)>>,
    /// Files that are attached to process by process, because some are spared.
    apart: HashSet<FileId>,
    looked: HashMap<FileId, Looked>,
    /// Where functions that move ciphertext are in files: they are attached to in single
    /// processes.
    witnesses: HashMap<FileId, Arc<[Point]>>,
    /// What is in the place of a file: somebody may write into it.
    places: HashMap<(u64, u64), FileId>,
    users: Users,
    /// Files that nobody mapped at the latest look, and that may be let go of.
    idle: HashSet<FileId>,
    list: Vec<Attached>,
    links: Links,
    inspector: Inspector,
}

impl Libraries {
    /// Loads the programs, which are attached later to each library. Files are on trial
    /// until [`Self::end_trial`].
    pub(super) fn load(
        ebpf: &mut Ebpf,
        scope: &Scope,
        inspector: Inspector,
        return_probes: ReturnProbes,
    ) -> Result<Self> {
        let mut names: Vec<_> = FUNCTIONS.iter().flat_map(|it| it.programs).copied().collect();
        names.extend(go::PROGRAMS);
        names.sort_unstable();
        names.dedup();
        for name in names {
            program(ebpf, name)?
                .load()
                .map_err(super::attach::verifier)
                .with_context(|| format!("load {name}"))?;
        }
        let per_process = scope.is_fixed();
        Ok(Self {
            per_process,
            return_probes,
            on_trial: (!per_process).then(HashSet::new),
            apart: HashSet::new(),
            looked: HashMap::new(),
            witnesses: HashMap::new(),
            places: HashMap::new(),
            users: Users::default(),
            idle: HashSet::new(),
            list: Vec::new(),
            links: Links::new(return_probes.are_used()),
            inspector,
        })
    }

    /// Files attached to so far.
    pub fn list(&self) -> &[Attached] {
        &self.list
    }

    /// Files attached to, counted for each process that is told apart.
    pub(super) fn attached(&self) -> usize {
        self.links.len()
    }

    /// Looks into a file and attaches to it when it has TLS functions.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, candidate: Candidate<'_>) -> Result<Outcome> {
        let Some(key) = FileId::at(candidate.file)? else {
            return Ok(Outcome::not(FileVerdict::Nothing));
        };
        let result = self.attach_file(ebpf, key, candidate);
        // Where it is still there, trying again would fail again.
        if let Err(error) = &result
            && !is_gone(candidate.file)
        {
            let unhooked = Unhooked::Unreadable(format!("{error:#}").into());
            self.remember(key, Looked::Not(FileVerdict::Unhooked(unhooked)));
        }
        result
    }

    fn attach_file(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileId,
        candidate: Candidate<'_>,
    ) -> Result<Outcome> {
        let looked = match self.looked.get(&key).cloned() {
            Some(looked) => looked,
            None => self.look(key, candidate)?,
        };
        let hooked = match looked {
            Looked::Hooked(hooked) => hooked,
            Looked::Not(verdict) => return Ok(Outcome::not(verdict)),
        };
        if let Some(pid) = candidate.pid {
            self.users.add(pid, key);
        }
        let name = Arc::clone(&hooked.library.name);
        let located = hooked.library.index >= LOCATED_LIBRARIES;
        let hooks = if located { FileVerdict::Located } else { FileVerdict::Hooked };
        let mut outcome = Outcome::not(hooks(name));
        outcome.key = Some(key);
        if candidate.spared {
            outcome.verdict = FileVerdict::Unhooked(Unhooked::Spared);
            return Ok(outcome);
        }
        match self.place(ebpf, key, &hooked, candidate)? {
            Placed::New => outcome.news = Some(hooked.library),
            Placed::Before => {}
            Placed::Later => outcome.verdict = FileVerdict::Unhooked(Unhooked::Waiting),
        }
        Ok(outcome)
    }

    /// Attaches to a file for everyone, or for a process where these are told apart.
    fn place(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileId,
        hooked: &Hooked,
        Candidate { pid, program, .. }: Candidate<'_>,
    ) -> Result<Placed> {
        let trial = self.on_trial.is_some() && pid.is_some();
        if let Some(on_trial) = &mut self.on_trial
            && trial
            && !on_trial.insert((key, program))
        {
            return Ok(Placed::Before);
        }
        if self.per_process || trial {
            return self.links.place(ebpf, key, hooked, pid);
        }
        if self.apart.contains(&key) {
            // Whoever maps it is found when it uses TLS.
            return match pid {
                Some(_) => self.links.place(ebpf, key, hooked, pid),
                None => Ok(Placed::Before),
            };
        }
        self.links.place(ebpf, key, hooked, None)
    }

    /// The first processes have had their time: all that map it get probes, but
    /// where a program is spared. The files whose probes could not be placed, and why.
    pub(super) fn end_trial(&mut self, ebpf: &mut Ebpf) -> Vec<(Arc<str>, anyhow::Error)> {
        let mut failed = Vec::new();
        let tried = self.on_trial.take().into_iter().flatten().map(|(key, _)| key);
        for key in tried.collect::<HashSet<_>>() {
            if !self.apart.contains(&key)
                && let Err(error) = self.join(ebpf, key)
            {
                failed.push((self.name(key), error));
            }
        }
        failed
    }

    /// Processes that have probes of their own.
    pub(super) fn tried(&self) -> HashSet<u32> {
        self.links.processes()
    }

    /// Whether files are on trial.
    pub(super) fn is_trial(&self) -> bool {
        self.on_trial.as_ref().is_some_and(|files| !files.is_empty())
    }

    /// Attaches to a file process by process from here on, and to none of those that are
    /// spared.
    pub(super) fn part(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileId,
        spared: impl Fn(u32) -> bool,
    ) -> Result<()> {
        let Some(Looked::Hooked(hooked)) = self.looked.get(&key).cloned() else { return Ok(()) };
        self.apart.insert(key);
        let mut result = Ok(());
        for pid in self.users.of(key) {
            if spared(pid) {
                self.links.take_away(key, Some(pid));
                self.links.dismiss(pid);
            } else if let Err(error) = self.links.place(ebpf, key, &hooked, Some(pid)) {
                result = Err(error);
            }
        }
        self.links.take_away(key, None);
        result
    }

    /// Attaches to a file for everyone again.
    pub(super) fn join(&mut self, ebpf: &mut Ebpf, key: FileId) -> Result<()> {
        let Some(Looked::Hooked(hooked)) = self.looked.get(&key).cloned() else { return Ok(()) };
        self.apart.remove(&key);
        if !self.per_process && self.links.place(ebpf, key, &hooked, None)? != Placed::Later {
            self.links.take_own_away(key);
        }
        Ok(())
    }

    /// A process forked another one, which has the files of its parent and not its probes.
    pub(super) fn forked(&mut self, ebpf: &mut Ebpf, parent: u32, child: u32, spared: bool) {
        self.links.dismiss(child);
        let files = self.users.forked(parent, child);
        for key in files.into_iter().filter(|key| !spared && self.apart.contains(key)) {
            if let Some(Looked::Hooked(hooked)) = self.looked.get(&key).cloned()
                && let Err(error) = self.links.place(ebpf, key, &hooked, Some(child))
            {
                // It has ended, for its file could be attached to before.
                tracing::debug!("{error:#}");
            }
        }
    }

    /// A process has ended, or runs another program. Whether it had probes of its own.
    pub(super) fn left(&mut self, pid: u32) -> bool {
        self.links.dismiss(pid);
        let files = self.users.left(pid);
        files.into_iter().filter(|&key| self.links.take_away(key, Some(pid))).count() > 0
    }

    /// Has the ciphertext of a process told from here on: it shows the sockets of sessions
    /// that work on buffers in memory. False when there were too many at once.
    pub(super) fn witness(&mut self, ebpf: &mut Ebpf, pid: u32) -> Result<bool> {
        if !self.links.may_place() {
            return Ok(false);
        }
        for mapping in mappings(pid) {
            let Ok(Some(key)) = FileId::at(&mapping.file) else { continue };
            let Some(points) = self.witnesses.get(&key).map(Arc::clone) else { continue };
            let file = Arc::new(open(key, &mapping.file)?);
            let name = mapping.name.file_name().unwrap_or_default().to_string_lossy().into();
            // Its records name the library that has the session.
            let library = Attached { index: 0, name, on_buffers: false };
            self.links.witness(ebpf, key, &Hooked { points, library, file }, pid)?;
        }
        Ok(true)
    }

    /// Processes whose ciphertext is told.
    pub(super) fn witnessed(&self) -> usize {
        self.links.witnessed()
    }

    /// See [`Links::detached`].
    pub(super) fn detached(&self) -> Option<u64> {
        self.links.detached()
    }

    /// Takes probes away in a thread from here on, which runs `enter` first.
    pub(super) fn detach_in_thread(&mut self, enter: impl FnOnce() + Send + 'static) -> Result<()> {
        self.links.retire_in_thread(enter)
    }

    /// Name of a file, for people.
    fn name(&self, key: FileId) -> Arc<str> {
        match self.looked.get(&key) {
            Some(Looked::Hooked(hooked)) => Arc::clone(&hooked.library.name),
            _ => "".into(),
        }
    }

    fn look(&mut self, key: FileId, candidate: Candidate<'_>) -> Result<Looked> {
        let (file, name) = (open(key, candidate.file)?, candidate.name);
        let found = self.inspector.inspect(&file)?;
        let ciphertext = library::ciphertext(&found);
        let returns = self.return_probes.are_used() || do_without_return_probes(&ciphertext);
        if !ciphertext.is_empty() && returns && self.witnesses.len() < FILES_MAX {
            self.witnesses.insert(key, ciphertext);
        }
        let looked = match library::judge(found, name) {
            Found::Points(points)
                if !self.return_probes.are_used() && !do_without_return_probes(&points) =>
            {
                let why = Unhooked::NoSafePlace(self.return_probes.text().into());
                Looked::Not(FileVerdict::Unhooked(why))
            }
            // Who has to prove itself has to be told apart.
            Found::Points(points) if points.iter().any(Point::is_located) && !has_cookies() => {
                Looked::Not(FileVerdict::Unhooked(Unhooked::Embedded(Embedded::OpenSsl)))
            }
            Found::Points(points) => {
                ensure!(
                    self.list.len() < LIBRARIES_MAX,
                    "more than {LIBRARIES_MAX} files with TLS functions"
                );
                let used = |index: &u16| self.list.iter().any(|library| library.index == *index);
                let located = points.iter().any(Point::is_located);
                let mut all =
                    if located { LOCATED_LIBRARIES..=u16::MAX } else { 1..=LOCATED_LIBRARIES - 1 };
                let index = all.find(|index| !used(index)).context("no number left")?;
                let name = name.file_name().unwrap_or(name.as_os_str());
                let of_ssl = |point: &Point| point.symbol.starts_with("SSL_");
                let on_buffers = !located && points.iter().any(of_ssl);
                let name = name.to_string_lossy().into();
                let library = Attached { index, name, on_buffers };
                self.list.push(library.clone());
                Looked::Hooked(Hooked { points, library, file: Arc::new(file) })
            }
            Found::Verdict(verdict) => Looked::Not(verdict),
        };
        self.remember(key, looked.clone());
        Ok(looked)
    }

    fn remember(&mut self, key: FileId, looked: Looked) {
        if self.looked.len() >= FILES_MAX {
            return;
        }
        self.looked.insert(key, looked);
        if let Some(place) = key.place()
            && let Some(before) = self.places.insert(place, key).filter(|before| *before != key)
        {
            // Somebody wrote into the file: its functions are elsewhere now.
            self.forget(before);
        }
    }

    /// Takes the probes away from a library that has not proven what was found of it; its
    /// name.
    pub(super) fn give_up(&mut self, index: u16) -> Option<Arc<str>> {
        let is_it = |(key, looked): (&FileId, &Looked)| match looked {
            Looked::Hooked(hooked) if hooked.library.index == index => {
                Some((*key, Arc::clone(&hooked.library.name)))
            }
            _ => None,
        };
        let (key, name) = self.looked.iter().find_map(is_it)?;
        self.forget(key);
        let unproven = Unhooked::Embedded(Embedded::OpenSslUnproven);
        self.looked.insert(key, Looked::Not(FileVerdict::Unhooked(unproven)));
        Some(name)
    }

    fn forget(&mut self, key: FileId) {
        if let Some(Looked::Hooked(hooked)) = self.looked.remove(&key) {
            self.list.retain(|library| library.index != hooked.library.index);
        }
        self.witnesses.remove(&key);
        self.links.dismiss_from(key);
        self.apart.remove(&key);
        self.links.take_away(key, None);
        self.links.take_own_away(key);
    }

    /// Lets go of files that nobody has mapped since the latest look, if they have no name any
    /// more or are a container's: as long as they have probes, their file system stays, and
    /// the room that they take. Those that were let go of.
    pub(super) fn let_go(&mut self) -> Vec<FileId> {
        let idle = self.looked.iter().filter_map(|(key, looked)| {
            let Looked::Hooked(hooked) = looked else { return None };
            let unused = !self.users.has(*key);
            (unused && (key.is_overlaid() || is_deleted(&hooked.file))).then_some(*key)
        });
        let idle: HashSet<FileId> = idle.collect();
        let gone: Vec<FileId> = idle.intersection(&self.idle).copied().collect();
        for &key in &gone {
            self.forget(key);
            self.places.retain(|_, place| *place != key);
        }
        self.idle = idle;
        gone
    }
}
