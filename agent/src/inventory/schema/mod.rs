//! Schemas learned from bodies: streaming, mergeable, bounded, without values.

mod format;
mod infer;

use std::collections::BTreeMap;

pub use format::Format;
use serde::{Deserialize, Serialize};

use crate::redact;

/// Places of one schema; what is found beyond is counted in `cut`.
const PLACES_MAX: u32 = 2000;
/// Levels of nesting that are looked into.
const DEPTH_MAX: u32 = 32;
/// Named properties of one object; one with more is a map.
const PROPERTIES_MAX: usize = 512;
/// Properties from which on an object may be a map, if most are seen seldom.
const MAP_MIN: usize = 48;
/// Longest property name that is kept.
const NAME_MAX: usize = 128;
/// Bodies that are all looked at; of those after, one of [`SAMPLE`] is.
const ALL: u64 = 64;
/// See [`ALL`].
const SAMPLE: u64 = 16;

/// What is known of the bodies of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Bodies, whether looked into or not.
    pub bodies: u64,
    /// Of these, bodies that the schema was inferred from.
    pub inferred: u64,
    /// Of these, bodies of which a part is missing.
    pub partial: u64,
    /// Of these, bodies that are not what their media type says.
    pub malformed: u64,
    /// Values left out because a bound was reached.
    pub cut: u64,
    /// Places below and with `root`.
    places: u32,
    /// The body as a whole.
    pub root: Place,
}

/// What is known of the values at one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Values by type.
    pub types: Types,
    /// Of the strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Of the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// Of the objects: what is at each name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<Box<str>, Self>,
    /// Of the objects: what is at names that are data themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<Box<Self>>,
    /// Names of the objects are data, all of them: new ones are not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    map: bool,
    /// Of the arrays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Self>>,
}

/// Values by JSON type. An integer is not counted as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of JSON Schema")]
pub struct Types {
    pub null: u64,
    pub boolean: u64,
    pub integer: u64,
    pub number: u64,
    pub string: u64,
    pub array: u64,
    pub object: u64,
}

/// Strings at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Shortest, in characters.
    pub min_length: u64,
    /// Longest, in characters.
    pub max_length: u64,
    /// Strings by format.
    pub formats: BTreeMap<Format, u64>,
}

/// Bounds of the numbers at one place, moved outwards to a power of ten: a bound
/// that was itself a value would give the value away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// No number is less.
    pub min: f64,
    /// No number is more.
    pub max: f64,
}

impl Schema {
    /// Learns from a body. Looks into the first 64, then into one of 16.
    pub fn observe_json(&mut self, body: &[u8]) {
        self.bodies += 1;
        if self.inferred < ALL || self.bodies.is_multiple_of(SAMPLE) {
            if infer::infer(self, body) {
                self.inferred += 1;
            } else {
                self.malformed += 1;
            }
        }
    }

    /// Counts a body that is not looked into.
    pub fn count(&mut self, partial: bool) {
        self.bodies += 1;
        self.partial += u64::from(partial);
    }

    /// Adds all that `other` knows.
    pub fn merge(&mut self, other: Self) {
        self.bodies += other.bodies;
        self.inferred += other.inferred;
        self.partial += other.partial;
        self.malformed += other.malformed;
        self.cut += other.cut;
        let mut budget = Budget { places: self.places, cut: 0 };
        self.root.merge(other.root, &mut budget);
        self.places = budget.places;
        self.cut += budget.cut;
    }
}

/// Places that were made and values that were left out.
struct Budget {
    places: u32,
    cut: u64,
}

impl Budget {
    fn take(&mut self) -> bool {
        let left = self.places < PLACES_MAX;
        if left {
            self.places += 1;
        } else {
            self.cut += 1;
        }
        left
    }
}

impl Types {
    /// Values in all.
    pub const fn total(&self) -> u64 {
        self.null
            + self.boolean
            + self.integer
            + self.number
            + self.string
            + self.array
            + self.object
    }
}

impl Place {
    /// Every object at this place had the property, and enough were seen to say so.
    pub fn requires(&self, property: &Self) -> bool {
        self.types.object >= 5 && property.types.total() >= self.types.object
    }

    /// The place of a property; `None` when a bound was reached.
    fn property(&mut self, name: &str, budget: &mut Budget) -> Option<&mut Self> {
        // Looked up twice, since a borrow that is returned would last: two
        // lookups cost less than the copy of a name.
        if self.properties.contains_key(name) {
            return self.properties.get_mut(name);
        }
        if name.len() > NAME_MAX || self.is_map() || is_data(name) {
            return self.additional(budget);
        }
        if !budget.take() {
            return None;
        }
        Some(self.properties.entry(name.into()).or_default())
    }

    fn additional(&mut self, budget: &mut Budget) -> Option<&mut Self> {
        if self.additional.is_none() && !budget.take() {
            return None;
        }
        Some(self.additional.get_or_insert_default())
    }

    fn items(&mut self, budget: &mut Budget) -> Option<&mut Self> {
        if self.items.is_none() && !budget.take() {
            return None;
        }
        Some(self.items.get_or_insert_default())
    }

