//! The terminal, given back as it was: on drop and on panic.

use std::{
    io::stdout,
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use crossterm::{
    cursor::Show,
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};

/// The terminal is in raw mode and shows the alternate screen.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Holds the terminal for as long as it lives.
pub(super) struct Guard(());

impl Guard {
    /// Takes the terminal. From now on a panic of any thread gives it back before
    /// its message is printed, for on the alternate screen it would be lost.
    pub(super) fn take() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        enable_raw_mode().context("set terminal to raw mode")?;
        TAKEN.store(true, Ordering::SeqCst);
        let guard = Self(());
        execute!(stdout(), EnterAlternateScreen).context("enter alternate screen")?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether the terminal is still held: false once a panic gave it back.
pub(super) fn taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Gives back the modes of a terminal that takes no output, without writing to it.
pub(super) fn abandon() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing is left to be done when it fails.
        drop(disable_raw_mode());
    }
}

fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing is left to be done when these fail: the terminal may be gone.
        drop(disable_raw_mode());
        drop(execute!(stdout(), LeaveAlternateScreen, Show));
    }
}
