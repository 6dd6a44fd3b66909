//! The first bytes of a direction of TLS, which are read for what the handshake says: what is
//! told of them has no characters that a terminal would obey, and is bounded.

#![no_main]

use apiscope::{
    flow::{
        tls_certificate,
        tls_hello::{self, Hello},
    },
    redact::printable,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let told = match tls_hello::parse(input) {
        Ok(Some(Hello::Client(hello))) => [hello.server_name, hello.protocol, hello.ja4],
        Ok(Some(Hello::Server(hello))) => [hello.protocol, None, None],
        _ => [None, None, None],
    };
    for text in told.into_iter().flatten() {
        assert!(text.len() < 256 && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(Some(certificate)) = tls_certificate::parse(input) {
        assert!(certificate.names.len() <= 16);
        let names = [&certificate.subject, &certificate.issuer];
        for name in names.into_iter().flatten().chain(&certificate.names) {
            // Each byte may be shown as `\u{..}`.
            assert!(name.len() <= 256 * 10 && printable(name) == **name);
        }
    }
});
