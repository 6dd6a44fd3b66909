//! OpenSSL that is linked into a file whose symbols are gone: its functions, by what they say
//! when they fail.
//!
//! OpenSSL puts into every error where it was raised, so each function that raises one loads
//! the address of its own name, or, before 3.0, its own number, beside that of its source
//! file. These are in the file as long as errors are. The functions that all reading and
//! writing goes through are found by that, and hold only if nothing else fits as well:
//!
//! - exactly one function raises errors as `ssl_read_internal`, and no other that refers to
//!   the source file refers to that name; exactly one as `SSL_read`; likewise for writing;
//! - `SSL_read` asks whether its third argument is negative, and hands what it was given on to
//!   `ssl_read_internal`, with a place on its stack for the length;
//! - of the functions that refer to that source file, exactly one pair take one away from a
//!   count in their argument, and one of the pair calls the other: `SSL_free` and
//!   `SSL_CTX_free`.
//!
//! What is found is not believed yet: a session counts once its ciphertext has proven it
//! (`flow::located`).
//!
//! BoringSSL raises errors with the file and the line alone, and lines are others in each
//! commit: nothing there names a function.

mod follow;
mod parts;

use std::collections::{BTreeMap, BTreeSet};

use memchr::{memchr_iter, memmem};
use object::read::ReadRef;

use self::follow::{Function, Value, follow};
use super::{
    elf::{Elf, TEXTS},
    functions::{Place, Places},
    unwind::{Frame, Frames, relative},
};

/// `int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes)`
pub(super) const READ: &str = "ssl_read_internal";

/// `int ssl_write_internal(SSL *s, const void *buf, size_t num, size_t *written)`
pub(super) const WRITE: &str = "ssl_write_internal";

/// The same, since 3.3 with `uint64_t flags` before the last argument.
pub(super) const WRITE_FLAGS: &str = "ssl_write_internal, with flags";

/// What has a symbol elsewhere.
const FREE: &str = "SSL_free";
const SHUTDOWN: &str = "SSL_shutdown";
const CLEAR: &str = "SSL_clear";

/// The source file that errors are raised in; it may be behind the path of a build.
const SOURCE: &[u8] = b"ssl/ssl_~lib.c\0";

/// The library that errors are raised by: `ERR_LIB_SSL` (include/openssl/err.h).
const LIBRARY: u64 = 20;

/// Names, and the numbers that functions had before 3.0: `SSL_F_*`
/// (include/openssl/sslerr.h, 1.1.1).
const NAMES: [(&str, u64); 6] = [
    ("SSL_read", 223),
    ("SSL_write", 208),
    ("ssl_read_internal", 523),
    ("ssl_write_internal", 524),
    ("SSL_shutdown", 224),
    ("SSL_clear", 164),
];

/// Their places in [`NAMES`].
const SSL_READ: usize = 0;
const SSL_WRITE: usize = 1;
const READ_INTERNAL: usize = 2;
const WRITE_INTERNAL: usize = 3;
const SSL_SHUTDOWN: usize = 4;
const SSL_CLEAR: usize = 5;

/// Occurrences of one text that are looked at; more make it no name.
const TEXTS_MAX: usize = 16;

/// Bytes of a path before the name of the source file.
const PATH_MAX: usize = 4096;

/// Functions that refer to the texts, at most; OpenSSL has fewer than a hundred. And their
/// bytes together.
const FUNCTIONS_MAX: usize = 1024;
const BYTES_MAX: u64 = 4 << 20;

/// Bytes of a function, at most.
const FUNCTION_MAX: u64 = 64 << 10;

/// Bytes of instructions that are searched, at most: where there are more, there may be a
/// second function of a name.
const CODE_MAX: usize = 128 << 20;

/// References to the texts, at most.
const REFERENCES_MAX: usize = 16 * 1024;

/// Where the functions are in a file that OpenSSL is linked into. `None` when anything is not
/// certain.
pub(super) fn search<'data, R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Option<Places> {
    if cfg!(not(target_arch = "x86_64")) || !elf.is_x86_64() {
        return None;
    }
    let frames = Frames::of(elf)?;
    let texts = elf.section(TEXTS)?;
    let texts = Texts::find(elf.contents(&texts)?, texts.address)?;
    let mut found = BTreeSet::new();
    let mut sections = Vec::new();
    let mut searched = 0_usize;
    for section in elf.code_sections() {
        let code = elf.contents(&section)?;
        searched = searched.checked_add(code.len()).filter(|bytes| *bytes <= CODE_MAX)?;
        refer(code, section.address, &texts, |at| {
            found.extend(frames.holding(at).filter(|frame| frame.len <= FUNCTION_MAX));
            found.len() <= FUNCTIONS_MAX
        })?;
        sections.push((section.address, code));
    }
    if found.iter().map(|frame| frame.len).sum::<u64>() > BYTES_MAX {
        return None;
    }
    // One that cannot be decoded may be anything.
    let read = |frame: Frame| Some(texts.read(follow(elf.code(place(elf, frame)?)?)?));
    let functions = found.iter().map(|&frame| Some((frame, read(frame)?)));
    let mut candidates = Candidates(functions.collect::<Option<_>>()?);
    let owners = parts::owners(&sections, &frames, &candidates.raising());
    let chosen = if let Some(mut chosen) = candidates.choose() {
        // Where one may be a part of another function, its end is not its own.
        let may_be_part =
            |frame: &Frame| owners.as_ref().is_none_or(|owners| owners.contains_key(frame));
        chosen.retain(|(name, frame)| ![SHUTDOWN, CLEAR].contains(name) || !may_be_part(frame));
        chosen
    } else {
        candidates.unite(&owners?, read)?;
        candidates.choose()?
    };
    let mut places = Places::default();
    for (symbol, frame) in chosen {
        places.set(symbol, place(elf, frame)?);
    }
    Some(places)
}

