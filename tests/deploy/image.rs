//! The container image.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{root, text, unit};

/// The Rust version that the workspace asks for.
fn rust_version() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).context("read Cargo.toml")?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    Ok(line.context("no rust-version")?.trim_matches('"').to_owned())
}

#[test]
fn it_is_built_by_the_compiler_that_the_workspace_asks_for() {
    let first = format!("FROM rust:{}-bookworm AS build\n", rust_version().unwrap());
    assert!(text("Dockerfile").unwrap().contains(&first));
}

#[test]
fn the_program_is_where_the_unit_has_it() {
    let dockerfile = text("Dockerfile").unwrap();
    assert!(dockerfile.contains(&format!("COPY --from=build /out/apiscope {}\n", unit::PROGRAM)));
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{}\"]\n", unit::PROGRAM)));
}
