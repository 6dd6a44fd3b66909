//! Messages in the body of a call: a flag, a length in four bytes, and so many bytes.

/// Length of what comes before each message.
const PREFIX: usize = 5;

/// The messages of one direction of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Messages {
    /// How many have begun.
    pub count: u64,
    /// Their bytes, captured or not.
    pub bytes: u64,
    /// How many are compressed.
    pub compressed: u64,
    /// There may be more: others may have begun in bytes that were lost, or after the last that
    /// was seen, or what passed by is not framed so.
    pub cut: bool,
}

/// Counts messages as they pass by, whatever they are cut into. It keeps none of their bytes.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    messages: Messages,
    /// What came of the next message's prefix.
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes left of the message that is passing by.
    left: u64,
}

impl Scanner {
    /// The next bytes.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes
            && !self.messages.cut
        {
            if self.left > 0 {
                let here = self.left.min(bytes.len() as u64);
                self.left -= here;
                let here = usize::try_from(here).unwrap_or(bytes.len());
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.prefix.get_mut(self.have) {
                *slot = *first;
            }
            self.have += 1;
            bytes = rest;
            if self.have == PREFIX {
                self.have = 0;
                self.begin();
            }
        }
    }

    /// The next bytes, which were not captured. Within a message they may miss.
    pub(crate) fn missing(&mut self, len: u64) {
        match self.left.checked_sub(len) {
            Some(left) => self.left = left,
            None => self.messages.cut = true,
        }
    }

    /// Bytes were lost, and nobody knows how many.
    pub(crate) fn lost(&mut self) {
        self.messages.cut = true;
    }

    /// What passed by; `over` when nothing more can come.
    pub(crate) fn finish(self, over: bool) -> Messages {
        // A prefix that was begun is of one more.
        let cut = self.messages.cut || self.have > 0 || !over;
        // Of the last one, what is announced may not have come.
        Messages { cut, bytes: self.messages.bytes.saturating_sub(self.left), ..self.messages }
    }

    fn begin(&mut self) {
        let [flag, len @ ..] = self.prefix;
        if flag > 1 {
            self.messages.cut = true;
            return;
        }
        self.left = u32::from_be_bytes(len).into();
        self.messages.count += 1;
        self.messages.bytes = self.messages.bytes.saturating_add(self.left);
        self.messages.compressed += u64::from(flag);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(flag: u8, len: usize) -> Vec<u8> {
        let announced = u32::try_from(len).unwrap().to_be_bytes();
        [&[flag][..], &announced, &vec![0xff; len]].concat()
    }

    fn scan(pieces: &[&[u8]]) -> Messages {
        let mut scanner = Scanner::default();
        for piece in pieces {
            scanner.bytes(piece);
        }
        scanner.finish(true)
    }

    const THREE: Messages = Messages { count: 3, bytes: 307, compressed: 1, cut: false };

    fn three() -> Vec<u8> {
        [message(0, 7), message(1, 300), message(0, 0)].concat()
    }

    #[test]
    fn messages_are_counted_at_every_split() {
        let bytes = three();
        for at in 0..=bytes.len() {
            let (before, after) = bytes.split_at(at);
            assert_eq!(scan(&[before, after]), THREE, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(scan(&single), THREE);
    }

    #[test]
    fn every_prefix_counts_what_has_begun() {
        let bytes = three();
        for at in 0..=bytes.len() {
            let found = scan(&[&bytes[..at]]);
            let begun = u64::from(at >= 5) + u64::from(at >= 17) + u64::from(at >= 322);
            let within = matches!(at, 1..=4 | 13..=16 | 318..=321);
            assert_eq!((found.count, found.cut), (begun, within), "cut at {at}");
        }
    }

    #[test]
    fn a_hole_within_a_message_costs_nothing_and_one_beyond_it_is_told() {
        let bytes = three();
        for (from, len) in (0..bytes.len()).flat_map(|from| (1..40).map(move |len| (from, len))) {
            let to = from + len;
            if to > bytes.len() {
                continue;
            }
            let mut scanner = Scanner::default();
            scanner.bytes(&bytes[..from]);
            scanner.missing(len as u64);
            scanner.bytes(&bytes[to..]);
            let found = scanner.finish(true);
            let within = |start: usize, end: usize| from >= start && to <= end;
            if within(5, 12) || within(17, 317) {
                assert_eq!(found, THREE, "{from}..{to}");
            } else {
                assert!(found.cut && found.count <= 3, "{from}..{to}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_not_framed_so_is_told() {
        assert!(scan(&[b"GET / HTTP/1.1\r\n"]).cut);
        let mut scanner = Scanner::default();
        scanner.bytes(&message(0, 9));
        scanner.lost();
        assert_eq!(scanner.finish(true), Messages { count: 1, bytes: 9, compressed: 0, cut: true });
    }

    #[test]
    fn what_did_not_come_is_not_counted() {
        let mut scanner = Scanner::default();
        scanner.bytes(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(
            scanner.finish(false),
            Messages { count: 1, bytes: 3, compressed: 0, cut: true }
        );
    }

    proptest! {
        #[test]
        fn anything_is_survived(pieces in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..40), 0_u64..40), 0..20)) {
            let mut scanner = Scanner::default();
            for (bytes, missing) in &pieces {
                scanner.bytes(bytes);
                scanner.missing(*missing);
            }
            let passed: usize = pieces.iter().map(|(bytes, _)| bytes.len()).sum();
            prop_assert!(scanner.finish(true).count <= passed as u64 / 5);
        }
    }
}
