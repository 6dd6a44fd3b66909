//! Loads and attaches the kernel programs: the only user of aya's loader.

mod attach;
pub mod budget;
mod code;
mod debuginfo;
pub mod elf;
mod file;
pub mod functions;
pub(crate) mod go;
pub mod launch;
pub mod layout;
pub mod library;
mod links;
mod located;
mod mapping;
mod marks;
mod object;
mod placing;
pub mod process;
mod returns;
mod ring;
pub mod scope;
mod sockets;
mod spare;
mod tls;
mod transport;
mod unwind;
pub(crate) mod uprobe;
mod users;

use std::{
    fmt,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agent_common::{
    counter::Counter,
    layout::Layout,
    scope::{Comm, FileKey, ScopeEntry, ScopeFlags},
};
use anyhow::{Context as _, Result, ensure};
use attach::{
    RAW_TRACEPOINTS, SYS_EXIT, SYS_EXIT_EVENT, TRACE_EVENTS, URING, attach_event, attach_raw,
    preempts,
};
pub use attach::{Support, tells_of_uring, try_load};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray},
    programs::Program,
};
use budget::MessageBudgets;
pub use file::{FileId, is_gone, open_to_look};
pub use mapping::{Mapping, installed, mappings};
pub use returns::ReturnProbes;
pub use scope::Scope;
pub use sockets::Sockets;
pub use tls::{Attached, Candidate, Libraries, Outcome};
pub use transport::{Record, Source, Transport};

use crate::inspect::Inspector;

/// What the operator decides about capture.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to observe.
    pub scope: Scope,
    /// How records come from the kernel.
    pub transport: Transport,
    /// What shows the bytes of sockets.
    pub sockets: Sockets,
    /// Captured bytes of one message at most.
    pub message_budget: u32,
    /// Size of the data buffer, a power of two.
    pub buffer_bytes: u32,
    /// Connections that the kernel side remembers.
    pub connections_max: u32,
    /// See returns of C functions at the instructions by which they return.
    pub no_return_probes: bool,
    /// Attach programs that return after the scope check: the floor of the
    /// benchmark.
    pub empty: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            transport: Transport::Auto,
            sockets: Sockets::Auto,
            message_budget: agent_common::limits::MESSAGE_BUDGET,
            buffer_bytes: 8 << 20,
            connections_max: 65536,
            no_return_probes: false,
            empty: false,
        }
    }
}

/// The loaded programs. Dropping it detaches them all; the kernel does the same
/// when the agent dies.
pub struct Probes {
    ebpf: Ebpf,
    transport: Transport,
    libraries: Libraries,
    counters: PerCpuArray<MapData, [u64; Counter::COUNT as usize]>,
    scope: HashMap<MapData, u32, ScopeEntry>,
    message_budgets: MessageBudgets,
    /// Completions of `io_uring` are seen.
    uring: bool,
    /// Functions of sockets that are hooked.
    functions: usize,
    /// What the programs log, in objects that do.
    #[cfg(feature = "kernel-log")]
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl Probes {
    /// Loads the programs, tells them the scope and attaches them. Running
    /// processes of the scope are observed from here on.
    pub fn attach(settings: &Settings, inspector: Inspector) -> Result<Self> {
        ensure!(
            !settings.scope.is_empty(),
            "nothing to observe; name a command after --, or --pid, --cgroup, --comm, --exe, \
             or --all for the whole host"
        );
        let layout = layout::read(Path::new(layout::KERNEL_BTF))?;
        let transport = settings.transport.choose()?;
        let sockets = settings.sockets.choose(&layout, transport)?;
        let mut ebpf = load(settings, transport, sockets, &layout)?;
        let map = ebpf.take_map("COUNTERS").context("the object has no COUNTERS map")?;
        let counters = PerCpuArray::try_from(map).context("open COUNTERS")?;
        let map = ebpf.take_map("SCOPE").context("the object has no SCOPE map")?;
        let scope = HashMap::try_from(map).context("open SCOPE")?;
        let message_budgets = MessageBudgets::take(&mut ebpf)?;
        let returns = returns::choose(settings.no_return_probes);
        let libraries = Libraries::load(&mut ebpf, &settings.scope, inspector, returns)?;
        #[cfg(feature = "kernel-log")]
        let log = aya_log::EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| tracing::warn!("the kernel programs do not log: {error}"))
            .ok();
        let mut probes = Self {
            ebpf,
            transport,
            libraries,
            counters,
            scope,
            message_budgets,
            uring: tells_of_uring(&layout),
            functions: 0,
            #[cfg(feature = "kernel-log")]
            log,
        };
        probes.matches(&settings.scope)?;
        for &(program, tracepoint) in RAW_TRACEPOINTS {
            attach_raw(&mut probes.ebpf, program, tracepoint)?;
        }
        // Children that are forked from here on are seen; those before are looked up.
        probes.seed(&settings.scope)?;
        for &(program, category, name) in TRACE_EVENTS {
            attach_event(&mut probes.ebpf, program, category, name)?;
        }
        if sockets == Sockets::Function {
            probes.functions = sockets::attach(&mut probes.ebpf, &layout)?;
        }
        if preempts() {
            attach_event(&mut probes.ebpf, SYS_EXIT_EVENT, "raw_syscalls", "sys_exit")?;
        } else {
            attach_raw(&mut probes.ebpf, SYS_EXIT, "sys_exit")?;
        }
        if probes.uring {
            let (program, category, name) = URING;
            attach_event(&mut probes.ebpf, program, category, name)?;
        }
        Ok(probes)
    }

