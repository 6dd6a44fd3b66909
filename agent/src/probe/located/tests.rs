//! Programs that are made like those that OpenSSL is linked into.

use std::{fs::File, path::Path, process::Command};

use crate::event::verdict::Embedded;
use crate::probe::{
    elf::{Found, inspect},
    functions::{At, Point},
};

/// What matters of `ssl_lib.c`. What a test takes away, or puts in, is behind a name.
const SOURCE: &str = r#"
#define HIDDEN __attribute__((noipa, visibility("hidden")))
typedef unsigned long size_t;
typedef struct { int kind; int references; void *context; int (*act)(void *, void *, size_t); } SSL;
#ifndef FLAGS
#define PASS(written) written
#define FLAGS_PARAMETER
#else
#define PASS(written) 0, written
#define FLAGS_PARAMETER unsigned long flags,
#endif
#ifdef OLD
HIDDEN void put_error(int library, int function, int reason, const char *file, int line) {
    __asm__ volatile("" :: "r"(file), "r"(line), "r"(library), "r"(function), "r"(reason));
}
#define RAISE(name, number, reason) put_error(20, number, reason, FILE_NAME, __LINE__)
#else
#ifdef COLD
__attribute__((cold))
#endif
HIDDEN void err_new(void) { __asm__ volatile(""); }
HIDDEN void set_debug(const char *file, int line, const char *function) {
    __asm__ volatile("" :: "r"(file), "r"(line), "r"(function));
}
HIDDEN void set_error(int library, int reason, const char *text) {
    __asm__ volatile("" :: "r"(library), "r"(reason), "r"(text));
}
#define RAISE(name, number, reason) \
    (err_new(), set_debug(FILE_NAME, __LINE__, name), set_error(20, reason, 0))
#endif
#define FILE_NAME "../deps/openssl/ssl/ssl_lib.c"

HIDDEN int ssl_read_internal(SSL *s, void *buf, size_t num, size_t *readbytes) {
    if (s->act == 0) { RAISE("ssl_read_internal", 523, 276); return -1; }
    *readbytes = num;
    return s->act(s, buf, num);
}
HIDDEN int ssl_write_internal(SSL *s, const void *buf, size_t num, FLAGS_PARAMETER size_t *written) {
    if (s->act == 0) { RAISE("ssl_write_internal", 524, 276); return -1; }
    *written = num;
    return s->act(s, (void *)buf, num);
}
HIDDEN int SSL_read(SSL *s, void *buf, int num) {
    size_t readbytes;
    int ret;
#ifndef UNSIGNED
    if (num < 0) { RAISE("SSL_read", 223, 271); return -1; }
#else
    if (s->kind) { RAISE("SSL_read", 223, 271); return -1; }
#endif
    ret = ssl_read_internal(s, buf, (size_t)num, &readbytes);
    return ret > 0 ? (int)readbytes : ret;
}
HIDDEN int SSL_write(SSL *s, const void *buf, int num) {
    size_t written;
    int ret;
    if (num < 0) { RAISE("SSL_write", 208, 271); return -1; }
#ifndef ELSEWHERE
    ret = ssl_write_internal(s, buf, (size_t)num, PASS(&written));
#else
    ret = ssl_write_internal(s, buf, 7, PASS(&written));
#endif
    return ret > 0 ? (int)written : ret;
}
HIDDEN int SSL_write_ex(SSL *s, const void *buf, size_t num, size_t *written) {
    return ssl_write_internal(s, buf, num, PASS(written));
}
HIDDEN void release(void *what, const char *file, int line) {
    __asm__ volatile("" :: "r"(what), "r"(file), "r"(line));
}
HIDDEN void SSL_CTX_free(SSL *context) {
    if (context == 0 || __atomic_sub_fetch(&context->references, 1, __ATOMIC_RELAXED) > 0) return;
    release(context, FILE_NAME, __LINE__);
}
#ifndef UNFREED
HIDDEN void SSL_free(SSL *s) {
    if (s == 0 || __atomic_sub_fetch(&s->references, 1, __ATOMIC_RELAXED) > 0) return;
    SSL_CTX_free(s->context);
    release(s, FILE_NAME, __LINE__);
}
#endif
#ifdef TWICE
HIDDEN int SSL_peek(SSL *s, void *buf, int num) {
    if (num < 0) { RAISE("SSL_read", 223, 271); return -1; }
    return s->act(s, buf, num);
}
#endif
HIDDEN const char *mention(int which) { return which ? "SSL_read" : "ssl_read_internal"; }
const void *const volatile used[] = {
    SSL_read, SSL_write, SSL_write_ex, SSL_CTX_free, mention,
#ifndef UNFREED
    SSL_free,
#endif
#ifdef TWICE
    SSL_peek,
#endif
};
int main(int argc, char **argv) { return used[argc] == argv; }
"#;

