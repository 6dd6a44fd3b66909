//! What a worker says of a file. Whoever made the file may have made the worker say it: the
//! agent's end takes from it numbers alone, and checks each.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    event::verdict::Embedded,
    probe::{
        elf::Found,
        functions::{At, Point, hooks},
        go::{self, Refusal},
    },
};

/// Bytes of a reply, at most.
pub(super) const REPLY_MAX: usize = 64 << 10;

/// Places in one file, at most: more than any function of TLS has returns.
const POINTS_MAX: usize = 2048;

/// Characters of an error.
const ERROR_MAX: usize = 200;

/// What was found, in numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Nothing,
    Bits32,
    Unplaced,
    Go(Refusal),
    Embedded(Embedded),
    /// Index of the hook among [`hooks`], offset in the file, and when it runs there.
    Points(Vec<(usize, u64, At)>),
    Error(String),
}

impl Reply {
    pub(super) fn new(found: Result<Found>) -> Self {
        match found {
            Ok(Found::Nothing) => Self::Nothing,
            Ok(Found::Bits32) => Self::Bits32,
            Ok(Found::Unplaced) => Self::Unplaced,
            Ok(Found::Go(why)) => Self::Go(why),
            Ok(Found::Embedded(library)) => Self::Embedded(library),
            Ok(Found::Points(points)) => {
                let index = |point: &Point| {
                    let hook = (point.program, point.symbol);
                    Some((hooks().position(|known| known == hook)?, point.offset, point.at))
                };
                Self::Points(points.iter().filter_map(index).collect())
            }
            Err(error) => Self::Error(format!("{error:#}").chars().take(ERROR_MAX).collect()),
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        // These types do not fail; an empty reply is refused by whoever reads it.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What a reply says of a file of so many bytes.
    pub(super) fn read(bytes: &[u8], len: u64) -> Result<Found> {
        let reply = serde_json::from_slice(bytes).context("it said nothing that makes sense")?;
        Ok(match reply {
            Self::Nothing => Found::Nothing,
            Self::Bits32 => Found::Bits32,
            Self::Unplaced => Found::Unplaced,
            Self::Go(why) => Found::Go(why),
            Self::Embedded(library) => Found::Embedded(library),
            Self::Error(error) => bail!(error.chars().take(ERROR_MAX).collect::<String>()),
            Self::Points(found) => {
                ensure!(!found.is_empty(), "it said that there is nothing to hook");
                ensure!(found.len() <= POINTS_MAX, "it named {} places", found.len());
                let point = |(hook, offset, at): (usize, u64, At)| {
                    let (program, symbol) = hooks().nth(hook)?;
                    // Whatever a file makes its worker say: no return probe where Go returns.
                    let fits = at == At::Instruction || !go::PROGRAMS.contains(&program);
                    (offset < len && fits).then_some(Point { offset, at, program, symbol })
                };
                let points: Option<Arc<[Point]>> = found.into_iter().map(point).collect();
                Found::Points(points.context("it named a place that there is not")?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let last = hooks().last().unwrap();
        let points = [hooks().next().unwrap(), last].map(|(program, symbol)| Point {
            offset: 7,
            at: At::Instruction,
            program,
            symbol,
        });
        for found in [
            Found::Nothing,
            Found::Bits32,
            Found::Unplaced,
            Found::Go(Refusal::Old),
            Found::Embedded(Embedded::Ring),
            Found::Points(points.into()),
        ] {
            let bytes = Reply::new(Ok(found.clone())).write();
            assert_eq!(Reply::read(&bytes, 8).unwrap(), found);
        }
        let error = Reply::new(Err(anyhow::anyhow!("{}", "x".repeat(1000)))).write();
        let error = Reply::read(&error, 8).unwrap_err().to_string();
        assert_eq!(error.len(), ERROR_MAX);
    }

    #[test]
    fn no_reply_names_what_is_not_there() {
        let many =
            format!("{{\"Points\":[{}[0,1,\"Return\"]]}}", "[0,1,\"Return\"],".repeat(POINTS_MAX));
        let of_go = hooks().position(|(program, _)| program == go::PROGRAMS[0]).unwrap();
        let of_go = format!("{{\"Points\":[[{of_go},1,\"Return\"]]}}");
        for (reply, says) in [
            ("", "makes sense"),
            ("{\"Points\":[]}", "nothing to hook"),
            ("{\"Points\":[[0,8,\"Return\"]]}", "not"),
            ("{\"Points\":[[1000,1,\"Return\"]]}", "not"),
            ("{\"Points\":[[-1,1,\"Return\"]]}", "makes sense"),
            ("{\"Points\":[[0,1,\"Never\"]]}", "makes sense"),
            (&of_go, "not"),
            ("{\"Go\":\"Perhaps\"}", "makes sense"),
            (&many, "places"),
        ] {
            let error = Reply::read(reply.as_bytes(), 8).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{reply}: {error:#}");
        }
        assert!(many.len() < REPLY_MAX);
    }
}
