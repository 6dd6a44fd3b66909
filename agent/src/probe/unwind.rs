//! Where functions begin and end, by the tables for unwinding. Stripping leaves them, and a
//! program in Rust has an entry for each function.
//!
//! `.eh_frame_hdr` is a sorted table of all entries, `.eh_frame` has these (Linux Standard
//! Base, Core, sections 10.6.1 and 10.6.2). Only the form that linkers write is read.

use object::read::ReadRef;

use super::elf::Elf;

/// Version 1, a table whose length is four bytes, and whose entries are two signed words of
/// four bytes relative to it.
const FORM: [u8; 3] = [1, 0x03, 0x3b];

/// Bytes before the table.
const HEAD: usize = 12;

/// The tables of a file.
pub(super) struct Frames<'data> {
    /// `.eh_frame_hdr`
    table: Loaded<'data>,
    /// `.eh_frame`
    entries: Loaded<'data>,
}

/// What is loaded at an address.
#[derive(Clone, Copy)]
struct Loaded<'data> {
    bytes: &'data [u8],
    address: u64,
}

impl<'data> Frames<'data> {
    /// `None` where a file has none.
    pub(super) fn of<R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Option<Self> {
        let loaded = |name| {
            let section = elf.section(name)?;
            Some(Loaded { bytes: elf.contents(&section)?, address: section.address })
        };
        Some(Self { table: loaded(".eh_frame_hdr")?, entries: loaded(".eh_frame")? })
    }

    /// Length of the function that begins at an address. `None` when none is known to.
    pub(super) fn len(&self, address: u64) -> Option<u64> {
        let Self { table, entries } = *self;
        let [version, _, count, form, ..] = *table.bytes else { return None };
        if [version, count, form] != FORM {
            return None;
        }
        let (places, _) = table.bytes.get(HEAD..)?.as_chunks::<8>();
        let at = |place: &[u8; 8], word| Some(table.address.wrapping_add(signed(place, word)?));
        let found = places.binary_search_by_key(&Some(address), |place| at(place, 0)).ok()?;
        let offset = at(places.get(found)?, 4)?.checked_sub(entries.address)?;
        let entry = entries.bytes.get(usize::try_from(offset).ok()?..)?;
        let [len, parent, _, range, ..] = entry.as_chunks::<4>().0 else { return None };
        let [len, parent, range] = [len, parent, range].map(|word| u32::from_le_bytes(*word));
        // Its own start, relative to where that is said, proves how its length is said.
        let said_at = entries.address.wrapping_add(offset).wrapping_add(8);
        let proven = said_at.wrapping_add(signed(entry, 8)?) == address;
        let whole = (12..u32::MAX).contains(&len) && parent != 0 && range > 0;
        (proven && whole).then_some(range.into())
    }
}

/// A signed word of four bytes, widened.
fn signed(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(i64::from(i32::from_le_bytes(*word)).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the tables of the tests are loaded.
    const HEADER_AT: u64 = 0x1000;
    const FRAMES_AT: u64 = 0x2000;

    /// Tables of functions, by their addresses in ascending order and their lengths.
    fn tables(functions: &[(u64, u32)]) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![1, 0x1b, 3, 0x3b, 0, 0, 0, 0];
        header.extend(u32::try_from(functions.len()).unwrap().to_le_bytes());
        // What all entries have in common.
        let mut frames = [16_u32, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
        let less = |a: u64, b: u64| i32::try_from(a.cast_signed() - b.cast_signed()).unwrap();
        for &(address, len) in functions {
            let at = FRAMES_AT + frames.len() as u64;
            header.extend(less(address, HEADER_AT).to_le_bytes());
            header.extend(less(at, HEADER_AT).to_le_bytes());
            frames.extend(
                [16, u32::try_from(at + 4 - FRAMES_AT).unwrap()].map(u32::to_le_bytes).concat(),
            );
            frames.extend(less(address, at + 8).to_le_bytes());
            frames.extend([len, 0].map(u32::to_le_bytes).concat());
        }
        (header, frames)
    }

    fn len(header: &[u8], frames: &[u8], address: u64) -> Option<u64> {
        let table = Loaded { bytes: header, address: HEADER_AT };
        let entries = Loaded { bytes: frames, address: FRAMES_AT };
        Frames { table, entries }.len(address)
    }

    const FUNCTIONS: [(u64, u32); 3] = [(0x100, 16), (0x8000, 64), (0x8040, 300)];

    #[test]
    fn a_function_is_as_long_as_its_entry_says() {
        let (header, frames) = tables(&FUNCTIONS);
        for (address, told) in FUNCTIONS {
            assert_eq!(len(&header, &frames, address), Some(told.into()));
            assert_eq!(len(&header, &frames, address + 1), None);
            assert_eq!(len(&header, &frames, address - 1), None);
        }
    }

    #[test]
    fn no_damage_makes_another_function_of_one() {
        let (header, frames) = tables(&FUNCTIONS);
        for at in 0..header.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = header.clone();
                damaged[at] = value;
                for (address, told) in FUNCTIONS {
                    let found = len(&damaged, &frames, address);
                    assert!(found.is_none() || found == Some(told.into()), "{at}");
                    assert_eq!(len(&header[..at], &frames, 0x8041), None);
                }
            }
        }
        for cut in 0..frames.len() {
            for (address, told) in FUNCTIONS {
                let found = len(&header, &frames[..cut], address);
                assert!(found.is_none() || found == Some(told.into()), "{cut}");
            }
        }
    }

    #[test]
    fn addresses_at_the_end_of_all_do_no_harm() {
        let (header, frames) = tables(&FUNCTIONS);
        for (table_at, entries_at) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX - 3)] {
            let table = Loaded { bytes: &header, address: table_at };
            let entries = Loaded { bytes: &frames, address: entries_at };
            for address in [0, 1, u64::MAX, u64::MAX - 0x1000 + 0x100] {
                assert_eq!(Frames { table, entries }.len(address), None);
            }
        }
    }
}
