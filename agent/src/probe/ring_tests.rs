//! Programs with constants like ring's, made by a compiler of C, and damaged ones.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use object::read::ReadCache;
use tempfile::TempDir;

use super::{super::elf, *};
use crate::{event::verdict::Embedded, probe::functions::At};

/// Functions and constants as ring has them, and what rustls and ring say. The texts are in
/// parts, because this test is a program too.
const SOURCE: &str = r#"
struct algorithm {
    void (*init)(void), (*seal)(void), (*open)(void);
    unsigned long key_len;
    unsigned char id;
};
#define F(name) __attribute__((noinline)) static void name(void) { __asm__(".asciz \"" #name "\""); }
F(init128) F(init256) F(seal) F(open) F(init) F(seal2) F(open2)
#define ALGORITHM(name, ...) \
    __attribute__((used)) static const struct algorithm name = { __VA_ARGS__ }
ALGORITHM(short_key, init128, seal, open, 16, 0);
#ifndef NO_PAIR
ALGORITHM(long_key, init256, seal, open, 32, 1);
#endif
#ifndef NO_CHACHA
ALGORITHM(chacha, init, seal2, open2, 32, 2);
#endif
#ifdef VTABLES
ALGORITHM(vtable, seal, open, init, 32, 1);
ALGORITHM(other, open2, seal2, seal2, 32, 2);
#endif
#ifdef TWO_PAIRS
F(seal3) F(open3)
ALGORITHM(short_key3, init128, seal3, open3, 16, 0);
ALGORITHM(long_key3, init256, seal3, open3, 32, 1);
#endif
#ifdef TWO_CHACHAS
ALGORITHM(chacha3, init, open2, seal2, 32, 2);
#endif
__attribute__((used)) static const char texts[] =
    "/ring" "-0.17.14/src\0" "received corrupt" " message of type ";
int main(void) { return 0; }
"#;

const ALL: [&str; 4] = [AES_SEAL, AES_OPEN, CHACHA_SEAL, CHACHA_OPEN];

/// Compiles the source with options.
fn program(directory: &TempDir, options: &[&str]) -> std::path::PathBuf {
    let path = directory.path().join("program");
    fs::write(directory.path().join("ring.c"), SOURCE).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-o", "program", "ring.c"]).args(options).current_dir(directory);
    assert!(cc.status().unwrap().success(), "{options:?}");
    path
}

/// The functions that are hooked, with the code that begins there.
fn hooked(path: &Path) -> Vec<&'static str> {
    let file = File::open(path).unwrap();
    let elf::Found::Points(points) = elf::inspect(&file).unwrap() else { return Vec::new() };
    let entries = points.iter().filter(|it| it.at == At::Instruction);
    entries.map(|it| it.symbol).collect()
}

#[test]
fn the_functions_are_found_however_a_program_is_linked_and_stripped() {
    for options in [
        &["-fPIE", "-pie"][..],
        &["-fPIE", "-pie", "-Wl,-z,pack-relative-relocs"],
        &["-fno-pie", "-no-pie"],
        &["-fPIC", "-shared"],
        &["-fPIE", "-pie", "-DVTABLES"],
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = program(&directory, options);
        assert_eq!(hooked(&path), ALL, "{options:?}");
        let before = elf::inspect(&File::open(&path).unwrap()).unwrap();
        assert!(Command::new("strip").arg(&path).status().unwrap().success());
        assert_eq!(elf::inspect(&File::open(&path).unwrap()).unwrap(), before, "{options:?}");
    }
}

#[test]
fn each_name_is_that_of_its_function() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(&directory, &["-fPIE", "-pie"]);
    let cache = ReadCache::new(File::open(&path).unwrap());
    let places = find(&Elf::new(&cache).unwrap()).unwrap();
    let code = fs::read(&path).unwrap();
    let names = places.iter().map(|(function, place)| {
        let start = usize::try_from(place.offset).unwrap();
        let text = &code[start..start + usize::try_from(place.len).unwrap()];
        let has = |name: &str| text.starts_with(format!("{name}\0").as_bytes());
        (function.symbol, ["seal", "open", "seal2", "open2"].iter().position(|it| has(it)))
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names, ALL.iter().enumerate().map(|(at, it)| (*it, Some(at))).collect::<Vec<_>>());
}