fn place<'data, R: ReadRef<'data>>(elf: &Elf<'data, R>, frame: Frame) -> Option<Place> {
    let Frame { address, len } = frame;
    Some(Place { offset: elf.file_offset(address)?, address, len })
}

/// Where texts are that matter.
#[derive(Debug, Default)]
struct Texts {
    /// The source file.
    files: BTreeSet<u64>,
    /// Names, by their addresses.
    names: BTreeMap<u64, usize>,
}

impl Texts {
    fn find(texts: &[u8], address: u64) -> Option<Self> {
        let mut found = Self::default();
        let addresses = |at: usize| address.checked_add(at as u64);
        // In parts, so that the agent does not have it, which has no TLS.
        let source: Vec<u8> = SOURCE.iter().copied().filter(|byte| *byte != b'~').collect();
        for (count, at) in memmem::find_iter(texts, &source).enumerate() {
            let before = texts.get(at.saturating_sub(PATH_MAX)..at)?;
            let path = before.iter().rev().take_while(|byte| **byte != 0).count();
            found.files.extend([addresses(at)?, addresses(at - path)?]);
            if count >= TEXTS_MAX {
                return None;
            }
        }
        for (index, (name, _)) in NAMES.iter().enumerate() {
            let name = [name.as_bytes(), &[0]].concat();
            for (count, at) in memmem::find_iter(texts, &name).enumerate() {
                found.names.insert(addresses(at)?, index);
                if count >= TEXTS_MAX {
                    return None;
                }
            }
        }
        (!found.files.is_empty()).then_some(found)
    }

    fn has(&self, address: u64) -> bool {
        self.files.contains(&address) || self.names.contains_key(&address)
    }

    /// What a function has to do with the texts.
    fn read(&self, function: Function) -> Candidate {
        let is_file = |value: Value| matches!(value, Value::Number(it) if self.files.contains(&it));
        let mut raises = BTreeSet::new();
        for call in &function.calls {
            let [first, second, third, fourth, ..] = call.arguments;
            match (first, second, third) {
                // `ERR_set_debug(file, line, function)`
                (file, Value::Number(_), Value::Number(name)) if is_file(file) => {
                    raises.extend(self.names.get(&name));
                }
                // `ERR_put_error(library, function, reason, file, line)`
                (Value::Number(LIBRARY), Value::Number(number), Value::Number(_))
                    if is_file(fourth) =>
                {
                    raises.extend(NAMES.iter().position(|(_, known)| *known == number));
                }
                _ => {}
            }
        }
        let mut names: BTreeSet<usize> = raises.clone();
        names.extend(function.numbers.iter().filter_map(|number| self.names.get(number)));
        let of_source = function.numbers.iter().any(|number| self.files.contains(number));
        Candidate { function, raises, names, of_source }
    }
}

/// Tells of every instruction that may refer to one of the texts: `lea` of an address that
/// counts from the next instruction, or `mov` of one with 32 bits, as in a program that is
/// not position-independent. `None` when there are too many.
fn refer(
    code: &[u8],
    address: u64,
    texts: &Texts,
    mut tell: impl FnMut(u64) -> bool,
) -> Option<()> {
    let mut count = 0;
    let mut note = |at: usize, target: u64| {
        if !texts.has(target) {
            return Some(());
        }
        count += 1;
        (count <= REFERENCES_MAX && tell(address.checked_add(at as u64)?)).then_some(())
    };
    // REX.W, 8D, and a ModRM byte that says so.
    for at in memchr_iter(0x8d, code) {
        let Some([rex, _, mode, distance @ ..]) =
            at.checked_sub(1).and_then(|at| code.get(at..)?.first_chunk::<7>())
        else {
            continue;
        };
        if rex & 0xf8 == 0x48
            && mode & 0xc7 == 0x05
            && let Some(next) = address.checked_add(at as u64 + 6)
            && let Some(target) = relative(next, u32::from_le_bytes(*distance))
        {
            note(at - 1, target)?;
        }
    }
    let all = texts.files.iter().chain(texts.names.keys());
    for wanted in all.filter_map(|address| u32::try_from(*address).ok()) {
        for at in memmem::find_iter(code, &wanted.to_le_bytes()) {
            // B8 and the register, in it or in a prefix.
            let opcode = at.checked_sub(1).and_then(|at| code.get(at)).copied();
            if opcode.is_some_and(|opcode| opcode & 0xf8 == 0xb8) {
                note(at - 1, wanted.into())?;
            }
        }
    }
    Some(())
}

