//! Finds the functions of `crypto/tls` in what Go's linker made, stripped or not, and
//! every instruction by which they return.
//!
//! A probe in the middle of an instruction would break the program that is observed. So a
//! function counts only when all of it can be decoded, from the check of the stack that it
//! begins with to the start of the next function.

use std::sync::Arc;

use gobin::structures::{
    PclntabVersion,
    pclntab::{ParsedPclntab, PclntabMeta},
};
use iced_x86::Register;
use object::read::ReadRef;
use serde::{Deserialize, Serialize};

use super::{
    code::{self, Code},
    elf::{Elf, Found, Section},
    functions::{At, Point},
};

/// Programs at functions of Go.
pub(crate) const PROGRAMS: [&str; 5] = [READ, WRITE, EXIT, BEGIN, END];
const READ: &str = "go_read_enter";
const WRITE: &str = "go_write_enter";
const EXIT: &str = "go_exit";
const BEGIN: &str = "go_begin";
const END: &str = "go_end";

/// A function of Go that is hooked.
struct Function {
    symbol: &'static str,
    /// Program at its entry.
    entry: &'static str,
    /// It returns what is wanted.
    returns: bool,
}

/// The functions.
const FUNCTIONS: [Function; 5] = [
    Function { symbol: "crypto/tls.(*Conn).Read", entry: READ, returns: true },
    Function { symbol: "crypto/tls.(*Conn).Write", entry: WRITE, returns: true },
    Function { symbol: "crypto/tls.(*Conn).Close", entry: END, returns: false },
    Function { symbol: "crypto/tls.(*Conn).clientHandshake", entry: BEGIN, returns: false },
    Function { symbol: "crypto/tls.(*Conn).serverHandshake", entry: BEGIN, returns: false },
];

/// Every program at a function of Go, with the function.
pub(super) fn hooks() -> impl Iterator<Item = (&'static str, &'static str)> {
    FUNCTIONS.iter().flat_map(|function| {
        let returns = function.returns.then_some((EXIT, function.symbol));
        [(function.entry, function.symbol)].into_iter().chain(returns)
    })
}

/// Bytes of a function at most; these have about two thousand.
const FUNCTION_MAX: u64 = 64 << 10;

/// Why a program is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Its table of functions is not there, or cannot be read.
    NoTable,
    /// It passes arguments on the stack.
    Old,
    /// Its code is not where its tables say, or cannot be decoded.
    Unplaced,
    /// It is for a processor whose instructions are not decoded.
    Architecture,
}

impl Refusal {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTable => "its table of functions is missing",
            Self::Old => "it is from before 1.17, which passes arguments otherwise",
            Self::Unplaced => "its code is not where its tables say",
            Self::Architecture => "it can be hooked on x86-64 only",
        }
    }
}

/// Looks for the functions in a file of Go's linker; `table` is the section with its
/// table of functions.
pub(super) fn find<'data, R: ReadRef<'data>>(
    elf: &Elf<'data, R>,
    table: Option<Section<'data>>,
) -> Found {
    let Some(table) = table else { return Found::Go(Refusal::NoTable) };
    let parsed = elf.contents(&table).and_then(|data| header(data)?.attach(data));
    let Some(functions) = parsed else { return Found::Go(Refusal::NoTable) };
    if functions.version == PclntabVersion::Go12 {
        return Found::Go(Refusal::Old);
    }
    let places = places(&functions);
    if places.iter().take(2).any(Option::is_none) {
        // It does not speak TLS, or not by these functions.
        return Found::Nothing;
    }
    #[cfg(not(target_arch = "x86_64"))]
    return Found::Go(Refusal::Architecture);
    #[cfg(target_arch = "x86_64")]
    bases(elf, &functions, table.address)
        .find_map(|base| points(elf, base, &places))
        .map_or(Found::Go(Refusal::Unplaced), Found::Points)
}

/// A function's place, relative to the start of Go's code.
#[derive(Clone, Copy)]
struct Place {
    start: u64,
    /// Where the next one starts.
    end: u64,
}

