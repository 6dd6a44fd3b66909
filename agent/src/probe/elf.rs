//! Finds the functions of TLS libraries in ELF files. The files come from
//! strangers: sizes and counts are bounded, nothing in them is executed.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use object::{
    Endianness, SectionIndex,
    elf::{
        EM_X86_64, FileHeader64, PF_X, PT_LOAD, ProgramHeader64, SHF_EXECINSTR, SHN_UNDEF,
        SHT_DYNSYM, SHT_SYMTAB, SectionHeader64, SectionType, Sym64,
    },
    read::{
        ReadCache, ReadRef,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _},
    },
};

use super::{
    code::Code,
    debuginfo,
    functions::{FUNCTIONS, Interface, Place, Places, Point},
    go::{self, Refusal},
    located, marks, ring,
};
use crate::event::verdict::Embedded;

/// Files larger than this are not looked into.
const FILE_MAX: u64 = 1 << 30;

/// Symbol tables and tables of strings larger than this are not looked into.
const TABLE_MAX: u64 = 64 << 20;

/// Files with more sections or segments than these are not looked into. Linkers make
/// some tens of sections and a dozen segments.
const SECTIONS_MAX: u32 = 0xff00;
const SEGMENTS_MAX: u32 = 256;

/// Bytes of a function that are decoded, at most; those that are hooked have a thousand.
const FUNCTION_MAX: u64 = 64 << 10;

/// Length of a prefix of a name that is looked at.
const PREFIX_MAX: usize = 64;

/// Occurrences of a name that are looked at.
const PLACES_MAX: usize = 4096;

/// The section with Go's table of functions. Its runtime needs it, so stripping leaves it
/// there.
const GO_TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// Another section that Go's linker makes.
const GO_BUILD: &str = ".go.buildinfo";

/// The section with what a program says.
pub(super) const TEXTS: &str = ".rodata";

/// What a file has of TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing that is known.
    Nothing,
    /// Where functions can be hooked.
    Points(Arc<[Point]>),
    /// Go's, which cannot be hooked here, and why.
    Go(Refusal),
    /// A library that has no function to hook, or none that can be found.
    Embedded(Embedded),
    /// Nothing, and it is for 32-bit processes.
    Bits32,
    /// Functions, and one of them has no place where a probe does no harm.
    Unplaced,
}

/// Looks for TLS functions in a file. Nothing is found in what is no ELF file of this
/// machine's word size. It takes no system call but reading and seeking.
pub fn inspect(mut file: &File) -> Result<Found> {
    let len = file.seek(SeekFrom::End(0)).context("find its length")?;
    ensure!(len <= FILE_MAX, "it is larger than {FILE_MAX} bytes");
    if is_32_bit(file) {
        return Ok(Found::Bits32);
    }
    let cache = ReadCache::new(file);
    let Some(elf) = Elf::new(&cache) else { return Ok(Found::Nothing) };
    // Go moves its stacks, and with them the return address that a return probe has
    // put there: of a file with Go in it the C functions are left alone.
    if let (true, table) = elf.go() {
        return Ok(go::find(&elf, table));
    }
    // What a file exports first: that table is smaller, and survives stripping.
    let mut best = None;
    for table in [SHT_DYNSYM, SHT_SYMTAB] {
        let found = elf.search(table, |address| elf.file_offset(address))?;
        let Some(hooked) = found.hooked() else { continue };
        if hooked.shows_plaintext() {
            return Ok(elf.with_ring(&hooked));
        }
        best = best.or(Some(hooked));
    }
    // What is unpacked in vain, or cannot be, leaves what the file says.
    let unpacked = debuginfo::search(&elf);
    let hooked = unpacked.as_ref().ok().and_then(|found| found.hooked());
    if let Some(hooked) = hooked.filter(Places::shows_plaintext) {
        return Ok(elf.with_ring(&hooked));
    }
    if let Some(library) = elf.library() {
        let places = match library {
            Embedded::OpenSsl => located::search(&elf),
            library => elf.ring(library),
        };
        return Ok(places.map_or(Found::Embedded(library), |places| elf.found(&places)));
    }
    match best.and_then(|hooked| hooked.points(|place| elf.code(place))) {
        Some(points) => Ok(Found::Points(points)),
        None => unpacked.map(|_| Found::Nothing),
    }
}

/// An ELF file for a machine with 32-bit words.
fn is_32_bit(mut file: &File) -> bool {
    let mut start = [0; 5];
    let read = file.rewind().and_then(|()| file.read_exact(&mut start));
    // `EI_CLASS` is 1 for `ELFCLASS32`.
    read.is_ok() && start == *b"\x7fELF\x01"
}

