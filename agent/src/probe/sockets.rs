//! What shows the bytes that sockets move: the exit of system calls, or the functions of the
//! kernel that send and receive.

use agent_common::layout::Layout;
use anyhow::{Context as _, Result, ensure};
use aya::{Btf, Ebpf, programs::FExit, util::KernelVersion};

use super::{
    Settings, Transport,
    attach::{preempts, verifier},
    layout::tells_of_messages,
    load,
};

/// What shows the bytes of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sockets {
    /// System calls: every kernel lets them be hooked.
    #[default]
    Auto,
    /// The exit of system calls.
    Syscall,
    /// The functions that send and receive on sockets, which `io_uring` calls too.
    Function,
}

/// Programs, and the functions of the kernel that they belong to.
const FUNCTIONS: &[(&str, &str)] = &[
    ("inet_send", "inet_sendmsg"),
    ("inet6_send", "inet6_sendmsg"),
    ("unix_send", "unix_stream_sendmsg"),
    ("inet_receive", "inet_recvmsg"),
    ("inet6_receive", "inet6_recvmsg"),
    ("unix_receive", "unix_stream_recvmsg"),
    SPLICE,
];

/// The smallest: it tells whether functions can be hooked at all.
const SPLICE: (&str, &str) = ("splice_receive", "sock_splice_read");

/// Those that pages went through, until 6.4.
const PAGES: &[(&str, &str)] =
    &[("inet_sendpage", "inet_sendpage"), ("unix_sendpage", "unix_stream_sendpage")];

const LACKS: &str = "the type information of this kernel lacks what messages look like";
const PREEMPTED: &str = "from 7.0 on this kernel leaves programs of functions out while one of \
                         them is preempted, and what they miss would be told wrongly";
const PERF: &str = "the programs of functions need ring buffers";
const OTHER: &str = "hook the functions of sockets; --socket-backend syscall works everywhere";

impl Sockets {
    /// System calls or functions.
    pub(super) fn choose(self, layout: &Layout, transport: Transport) -> Result<Self> {
        match self {
            Self::Auto | Self::Syscall => Ok(Self::Syscall),
            Self::Function => {
                ensure!(tells_of_messages(layout), "{LACKS}; {OTHER}");
                ensure!(!preempts(), "{PREEMPTED}; {OTHER}");
                ensure!(transport == Transport::Ring, "{PERF}; {OTHER}");
                Ok(self)
            }
        }
    }
}

/// Whether functions of sockets can be hooked; the reason, if not.
pub(super) fn supported(layout: &Layout) -> Result<()> {
    ensure!(tells_of_messages(layout), LACKS);
    ensure!(!preempts(), PREEMPTED);
    let btf = types()?;
    let transport = Transport::Auto.choose()?;
    let mut ebpf = load(&Settings::default(), transport, Sockets::Function, layout)?;
    let (program, function) = SPLICE;
    load_one(&mut ebpf, &btf, program, function)
}

/// Hooks the functions; their number.
pub(super) fn attach(ebpf: &mut Ebpf, layout: &Layout) -> Result<usize> {
    let btf = types()?;
    for &(program, function) in wanted(layout) {
        load_one(ebpf, &btf, program, function).context(OTHER)?;
        find(ebpf, program)?.attach().with_context(|| format!("attach to {function}"))?;
    }
    Ok(wanted(layout).count())
}

/// Loads the programs without attaching any; what the kernel said of each.
pub(super) fn try_load(ebpf: &mut Ebpf, layout: &Layout) -> Vec<(&'static str, Result<()>)> {
    let btf = match types() {
        Ok(btf) => btf,
        Err(error) => return vec![("functions", Err(error))],
    };
    let load = |&(program, function): &(&'static str, &str)| {
        (program, load_one(ebpf, &btf, program, function))
    };
    wanted(layout).map(load).collect()
}

/// The functions that this kernel has.
fn wanted(layout: &Layout) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let pages: &[_] = if layout.proto_sendpage == 0 { &[] } else { PAGES };
    FUNCTIONS.iter().chain(pages)
}

fn types() -> Result<Btf> {
    Btf::from_sys_fs().context("read the type information of the kernel's functions")
}

fn find<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut FExit> {
    let found = ebpf
        .program_mut(program)
        .with_context(|| format!("the object has no program {program}"))?;
    Ok(found.try_into()?)
}

fn load_one(ebpf: &mut Ebpf, btf: &Btf, program: &str, function: &str) -> Result<()> {
    let found = find(ebpf, program)?;
    found.load(function, btf).map_err(verifier).with_context(|| format!("load {program}"))
}

/// Whether programs are told where a task's registers are: since 5.15.
pub(super) fn has_task_registers() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 15, 0))
}
