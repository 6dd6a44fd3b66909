//! Where fields lie in the running kernel's structures.
//!
//! Rust cannot emit CO-RE relocations, so the agent looks the offsets up in the
//! kernel's BTF (/sys/kernel/btf/vmlinux) and hands them over as one global.

use bytemuck::{Pod, Zeroable};

/// Offsets in bytes, but for the last three. Named `structure_field`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Layout {
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5)
    pub task_start_boottime: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.exe_file`
    pub mm_exe_file: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdtable_fd: u32,
    /// `fdtable.max_fds`
    pub fdtable_max_fds: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`
    pub file_private_data: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `super_block.s_dev`
    pub super_block_dev: u32,
    /// `socket.type`
    pub socket_type: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `sock.__sk_common.skc_family`
    pub sock_family: u32,
    /// `sock.__sk_common.skc_dport`
    pub sock_dport: u32,
    /// `sock.__sk_common.skc_num`
    pub sock_num: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sock_daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sock_rcv_saddr: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sock_v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub sock_v6_rcv_saddr: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `sock.sk_peer_pid`
    pub sock_peer_pid: u32,
    /// `unix_sock.addr`
    pub unix_addr: u32,
    /// `unix_sock.peer`
    pub unix_peer: u32,
    /// `unix_address.len`
    pub unix_address_len: u32,
    /// `unix_address.name`
    pub unix_address_name: u32,
    /// `pid.numbers[0].nr`
    pub pid_nr: u32,
    /// `linux_binprm.filename`
    pub binprm_filename: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `io_kiocb.opcode`; 0 without `io_uring`
    pub uring_request_opcode: u32,
    /// `io_kiocb.file`, which is the first
    pub uring_request_file: u32,
    /// `trace_event_raw_io_uring_complete.req`; 0 before 5.19
    pub uring_complete_req: u32,
    /// `trace_event_raw_io_uring_complete.res`; 0 without `io_uring`
    pub uring_complete_res: u32,
    /// `task_struct.stack`
    pub task_stack: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `socket.ops`
    pub socket_ops: u32,
    /// `sock.__sk_common.skc_prot`
    pub sock_prot: u32,
    /// `proto_ops.splice_read`
    pub ops_splice_read: u32,
    /// `proto.sendpage`; 0 since 6.5, which has none
    pub proto_sendpage: u32,
    /// `msghdr.msg_iter`
    pub msghdr_iter: u32,
    /// `msghdr.msg_flags`
    pub msghdr_flags: u32,
    /// `iov_iter.iter_type` (`type` before 5.14), of which the first byte is looked at
    pub iter_type: u32,
    /// `iov_iter.iov_offset`
    pub iter_offset: u32,
    /// `iov_iter.count`
    pub iter_count: u32,
    /// `iov_iter.__iov` (`iov` before 6.4), and `ubuf` in the same place
    pub iter_pointer: u32,
    /// Not an offset: the value of `ITER_UBUF`; [`Layout::NO_KIND`] before 6.0
    pub iter_ubuf: u32,
    /// Not an offset: the value of `ITER_IOVEC`
    pub iter_iovec: u32,
    /// Not an offset: which bits of the type's first byte tell the kind
    pub iter_mask: u32,
}

impl Layout {
    /// The value of a kind of iterator that the kernel has not.
    pub const NO_KIND: u32 = u32::MAX;
}
