//! Offsets of kernel structures, from the running kernel's BTF.

use std::{collections::HashMap, path::Path};

use agent_common::layout::Layout;
use anyhow::{Context as _, Result, anyhow};
use btfparse::{Integer32Value, Offset, Readable, TypeInformation, TypeVariant};

/// Where the kernel keeps its BTF (`CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// One field of [`Layout`]: the structure, and its members to try in turn, for
/// those that were renamed.
struct Field {
    structure: &'static str,
    members: &'static [&'static str],
    /// Not all kernels have it, and without it less is seen.
    optional: bool,
    slot: fn(&mut Layout) -> &mut u32,
}

macro_rules! fields {
    ($optional:literal, $($slot:ident: $structure:literal $($member:literal)+;)+) => {
        &[$(Field {
            structure: $structure,
            members: &[$($member),+],
            optional: $optional,
            slot: |layout| &mut layout.$slot,
        }),+]
    };
}

const FIELDS: &[Field] = fields! { false,
    task_files: "task_struct" "files";
    task_group_leader: "task_struct" "group_leader";
    // `real_start_time` before 5.5.
    task_start_boottime: "task_struct" "start_boottime" "real_start_time";
    task_tgid: "task_struct" "tgid";
    task_pid: "task_struct" "pid";
    task_mm: "task_struct" "mm";
    task_signal: "task_struct" "signal";
    task_exit_code: "task_struct" "exit_code";
    signal_live: "signal_struct" "live";
    mm_exe_file: "mm_struct" "exe_file";
    files_fdt: "files_struct" "fdt";
    fdtable_fd: "fdtable" "fd";
    fdtable_max_fds: "fdtable" "max_fds";
    file_inode: "file" "f_inode";
    file_private_data: "file" "private_data";
    inode_mode: "inode" "i_mode";
    inode_ino: "inode" "i_ino";
    inode_sb: "inode" "i_sb";
    super_block_dev: "super_block" "s_dev";
    socket_type: "socket" "type";
    socket_sk: "socket" "sk";
    socket_file: "socket" "file";
    sock_family: "sock" "__sk_common.skc_family";
    sock_dport: "sock" "__sk_common.skc_dport";
    sock_num: "sock" "__sk_common.skc_num";
    sock_daddr: "sock" "__sk_common.skc_daddr";
    sock_rcv_saddr: "sock" "__sk_common.skc_rcv_saddr";
    sock_v6_daddr: "sock" "__sk_common.skc_v6_daddr";
    sock_v6_rcv_saddr: "sock" "__sk_common.skc_v6_rcv_saddr";
    sock_socket: "sock" "sk_socket";
    sock_peer_pid: "sock" "sk_peer_pid";
    unix_addr: "unix_sock" "addr";
    unix_peer: "unix_sock" "peer";
    unix_address_len: "unix_address" "len";
    unix_address_name: "unix_address" "name";
    pid_nr: "pid" "numbers";
    binprm_filename: "linux_binprm" "filename";
};

/// Of `io_uring`, which tells of its requests since 5.19, and may be left out of a kernel.
const URING: &[Field] = fields! { true,
    uring_request_opcode: "io_kiocb" "opcode";
    uring_request_file: "io_kiocb" "file";
    uring_complete_req: "trace_event_raw_io_uring_complete" "req";
    uring_complete_res: "trace_event_raw_io_uring_complete" "res";
};

/// Of the functions by which sockets send and receive. Without them system calls are what
/// shows the bytes.
const FUNCTIONS: &[Field] = fields! { true,
    task_stack: "task_struct" "stack";
    task_flags: "task_struct" "flags";
    socket_ops: "socket" "ops";
    sock_prot: "sock" "__sk_common.skc_prot";
    ops_splice_read: "proto_ops" "splice_read";
    // Until 6.4.
    proto_sendpage: "proto" "sendpage";
    msghdr_iter: "msghdr" "msg_iter";
    msghdr_flags: "msghdr" "msg_flags";
    // `type` before 5.14.
    iter_type: "iov_iter" "iter_type" "type";
    iter_offset: "iov_iter" "iov_offset";
    iter_count: "iov_iter" "count";
    // `iov` before 6.4.
    iter_pointer: "iov_iter" "__iov" "iov";
};

fn fields() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().chain(URING).chain(FUNCTIONS)
}

/// Whether all is known of the messages that functions of sockets get.
pub const fn tells_of_messages(layout: &Layout) -> bool {
    layout.socket_ops != 0
        && layout.sock_prot != 0
        && layout.ops_splice_read != 0
        && layout.msghdr_iter != 0
        && layout.msghdr_flags != 0
        && layout.iter_offset != 0
        && layout.iter_count != 0
        && layout.iter_pointer != 0
        && layout.iter_iovec != Layout::NO_KIND
}

