//! Offsets of kernel structures against another reader of the kernel's types: pahole.

use std::{path::Path, process::Command};

use agent_common::layout::Layout;
use anyhow::{Context as _, Result, ensure};
use apiscope::probe::layout::{KERNEL_BTF, named, read};
use support::child::output;

#[test]
fn offsets_are_those_that_pahole_finds() -> Result<()> {
    let fields = named(read(Path::new(KERNEL_BTF))?);
    for (structure, members, offset) in fields {
        // pahole does not look into members: a socket's common part begins it.
        let (structure, members): (_, Vec<_>) = match members {
            [member] if member.starts_with("__sk_common.") => {
                ("sock_common", vec![member.trim_start_matches("__sk_common.")])
            }
            _ => (structure, members.to_vec()),
        };
        let text = output(Command::new("pahole").args(["-C", structure, KERNEL_BTF]))?;
        let found = text.lines().find_map(|line| member(line, &members));
        let found = found.with_context(|| format!("pahole: no {members:?} in {text}"))?;
        ensure!(found == offset, "{structure} {members:?}: {offset}, pahole says {found}");
    }
    Ok(())
}

#[test]
fn kinds_of_iterators_are_those_that_pahole_finds() -> Result<()> {
    let layout = read(Path::new(KERNEL_BTF))?;
    let text = output(Command::new("pahole").args(["-C", "iter_type", KERNEL_BTF]))?;
    let value = |kind: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(kind)?.split_once('='));
        line.and_then(|(_, value)| value.trim().trim_end_matches(',').parse().ok())
    };
    let iovec: u32 = value("ITER_IOVEC").with_context(|| format!("no ITER_IOVEC in {text}"))?;
    ensure!(layout.iter_iovec == iovec, "{}, pahole says {iovec}", layout.iter_iovec);
    let ubuf = value("ITER_UBUF").unwrap_or(Layout::NO_KIND);
    ensure!(layout.iter_ubuf == ubuf, "{}, pahole says {ubuf}", layout.iter_ubuf);
    Ok(())
}

/// The offset that a line tells of one of these members: `type name; /* 16 8 */`.
fn member(line: &str, members: &[&str]) -> Option<u32> {
    let (declaration, comment) = line.split_once(';')?;
    let name = match declaration.split_once("(*") {
        // A pointer to a function: `type (*name)(types)`.
        Some((_, function)) => function.split(')').next()?,
        None => declaration.rsplit([' ', '\t', '*']).next()?,
    };
    let name = name.split('[').next()?;
    let (_, place) = comment.split_once("/*")?;
    let offset = place.split_ascii_whitespace().next()?.trim_end_matches(':');
    members.contains(&name).then(|| offset.parse().ok())?
}
