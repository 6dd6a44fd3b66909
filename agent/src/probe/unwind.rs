//! Where functions begin and end, by the tables for unwinding. Stripping leaves them, and
//! nearly every function has an entry.
//!
//! `.eh_frame_hdr` is a sorted table of all entries, `.eh_frame` has these (Linux Standard
//! Base, Core, sections 10.6.1 and 10.6.2). Only the form that linkers write is read; by hand,
//! because the tables of strangers overflow in gimli 0.34 (`EhHdrTable::lookup`).

use object::read::ReadRef;

use super::elf::Elf;

/// Version 1, a table whose length is four bytes, and whose entries are two signed words of
/// four bytes relative to it.
const FORM: [u8; 3] = [1, 0x03, 0x3b];

/// Bytes before the table.
const HEAD: usize = 12;

/// A function, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Frame {
    pub(super) address: u64,
    pub(super) len: u64,
}

/// The tables of a file.
pub(super) struct Frames<'data> {
    /// Of `.eh_frame_hdr`: addresses of functions, in ascending order, and of their entries,
    /// relative to its own.
    table: &'data [[u8; 8]],
    table_at: u64,
    /// `.eh_frame`
    entries: &'data [u8],
    entries_at: u64,
}

impl<'data> Frames<'data> {
    /// `None` where a file has none.
    pub(super) fn of<R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Option<Self> {
        let loaded = |name| {
            let section = elf.section(name)?;
            Some((section.address, elf.contents(&section)?))
        };
        Self::parse(loaded(".eh_frame_hdr")?, loaded(".eh_frame")?)
    }

