//! Recordings through the pipeline: `NAME.in` in, text out, compared to `NAME.out`.
//!
//! `UPDATE_FIXTURES=1` writes what came out, and the recordings of `synthetic`.

#![cfg(test)]

mod render;
mod synthetic;

use std::{env, fs, path::PathBuf};

use apiscope::{
    event::file::Reader,
    pipeline::{Pipeline, Settings},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay")
}

fn updating() -> bool {
    env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1")
}

/// Runs a recording through a new pipeline.
fn replay(recording: &[u8]) -> String {
    let mut reader = Reader::new(recording).unwrap();
    let mut pipeline = Pipeline::new(&Settings::default());
    let mut calls = Vec::new();
    for event in reader.by_ref() {
        match event {
            Ok(event) => pipeline.event(event, &mut calls),
            Err(_) => pipeline.decode_error(),
        }
    }
    pipeline.finish(&mut calls);
    render::text(&calls, pipeline.stats(), reader.cut_off())
}

#[test]
fn recordings_give_the_calls_that_were_made() {
    let folder = folder();
    if updating() {
        fs::create_dir_all(&folder).unwrap();
        for (name, recording) in synthetic::all() {
            fs::write(folder.join(name).with_extension("in"), recording).unwrap();
        }
    }
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no recordings in {}", folder.display());
    for input in inputs {
        let text = replay(&fs::read(&input).unwrap());
        let output = input.with_extension("out");
        if updating() {
            fs::write(&output, &text).unwrap();
        }
        let expected = fs::read_to_string(&output).unwrap_or_default();
        assert_eq!(text, expected, "{}", input.display());
    }
}

#[test]
fn a_recording_cut_anywhere_gives_no_call_that_was_not_made() {
    let (_, recording) = synthetic::all().swap_remove(0);
    let whole = replay(&recording);
    let targets: Vec<_> = whole.lines().filter(|line| line.starts_with("call")).collect();
    let start = recording.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for len in (start..recording.len()).step_by(7) {
        for line in replay(&recording[..len]).lines().filter(|line| line.starts_with("call")) {
            assert!(
                targets.iter().any(|target| target.split(' ').nth(3) == line.split(' ').nth(3)),
                "{line} at {len}"
            );
        }
    }
}