#[test]
fn what_is_not_the_only_one_of_its_kind_is_left_alone() {
    for (option, found) in [
        ("-DNO_PAIR", &[][..]),
        ("-DTWO_PAIRS", &[]),
        ("-DNO_CHACHA", &ALL[..2]),
        ("-DTWO_CHACHAS", &ALL[..2]),
        ("-fno-asynchronous-unwind-tables", &[]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = program(&directory, &["-fPIE", "-pie", option]);
        assert_eq!(hooked(&path), found, "{option}");
        if found.is_empty() {
            let told = elf::inspect(&File::open(&path).unwrap()).unwrap();
            assert_eq!(told, elf::Found::Embedded(Embedded::Ring), "{option}");
        }
    }
}

#[test]
fn a_pointer_counts_only_where_a_function_begins() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(&directory, &["-fno-pie", "-no-pie"]);
    let whole = fs::read(&path).unwrap();
    let constant = |key_len: u8, number: u8| {
        let end = |it: &[u8]| it == [key_len, 0, 0, 0, 0, 0, 0, 0, number, 0, 0, 0, 0, 0, 0, 0];
        let at = whole.windows(16).position(end).unwrap();
        at - 24
    };
    for (key_len, number) in [(16, 0), (32, 1)] {
        let at = constant(key_len, number);
        for pointer in 0..3 {
            for change in [1_u8, 0x10, 0x80] {
                let mut damaged = whole.clone();
                damaged[at + 8 * pointer] ^= change;
                fs::write(&path, &damaged).unwrap();
                assert_eq!(hooked(&path), [""; 0], "{key_len} {pointer} {change}");
            }
        }
    }
}

#[test]
fn damage_never_panics_and_names_no_place_outside_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    for options in [["-fPIE", "-pie"], ["-fno-pie", "-no-pie"]] {
        let path = program(&directory, &options);
        assert!(Command::new("strip").arg(&path).status().unwrap().success());
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(13) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            for bytes in [&damaged, &whole[..at]] {
                fs::write(&path, bytes).unwrap();
                if let Ok(elf::Found::Points(points)) = elf::inspect(&File::open(&path).unwrap()) {
                    let inside = |offset| offset < bytes.len() as u64;
                    assert!(points.iter().all(|it| inside(it.offset)), "{at}");
                }
            }
        }
    }
}

/// Words as they lie in memory.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn constants_are_aligned_as_they_are_loaded() {
    let algorithm = Algorithm { address: 0x1008, functions: [1, 2, 3], cipher: AES_128_GCM };
    for before in 0..8 {
        let mut constants = vec![0xff; 8 + before];
        constants.extend(words(&[1, 2, 3, 16, 0]));
        let mut found = Vec::new();
        candidates(&constants, 0x1000 - before as u64, &mut found).unwrap();
        assert_eq!(found, [algorithm]);
        found.clear();
        candidates(&constants, 0x1001 - before as u64, &mut found).unwrap();
        assert_eq!(found, []);
    }
}

#[test]
fn relocations_fill_in_what_they_say() {
    let mut found = Vec::new();
    candidates(&words(&[0, 0, 0, 16, 0, 32, 1]), 0x1000, &mut found).unwrap();
    assert_eq!(found.iter().map(|it| it.address).collect::<Vec<_>>(), [0x1000, 0x1010]);
    let relocations = [
        [0x1000, RELATIVE, 7],
        [0x1008, RELATIVE, 8],
        [0x1010, RELATIVE + 1, 9],
        [0x1010, RELATIVE | 1 << 32, 9],
        [0x1018, RELATIVE, 9],
        [0x1004, RELATIVE, 9],
        [0xff8, RELATIVE, 9],
        [0, RELATIVE, 9],
        [u64::MAX, RELATIVE, 9],
    ];
    let mut table = words(relocations.as_flattened());
    table.pop();
    relocate(&table, &mut found);
    assert_eq!(found[0].functions, [7, 8, 0]);
    assert_eq!(found[1].functions, [0, 9, 0]);
}

#[test]
fn work_is_bounded() {
    let many = words(&[16, 0].repeat(CANDIDATES_MAX + 10));
    assert_eq!(candidates(&many, 0, &mut Vec::new()), None);
    let algorithm = |address, cipher| Algorithm { address, functions: [1, 2, 3], cipher };
    let many: Vec<_> =
        (0..=ALGORITHMS_MAX as u64).map(|address| algorithm(address, AES_128_GCM)).collect();
    assert_eq!(ciphers(&many), None);
    assert_eq!(candidates(&words(&[1; 8]), u64::MAX - 20, &mut Vec::new()), None);
    assert_eq!(candidates(&[], u64::MAX, &mut Vec::new()), None);
}