    /// Passes on what the programs logged.
    #[cfg(feature = "kernel-log")]
    pub fn pass_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Brings a process into scope.
    pub fn admit(&mut self, pid: u32, flags: ScopeFlags) -> Result<()> {
        self.scope
            .insert(pid, ScopeEntry { flags, reserved: 0 }, 0)
            .with_context(|| format!("bring process {pid} into scope"))
    }

    /// Processes in scope by the map; those of a cgroup or of the whole host are
    /// not listed.
    pub fn admitted(&self) -> Vec<u32> {
        self.scope.keys().filter_map(Result::ok).collect()
    }

    /// Capture budgets of single processes.
    pub const fn message_budgets(&mut self) -> &mut MessageBudgets {
        &mut self.message_budgets
    }

    /// Time in all programs since they were loaded, as far as the kernel measures it.
    pub fn run_time(&self) -> Duration {
        let infos = self.ebpf.programs().filter_map(|(_, program)| program.info().ok());
        infos.map(|info| info.run_time()).sum()
    }

    /// Takes the ends of the buffers that records come through.
    pub fn sources(&mut self, settings: &Settings) -> Result<Vec<Source>> {
        transport::open(&mut self.ebpf, self.transport, settings)
    }

    /// How records come from the kernel.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Sums of the kernel side's counters, by slot.
    pub fn counters(&self) -> Vec<u64> {
        let mut sums = vec![0; Counter::COUNT as usize];
        if let Ok(values) = self.counters.get(&0, 0) {
            for value in values.iter() {
                for (sum, slot) in sums.iter_mut().zip(value) {
                    *sum += slot;
                }
            }
        }
        sums
    }

    /// Places that programs are attached to: tracepoints, and files with TLS
    /// functions by process, where processes are told apart.
    pub fn attached(&self) -> usize {
        RAW_TRACEPOINTS.len()
            + TRACE_EVENTS.len()
            + 1
            + usize::from(self.uring)
            + self.functions
            + self.libraries.attached()
    }

    /// Files attached to so far.
    pub fn libraries(&self) -> &[Attached] {
        self.libraries.list()
    }

    /// Looks for TLS functions in a file that a process mapped as code, and attaches
    /// to them.
    pub fn mapped(&mut self, candidate: Candidate<'_>) -> Result<Outcome> {
        self.libraries.attach(&mut self.ebpf, candidate)
    }

    /// Has the ciphertext of a process told: its TLS sessions work on buffers in memory, and
    /// nothing else shows their sockets for certain. False when that has to be asked again.
    pub fn witness(&mut self, pid: u32) -> Result<bool> {
        self.libraries.witness(&mut self.ebpf, pid)
    }

    /// Processes whose ciphertext is told.
    pub fn witnessed(&self) -> usize {
        self.libraries.witnessed()
    }

    /// Takes the probes away from a library that has not proven what was found of it without
    /// symbols; its name.
    pub fn give_up(&mut self, library: u16) -> Option<Arc<str>> {
        self.libraries.give_up(library)
    }

    /// Takes the probes away from files that nobody maps and nobody will, if that was so the
    /// last time too.
    pub fn let_go(&mut self) {
        let gone = self.libraries.let_go();
        if gone.is_empty() {
            return;
        }
        // A container may map them once more.
        let Some(map) = self.ebpf.map_mut("MAPPED_FILES") else { return };
        if let Ok(mut files) = HashMap::<_, FileKey, u32>::try_from(map) {
            let let_go = |key: &FileKey| gone.iter().any(|file| file.inode == key.inode);
            let keys: Vec<FileKey> = files.keys().flatten().filter(let_go).collect();
            for key in keys {
                // A failure means that it was evicted already.
                drop(files.remove(&key));
            }
        }
    }

    /// Has the kernel side report a file again when it is mapped the next time.
    pub fn forget_mapped(&mut self, key: FileKey) {
        let Some(map) = self.ebpf.map_mut("MAPPED_FILES") else { return };
        if let Ok(mut files) = HashMap::<_, FileKey, u32>::try_from(map) {
            // A failure means that it was evicted already.
            drop(files.remove(&key));
        }
    }