/// Looks up every field in a BTF file.
pub fn read(path: &Path) -> Result<Layout> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("read {}, which needs CONFIG_DEBUG_INFO_BTF", path.display()))?;
    parse(&bytes).with_context(|| format!("look up kernel structures in {}", path.display()))
}

/// Looks up every field in the bytes of a BTF file.
pub fn parse(bytes: &[u8]) -> Result<Layout> {
    let types =
        TypeInformation::new(&Bytes(bytes)).map_err(|error| anyhow!("parse BTF: {error:?}"))?;
    let mut layout = Layout::default();
    let structures = structures(&types);
    for field in fields() {
        match offset(&types, &structures, field) {
            Err(_) if field.optional => {}
            found => *(field.slot)(&mut layout) = found?,
        }
    }
    [layout.iter_iovec, layout.iter_ubuf] = kinds(&types).map(|it| it.unwrap_or(Layout::NO_KIND));
    layout.iter_mask = mask(layout.iter_iovec);
    // `pid.numbers` is an array of `upid`, which starts with the number.
    Ok(layout)
}

/// The fields of a layout: the structure, the member by the names that it has had,
/// and where it was found. Without those that not all kernels have and this one has not.
pub fn named(mut layout: Layout) -> Vec<(&'static str, &'static [&'static str], u32)> {
    let found = fields().map(|field| {
        let offset = *(field.slot)(&mut layout);
        (!field.optional || offset != 0).then_some((field.structure, field.members, offset))
    });
    found.flatten().collect()
}

/// Which bits of an iterator's type tell its kind. Before 5.14 kinds were bits themselves,
/// and the lowest bit of the type told the direction (`iov_iter_type`, include/linux/uio.h).
const fn mask(iovec: u32) -> u32 {
    if iovec == 4 { 0xfe } else { 0xff }
}

/// The values of `ITER_IOVEC` and `ITER_UBUF` in `enum iter_type`.
fn kinds(types: &TypeInformation) -> [Option<u32>; 2] {
    let found = types.get().values().find_map(|variant| match variant {
        TypeVariant::Enum(found) if found.name().as_deref() == Some("iter_type") => Some(found),
        _ => None,
    });
    ["ITER_IOVEC", "ITER_UBUF"].map(|name| {
        let value = found?.named_value_list().iter().find(|value| value.name == name)?;
        match value.value {
            Integer32Value::Unsigned(value) => Some(value),
            Integer32Value::Signed(value) => u32::try_from(value).ok(),
        }
    })
}

/// The structures that fields are looked up in, each by the first of its name. By kind as
/// well as by name: functions and structures share one name space.
fn structures(types: &TypeInformation) -> HashMap<&'static str, u32> {
    let wanted: HashMap<_, _> = fields().map(|field| (field.structure, field.structure)).collect();
    let mut found = HashMap::new();
    for (&id, variant) in types.get() {
        let TypeVariant::Struct(structure) = variant else { continue };
        if let Some(name) = structure.name()
            && let Some(&name) = wanted.get(name.as_str())
            && !structure.member_list().is_empty()
        {
            found.entry(name).or_insert(id);
        }
    }
    found
}

fn offset(
    types: &TypeInformation,
    structures: &HashMap<&'static str, u32>,
    field: &Field,
) -> Result<u32> {
    let structure = *structures
        .get(field.structure)
        .with_context(|| format!("no struct {}", field.structure))?;
    let found = field.members.iter().find_map(|member| types.offset_of(structure, member).ok());
    match found {
        Some((_, Offset::ByteOffset(offset))) => Ok(offset),
        Some((_, Offset::BitOffsetAndSize(offset, _))) => Ok(offset / 8),
        None => Err(anyhow!("struct {} has no {}", field.structure, field.members.join(" or "))),
    }
}

/// Bytes, as btfparse wants to read them.
struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buffer.len())?))
            .and_then(|range| self.0.get(range));
        match found {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(btfparse::Error::new(btfparse::ErrorKind::EOF, "outside the file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_looked_up() {
        let mut layout = Layout::default();
        for field in fields() {
            *(field.slot)(&mut layout) += 1;
        }
        // These are values.
        for slot in [&mut layout.iter_iovec, &mut layout.iter_ubuf, &mut layout.iter_mask] {
            *slot += 1;
        }
        let words: &[u32] = bytemuck::cast_slice(bytemuck::bytes_of(&layout));
        assert!(words.iter().all(|&word| word == 1), "{layout:?}");
    }

    #[test]
    fn damaged_btf_is_an_error() {
        assert!(parse(&[]).is_err());
        assert!(parse(b"not BTF at all, but long enough for a header").is_err());
    }
}
