//! From a descriptor of the current process to its socket.

use agent_common::{
    counter::Counter,
    limits::LOOKS_MAX,
    record::{Direction, Family, FlowId, Protocol, Tuple},
    state::FlowState,
};

use crate::{
    kernel::{Counters, current_task, now, read},
    maps::{CONNECTIONS, EMPTY_FLOW},
    settings::offset,
};

/// `S_IFMT` and `S_IFSOCK`, include/uapi/linux/stat.h
const FORMAT: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
/// `SOCK_STREAM`, `SOCK_DGRAM`
const STREAM: u16 = 1;
const DATAGRAM: u16 = 2;

/// A socket's kernel objects.
#[derive(Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "these are the kernel's names")]
pub(crate) struct Socket {
    /// Address of the `struct sock`.
    pub(crate) sock: u64,
    /// Inode number: the name of the socket for as long as it lives.
    pub(crate) inode: u64,
    /// Address of the `struct socket`.
    pub(crate) socket: u64,
}

/// The open file behind a descriptor of the current process.
#[inline(always)]
pub(crate) fn file(fd: u64) -> Option<u64> {
    let files: u64 = read(current_task() + offset!(task_files))?;
    let table: u64 = read(files + offset!(files_fdt))?;
    let max: u32 = read(table + offset!(fdtable_max_fds))?;
    if fd >= u64::from(max) {
        return None;
    }
    let descriptors: u64 = read(table + offset!(fdtable_fd))?;
    let file: u64 = read(descriptors + fd * 8)?;
    (file != 0).then_some(file)
}

/// The socket behind a descriptor; `None` when it is something else.
#[inline(always)]
pub(crate) fn socket(fd: u64) -> Option<Socket> {
    of_file(file(fd)?)
}

/// The socket of an open file; `None` when it is something else.
#[inline(always)]
pub(crate) fn of_file(file: u64) -> Option<Socket> {
    let inode: u64 = read(file + offset!(file_inode))?;
    let mode: u16 = read(inode + offset!(inode_mode))?;
    if mode & FORMAT != SOCKET {
        return None;
    }
    let number: u64 = read(inode + offset!(inode_ino))?;
    let socket: u64 = read(file + offset!(file_private_data))?;
    let sock: u64 = read(socket + offset!(socket_sk))?;
    Some(Socket { sock, inode: number, socket })
}

/// The kernel objects of a `struct socket`; `None` when no process can have a descriptor of
/// it.
#[inline(always)]
pub(crate) fn of_socket(socket: u64) -> Option<Socket> {
    let file: u64 = read(socket + offset!(socket_file))?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read(file + offset!(file_inode))?;
    let number: u64 = read(inode + offset!(inode_ino))?;
    let sock: u64 = read(socket + offset!(socket_sk))?;
    Some(Socket { sock, inode: number, socket })
}

/// State of a stream socket's connection or of a UDP socket, made when it is first seen;
/// the flag says that it was. `None` for other kinds of socket and when the map is full.
#[inline(always)]
pub(crate) fn connection(socket: &Socket, counters: Counters) -> Option<(*mut FlowState, bool)> {
    if let Some(state) = CONNECTIONS.get_ptr_mut(&socket.sock) {
        // SAFETY: the map returned it; it stays valid while the program runs.
        unsafe {
            if (*state).flow.id == socket.inode {
                let ends = &raw mut (*state).tuple;
                // A client may have written before the server accepted, and only then
                // has the other end an inode.
                if (*ends).family == Family::UNIX && (*ends).remote == [0; 16] {
                    unix_peer(ends, socket.sock);
                }
                return Some((state, false));
            }
        }
    }
    let kind: u16 = read(socket.socket + offset!(socket_type))?;
    let family = Family(read(socket.sock + offset!(sock_family))?);
    let internet = family == Family::INET || family == Family::INET6;
    if !(kind == STREAM && (internet || family == Family::UNIX) || kind == DATAGRAM && internet) {
        return None;
    }
    let empty = EMPTY_FLOW.get(0)?;
    if CONNECTIONS.insert(&socket.sock, empty, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
        return None;
    }
    let state = CONNECTIONS.get_ptr_mut(&socket.sock)?;
    // SAFETY: as above.
    unsafe {
        (*state).flow = FlowId { id: socket.inode, generation: now() };
        (*state).looks = LOOKS_MAX;
        (*state).last = Direction::BOTH;
        tuple(&raw mut (*state).tuple, socket, family);
        if kind == DATAGRAM {
            (*state).protocol = Protocol::DATAGRAM;
        } else {
            counters.add(Counter::CONNECTIONS, 1);
        }
    }
    Some((state, true))
}

/// Writes both ends of a socket.
///
/// # Safety
///
/// `to` is valid for writes.
#[inline(always)]
unsafe fn tuple(to: *mut Tuple, socket: &Socket, family: Family) {
    let sock = socket.sock;
    // SAFETY: promised by the caller.
    let to = unsafe { &mut *to };
    to.family = family;
    if family == Family::UNIX {
        to.local[..8].copy_from_slice(&socket.inode.to_ne_bytes());
        // SAFETY: as above.
        unsafe { unix_peer(to, sock) };
        return;
    }
    to.local_port = read(sock + offset!(sock_num)).unwrap_or(0);
    to.remote_port = u16::from_be(read(sock + offset!(sock_dport)).unwrap_or(0));
    if family == Family::INET {
        let local: [u8; 4] = read(sock + offset!(sock_rcv_saddr)).unwrap_or([0; 4]);
        let remote: [u8; 4] = read(sock + offset!(sock_daddr)).unwrap_or([0; 4]);
        to.local[..4].copy_from_slice(&local);
        to.remote[..4].copy_from_slice(&remote);
    } else {
        to.local = read(sock + offset!(sock_v6_rcv_saddr)).unwrap_or([0; 16]);
        to.remote = read(sock + offset!(sock_v6_daddr)).unwrap_or([0; 16]);
    }
}

/// Writes the inode of the other end of a unix socket; zero while it has none.
///
/// # Safety
///
/// `to` is valid for writes.
#[inline(never)]
unsafe fn unix_peer(to: *mut Tuple, sock: u64) {
    let peer = read::<u64>(sock + offset!(unix_peer)).unwrap_or(0);
    let number = if peer == 0 { 0 } else { inode_of(peer).unwrap_or(0) };
    // SAFETY: promised by the caller.
    unsafe { (&raw mut (*to).remote).cast::<[u8; 8]>().write(number.to_ne_bytes()) };
}

/// Inode number of a sock's socket.
#[inline(always)]
fn inode_of(sock: u64) -> Option<u64> {
    let socket: u64 = read(sock + offset!(sock_socket))?;
    if socket == 0 {
        return None;
    }
    let file: u64 = read(socket + offset!(socket_file))?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read(file + offset!(file_inode))?;
    read(inode + offset!(inode_ino))
}