/// A function that refers to one of the texts.
#[derive(Debug)]
struct Candidate {
    function: Function,
    /// Names under which it raises errors, by their places in [`NAMES`].
    raises: BTreeSet<usize>,
    /// All names that it has to do with.
    names: BTreeSet<usize>,
    /// It refers to the source file.
    of_source: bool,
}

/// How a function is called that takes a session, a buffer and a length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Plain,
    Flags,
}

impl Candidate {
    /// How it hands what it was given on to the function at an address, if it does so once:
    /// with a place on its stack for the length behind it, or with no flags before that.
    fn hands_on(&self, to: u64) -> Option<Form> {
        let mut calls = self.function.calls.iter().filter(|call| call.target == Some(to));
        let (call, None) = (calls.next()?, calls.next()) else { return None };
        let [session, buffer, len, fourth, fifth, _] = call.arguments;
        let given = [session, buffer, len] == [0, 1, 2].map(Value::Argument);
        match (fourth, fifth) {
            _ if !given => None,
            (Value::Stack, _) => Some(Form::Plain),
            (Value::Number(0), Value::Stack) => Some(Form::Flags),
            _ => None,
        }
    }

    fn calls(&self, address: u64) -> bool {
        self.function.calls.iter().any(|call| call.target == Some(address))
    }
}

/// All functions that refer to the texts.
struct Candidates(BTreeMap<Frame, Candidate>);

impl Candidates {
    /// The one function that raises errors under a name, if no other of OpenSSL has to do with
    /// it. Whoever calls OpenSSL may have a name of its own for that, with the same text.
    fn only(&self, name: usize) -> Option<(Frame, &Candidate)> {
        let mut with = self.0.iter().filter(|(_, it)| {
            it.names.contains(&name) && (it.of_source || it.raises.contains(&name))
        });
        let (Some((frame, it)), None) = (with.next(), with.next()) else { return None };
        it.raises.contains(&name).then_some((*frame, it))
    }

    /// The function behind one that everybody calls, and how it is called.
    fn behind(&self, outer: usize, inner: usize) -> Option<(Frame, Form)> {
        let ((_, outer), (inner, _)) = (self.only(outer)?, self.only(inner)?);
        let form = outer.hands_on(inner.address).filter(|_| outer.function.checks_length)?;
        Some((inner, form))
    }

    /// Those that raise errors.
    fn raising(&self) -> BTreeSet<Frame> {
        self.0.iter().filter(|(_, it)| !it.raises.is_empty()).map(|(frame, _)| *frame).collect()
    }

    /// Takes what parts of functions do for what these do; `read` looks at one that refers to
    /// no text itself.
    fn unite(
        &mut self,
        owners: &BTreeMap<Frame, Frame>,
        read: impl Fn(Frame) -> Option<Candidate>,
    ) -> Option<()> {
        for (part, owner) in owners {
            let Some(part) = self.0.remove(part) else { continue };
            if !self.0.contains_key(owner) {
                self.0.insert(*owner, read(*owner)?);
            }
            let owner = self.0.get_mut(owner)?;
            owner.raises.extend(part.raises);
            owner.names.extend(part.names);
            owner.of_source |= part.of_source;
        }
        Some(())
    }

    fn choose(&self) -> Option<Vec<(&'static str, Frame)>> {
        let (read, Form::Plain) = self.behind(SSL_READ, READ_INTERNAL)? else { return None };
        let (write, form) = self.behind(SSL_WRITE, WRITE_INTERNAL)?;
        let called = if form == Form::Plain { WRITE } else { WRITE_FLAGS };
        let mut chosen = vec![(READ, read), (called, write), (FREE, self.frees()?)];
        for (symbol, name) in [(SHUTDOWN, SSL_SHUTDOWN), (CLEAR, SSL_CLEAR)] {
            chosen.extend(self.only(name).map(|(frame, _)| (symbol, frame)));
        }
        // A function cannot be two of them.
        let distinct: BTreeSet<Frame> = chosen.iter().map(|(_, frame)| *frame).collect();
        (distinct.len() == chosen.len()).then_some(chosen)
    }

    /// `SSL_free`, which lets go of the session's `SSL_CTX` by `SSL_CTX_free`.
    fn frees(&self) -> Option<Frame> {
        let drops = || self.0.iter().filter(|(_, it)| it.of_source && it.function.drops_reference);
        let mut pairs = drops().flat_map(|(frame, it)| {
            let others = drops().filter(move |(other, _)| *other != frame);
            let called = others.filter(|(other, _)| it.calls(other.address));
            called.filter(|(_, other)| !other.calls(frame.address)).map(|_| *frame)
        });
        match (pairs.next(), pairs.next()) {
            (Some(frame), None) => Some(frame),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