    /// The names of this object are data: there are too many, or many of which
    /// each is seen in few objects. Then those known are folded into one place.
    fn is_map(&mut self) -> bool {
        let len = self.properties.len();
        if self.map || len < MAP_MIN {
            return self.map;
        }
        let seen: u64 = self.properties.values().map(|place| place.types.total()).sum();
        // Mean presence of a property under 1/8.
        let seldom = seen.saturating_mul(8)
            < self.types.object.saturating_mul(u64::try_from(len).unwrap_or(u64::MAX));
        if !seldom && len < PROPERTIES_MAX {
            return false;
        }
        let mut folded = self.additional.take().map(|place| *place).unwrap_or_default();
        // Folding only frees places, so the budget of the fold does not matter;
        // `places` stays an upper bound.
        let mut budget = Budget { places: 0, cut: 0 };
        for place in std::mem::take(&mut self.properties).into_values() {
            folded.merge(place, &mut budget);
        }
        self.additional = Some(Box::new(folded));
        self.map = true;
        true
    }

    fn merge(&mut self, other: Self, budget: &mut Budget) {
        self.types.add(&other.types);
        self.map |= other.map;
        self.text = match (self.text.take(), other.text) {
            (Some(a), Some(b)) => Some(a.merge(&b)),
            (a, b) => a.or(b),
        };
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some(Range { min: a.min.min(b.min), max: a.max.max(b.max) }),
            (a, b) => a.or(b),
        };
        for (name, place) in other.properties {
            if let Some(own) = self.property(&name, budget) {
                own.merge(place, budget);
            }
        }
        if let Some(place) = other.additional
            && let Some(own) = self.additional(budget)
        {
            own.merge(*place, budget);
        }
        if let Some(place) = other.items
            && let Some(own) = self.items(budget)
        {
            own.merge(*place, budget);
        }
    }
}

impl Types {
    fn add(&mut self, other: &Self) {
        self.null += other.null;
        self.boolean += other.boolean;
        self.integer += other.integer;
        self.number += other.number;
        self.string += other.string;
        self.array += other.array;
        self.object += other.object;
    }
}

impl Text {
    fn merge(mut self, other: &Self) -> Self {
        self.min_length = self.min_length.min(other.min_length);
        self.max_length = self.max_length.max(other.max_length);
        for (format, votes) in &other.formats {
            *self.formats.entry(*format).or_default() += votes;
        }
        self
    }

    /// The format that all strings have.
    pub fn format(&self, strings: u64) -> Option<Format> {
        let (format, votes) = self.formats.iter().next()?;
        (self.formats.len() == 1 && *votes == strings).then_some(*format)
    }
}

/// A property name that is a value: a number, an id, an address, a date, a secret.
fn is_data(name: &str) -> bool {
    use super::template::{Kind, segment::detect};
    name.is_empty()
        || redact::is_secret(name)
        || detect(name).is_some_and(|kind| kind != Kind::PrefixedId || name.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(bodies: &[&str]) -> Schema {
        let mut schema = Schema::default();
        for body in bodies {
            schema.observe_json(body.as_bytes());
        }
        schema
    }

    #[test]
    fn merged_schemas_equal_the_one_of_all_bodies() {
        let bodies = [
            r#"{"id":1,"tags":["a","b"],"at":"2024-01-01"}"#,
            r#"{"id":"x","tags":[],"nested":{"a":null}}"#,
            r#"[{"id":1.5}]"#,
            "true",
        ];
        for at in 0..=bodies.len() {
            let (a, b) = bodies.split_at(at);
            let mut merged = schema(a);
            merged.merge(schema(b));
            assert_eq!(merged, schema(&bodies), "split at {at}");
        }
    }

    #[test]
    fn names_that_are_data_are_folded() {
        let numbers = schema(&[r#"{"1":{"a":1},"2":{"a":2},"name":"x"}"#]);
        assert_eq!(numbers.root.properties.len(), 1);
        assert_eq!(numbers.root.additional.unwrap().types.object, 2);

        let key = "sk_live_51HxK2eZvKYlo2C0aBcDeFgH";
        let secrets = schema(&[&format!(r#"{{"ann@example.com":1,"{key}":2,"name":"x"}}"#)]);
        assert_eq!(secrets.root.properties.len(), 1);

        let mut many = Schema::default();
        for number in 0..64 {
            let name: String = format!("{number:02}").bytes().map(|b| char::from(b + 49)).collect();
            many.observe_json(format!(r#"{{"{name}":1}}"#).as_bytes());
        }
        assert!(many.root.properties.is_empty());
        assert_eq!(many.root.additional.unwrap().types.integer, 64);
    }

    #[test]
    fn no_value_is_in_a_schema() {
        let schema = schema(&[r#"{"name":"secret-word","card":4111111111111111}"#]);
        let text = serde_json::to_string(&schema).unwrap();
        assert!(!text.contains("secret") && !text.contains("4111"), "{text}");
    }

    #[test]
    fn a_property_is_required_when_all_objects_had_it() {
        let one = schema(&[r#"{"a":1,"b":1}"#; 4]);
        assert!(!one.root.requires(&one.root.properties["a"]), "too few to say");
        let mut bodies = vec![r#"{"a":1,"b":null}"#; 9];
        bodies.push(r#"{"b":2}"#);
        let schema = schema(&bodies);
        assert!(!schema.root.requires(&schema.root.properties["a"]));
        assert!(schema.root.requires(&schema.root.properties["b"]));
    }

    #[test]
    fn after_the_first_bodies_few_are_looked_into() {
        let schema = schema(&["1"; 64 + 160]);
        assert_eq!((schema.bodies, schema.inferred), (224, 74));
    }

    #[test]
    fn a_schema_survives_json() {
        let schema = schema(&[r#"{"a":[1,2.5,{"b":"10.0.0.1"}],"7":0}"#]);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema);
    }
}
