//! Where the agent's own messages go: to standard error, but not onto the live view.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::EnvFilter;

/// Bytes of messages that are held back at most; later ones are counted.
const HELD_MAX: usize = 64 * 1024;

/// Messages of the time in which the live view has the terminal.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

#[derive(Default)]
struct Held {
    text: Vec<u8>,
    dropped: u64,
}

/// Starts logging; `RUST_LOG` says what, the agent's notices and all warnings by default.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,apiscope=info".into());
    tracing_subscriber::fmt()
        .with_writer(|| Stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_target(false)
        .init();
}

/// Holds messages back until [`release`].
pub fn hold() {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held::default());
}

/// Writes what was held back.
pub fn release() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Held { text, dropped }) = held else { return };
    // Nothing is left to tell it to if this fails.
    drop(io::stderr().write_all(&text));
    if dropped > 0 {
        tracing::warn!("{dropped} messages were left out while the live view was shown");
    }
}

/// Standard error, one message per write.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) if held.text.len() + message.len() > HELD_MAX => held.dropped += 1,
            Some(held) => held.text.extend_from_slice(message),
            None => io::stderr().write_all(message)?,
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_bounded_and_counted() {
        hold();
        let message = [b'a'; 1000];
        for _ in 0..100 {
            Stderr.write_all(&message).unwrap();
        }
        let held = HELD.lock().unwrap().take().unwrap();
        assert_eq!((held.text.len(), held.dropped), (65_000, 35));
    }
}
