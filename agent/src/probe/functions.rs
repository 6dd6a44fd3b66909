//! The functions of TLS libraries that are hooked, and by which programs.
//!
//! Libraries read and write alike: an object, a buffer and a length go in, the number of
//! bytes comes out. One set of programs serves them all, and another one Go.

use std::sync::Arc;

use super::go;

/// The interface of a family of libraries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// OpenSSL and its forks: `SSL_*`.
    OpenSsl,
    /// GnuTLS: `gnutls_*`.
    GnuTls,
    /// NSPR, which programs use NSS by: `PR_*`.
    Nspr,
}

impl Interface {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::OpenSsl, Self::GnuTls, Self::Nspr];
}

/// What a function is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It gives plaintext that came.
    Read,
    /// It takes plaintext that is to go.
    Write,
    /// It ends a session, or this end's half of it.
    End,
}

/// A place in a file that a program is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Offset in the file.
    pub offset: u64,
    /// The program.
    pub program: &'static str,
    /// The function that it belongs to.
    pub symbol: &'static str,
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
    /// Its name in symbol tables.
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

/// Number of functions.
pub const COUNT: usize = 18;

/// Every function.
pub const FUNCTIONS: [Function; COUNT] = {
    use Interface::{GnuTls, Nspr, OpenSsl};
    use Purpose::{End, Read, Write};
    [
        function(OpenSsl, Read, "SSL_read", &["tls_read_enter", "tls_exit"]),
        function(OpenSsl, Write, "SSL_write", &["tls_write_enter", "tls_exit"]),
        function(OpenSsl, Read, "SSL_read_ex", &["tls_read_ex_enter", "tls_exit"]),
        function(OpenSsl, Write, "SSL_write_ex", &["tls_write_ex_enter", "tls_exit"]),
        function(OpenSsl, End, "SSL_free", &["tls_end"]),
        function(OpenSsl, End, "SSL_shutdown", &["tls_shutdown"]),
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
    ]
};

/// Where the functions are in a file, in the order of [`FUNCTIONS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offsets(pub [Option<u64>; COUNT]);

impl Offsets {
    /// The functions that were found and their offsets in the file.
    pub fn iter(&self) -> impl Iterator<Item = (Function, u64)> + '_ {
        FUNCTIONS.into_iter().zip(self.0).filter_map(|(function, at)| Some((function, at?)))
    }

    /// Where programs are attached.
    pub fn points(&self) -> Arc<[Point]> {
        let points = self.iter().flat_map(|(function, offset)| {
            let Function { symbol, programs, .. } = function;
            programs.iter().map(move |program| Point { offset, program, symbol })
        });
        points.collect()
    }

    /// Whether plaintext of an interface can be seen: its reads and its writes.
    pub fn usable(&self, interface: Interface) -> bool {
        [Purpose::Read, Purpose::Write].iter().all(|wanted| {
            self.iter().any(|(it, _)| it.interface == interface && it.purpose == *wanted)
        })
    }

    /// Only what is to be hooked: interfaces that are usable, and of functions that call
    /// each other the innermost. `None` when nothing is left.
    #[must_use]
    pub fn hooked(mut self) -> Option<Self> {
        let usable = Interface::ALL.map(|interface| self.usable(interface).then_some(interface));
        let sends_by_another = self.iter().any(|(it, _)| it.symbol == "gnutls_record_send2");
        for (function, offset) in FUNCTIONS.iter().zip(&mut self.0) {
            if !usable.contains(&Some(function.interface))
                || (sends_by_another && function.symbol == "gnutls_record_send")
            {
                *offset = None;
            }
        }
        self.iter().next().is_some().then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(symbols: &[&str]) -> Vec<&'static str> {
        let mut offsets = Offsets::default();
        for (function, offset) in FUNCTIONS.iter().zip(&mut offsets.0) {
            *offset = symbols.contains(&function.symbol).then_some(1);
        }
        let hooked = offsets.hooked();
        hooked.iter().flat_map(Offsets::iter).map(|(function, _)| function.symbol).collect()
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
    }
}
