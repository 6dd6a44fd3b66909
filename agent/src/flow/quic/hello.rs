//! A client hello that comes in pieces: CRYPTO frames of any number of Initials, in any
//! order (RFC 9000 section 19.6).

use agent_common::limits::TLS_HELLO;

use super::initial::Cursor;
use crate::flow::tls_hello::{self, ClientHello};

/// Pieces that do not touch, of most. Some clients cut their hello on purpose.
const PIECES_MAX: usize = 32;

/// A client hello, as far as it has come. Holds at most its first [`TLS_HELLO`] bytes, and
/// those only until it is complete.
#[derive(Debug, Default)]
pub(super) struct Hello {
    bytes: Vec<u8>,
    /// What is there of `bytes`: ascending, and none touches the next.
    pieces: Vec<(usize, usize)>,
    done: bool,
}

impl Hello {
    /// Takes what an Initial says; the hello, when that makes it complete.
    pub(super) fn take(&mut self, text: &[u8]) -> Option<ClientHello> {
        if self.done {
            return None;
        }
        let mut input = Cursor(text);
        while let Some(kind) = input.number() {
            match kind {
                // PADDING, PING.
                0 | 1 => {}
                2 | 3 => skip_ack(&mut input, kind == 3)?,
                6 => {
                    let (offset, len) = (input.number()?, input.number()?);
                    let data = input.take(usize::try_from(len).ok()?)?;
                    self.insert(usize::try_from(offset).ok()?, data);
                }
                // An Initial has no others, but for one that closes the connection.
                _ => break,
            }
        }
        let Some(&(0, len)) = self.pieces.first() else { return None };
        let hello = tls_hello::message(self.bytes.get(..len)?)?;
        *self = Self { done: true, ..Self::default() };
        Some(hello)
    }

    /// Puts a piece where it belongs. What lies beyond the limits is left out, and the hello
    /// never becomes complete.
    fn insert(&mut self, offset: usize, data: &[u8]) {
        let most = usize::try_from(TLS_HELLO).unwrap_or(usize::MAX);
        let Some(end) = offset.checked_add(data.len()).filter(|end| *end <= most) else { return };
        let (mut from, mut to) = (offset, end);
        let apart = |piece: &&(usize, usize)| piece.1 < offset || piece.0 > end;
        if data.is_empty() || self.pieces.iter().filter(apart).count() >= PIECES_MAX {
            return;
        }
        self.pieces.retain(|piece| {
            let apart = apart(&piece);
            if !apart {
                from = from.min(piece.0);
                to = to.max(piece.1);
            }
            apart
        });
        let place = self.pieces.partition_point(|piece| piece.0 < from);
        self.pieces.insert(place, (from, to));
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(data);
        }
    }
}

/// Passes by what follows the type of an ACK (RFC 9000 section 19.3).
fn skip_ack(input: &mut Cursor<'_>, counts: bool) -> Option<()> {
    input.number()?;
    input.number()?;
    let ranges = input.number()?;
    input.number()?;
    for _ in 0..ranges {
        input.number()?;
        input.number()?;
    }
    for _ in 0..if counts { 3 } else { 0 } {
        input.number()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::quic::initial::{
        Initials, Sender,
        tests::{SAMPLES, bytes},
    };

    /// The client hello of RFC 9001, appendix A.2.
    fn message() -> Vec<u8> {
        let client = bytes(SAMPLES[0][0]);
        let initial = Initials(&client).next().unwrap();
        let text = initial.open(&initial.destination, Sender::Client).unwrap();
        text[4..245].to_vec()
    }

    fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
        let number = |value: usize| (0x4000 | u16::try_from(value).unwrap()).to_be_bytes();
        [&[6][..], &number(offset), &number(data.len()), data].concat()
    }

    #[test]
    fn the_sample_names_its_server() {
        let hello = Hello::default().take(&crypto(0, &message())).unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("example.com"));
        assert_eq!(hello.protocol.as_deref(), Some("alpn"));
        assert!(hello.ja4.unwrap().starts_with("q13d0211an_"));
    }

    #[test]
    fn other_frames_are_passed_by_and_a_complete_hello_is_told_once() {
        let mut text = vec![0, 0, 1, 2, 9, 0, 1, 0, 0, 0, 3, 9, 0, 0, 0, 1, 1, 1];
        text.extend(crypto(0, &message()));
        let mut hello = Hello::default();
        assert!(hello.take(&text).is_some());
        assert!(hello.take(&text).is_none() && hello.bytes.is_empty());
    }

    #[test]
    fn no_prefix_is_complete() {
        let message = message();
        for len in 0..message.len() {
            assert!(Hello::default().take(&crypto(0, &message[..len])).is_none(), "at {len}");
            assert!(Hello::default().take(&crypto(0, &message)[..len]).is_none(), "at {len}");
        }
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_hello(
            cuts in prop::collection::vec(1usize..241, 0..12),
            order in prop::collection::vec(any::<u32>(), 13),
        ) {
            let message = message();
            let mut cuts = [cuts, vec![0, message.len()]].concat();
            cuts.sort_unstable();
            cuts.dedup();
            let mut pieces: Vec<_> = cuts.windows(2).zip(order).collect();
            pieces.sort_unstable_by_key(|piece| piece.1);
            let mut hello = Hello::default();
            let told: Vec<_> = pieces
                .iter()
                .map(|(piece, _)| hello.take(&crypto(piece[0], &message[piece[0]..piece[1]])))
                .collect();
            let (last, before) = told.split_last().unwrap();
            prop_assert!(last.is_some() && before.iter().all(Option::is_none));
        }

        #[test]
        fn any_text_is_taken_within_the_limits(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
            frames in prop::collection::vec((0usize..6000, 0usize..300), 0..80),
        ) {
            let mut hello = Hello::default();
            let frames = frames.iter().map(|(at, len)| crypto(*at, &vec![7; *len]));
            for text in texts.into_iter().chain(frames) {
                hello.take(&text);
                prop_assert!(hello.bytes.len() as u64 <= TLS_HELLO);
                prop_assert!(hello.pieces.len() <= PIECES_MAX + 1);
                prop_assert!(hello.pieces.windows(2).all(|two| two[0].1 < two[1].0));
            }
        }
    }
}
