//! The functions of TLS libraries that are hooked, and by which programs.
//!
//! Libraries read and write alike: an object, a buffer and a length go in, the number of
//! bytes comes out. One set of programs serves them all, another one Go, and two more the
//! ciphers of libraries that have no functions like that. Another one sees the ciphertext of
//! OpenSSL's sessions, where nothing else shows their sockets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    code::{self, Code},
    go, located, ring,
};

/// The interface of a family of libraries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// OpenSSL and its forks: `SSL_*`.
    OpenSsl,
    /// What those of OpenSSL go through inside, where its symbols are gone: see
    /// `probe::located`.
    OpenSslInternal,
    /// GnuTLS: `gnutls_*`.
    GnuTls,
    /// NSPR, which programs use NSS by: `PR_*`.
    Nspr,
    /// The ciphers of AWS-LC as a Rust crate, by which rustls seals and opens records:
    /// `EVP_AEAD_CTX_*` behind a prefix with the crate's version.
    AwsLc,
    /// The ciphers of ring, by which rustls seals and opens records: no names, see
    /// `probe::ring`.
    Ring,
    /// What the sessions of OpenSSL and its forks move their ciphertext by: `BIO_*`. Maybe in
    /// another file than they are.
    Bio,
}

impl Interface {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::OpenSsl,
        Self::OpenSslInternal,
        Self::GnuTls,
        Self::Nspr,
        Self::AwsLc,
        Self::Ring,
        Self::Bio,
    ];

    /// Whether plaintext goes through its functions.
    pub const fn has_plaintext(self) -> bool {
        !matches!(self, Self::Bio)
    }

    /// Whether its functions are found by their names.
    pub const fn has_names(self) -> bool {
        !matches!(self, Self::OpenSslInternal | Self::Ring)
    }

    /// How the names of its functions begin, before their own; `None` when they are whole.
    /// The crate names all that it exports so (aws-lc-sys, builder/main.rs).
    pub const fn prefix(self) -> Option<&'static str> {
        match self {
            Self::AwsLc => Some("aws_lc_"),
            _ => None,
        }
    }
}

/// What a function is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It gives what came.
    Read,
    /// It takes what is to go.
    Write,
    /// It ends a session, or this end's half of it.
    End,
}

/// A place in a file that a program is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Offset in the file.
    pub offset: u64,
    /// When the program runs.
    pub at: At,
    /// The program.
    pub program: &'static str,
    /// The function that it belongs to.
    pub symbol: &'static str,
}

impl Point {
    /// Whose function it is in; `None` of Go.
    fn interface(&self) -> Option<Interface> {
        FUNCTIONS.iter().find(|it| it.symbol == self.symbol).map(|it| it.interface)
    }

    /// Whether plaintext is seen there, and not ciphertext alone.
    pub fn has_plaintext(&self) -> bool {
        self.interface().is_none_or(Interface::has_plaintext)
    }

    /// Whether it was found without symbols, and what is seen there has to be proven.
    pub fn is_located(&self) -> bool {
        self.interface() == Some(Interface::OpenSslInternal)
    }
}

/// When a program at a place runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum At {
    /// Before the instruction there.
    Instruction,
    /// After the return of the function that begins there: by a return probe.
    Return,
    /// Before the instruction there, by which the function returns: instead of a return
    /// probe, where these may do harm.
    InsteadOfReturn,
}

/// Whether programs see the returns of all functions without return probes.
pub fn do_without_return_probes(points: &[Point]) -> bool {
    let of = |at: At| points.iter().filter(move |point| point.at == at);
    let instead = |symbol| of(At::InsteadOfReturn).any(|point| point.symbol == symbol);
    of(At::Return).all(|point| instead(point.symbol))
}

/// Every program with each function that it is attached to.
pub fn hooks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_c = FUNCTIONS
        .iter()
        .flat_map(|function| function.programs.iter().map(|program| (*program, function.symbol)));
    of_c.chain(go::hooks())
}

