//! Finds the functions by which ring seals and opens, stripped or not.
//!
//! None of them has a name that can be relied on. What ring's ciphers have in common is the
//! type of a constant, `aead::Algorithm` (src/aead/algorithm.rs, since 0.17.8): pointers to
//! three functions (make a key, seal, open), the length of the key, and the number of the
//! cipher. AES-GCM seals and opens by the same functions whatever the length of its key, and
//! nothing else looks like these two constants.
//!
//! A probe in the middle of an instruction would break the program that is observed. So a
//! pointer counts only where the tables for unwinding say that a function begins.

use object::read::ReadRef;

use super::{
    elf::Elf,
    functions::{Place, Places},
    unwind::Frames,
};

/// Where linkers put constants with pointers in them: if these depend on where the program is
/// loaded, and if not.
const CONSTANTS: [&str; 2] = [".data.rel.ro", ".rodata"];

/// Where they tell which pointers depend on that, unless in their places.
const RELOCATIONS: &str = ".rela.dyn";

/// What they tell it by: `R_X86_64_RELATIVE`, `R_AARCH64_RELATIVE`.
const RELATIVE: u64 = if cfg!(target_arch = "aarch64") { 1027 } else { 8 };

/// Places that end like what is searched for, at most; a program has a thousand.
const CANDIDATES_MAX: usize = 64 << 10;

/// What of these may be a cipher by its functions, at most; a program has ten.
const ALGORITHMS_MAX: usize = 1024;

/// Ciphers by the length of their key and their number, as they lie in memory.
const AES_128_GCM: [u64; 2] = [16, 0];
const AES_256_GCM: [u64; 2] = [32, 1];
const CHACHA20_POLY1305: [u64; 2] = [32, 2];

/// Names of the functions in [`super::functions::FUNCTIONS`].
pub(super) const AES_SEAL: &str = "ring aes_gcm_seal";
pub(super) const AES_OPEN: &str = "ring aes_gcm_open";
pub(super) const CHACHA_SEAL: &str = "ring chacha20_poly1305_seal";
pub(super) const CHACHA_OPEN: &str = "ring chacha20_poly1305_open";

/// What may be the constant of a cipher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Algorithm {
    /// Where it is loaded.
    address: u64,
    /// Addresses of the functions that make a key, seal and open.
    functions: [u64; 3],
    /// Length of the key, and number.
    cipher: [u64; 2],
}

/// Addresses of the functions that seal and open.
type Functions = [u64; 2];

/// Where the functions are. `None` when those of AES-GCM are not there, or are not the only
/// ones that may be them; the others may be missing for either reason.
pub(super) fn find<'data, R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Option<Places> {
    let mut found = Vec::new();
    for section in CONSTANTS.iter().filter_map(|name| elf.section(name)) {
        candidates(elf.contents(&section)?, section.address, &mut found)?;
    }
    // Sections may overlap.
    found.sort_unstable_by_key(|it| it.address);
    found.dedup_by_key(|it| it.address);
    if let Some(section) = elf.section(RELOCATIONS) {
        relocate(elf.contents(&section)?, &mut found);
    }
    let frames = Frames::of(elf)?;
    let place = |address| {
        let offset = elf.file_offset(address).filter(|_| elf.is_code(address))?;
        Some(Place { offset, address, len: frames.len(address)? })
    };
    found.retain(|it| it.functions.iter().all(|&address| place(address).is_some()));
    let (aes, chacha) = ciphers(&found)?;
    let mut places = Places::default();
    places.set(AES_SEAL, place(aes[0])?);
    places.set(AES_OPEN, place(aes[1])?);
    if let Some([seal, open]) = chacha {
        places.set(CHACHA_SEAL, place(seal)?);
        places.set(CHACHA_OPEN, place(open)?);
    }
    Some(places)
}

/// Finds what ends like a cipher in constants that are loaded at an address. `None` when that
/// is too much.
fn candidates(constants: &[u8], address: u64, found: &mut Vec<Algorithm>) -> Option<()> {
    // They are aligned as they are loaded.
    let skip = address.wrapping_neg() % 8;
    let (words, _) = constants.get(skip as usize..).unwrap_or_default().as_chunks();
    let mut address = address.checked_add(skip)?;
    for window in words.windows(5) {
        if let [init, seal, open, key_len, number] = window {
            let cipher = [key_len, number].map(|word| u64::from_le_bytes(*word));
            if [AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305].contains(&cipher) {
                let functions = [init, seal, open].map(|word| u64::from_le_bytes(*word));
                found.push(Algorithm { address, functions, cipher });
            }
        }
        if found.len() > CANDIDATES_MAX {
            return None;
        }
        address = address.checked_add(8)?;
    }
    Some(())
}

/// Fills in the pointers that a table of relocations has. `found` is in ascending order.
fn relocate(relocations: &[u8], found: &mut [Algorithm]) {
    // `Elf64_Rela`: offset, info, addend.
    for [at, info, addend] in relocations.as_chunks().0.as_chunks().0 {
        if u64::from_le_bytes(*info) != RELATIVE {
            continue;
        }
        let at = u64::from_le_bytes(*at);
        for (index, before) in [0, 8, 16].into_iter().enumerate() {
            if let Some(begins) = at.checked_sub(before)
                && let Ok(place) = found.binary_search_by_key(&begins, |it| it.address)
                && let Some(algorithm) = found.get_mut(place)
                && let Some(function) = algorithm.functions.get_mut(index)
            {
                *function = u64::from_le_bytes(*addend);
            }
        }
    }
}

/// The functions of AES-GCM, and those of `ChaCha20-Poly1305` if only one pair may be them.
fn ciphers(found: &[Algorithm]) -> Option<(Functions, Option<Functions>)> {
    if found.len() > ALGORITHMS_MAX {
        return None;
    }
    let of = |cipher| found.iter().filter(move |it| it.cipher == cipher);
    let distinct = |it: &Algorithm| {
        let [init, seal, open] = it.functions;
        (init != seal && init != open && seal != open).then_some([seal, open])
    };
    let pairs = of(AES_128_GCM).flat_map(|short| of(AES_256_GCM).map(move |long| (short, long)));
    let aes = only(pairs.filter_map(|(short, long)| {
        let both = (distinct(short)?, distinct(long)?);
        (both.0 == both.1 && short.functions[0] != long.functions[0]).then_some(both.0)
    }))?;
    let others = of(CHACHA20_POLY1305).filter_map(distinct);
    let chacha = only(others.filter(|it| !it.iter().any(|function| aes.contains(function))));
    Some((aes, chacha))
}

/// The one that there is.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