/// A section.
#[derive(Clone, Copy)]
pub(super) struct Section<'data> {
    header: &'data SectionHeader64<Endianness>,
    /// Where it is loaded.
    pub(super) address: u64,
}

/// The parts of an ELF file that matter here.
pub(super) struct Elf<'data, R: ReadRef<'data>> {
    header: &'data FileHeader64<Endianness>,
    endian: Endianness,
    data: R,
    sections: SectionTable<'data, FileHeader64<Endianness>, R>,
    segments: &'data [ProgramHeader64<Endianness>],
}

impl<'data, R: ReadRef<'data>> Elf<'data, R> {
    /// `None` for what is no such file, or has more parts than are looked into.
    pub(super) fn new(data: R) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        // Both counts can be up to 32 bits wide, and both tables are read as a whole.
        if header.shnum(endian, data).ok()? > SECTIONS_MAX
            || header.phnum(endian, data).ok()? > SEGMENTS_MAX
        {
            return None;
        }
        let sections = header.sections(endian, data).ok()?;
        let segments = header.program_headers(endian, data).ok()?;
        Some(Self { header, endian, data, sections, segments })
    }

    /// A section by its name. All names are read at once: what they are read into one
    /// by one is kept, and they may overlap.
    pub(super) fn section(&self, name: &str) -> Option<Section<'data>> {
        let endian = self.endian;
        let index = self.header.shstrndx(endian, self.data).ok()?;
        let strings = self.sections.section(SectionIndex(index as usize)).ok()?;
        if strings.sh_size(endian) > TABLE_MAX {
            return None;
        }
        let strings = strings.data(endian, self.data).ok()?;
        let header = self.sections.iter().find(|section| {
            let start = strings.get(section.sh_name(endian) as usize..).unwrap_or_default();
            start.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        })?;
        Some(Section { header, address: header.sh_addr(endian) })
    }

    /// What a section holds; `None` when that is too much.
    pub(super) fn contents(&self, section: &Section<'data>) -> Option<&'data [u8]> {
        let size = section.header.sh_size(self.endian);
        (size <= TABLE_MAX).then(|| section.header.data(self.endian, self.data).ok())?
    }

    /// Bytes at an address, as they are loaded.
    pub(super) fn bytes(&self, address: u64, len: u64) -> Option<&'data [u8]> {
        let last = address.checked_add(len.checked_sub(1)?)?;
        let offset = self.file_offset(address)?;
        let whole = Some(self.file_offset(last)?) == offset.checked_add(len - 1);
        (whole && len <= TABLE_MAX).then(|| self.data.read_bytes_at(offset, len).ok())?
    }

    /// Sections with instructions.
    pub(super) fn code_sections(&self) -> impl Iterator<Item = Section<'data>> {
        let endian = self.endian;
        let has_code =
            move |it: &&SectionHeader64<Endianness>| it.sh_flags(endian).0 & SHF_EXECINSTR.0 != 0;
        let section = move |header| Section { header, address: header.sh_addr(endian) };
        self.sections.iter().filter(has_code).map(section)
    }

    /// Whether its code is for x86-64.
    pub(super) fn is_x86_64(&self) -> bool {
        self.header.e_machine(self.endian) == EM_X86_64
    }

    /// The code of a function; its beginning, when its length is not known.
    pub(super) fn code(&self, place: Place) -> Option<Code<'data>> {
        let Place { address, len, .. } = place;
        if (1..=FUNCTION_MAX).contains(&len) {
            return Some(Code { bytes: self.bytes(address, len)?, address, whole: true });
        }
        // The longest instruction, or what is left of the file.
        let bytes = (1..=15).rev().find_map(|len| self.bytes(address, len))?;
        Some(Code { bytes, address, whole: false })
    }

    /// The library that its texts tell.
    fn library(&self) -> Option<Embedded> {
        self.section(TEXTS).and_then(|section| self.contents(&section)).and_then(marks::library)
    }

    /// The functions of ring, where a library may use them.
    fn ring(&self, library: Embedded) -> Option<Places> {
        let native = cfg!(target_arch = "x86_64") == self.is_x86_64();
        (native && matches!(library, Embedded::Ring | Embedded::Rustls))
            .then(|| ring::find(self))?
    }

    /// Functions that were found, and those of ring, which rustls may use beside AWS-LC.
    fn with_ring(&self, hooked: &Places) -> Found {
        let both = hooked.usable(Interface::AwsLc).then(|| {
            let mut both = *hooked;
            both.add(&self.ring(self.library()?)?);
            both.points(|place| self.code(place))
        });
        // Where those of ring have no place, AWS-LC has its own.
        both.flatten().map_or_else(|| self.found(hooked), Found::Points)
    }

    /// Where programs are attached to functions.
    fn found(&self, places: &Places) -> Found {
        places.points(|place| self.code(place)).map_or(Found::Unplaced, Found::Points)
    }

    /// Whether Go's linker made the file, and the section with its table of functions.
    fn go(&self) -> (bool, Option<Section<'data>>) {
        let table = GO_TABLES.iter().find_map(|name| self.section(name));
        (table.is_some() || self.section(GO_BUILD).is_some(), table)
    }

    /// Looks for the functions in a symbol table; `place` says where in the file an address
    /// lies. Names are searched for in the table of strings as a whole, so that most symbols
    /// cost a comparison of numbers.
    pub(super) fn search(
        &self,
        table: SectionType,
        place: impl Fn(u64) -> Option<u64>,
    ) -> Result<Places> {
        let endian = self.endian;
        let mut found = Places::default();
        let Some(symbols) = self.sections.iter().find(|it| it.sh_type(endian) == table) else {
            return Ok(found);
        };
        let strings = self.sections.section(SectionIndex(symbols.sh_link(endian) as usize));
        let Ok(strings) = strings else { return Ok(found) };
        for part in [symbols, strings] {
            let size = part.sh_size(endian);
            ensure!(size <= TABLE_MAX, "a symbol table of {size} bytes, over {TABLE_MAX}");
        }
        let Ok(strings) = strings.data(endian, self.data) else { return Ok(found) };
        let places = names(strings);
        if places.is_empty() {
            return Ok(found);
        }
        let symbols = symbols.data_as_array::<Sym64<Endianness>, _>(endian, self.data);
        for symbol in symbols.unwrap_or_default() {
            let Ok(found_at) = places.binary_search_by_key(&symbol.st_name(endian), |it| it.0)
            else {
                continue;
            };
            let address = symbol.st_value(endian);
            if symbol.st_shndx(endian) != SHN_UNDEF
                && address != 0
                && let Some(&(_, function)) = places.get(found_at)
                && let Some(slot) = found.0.get_mut(function)
            {
                let len = symbol.st_size(endian);
                let here = |offset| Place { offset, address, len };
                *slot = slot.or_else(|| place(address).map(here));
            }
        }
        Ok(found)
    }

    /// Where an address lies in the file, by the segments that are loaded.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.segment(address).map(|(_, offset)| offset)
    }

    /// Whether what lies at an address can be executed.
    pub(super) fn is_code(&self, address: u64) -> bool {
        let segment = self.segment(address);
        segment.is_some_and(|(segment, _)| segment.p_flags(self.endian) & PF_X == PF_X)
    }

    fn segment(&self, address: u64) -> Option<(&'data ProgramHeader64<Endianness>, u64)> {
        let endian = self.endian;
        self.segments.iter().filter(|it| it.p_type(endian) == PT_LOAD).find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr(endian))?;
            let inside = within < segment.p_filesz(endian);
            inside.then(|| Some((segment, segment.p_offset(endian).checked_add(within)?)))?
        })
    }
}