/// Reads the head of the table: magic, two zeros, the quantum of instructions, the size of
/// pointers, numbers and offsets (`pcHeader`, src/runtime/symtab.go). Only here, for what
/// is not there is not searched for: the file may be made to make that long.
fn header(data: &[u8]) -> Option<PclntabMeta> {
    let (head, fields) = data.split_first_chunk::<8>()?;
    let [a, b, c, d, 0, 0, min_lc, 8] = *head else { return None };
    let version = match u32::from_le_bytes([a, b, c, d]) {
        0xffff_fffb => PclntabVersion::Go12,
        0xffff_fffa => PclntabVersion::Go116,
        0xffff_fff0 => PclntabVersion::Go118,
        0xffff_fff1 => PclntabVersion::Go120,
        _ => return None,
    };
    let word = |index: usize| {
        let bytes = fields.get(index * 8..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let field = |index| usize::try_from(word(index)?).ok().filter(|at| *at <= data.len());
    // 1.18 put the start of the code before the offsets, and 1.26 left it empty.
    let old = version == PclntabVersion::Go116;
    let first = if old { 2 } else { 3 };
    let functab_offset = field(first + 4)?;
    let text_start = if old { u64_at(data, functab_offset)? } else { 0 };
    Some(PclntabMeta {
        offset: 0,
        version,
        min_lc,
        ptr_size: 8,
        nfunc: field(0)?,
        nfiles: field(1)?,
        funcname_offset: field(first)?,
        cu_offset: field(first + 1)?,
        filetab_offset: field(first + 2)?,
        pctab_offset: field(first + 3)?,
        functab_offset,
        text_start,
        header_text_start: if old { None } else { word(2).filter(|at| *at != 0) },
    })
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

/// Where the functions are, in the order of [`FUNCTIONS`]. Names are searched for as a
/// whole, so that most functions cost a comparison of numbers.
fn places(table: &ParsedPclntab<'_>) -> [Option<Place>; FUNCTIONS.len()] {
    let names = table.data.get(table.funcname_offset..).unwrap_or_default();
    let wanted = FUNCTIONS.map(|function| {
        let name = [&[0], function.symbol.as_bytes(), &[0]].concat();
        memchr::memmem::find(names, &name).and_then(|at| i32::try_from(at + 1).ok())
    });
    let mut places = [None; FUNCTIONS.len()];
    if wanted.iter().all(Option::is_none) {
        return places;
    }
    let mut entries = table.func_entries().peekable();
    while let Some((start, at)) = entries.next() {
        let Some(function) = table.parse_func(at) else { continue };
        let index = wanted.iter().position(|name| *name == Some(function.name_off));
        if let Some(place) = index.and_then(|index| places.get_mut(index))
            && let Some(&(end, _)) = entries.peek()
        {
            *place = Some(Place { start: start.into(), end: end.into() });
        }
    }
    places
}

/// Addresses at which Go's code may start: as the table says, as the module's data say
/// (`moduledata`, src/runtime/symtab.go: the table first, 21 words, the code), and where
/// the code's section starts, unless C comes first there.
fn bases<'data, R: ReadRef<'data>>(
    elf: &Elf<'data, R>,
    table: &ParsedPclntab<'_>,
    address: u64,
) -> impl Iterator<Item = u64> {
    let module = elf.section(".go.module").and_then(|section| {
        let data = elf.contents(&section)?;
        (u64_at(data, 0)? == address).then(|| u64_at(data, 22 * 8))?
    });
    let said = table.header_text_start.or(Some(table.text_start)).filter(|at| *at != 0);
    let section = elf.section(".text").map(|section| section.address);
    [said, module, section].into_iter().flatten()
}

/// Where programs are attached, if every function is found where it should be.
fn points<'data, R: ReadRef<'data>>(
    elf: &Elf<'data, R>,
    base: u64,
    places: &[Option<Place>; FUNCTIONS.len()],
) -> Option<Arc<[Point]>> {
    let mut points = Vec::new();
    for (function, place) in FUNCTIONS.iter().zip(places) {
        let Some(place) = place else { continue };
        let address = base.checked_add(place.start)?;
        let len = place.end.checked_sub(place.start).filter(|len| *len <= FUNCTION_MAX)?;
        let returns = returns(elf.bytes(address, len)?, address)?;
        let offset = elf.file_offset(address)?;
        let symbol = function.symbol;
        let at = At::Instruction;
        points.push(Point { offset, at, program: function.entry, symbol });
        if function.returns {
            let exit = |within| Point { offset: offset + within, at, program: EXIT, symbol };
            points.extend(returns.into_iter().map(exit));
        }
    }
    Some(points.into())
}

/// Offsets of the instructions by which a function returns. `None` when it does not start
/// with Go's check of the stack, cannot be decoded to its end, or leaves by a jump.
fn returns(bytes: &[u8], address: u64) -> Option<Vec<u64>> {
    let mut checked = false;
    let mut count = 0;
    let returns = code::returns_where(Code { bytes, address, whole: true }, |instruction| {
        count += 1;
        // `cmp rsp, [r14+16]`, or of a large frame `lea r12, [rsp-n]` and that compared:
        // the goroutine is in r14 (src/cmd/internal/obj/x86/obj6.go, `stacksplit`).
        checked |= count <= 4
            && instruction.code() == iced_x86::Code::Cmp_r64_rm64
            && instruction.memory_base() == Register::R14
            && instruction.memory_displacement64() == 16;
        true
    })?;
    checked.then_some(returns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function: its check of the stack, two returns, a call, a jump back, padding.
    const CODE: [u8; 24] = [
        0x49, 0x3b, 0x66, 0x10, // cmp rsp, [r14+16]
        0x76, 0x07, // jbe to the call
        0x85, 0xc0, // test eax, eax
        0x74, 0x01, // je to the second return
        0xc3, // ret
        0xc3, // ret
        0x90, // nop
        0xe8, 0, 0, 0, 0, // call
        0xeb, 0xec, // jmp to the start
        0xcc, 0xcc, 0xcc, 0xcc, // padding
    ];

    #[test]
    fn returns_are_found_and_nothing_else() {
        assert_eq!(returns(&CODE, 0x1000), Some(vec![10, 11]));
    }

    #[test]
    fn a_function_that_is_not_as_expected_is_left_alone() {
        let change = |at: usize, byte: u8| {
            let mut code = CODE;
            code[at] = byte;
            returns(&code, 0x1000)
        };
        assert_eq!(change(3, 0x18), None, "another check");
        assert_eq!(change(19, 0x7f), None, "a jump out of it");
        assert_eq!(change(12, 0x06), None, "no instruction");
        assert_eq!(returns(&CODE[..15], 0x1000), None, "cut short");
        assert_eq!(returns(&CODE[..10], 0x1000), None, "no return");
    }

    #[test]
    fn damaged_tables_never_panic() {
        for len in 0..80 {
            let mut data = vec![0xff; len];
            for (to, from) in data.iter_mut().zip([0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]) {
                *to = from;
            }
            if let Some(table) = header(&data).and_then(|meta| meta.attach(&data)) {
                places(&table);
            }
        }
    }
}
