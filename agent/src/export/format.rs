//! Numbers, times and foreign text as people read them: short, of bounded
//! length, and never rounded into a claim that is not true.

use crate::call::Timestamp;

/// A count in at most five characters below 10^15: `12345`, `123k`, `1.23M`.
pub fn count(value: u64) -> String {
    if value < 100_000 {
        return value.to_string();
    }
    scaled(value as f64, 1000.0, &["k", "M", "G", "T", "P", "E"])
}

/// Bytes with a binary unit: `512 B`, `1.50 KiB`, `23.4 MiB`.
pub fn bytes(value: u64) -> String {
    if value < 1024 {
        return format!("{value} B");
    }
    scaled(value as f64, 1024.0, &[" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// Bytes in at most five characters: `512`, `1.50K`, `23.4M`.
pub fn bytes_short(value: u64) -> String {
    if value < 1024 {
        return value.to_string();
    }
    scaled(value as f64, 1024.0, &["K", "M", "G", "T", "P", "E"])
}

/// A duration in at most six characters below 100 days: `850µs`, `1.23ms`,
/// `12.3s`, `2m05s`, `3h04m`, `2d03h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    let micros = seconds * 1e6;
    if micros < 999.5 {
        return format!("{micros:.0}µs");
    }
    if micros < 999_500.0 {
        return format!("{}ms", three_digits(micros / 1e3));
    }
    if seconds < 59.95 {
        return format!("{}s", three_digits(seconds));
    }
    let whole = whole(seconds.round());
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, whole / 3600) {
        (0, 0) => format!("{minutes}m{:02}s", whole % 60),
        (0, hours) => format!("{hours}h{minutes:02}m"),
        (days, _) => format!("{days}d{hours:02}h"),
    }
}

/// How long ago in at most four characters below 1000 days: `0s`, `59s`, `5m`,
/// `3h`, `2d`. Rounds down.
pub fn ago(seconds: f64) -> String {
    let whole = whole(seconds);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m", whole / 60),
        3600..86_400 => format!("{}h", whole / 3600),
        _ => format!("{}d", whole / 86_400),
    }
}

/// Length of a run: `00:12:34`, `2d 03:04:05`.
pub fn elapsed(seconds: f64) -> String {
    let whole = whole(seconds);
    let time = format!("{:02}:{:02}:{:02}", whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match whole / 86_400 {
        0 => time,
        days => format!("{days}d {time}"),
    }
}

/// Time of day in UTC with milliseconds: `12:34:56.789`.
pub fn clock(time: Timestamp) -> String {
    let millis = time.0 / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        millis / 3_600_000 % 24,
        millis / 60_000 % 60,
        millis / 1000 % 60,
        millis % 1000
    )
}

/// Events per second in at most five characters below 10^15: `0`, `0.25`,
/// `12.3`, `4.56k`. A rate above zero never reads `0`.
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.0 {
        return "-".to_owned();
    }
    if per_second == 0.0 {
        return "0".to_owned();
    }
    if per_second < 0.01 {
        return "<0.01".to_owned();
    }
    if per_second < 999.5 {
        return three_digits(per_second);
    }
    scaled(per_second, 1000.0, &["k", "M", "G", "T", "P", "E"])
}

/// Share of `part` in `whole` in at most six characters: `0%`, `1.2%`, `100%`;
/// `-` when there is no whole. `0%` and `100%` are exact: what only rounds to
/// them reads `<0.1%` and `>99.9%`.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    if part == 0 {
        return "0%".to_owned();
    }
    if part >= whole {
        return "100%".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if percent < 0.1 {
        "<0.1%".to_owned()
    } else if percent > 99.9 {
        ">99.9%".to_owned()
    } else {
        format!("{percent:.1}%")
    }
}

/// `value` in the largest of `units` that leaves it at 1 or more; the first unit
/// is `base`, each further one `base` times the one before.
fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value / base;
    let mut unit = "";
    for (position, &name) in units.iter().enumerate() {
        unit = name;
        // What would round up to the next unit is shown in it.
        if value < base - 0.5 || position + 1 == units.len() {
            break;
        }
        value /= base;
    }
    format!("{}{unit}", three_digits(value))
}

/// Three significant digits, at least.
fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The whole part of a number of seconds; zero for what is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and maps NaN to zero"
)]
const fn whole(seconds: f64) -> u64 {
    seconds as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stay_short() {
        let texts = [0, 99_999, 100_000, 123_456, 999_499, 999_500, 1_234_567, u64::MAX].map(count);
        assert_eq!(texts, ["0", "99999", "100k", "123k", "999k", "1.00M", "1.23M", "18.4E"]);
    }

    #[test]
    fn bytes_carry_a_binary_unit() {
        let texts = [0, 1023, 1024, 1536, 1_048_575, 1_048_576, u64::MAX].map(bytes);
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "1.00 MiB", "1.00 MiB", "16.0 EiB"]
        );
        assert_eq!([5, 1536, 24 << 20].map(bytes_short), ["5", "1.50K", "24.0M"]);
    }

    #[test]
    fn durations_choose_their_unit() {
        let texts = [0.0, 0.000_85, 0.001_234, 0.0123, 0.5, 1.234, 59.9, 59.96, 125.0, 11_040.0]
            .map(duration);
        assert_eq!(
            texts,
            [
                "0µs", "850µs", "1.23ms", "12.3ms", "500ms", "1.23s", "59.9s", "1m00s", "2m05s",
                "3h04m"
            ]
        );
        assert_eq!(duration(183_600.0), "2d03h");
        assert_eq!([f64::NAN, f64::INFINITY, -1.0].map(duration), ["-", "-", "-"]);
    }

    #[test]
    fn durations_are_at_most_six_characters_long() {
        let mut seconds = 1e-7;
        while seconds < 8_000_000.0 {
            let text = duration(seconds);
            assert!(text.chars().count() <= 6, "{text}");
            seconds *= 1.013;
        }
    }

    #[test]
    fn times_are_read_like_a_clock() {
        assert_eq!([0.0, 59.9, 60.0, 3600.0, 200_000.0].map(ago), ["0s", "59s", "1m", "1h", "2d"]);
        assert_eq!([0.0, 754.0, 183_845.0].map(elapsed), ["00:00:00", "00:12:34", "2d 03:04:05"]);
        assert_eq!(clock(Timestamp(1_800_000_000_123_456_789)), "08:00:00.123");
    }

    #[test]
    fn a_small_rate_is_not_zero() {
        let texts = [0.0, 0.001, 0.25, 12.345, 999.6, 4560.0, f64::NAN].map(rate);
        assert_eq!(texts, ["0", "<0.01", "0.25", "12.3", "1.00k", "4.56k", "-"]);
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        let texts =
            [(0, 0), (0, 9), (1, 10_000), (1, 8), (9999, 10_000), (7, 7)].map(|(a, b)| share(a, b));
        assert_eq!(texts, ["-", "0%", "<0.1%", "12.5%", ">99.9%", "100%"]);
    }
}