/// Makes a program without symbols, with these options; where it is.
fn program(directory: &Path, options: &[&str]) -> std::path::PathBuf {
    std::fs::write(directory.join("ssl.c"), SOURCE).unwrap();
    let out = directory.join(options.join(""));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-w", "-s", "-o"]).arg(&out).args(options).arg("ssl.c");
    assert!(cc.current_dir(directory).status().unwrap().success(), "{options:?}");
    out
}

fn found(path: &Path) -> Found {
    inspect(&File::open(path).unwrap()).unwrap()
}

/// Programs, symbols and times of what is to be attached.
fn hooks(points: &[Point]) -> Vec<(&'static str, &'static str)> {
    let instead = |point: &&Point| point.at != At::InsteadOfReturn;
    points.iter().filter(instead).map(|point| (point.symbol, point.program)).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn functions_are_found_by_what_they_say_when_they_fail() {
    let directory = tempfile::tempdir().unwrap();
    for (options, write) in [
        (&["-O2"][..], "tls_write_ex_enter"),
        (&["-O3", "-DFLAGS"], "tls_write_ex2_enter"),
        (&["-DOLD"], "tls_write_ex_enter"),
        (&["-fcf-protection=full"], "tls_write_ex_enter"),
        (&["-DCOLD", "-DFLAGS"], "tls_write_ex2_enter"),
        (&["-fno-pic", "-no-pie"], "tls_write_ex_enter"),
        (&["-fno-pic", "-no-pie", "-DOLD"], "tls_write_ex_enter"),
    ] {
        let Found::Points(points) = found(&program(directory.path(), options)) else {
            panic!("{options:?}")
        };
        assert!(points.iter().any(Point::is_located));
        let flags = write == "tls_write_ex2_enter";
        let writes = if flags { super::WRITE_FLAGS } else { "ssl_write_internal" };
        let expected = [
            ("SSL_free", "tls_end"),
            ("ssl_read_internal", "tls_read_ex_enter"),
            ("ssl_read_internal", "tls_exit"),
            (writes, write),
            (writes, "tls_exit"),
        ];
        assert_eq!(hooks(&points), expected, "{options:?}");
    }
}

/// What was found is where the symbols of the same program say.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_is_found_is_what_symbols_say() {
    let directory = tempfile::tempdir().unwrap();
    let stripped = program(directory.path(), &["-no-pie"]);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-w", "-no-pie", "-o", "whole", "ssl.c"]).current_dir(&directory);
    assert!(cc.status().unwrap().success());
    let nm = Command::new("nm").arg("whole").current_dir(&directory).output().unwrap();
    let symbols = String::from_utf8(nm.stdout).unwrap();
    let Found::Points(points) = found(&stripped) else { panic!("nothing is found") };
    for point in points.iter().filter(|point| point.at == At::Instruction) {
        let line = symbols.lines().find(|line| line.ends_with(&format!(" {}", point.symbol)));
        let address = u64::from_str_radix(line.unwrap().split(' ').next().unwrap(), 16).unwrap();
        // Probes are put behind the first instructions of some.
        let distance = (point.offset + 0x40_0000).checked_sub(address);
        assert!(distance.is_some_and(|it| it < 16), "{}", point.symbol);
    }
}

#[test]
fn what_is_not_certain_is_told_and_not_hooked() {
    let directory = tempfile::tempdir().unwrap();
    for option in ["-DTWICE", "-DUNSIGNED", "-DELSEWHERE", "-DUNFREED"] {
        let told = found(&program(directory.path(), &[option]));
        assert_eq!(told, Found::Embedded(Embedded::OpenSsl), "{option}");
    }
    let texts = "const char *t[] = {\"ssl/ssl_lib.c\", \"SSL_read\", \"SSL_write\", \
                 \"ssl_read_internal\", \"ssl_write_internal\"}; \
                 int main(int n, char **v) { return t[n] == v[0]; }";
    std::fs::write(directory.path().join("texts.c"), texts).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-s", "-o", "texts", "texts.c"]).current_dir(&directory);
    assert!(cc.status().unwrap().success());
    let told = found(&directory.path().join("texts"));
    assert_eq!(told, Found::Embedded(Embedded::OpenSsl), "texts alone are no functions");
}

#[test]
fn damaged_programs_never_panic() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(program(directory.path(), &["-no-pie"])).unwrap();
    let path = directory.path().join("damaged");
    for at in (0..whole.len()).step_by(23) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&path, damaged).unwrap();
        drop(inspect(&File::open(&path).unwrap()));
    }
}