    /// Sections, each with where it is loaded.
    fn parse(
        (table_at, head): (u64, &'data [u8]),
        (entries_at, entries): (u64, &'data [u8]),
    ) -> Option<Self> {
        let [version, _, count, form, ..] = *head else { return None };
        let len = usize::try_from(word(head, 8)?).ok()?;
        let (table, _) = head.get(HEAD..)?.as_chunks::<8>();
        let table = table.get(..len).filter(|_| [version, count, form] == FORM)?;
        Some(Self { table, table_at, entries, entries_at })
    }

    /// The function that has an address.
    pub(super) fn holding(&self, address: u64) -> Option<Frame> {
        let place = |place: &[u8; 8], at| relative(self.table_at, word(place, at)?);
        let after = self.table.partition_point(|it| place(it, 0) <= Some(address));
        let found = self.table.get(after.checked_sub(1)?)?;
        let (start, entry_at) = (place(found, 0)?, place(found, 4)?);
        let entry = usize::try_from(entry_at.checked_sub(self.entries_at)?).ok()?;
        // Its own length, what entries have in common, where the function begins relative to
        // where that is said, its length.
        let entry = self.entries.get(entry..)?;
        let [own_len, parent, begins, len] =
            [word(entry, 0)?, word(entry, 4)?, word(entry, 8)?, word(entry, 12)?];
        // Its own start proves how it is said.
        let proven = relative(entry_at.checked_add(8)?, begins)? == start;
        let whole = (12..u32::MAX).contains(&own_len) && parent != 0;
        let frame = Frame { address: start, len: len.into() };
        (proven && whole && address.checked_sub(start)? < frame.len).then_some(frame)
    }

    /// Length of the function that begins at an address. `None` when none is known to.
    pub(super) fn len(&self, address: u64) -> Option<u64> {
        self.holding(address).filter(|frame| frame.address == address).map(|frame| frame.len)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The address that a signed number counts from another one.
pub(super) fn relative(base: u64, distance: u32) -> Option<u64> {
    base.checked_add_signed(i64::from(distance.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the tables of the tests are loaded.
    const TABLE_AT: u64 = 0x1000;
    const ENTRIES_AT: u64 = 0x2000;

    /// What all entries have in common: version 1, addresses relative to where they are said.
    const PARENT: [u8; 24] =
        [20, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0, 0, 0, 0, 0, 0, 0];

    /// Tables of functions, by their addresses in ascending order and their lengths.
    fn tables(functions: &[(u64, u32)]) -> (Vec<u8>, Vec<u8>) {
        let word = |a: u64, b: u64| i32::try_from(a.cast_signed() - b.cast_signed()).unwrap();
        let mut table = vec![1, 0x1b, 3, 0x3b];
        table.extend(word(ENTRIES_AT, TABLE_AT + 4).to_le_bytes());
        table.extend(u32::try_from(functions.len()).unwrap().to_le_bytes());
        let mut entries = PARENT.to_vec();
        for &(address, len) in functions {
            let at = ENTRIES_AT + entries.len() as u64;
            table.extend(word(address, TABLE_AT).to_le_bytes());
            table.extend(word(at, TABLE_AT).to_le_bytes());
            let parent = u32::try_from(at + 4 - ENTRIES_AT).unwrap();
            entries.extend([16, parent].map(u32::to_le_bytes).concat());
            entries.extend(word(address, at + 8).to_le_bytes());
            entries.extend([len, 0].map(u32::to_le_bytes).concat());
        }
        (table, entries)
    }

    fn frames<'a>(table: &'a [u8], entries: &'a [u8]) -> Option<Frames<'a>> {
        Frames::parse((TABLE_AT, table), (ENTRIES_AT, entries))
    }

    const FUNCTIONS: [(u64, u32); 4] = [(0x100, 16), (0x5000, 16), (0x5010, 32), (0x7000, 1)];

    #[test]
    fn a_function_is_found_by_each_address_in_it() {
        let (table, entries) = tables(&FUNCTIONS);
        let frames = frames(&table, &entries).unwrap();
        for (address, expected) in [
            (0, None),
            (0xff, None),
            (0x100, Some((0x100, 16))),
            (0x110, None),
            (0x4fff, None),
            (0x5000, Some((0x5000, 16))),
            (0x500f, Some((0x5000, 16))),
            (0x5010, Some((0x5010, 32))),
            (0x502f, Some((0x5010, 32))),
            (0x5030, None),
            (0x7000, Some((0x7000, 1))),
            (u64::MAX, None),
        ] {
            let found = frames.holding(address).map(|it| (it.address, it.len));
            assert_eq!(found, expected, "{address:#x}");
            let begins = expected.filter(|(start, _)| *start == address).map(|(_, len)| len);
            assert_eq!(frames.len(address), begins, "{address:#x}");
        }
    }

    #[test]
    fn damaged_tables_never_panic_and_never_lead_elsewhere() {
        let (table, entries) = tables(&FUNCTIONS);
        let held = |table: &[u8], entries: &[u8]| {
            let Some(frames) = frames(table, entries) else { return };
            for address in [0, 0x100, 0x5000, 0x5010, 0x5018, 0x7000, u64::MAX] {
                let found = frames.holding(address);
                let holds = |it: Frame| address.wrapping_sub(it.address) < it.len;
                assert!(found.is_none_or(holds), "{found:?} holds {address:#x}");
            }
        };
        for at in 0..table.len() + entries.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let (mut table, mut entries) = (table.clone(), entries.clone());
                match table.get_mut(at) {
                    Some(byte) => *byte = value,
                    None => entries[at - table.len()] = value,
                }
                held(&table, &entries);
            }
        }
        for cut in 0..entries.len() {
            held(&table, &entries[..cut]);
            held(&table[..cut.min(table.len())], &entries);
        }
    }

    #[test]
    fn a_damaged_table_makes_no_other_function_of_one() {
        let (table, entries) = tables(&FUNCTIONS);
        for at in 0..table.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = table.clone();
                damaged[at] = value;
                for (address, told) in FUNCTIONS {
                    let found = frames(&damaged, &entries).and_then(|it| it.len(address));
                    assert!(found.is_none_or(|len| len == u64::from(told)), "{at}");
                }
            }
        }
    }

    #[test]
    fn addresses_at_the_end_of_all_do_no_harm() {
        let (table, entries) = tables(&FUNCTIONS);
        for (table_at, entries_at) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX - 3)] {
            let Some(frames) = Frames::parse((table_at, &table), (entries_at, &entries)) else {
                continue;
            };
            for address in [0, 1, u64::MAX, u64::MAX - 0x1000 + 0x100] {
                assert_eq!(frames.len(address), None);
            }
        }
    }
}
