//! Offsets of kernel structures, from the running kernel's BTF.

use std::path::Path;

use agent_common::layout::Layout;
use anyhow::{Context as _, Result, anyhow};
use btfparse::{Offset, Readable, TypeInformation, TypeVariant};

/// Where the kernel keeps its BTF (`CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// One field of [`Layout`]: the structure, and its members to try in turn, for
/// those that were renamed.
struct Field {
    structure: &'static str,
    members: &'static [&'static str],
    slot: fn(&mut Layout) -> &mut u32,
}

macro_rules! fields {
    ($($slot:ident: $structure:literal $($member:literal)+;)+) => {
        &[$(Field {
            structure: $structure,
            members: &[$($member),+],
            slot: |layout| &mut layout.$slot,
        }),+]
    };
}

const FIELDS: &[Field] = fields! {
    task_files: "task_struct" "files";
    task_group_leader: "task_struct" "group_leader";
    // `real_start_time` before 5.5.
    task_start_boottime: "task_struct" "start_boottime" "real_start_time";
    task_tgid: "task_struct" "tgid";
    task_pid: "task_struct" "pid";
    task_mm: "task_struct" "mm";
    task_signal: "task_struct" "signal";
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
    for field in FIELDS {
        *(field.slot)(&mut layout) = offset(&types, field)?;
    }
    // `pid.numbers` is an array of `upid`, which starts with the number.
    Ok(layout)
}

/// The fields of a layout: the structure, the member by the names that it has had,
/// and where it was found.
pub fn named(mut layout: Layout) -> Vec<(&'static str, &'static [&'static str], u32)> {
    let fields = FIELDS.iter();
    fields.map(|field| (field.structure, field.members, *(field.slot)(&mut layout))).collect()
}

fn offset(types: &TypeInformation, field: &Field) -> Result<u32> {
    // By kind as well as by name: functions and structures share one name space.
    let structure = types
        .get()
        .iter()
        .find(|(_, variant)| {
            matches!(variant, TypeVariant::Struct(found)
                if found.name().as_deref() == Some(field.structure) && !found.member_list().is_empty())
        })
        .map(|(&id, _)| id)
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
        for field in FIELDS {
            *(field.slot)(&mut layout) += 1;
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
