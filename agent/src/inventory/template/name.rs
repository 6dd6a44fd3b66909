//! Names of path parameters: after the noun before them.

/// Longest name made from a noun.
const NAME_MAX: usize = 40;

/// Nouns whose singular no rule gives.
const IRREGULAR: [(&str, &str); 12] = [
    ("people", "person"),
    ("children", "child"),
    ("men", "man"),
    ("women", "woman"),
    ("indices", "index"),
    ("matrices", "matrix"),
    ("vertices", "vertex"),
    ("analyses", "analysis"),
    ("movies", "movie"),
    ("cookies", "cookie"),
    ("caches", "cache"),
    ("databases", "database"),
];

/// Nouns that look like plurals and are not, by their end.
const SAME: [&str; 8] = ["ss", "us", "is", "news", "series", "species", "aws", "dns"];

/// Name of the parameter that follows `noun`, unlike all of `used`: `userId` after
/// `users`, `id` without a noun.
pub fn parameter(noun: Option<&str>, used: &[String]) -> String {
    let base = match noun.map(|noun| camel(&singular(noun))) {
        Some(name) if name == "id" || name.ends_with("Id") => name,
        Some(name) if !name.is_empty() => format!("{name}Id"),
        _ => "id".to_owned(),
    };
    if !used.contains(&base) {
        return base;
    }
    // One more candidate than there are names in use.
    (2..used.len() + 3)
        .map(|number| format!("{base}{number}"))
        .find(|name| !used.contains(name))
        .unwrap_or(base)
}

/// Singular of an English noun, of the last word of several.
pub fn singular(noun: &str) -> String {
    let lower = noun.to_ascii_lowercase();
    for (plural, singular) in IRREGULAR {
        if lower.ends_with(plural) && lower.len() == noun.len() {
            let kept = noun.get(..noun.len() - plural.len()).unwrap_or("");
            // Only a whole word: not the end of `specimen`.
            if kept.is_empty() || kept.ends_with(['-', '_', '.']) {
                return format!("{kept}{singular}");
            }
        }
    }
    if SAME.iter().any(|end| lower.ends_with(end)) {
        return noun.to_owned();
    }
    let cut = |len: usize| noun.get(..noun.len() - len).unwrap_or(noun);
    if lower.ends_with("ies") && lower.len() > 4 {
        return format!("{}y", cut(3));
    }
    let es = ["sses", "xes", "zzes", "ches", "shes", "uses"];
    if es.iter().any(|end| lower.ends_with(end)) {
        return cut(2).to_owned();
    }
    if lower.ends_with('s') && lower.len() > 2 { cut(1).to_owned() } else { noun.to_owned() }
}

/// `user-groups` and `UserGroups` as `userGroups`; letters and digits of ASCII only.
pub fn camel(text: &str) -> String {
    let mut name = String::new();
    let mut word_starts = false;
    for letter in text.chars() {
        if name.len() >= NAME_MAX {
            break;
        }
        if !letter.is_ascii_alphanumeric() {
            word_starts = !name.is_empty();
        } else if name.is_empty() {
            if letter.is_ascii_alphabetic() {
                name.push(letter.to_ascii_lowercase());
            }
        } else if word_starts {
            name.push(letter.to_ascii_uppercase());
            word_starts = false;
        } else {
            name.push(letter);
        }
    }
    // `ID` and `URL` are words, not `iD` and `uRL`.
    if name.bytes().skip(1).all(|byte| !byte.is_ascii_lowercase()) {
        name.make_ascii_lowercase();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_named_after_the_noun_before_it() {
        for (noun, name) in [
            ("users", "userId"),
            ("companies", "companyId"),
            ("boxes", "boxId"),
            ("addresses", "addressId"),
            ("statuses", "statusId"),
            ("status", "statusId"),
            ("series", "seriesId"),
            ("people", "personId"),
            ("user-groups", "userGroupId"),
            ("UserGroups", "userGroupId"),
            ("release_notes", "releaseNoteId"),
            ("ID", "id"),
            ("databases", "databaseId"),
            ("é", "id"),
            ("7", "id"),
        ] {
            assert_eq!(parameter(Some(noun), &[]), name, "{noun}");
        }
        assert_eq!(parameter(None, &[]), "id");
    }

    #[test]
    fn names_within_a_path_differ() {
        let used = ["userId".to_owned(), "userId2".to_owned()];
        assert_eq!(parameter(Some("users"), &used), "userId3");
    }
}
