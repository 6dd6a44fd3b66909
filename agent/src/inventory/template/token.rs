//! Tells random text from words.

/// Shortest token without another mark of one.
const TOKEN_MIN: usize = 10;

/// Short words that occur inside of camel-case names.
const SHORT: [&str; 16] =
    ["id", "by", "to", "of", "in", "on", "is", "or", "at", "as", "up", "no", "go", "my", "do", "v"];

/// Random letters and digits (base64url and alike), ten or more, of mixed classes.
pub(super) fn is_token(text: &str) -> bool {
    let bytes = text.trim_end_matches('=').as_bytes();
    if bytes.len() < TOKEN_MIN
        || !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let upper = bytes.iter().any(u8::is_ascii_uppercase);
    let lower = bytes.iter().any(u8::is_ascii_lowercase);
    if !(upper && lower) {
        // One case only: letters and digits must be well mixed.
        let mut changes = 0;
        for pair in bytes.windows(2) {
            let &[a, b] = pair else { continue };
            if a.is_ascii_alphabetic() && b.is_ascii_digit()
                || a.is_ascii_digit() && b.is_ascii_alphabetic()
            {
                changes += 1;
            }
        }
        return digits >= 2 && changes >= 4;
    }
    let mut groups = 0;
    let mut before = false;
    for byte in bytes {
        groups += usize::from(byte.is_ascii_digit() && !before);
        before = byte.is_ascii_digit();
    }
    oddness(bytes) + groups.min(2) >= 3 || (digits == 0 && oddness(bytes) >= 2)
}

/// How little the letters look like words in camel case: stumps of one or two
/// letters, runs of consonants, long runs of capitals without a vowel.
fn oddness(bytes: &[u8]) -> usize {
    let mut odd = 0;
    for run in bytes.split(|byte| !byte.is_ascii_alphabetic()) {
        let mut rest = run;
        while !rest.is_empty() {
            let (hump, tail) = rest.split_at(hump_len(rest));
            odd += usize::from(is_odd(hump));
            rest = tail;
        }
    }
    odd
}

/// Length of the first word of camel case: capitals, of which the last begins the
/// next word, or a capital and small letters.
fn hump_len(run: &[u8]) -> usize {
    let capitals = run.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if capitals > 1 {
        return if capitals == run.len() { capitals } else { capitals - 1 };
    }
    let small = run.iter().skip(capitals).take_while(|byte| byte.is_ascii_lowercase()).count();
    (capitals + small).max(1)
}

fn is_odd(hump: &[u8]) -> bool {
    if hump.len() <= 2 {
        return !SHORT.iter().any(|word| hump.eq_ignore_ascii_case(word.as_bytes()));
    }
    let capitals = hump.iter().all(u8::is_ascii_uppercase);
    let mut run = 0;
    let mut longest = 0;
    for byte in hump {
        let vowel = b"aeiouy".contains(&byte.to_ascii_lowercase());
        run = if vowel { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    // Acronyms of up to four letters need no vowel; words have one soon.
    if capitals { longest >= 5 } else { longest >= 4 || longest == hump.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_is_a_token() {
        for text in [
            "exHwQKFZHFt",
            "XvyqOOcTKRk",
            "Re531paPN-B",
            "ub9Y-FFg7UHShFfuZGGSRe",
            "dQw4w9WgXcQ",
            "1BvBMSEYstWetqTFn5Au",
            "x7k29f8a1b2c",
            "-n6RuMdBFqoATUM33-mpxg",
        ] {
            assert!(is_token(text), "{text}");
        }
    }

    #[test]
    fn names_in_camel_case_are_not() {
        for text in [
            "AddImageWatermarkWord",
            "getDocumentStatus",
            "DownloadBlobDataByGID",
            "XMLHttpRequest",
            "FlowV2GetMetadata",
            "ESTMServiceRequest",
            "convertPdfToDocx",
            "Base64Encode",
            "user-profile-settings",
            "HTMLToPDFConverter",
            "IcoTagsList",
        ] {
            assert!(!is_token(text), "{text}");
        }
    }
}