/// A function of C that is hooked.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name in symbol tables, or the end of it: see [`Interface::prefix`]; or what it is
    /// called here: see [`Interface::has_names`].
    pub symbol: &'static str,
    /// Whose it is.
    pub interface: Interface,
    /// What it is for.
    pub purpose: Purpose,
    /// Programs at its entry and its return.
    pub(super) programs: &'static [&'static str],
}

const fn function(
    interface: Interface,
    purpose: Purpose,
    symbol: &'static str,
    programs: &'static [&'static str],
) -> Function {
    Function { symbol, interface, purpose, programs }
}

impl Function {
    /// Where its programs are attached, by its code, which begins at an offset in the file.
    /// `None` when it has no place for a probe.
    fn points(&self, start: u64, code: Code<'_>) -> Option<Vec<Point>> {
        let symbol = self.symbol;
        let offset = start + code::entry(code)?;
        let (&entry, exits) = self.programs.split_first()?;
        let mut points = vec![Point { offset, at: At::Instruction, program: entry, symbol }];
        for &program in exits {
            points.push(Point { offset, at: At::Return, program, symbol });
            let returns = code::returns(code).unwrap_or_default();
            points.extend(returns.into_iter().map(|at| Point {
                offset: start + at,
                at: At::InsteadOfReturn,
                program,
                symbol,
            }));
        }
        Some(points)
    }
}

/// Number of functions.
pub const COUNT: usize = 36;

/// Every function.
pub const FUNCTIONS: [Function; COUNT] = {
    use Interface::{AwsLc, Bio, GnuTls, Nspr, OpenSsl, OpenSslInternal, Ring};
    use Purpose::{End, Read, Write};
    [
        function(OpenSsl, Read, "SSL_read", &["tls_read_enter", "tls_exit"]),
        function(OpenSsl, Write, "SSL_write", &["tls_write_enter", "tls_exit"]),
        function(OpenSsl, Read, "SSL_read_ex", &["tls_read_ex_enter", "tls_exit"]),
        function(OpenSsl, Write, "SSL_write_ex", &["tls_write_ex_enter", "tls_exit"]),
        // Since 3.0: of a file, by kTLS.
        function(OpenSsl, Write, "SSL_sendfile", &["tls_sendfile_enter", "tls_exit"]),
        // Since 3.3 `SSL_write_ex` is a jump to it.
        function(OpenSsl, Write, "SSL_write_ex2", &["tls_write_ex2_enter", "tls_exit"]),
        function(OpenSsl, End, "SSL_free", &["tls_end"]),
        // The object serves another connection from here on.
        function(OpenSsl, End, "SSL_clear", &["tls_end"]),
        function(OpenSsl, End, "SSL_shutdown", &["tls_shutdown"]),
        function(OpenSslInternal, Read, located::READ, &["tls_read_ex_enter", "tls_exit"]),
        function(OpenSslInternal, Write, located::WRITE, &["tls_write_ex_enter", "tls_exit"]),
        function(
            OpenSslInternal,
            Write,
            located::WRITE_FLAGS,
            &["tls_write_ex2_enter", "tls_exit"],
        ),
        function(GnuTls, Read, "gnutls_record_recv", &["tls_read_enter", "tls_exit"]),
        // Since 3.6.3 `gnutls_record_send` is a jump to it.
        function(GnuTls, Write, "gnutls_record_send2", &["tls_write_enter", "tls_exit"]),
        function(GnuTls, Write, "gnutls_record_send", &["tls_write_enter", "tls_exit"]),
        function(GnuTls, End, "gnutls_deinit", &["tls_end"]),
        function(GnuTls, End, "gnutls_bye", &["tls_shutdown"]),
        function(Nspr, Read, "PR_Read", &["nspr_read_enter", "tls_exit"]),
        function(Nspr, Read, "PR_Recv", &["nspr_recv_enter", "tls_exit"]),
        function(Nspr, Write, "PR_Write", &["nspr_write_enter", "tls_exit"]),
        function(Nspr, Write, "PR_Send", &["nspr_write_enter", "tls_exit"]),
        function(Nspr, Write, "PR_Writev", &["nspr_writev_enter", "tls_exit"]),
        function(Nspr, End, "PR_Close", &["tls_end"]),
        function(Nspr, End, "PR_Shutdown", &["tls_shutdown"]),
        function(AwsLc, Write, "EVP_AEAD_CTX_seal", &["aead_seal_enter", "aead_exit"]),
        function(
            AwsLc,
            Write,
            "EVP_AEAD_CTX_seal_scatter",
            &["aead_seal_scatter_enter", "aead_exit"],
        ),
        function(AwsLc, Read, "EVP_AEAD_CTX_open", &["aead_open_enter", "aead_exit"]),
        function(AwsLc, Read, "EVP_AEAD_CTX_open_gather", &["aead_open_gather_enter", "aead_exit"]),
        function(AwsLc, End, "EVP_AEAD_CTX_free", &["tls_end"]),
        function(AwsLc, End, "EVP_AEAD_CTX_cleanup", &["tls_end"]),
        function(Ring, Write, ring::AES_SEAL, &["ring_seal_enter", "ring_exit"]),
        function(Ring, Read, ring::AES_OPEN, &["ring_open_enter", "ring_exit"]),
        function(Ring, Write, ring::CHACHA_SEAL, &["ring_seal_enter", "ring_exit"]),
        function(Ring, Read, ring::CHACHA_OPEN, &["ring_open_enter", "ring_exit"]),
        function(Bio, Read, "BIO_read", &["bio_read_enter", "bio_read_exit"]),
        function(Bio, Write, "BIO_write", &["bio_write_enter"]),
    ]
};