    /// What the kernel keeps of each program.
    pub fn program_statistics(&self) -> Vec<ProgramStatistics> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some(ProgramStatistics {
                    name: name.to_owned(),
                    runs: info.run_count(),
                    time: info.run_time(),
                    misses: misses(program).unwrap_or(0),
                })
            })
            .collect()
    }

    fn matches(&mut self, scope: &Scope) -> Result<()> {
        if !scope.comms.is_empty() {
            let map = self.ebpf.map_mut("SCOPE_COMMS").context("the object has no SCOPE_COMMS")?;
            let mut comms: HashMap<_, Comm, u32> = HashMap::try_from(map)?;
            for name in &scope.comms {
                comms.insert(scope::comm(name)?, 1, 0).context("add a name to the scope")?;
            }
        }
        if !scope.exes.is_empty() {
            let map = self.ebpf.map_mut("SCOPE_EXES").context("the object has no SCOPE_EXES")?;
            let mut exes: HashMap<_, FileKey, u32> = HashMap::try_from(map)?;
            for path in &scope.exes {
                exes.insert(scope::file_key(path)?, 1, 0).context("add a program to the scope")?;
            }
        }
        Ok(())
    }

    fn seed(&mut self, scope: &Scope) -> Result<()> {
        let follow = if scope.no_follow { ScopeFlags(0) } else { ScopeFlags::FOLLOW };
        for &pid in &scope.pids {
            ensure!(
                Path::new(&format!("/proc/{pid}")).exists(),
                "there is no process {pid} to observe"
            );
            self.admit(pid, follow)?;
        }
        if !scope.no_follow {
            for pid in scope::descendants(&scope.pids) {
                self.admit(pid, follow)?;
            }
        }
        if !scope.comms.is_empty() || !scope.exes.is_empty() {
            let matched = ScopeFlags(follow.0 | ScopeFlags::MATCHED.0);
            let roots = scope::matching(scope)?;
            for pid in if scope.no_follow { roots } else { scope::descendants(&roots) } {
                self.admit(pid, matched)?;
            }
        }
        Ok(())
    }
}

/// What the kernel keeps of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramStatistics {
    /// Name of the program.
    pub name: String,
    /// Runs, counted while `kernel.bpf_stats_enabled` is 1.
    pub runs: u64,
    /// Time in it, measured as long.
    pub time: Duration,
    /// Runs that the kernel left out, because the program was not done with another one
    /// on that processor: what they would have seen is lost. 0 before 5.12, which does
    /// not count them.
    pub misses: u64,
}

/// `recursion_misses` of a program (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c).
fn misses(program: &Program) -> Option<u64> {
    let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

fn load(
    settings: &Settings,
    transport: Transport,
    sockets: Sockets,
    layout: &Layout,
) -> Result<Ebpf> {
    let object = match transport {
        Transport::Perf => object::PERF,
        _ => object::RING,
    };
    ensure!(!object.is_empty(), "built without the kernel programs");
    let scope = &settings.scope;
    let cgroup = scope.cgroup.as_deref().map(scope::cgroup).transpose()?;
    let (cgroup_id, cgroup_level) = cgroup.map_or((0, 0), |cgroup| (cgroup.id, cgroup.level));
    let matching = u32::from(!scope.comms.is_empty() || !scope.exes.is_empty());
    let cookies = u32::from(links::has_cookies());
    let task_registers = u32::from(sockets::has_task_registers());
    let by_function = u32::from(sockets == Sockets::Function);
    let mode = scope.mode().0;
    let mut loader = EbpfLoader::new();
    loader
        // The programs need no relocation against it, and it is large.
        .btf(None)
        .override_global("SCOPE_MODE", &mode, true)
        .override_global("SCOPE_CGROUP", &cgroup_id, true)
        .override_global("SCOPE_CGROUP_LEVEL", &cgroup_level, true)
        .override_global("SCOPE_MATCH", &matching, true)
        .override_global("MESSAGE_BUDGET", &settings.message_budget, true)
        .override_global("HAS_COOKIE", &cookies, true)
        .override_global("HAS_TASK_REGISTERS", &task_registers, true)
        .override_global("BY_FUNCTION", &by_function, true)
        .override_global("LAYOUT", layout, true)
        .map_max_entries("CONNECTIONS", settings.connections_max);
    let own = std::process::id();
    let empty = u32::from(settings.empty);
    loader.override_global("OWN_TGID", &own, true).override_global("EMPTY", &empty, true);
    if transport == Transport::Ring {
        loader.map_max_entries("EVENTS", settings.buffer_bytes);
    }
    loader.load(object).context(
        "load the kernel programs; this needs root, or CAP_BPF and CAP_PERFMON \
         (apiscope doctor tells what is missing)",
    )
}