/// Where the wanted names are in a table of strings, in ascending order, with their
/// index in [`FUNCTIONS`]. Linkers may store a name as the end of a longer one.
fn names(strings: &[u8]) -> Vec<(u32, usize)> {
    let mut places = Vec::new();
    let named = FUNCTIONS.iter().enumerate().filter(|(_, it)| it.interface.has_names());
    for (index, function) in named {
        let name = function.symbol;
        let finder = memchr::memmem::Finder::new(name);
        for at in finder.find_iter(strings).take(PLACES_MAX) {
            let begins = match function.interface.prefix() {
                Some(prefix) => beginning(strings, at, prefix),
                None => Some(at),
            };
            if strings.get(at + name.len()) == Some(&0)
                && let Some(Ok(begins)) = begins.map(u32::try_from)
            {
                places.push((begins, index));
            }
        }
    }
    places.sort_unstable();
    places
}

/// Where the name begins whose end is at a place, if it begins with a prefix.
fn beginning(strings: &[u8], end: usize, prefix: &str) -> Option<usize> {
    let before = strings.get(end.saturating_sub(PREFIX_MAX)..end)?;
    let begins = end - before.len() + memchr::memrchr(0, before)? + 1;
    let name = strings.get(begins..end)?;
    (name.starts_with(prefix.as_bytes()) && name.ends_with(b"_")).then_some(begins)
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