/// Functions that do nothing but jump to another one, which sees all calls of both.
const JUMPS: [(&str, &str); 2] =
    [("SSL_write_ex", "SSL_write_ex2"), ("gnutls_record_send", "gnutls_record_send2")];

/// Where a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Offset in the file.
    pub offset: u64,
    /// Where it is loaded.
    pub address: u64,
    /// Its bytes, as the symbol says; 0 when it does not.
    pub len: u64,
}

/// Where the functions are in a file, in the order of [`FUNCTIONS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places(pub [Option<Place>; COUNT]);

impl Default for Places {
    fn default() -> Self {
        Self([None; COUNT])
    }
}

impl Places {
    /// The functions that were found, and where.
    pub fn iter(&self) -> impl Iterator<Item = (Function, Place)> + '_ {
        FUNCTIONS.into_iter().zip(self.0).filter_map(|(function, at)| Some((function, at?)))
    }

    /// Says where a function is.
    pub(super) fn set(&mut self, symbol: &str, place: Place) {
        let known = FUNCTIONS.iter().zip(&mut self.0).find(|(it, _)| it.symbol == symbol);
        if let Some((_, slot)) = known {
            *slot = Some(place);
        }
    }

    /// Adds the functions that were found elsewhere.
    pub(super) fn add(&mut self, others: &Self) {
        for (slot, other) in self.0.iter_mut().zip(others.0) {
            *slot = slot.or(other);
        }
    }

    /// Where programs are attached, by the code of each function. `None` when one has no
    /// place for a probe.
    pub(super) fn points<'data>(
        &self,
        code: impl Fn(Place) -> Option<Code<'data>>,
    ) -> Option<Arc<[Point]>> {
        let mut points = Vec::new();
        for (function, place) in self.iter() {
            match code(place).and_then(|code| function.points(place.offset, code)) {
                Some(found) => points.extend(found),
                // Plaintext is seen without it.
                None if !function.interface.has_plaintext() => {}
                None => return None,
            }
        }
        Some(points.into())
    }

    /// Whether both reads and writes of an interface can be seen.
    pub fn usable(&self, interface: Interface) -> bool {
        [Purpose::Read, Purpose::Write].iter().all(|wanted| {
            self.iter().any(|(it, _)| it.interface == interface && it.purpose == *wanted)
        })
    }

    /// Whether plaintext of any interface can be seen.
    pub fn shows_plaintext(&self) -> bool {
        Interface::ALL.iter().any(|it| it.has_plaintext() && self.usable(*it))
    }

    /// Only what is to be hooked: interfaces that are usable, and of functions that call
    /// each other the innermost. `None` when nothing is left.
    #[must_use]
    pub fn hooked(mut self) -> Option<Self> {
        let usable = Interface::ALL.map(|interface| self.usable(interface).then_some(interface));
        let has = |symbol| self.iter().any(|(function, _)| function.symbol == symbol);
        let jumps = JUMPS.map(|(jumps, to)| has(to).then_some(jumps));
        for (function, place) in FUNCTIONS.iter().zip(&mut self.0) {
            if !usable.contains(&Some(function.interface)) || jumps.contains(&Some(function.symbol))
            {
                *place = None;
            }
        }
        self.iter().next().is_some().then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(symbols: &[&str]) -> Vec<&'static str> {
        let mut places = Places::default();
        for (function, place) in FUNCTIONS.iter().zip(&mut places.0) {
            let here = Place { offset: 1, address: 1, len: 1 };
            *place = symbols.contains(&function.symbol).then_some(here);
        }
        let hooked = places.hooked();
        hooked.iter().flat_map(Places::iter).map(|(function, _)| function.symbol).collect()
    }

    #[test]
    fn an_interface_needs_reads_and_writes() {
        assert!(found(&["SSL_read", "SSL_free", "gnutls_record_send"]).is_empty());
        assert_eq!(found(&["SSL_read_ex", "SSL_write"]), ["SSL_write", "SSL_read_ex"]);
        let both = ["SSL_read", "SSL_write", "gnutls_record_recv"];
        assert_eq!(found(&both), ["SSL_read", "SSL_write"]);
    }

    #[test]
    fn a_function_that_calls_a_hooked_one_is_left_out() {
        let old = ["gnutls_record_recv", "gnutls_record_send"];
        assert_eq!(found(&old), old);
        let new = ["gnutls_record_recv", "gnutls_record_send2", "gnutls_record_send"];
        assert_eq!(found(&new), &new[..2]);
        let openssl = ["SSL_read_ex", "SSL_write_ex", "SSL_write_ex2"];
        assert_eq!(found(&openssl), ["SSL_read_ex", "SSL_write_ex2"]);
        assert_eq!(found(&openssl[..2]), openssl[..2]);
    }

    /// `sub rsp, 8`, a call, `add rsp, 8`, `ret`
    const RETURNS: [u8; 14] = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];

    /// `mov rax, [rdi]`, `jmp [rax+16]`
    const JUMPS_ON: [u8; 6] = [0x48, 0x8b, 0x07, 0xff, 0x60, 0x10];

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn returns_are_seen_without_return_probes_where_all_functions_show_theirs() {
        let mut places = Places::default();
        for (index, slot) in places.0.iter_mut().take(2).enumerate() {
            *slot = Some(Place { offset: 100 * index as u64, address: 0x1000, len: 20 });
        }
        let points = |second: &'static [u8]| {
            let code = |place: Place| {
                let bytes = if place.offset == 0 { &RETURNS } else { second };
                Some(Code { bytes, address: place.address, whole: true })
            };
            places.points(code).unwrap()
        };
        let both = points(&RETURNS);
        assert_eq!(both.len(), 6);
        let instead = both.iter().filter(|point| point.at == At::InsteadOfReturn);
        let instead: Vec<_> = instead.map(|point| (point.offset, point.symbol)).collect();
        assert_eq!(instead, [(13, "SSL_read"), (113, "SSL_write")]);
        assert!(do_without_return_probes(&both));
        assert!(!do_without_return_probes(&points(&JUMPS_ON)));
    }
}
