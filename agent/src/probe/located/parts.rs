//! Parts of functions that lie elsewhere: compilers put what is hardly ever executed, as the
//! raising of errors may be, into a section of its own. It has a frame of its own there, and is
//! jumped to from the function that it is of.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memchr2_iter;

use super::{Frame, Frames, relative};

/// Jumps that are looked at, at most.
const JUMPS_MAX: usize = 64 * 1024;

/// Functions by what may be a part of them: the one function that jumps there. `None` when
/// there are too many jumps.
pub(super) fn owners(
    sections: &[(u64, &[u8])],
    frames: &Frames<'_>,
    parts: &BTreeSet<Frame>,
) -> Option<BTreeMap<Frame, Frame>> {
    let mut from = BTreeMap::<Frame, BTreeSet<Frame>>::new();
    let mut count = 0;
    for &(address, code) in sections {
        for at in memchr2_iter(0xe9, 0x0f, code) {
            // `jmp`, or a jump by a condition: 0F and 80 to 8F.
            let rest = code.get(at..).unwrap_or_default();
            let len = match rest {
                [0xe9, ..] => 1,
                [0x0f, condition, ..] if condition & 0xf0 == 0x80 => 2,
                _ => continue,
            };
            let distance = rest.get(len..).and_then(|rest| rest.first_chunk::<4>());
            let next = address.checked_add((at + len + 4) as u64);
            let (Some(distance), Some(next)) = (distance, next) else { continue };
            let Some(target) = relative(next, u32::from_le_bytes(*distance)) else { continue };
            let before = Frame { address: target, len: u64::MAX };
            let Some(&part) = parts.range(..=before).next_back() else { continue };
            if target - part.address >= part.len {
                continue;
            }
            count += 1;
            if count > JUMPS_MAX {
                return None;
            }
            from.entry(part).or_default().extend(frames.holding(address + at as u64));
        }
    }
    let only = |(part, mut from): (Frame, BTreeSet<Frame>)| {
        from.remove(&part);
        let owner = from.pop_first()?;
        from.is_empty().then_some((part, owner))
    };
    Some(from.into_iter().filter_map(only).collect())
}
