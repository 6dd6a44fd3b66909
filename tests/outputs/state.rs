//! The state: the same twice, and what is said when it is damaged or not there.

use std::fs;

use anyhow::{Result, ensure};

use crate::{SERVICES, State, apiscope};

/// Name of the database in the state directory.
const DATABASE: &str = "apiscope.db";

#[test]
fn the_same_archive_gives_the_same_answers() -> Result<()> {
    let (one, calls) = State::new("json")?;
    let (other, same_calls) = State::new("json")?;
    assert_eq!(calls, same_calls);
    for (one, other) in one.answers()?.into_iter().zip(other.answers()?) {
        assert_eq!(one, other);
    }
    Ok(())
}

/// Every question must end with 1 and an error, and no panic.
fn refused(state: &State) -> Result<()> {
    for words in [
        vec!["inventory"],
        vec!["findings"],
        vec!["openapi"],
        vec!["openapi", "--service", "api.shop.example:443"],
    ] {
        let output = state.try_ask(&words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{words:?}: {}: {said}", output.status);
        ensure!(!said.contains("panicked") && said.contains("state"), "{words:?}: {said}");
        ensure!(output.stdout.is_empty(), "{words:?} printed something");
    }
    Ok(())
}

#[test]
fn a_damaged_state_is_an_error() -> Result<()> {
    let (state, _) = State::new("none")?;
    let file = state.path().join(DATABASE);
    let whole = fs::read(&file)?;
    ensure!(whole.len() > 8192, "the state is small");
    let garbage: Vec<u8> = (0..=255_u8).cycle().take(whole.len()).collect();
    let mut holed = whole.clone();
    for byte in holed.iter_mut().skip(4096) {
        *byte = 0xa5;
    }
    let mut headless = whole.clone();
    headless.splice(..16, *b"not a database!\0");
    for damaged in [garbage, holed, headless, whole.iter().take(5000).copied().collect()] {
        fs::write(&file, &damaged)?;
        refused(&state)?;
    }
    Ok(())
}

#[test]
fn any_byte_may_be_wrong_without_a_panic() -> Result<()> {
    let (state, _) = State::new("none")?;
    let file = state.path().join(DATABASE);
    let whole = fs::read(&file)?;
    for at in (0..whole.len()).step_by(whole.len() / 24) {
        let mut damaged = whole.clone();
        if let Some(byte) = damaged.get_mut(at) {
            *byte ^= 0x55;
        }
        fs::write(&file, &damaged)?;
        let output = state.try_ask(&["inventory"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 1)), "byte {at}: {said}");
        ensure!(!said.contains("panicked"), "byte {at}: {said}");
    }
    Ok(())
}

#[test]
fn no_state_is_an_error_that_says_what_to_do() -> Result<()> {
    let directory = support::directory()?;
    let state = State(directory);
    refused(&state)?;
    let output = state.try_ask(&["inventory"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("apiscope run"), "{said}");
    Ok(())
}

#[test]
fn a_service_that_is_not_there_is_answered_with_those_that_are() -> Result<()> {
    let (state, _) = State::new("none")?;
    for words in [vec!["openapi"], vec!["openapi", "--service", "nobody:1"]] {
        let output = state.try_ask(&words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{words:?}: {}: {said}", output.status);
        ensure!(SERVICES.iter().all(|service| said.contains(service)), "{words:?}: {said}");
    }
    Ok(())
}

#[test]
fn what_is_no_archive_is_refused() -> Result<()> {
    let directory = support::directory()?;
    let file = directory.path().join("broken.har");
    for text in ["{", "{}", "{\"log\":{\"entries\":[{}]}}", "{\"log\":{\"entries\":7}}", "", "x"] {
        fs::write(&file, text)?;
        let output = apiscope(["replay".as_ref(), file.as_os_str()])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{text:?}: {}: {said}", output.status);
        ensure!(!said.contains("panicked"), "{text:?}: {said}");
    }
    Ok(())
}
