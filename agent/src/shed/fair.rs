//! Max-min fairness (Bertsekas and Gallager, Data Networks, section 6.5.2).

/// The largest share such that all who want more get it, all who want less get what they
/// want, and together they get `capacity`; infinite when that is enough for all.
pub(super) fn share(capacity: f64, wanted: impl Iterator<Item = f64>) -> f64 {
    let mut wanted: Vec<f64> = wanted.collect();
    wanted.sort_unstable_by(f64::total_cmp);
    let mut left = capacity.max(0.0);
    for (at, &want) in wanted.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a number of programs")]
        let share = left / (wanted.len() - at) as f64;
        if want > share {
            return share;
        }
        left -= want;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_little_gets_it_and_the_rest_is_divided() {
        for (capacity, wanted, expected) in [
            (1.0, &[0.3, 0.3][..], f64::INFINITY),
            (1.0, &[2.0], 1.0),
            (1.0, &[0.2, 3.0, 0.6], 0.4),
            (1.0, &[0.2, 9.0, 0.3], 0.5),
            (0.0, &[0.1], 0.0),
            (-1.0, &[0.1], 0.0),
            (1.0, &[], f64::INFINITY),
        ] {
            let found = share(capacity, wanted.iter().copied());
            let equal =
                (found - expected).abs() < 1e-9 || (found.is_infinite() && expected.is_infinite());
            assert!(equal, "{wanted:?}: {found}");
        }
    }
}
