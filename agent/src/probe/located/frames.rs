//! Where functions begin and end, by the tables that unwind them: exceptions and debuggers
//! need these, so stripping leaves them there.
//!
//! The format is that of the Linux Standard Base ("Exception Frames"), in the one encoding
//! that linkers for x86-64 make; a table of another kind names no function.

use object::read::ReadRef;

use crate::probe::elf::Elf;

/// The head of the table: its version, how it says where the frames are, how many there are,
/// and where each is. `DW_EH_PE_pcrel | DW_EH_PE_sdata4`, `DW_EH_PE_udata4`,
/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`.
const HEAD: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// Bytes of a function, at most.
const FUNCTION_MAX: u32 = 64 << 10;

/// A function, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Frame {
    pub(super) address: u64,
    pub(super) len: u64,
}

/// The table of a file, in ascending order of addresses, and what it leads to.
pub(super) struct Frames<'data> {
    table: &'data [[u8; 8]],
    /// Where the table's section is loaded: its entries count from there.
    base: u64,
    /// The frames, and where their section is loaded.
    contents: &'data [u8],
    address: u64,
}

impl<'data> Frames<'data> {
    pub(super) fn new<R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Option<Self> {
        let (table, frames) = (elf.section(".eh_frame_hdr")?, elf.section(".eh_frame")?);
        Self::parse(
            (table.address, elf.contents(&table)?),
            (frames.address, elf.contents(&frames)?),
        )
    }

    fn parse((base, head): (u64, &'data [u8]), frames: (u64, &'data [u8])) -> Option<Self> {
        let count = usize::try_from(u32_at(head, 8)?).ok()?;
        let (table, _) = head.get(12..)?.as_chunks::<8>();
        let table = table.get(..count).filter(|_| head.starts_with(&HEAD))?;
        let (address, contents) = frames;
        Some(Self { table, base, contents, address })
    }

    /// The function that has an address.
    pub(super) fn holding(&self, address: u64) -> Option<Frame> {
        let after = self.table.partition_point(|entry| self.place(entry, 0) <= Some(address));
        let entry = self.table.get(after.checked_sub(1)?)?;
        let (start, frame) = (self.place(entry, 0)?, self.place(entry, 4)?);
        // Its length, that of its common part, where it begins relative to this, its length.
        let at = frame.checked_sub(self.address)?;
        let field =
            |offset: u64| u32_at(self.contents, usize::try_from(at.checked_add(offset)?).ok()?);
        let begins = relative(frame.checked_add(8)?, field(8)?)?;
        let len = field(12).filter(|len| (1..=FUNCTION_MAX).contains(len))?;
        // It may be encoded otherwise, which would be another address.
        let holds = begins == start && address.checked_sub(start)? < u64::from(len);
        holds.then_some(Frame { address: start, len: len.into() })
    }

    fn place(&self, entry: &[u8], at: usize) -> Option<u64> {
        relative(self.base, u32_at(entry, at)?)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The address that a signed number counts from another one.
pub(super) fn relative(base: u64, distance: u32) -> Option<u64> {
    base.checked_add_signed(i64::from(distance.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table at 0x1000 and frames at 0x2000, of functions at these places.
    fn tables(functions: &[(u32, u32)]) -> (Vec<u8>, Vec<u8>) {
        let count = u32::try_from(functions.len()).unwrap();
        let mut table = [&HEAD[..], &[0; 4], &count.to_le_bytes()].concat();
        let mut frames = Vec::new();
        for (start, len) in functions {
            let at = 0x2000 + u32::try_from(frames.len()).unwrap();
            table.extend((start - 0x1000).to_le_bytes());
            table.extend((at - 0x1000).to_le_bytes());
            frames.extend(
                [20_u32, 4, start.wrapping_sub(at + 8), *len, 0, 0].map(u32::to_le_bytes).concat(),
            );
        }
        (table, frames)
    }

    #[test]
    fn a_function_is_found_by_each_address_in_it() {
        let (table, frames) = tables(&[(0x5000, 16), (0x5010, 32), (0x7000, 1)]);
        let frames = Frames::parse((0x1000, &table), (0x2000, &frames)).unwrap();
        let found = |address| frames.holding(address).map(|it| (it.address, it.len));
        for (address, expected) in [
            (0x4fff, None),
            (0x5000, Some((0x5000, 16))),
            (0x500f, Some((0x5000, 16))),
            (0x5010, Some((0x5010, 32))),
            (0x502f, Some((0x5010, 32))),
            (0x5030, None),
            (0x7000, Some((0x7000, 1))),
            (u64::MAX, None),
        ] {
            assert_eq!(found(address), expected, "{address:#x}");
        }
    }

    #[test]
    fn damaged_tables_never_panic_and_never_lead_elsewhere() {
        let (table, frames) = tables(&[(0x5000, 16), (0x5010, 32)]);
        for at in 0..table.len() + frames.len() {
            for value in [0, 0x7f, 0xff] {
                let (mut table, mut frames) = (table.clone(), frames.clone());
                match table.get_mut(at) {
                    Some(byte) => *byte = value,
                    None => frames[at - table.len()] = value,
                }
                if let Some(parsed) = Frames::parse((0x1000, &table), (0x2000, &frames)) {
                    for address in [0, 0x5000, 0x5010, 0x5018, u64::MAX] {
                        let found = parsed.holding(address);
                        assert!(found.is_none_or(|it| address - it.address < it.len));
                    }
                }
            }
        }
    }
}
