//! One pass of a JSON parser over a body, straight into the places of a schema.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Budget, DEPTH_MAX, Format, Place, Range, Schema, Text};

/// Adds a body to `schema`; `false`, and nothing added, when it is not JSON.
pub(super) fn infer(schema: &mut Schema, body: &[u8]) -> bool {
    // What fails halfway would leave half of its places behind, so the syntax is
    // checked first; that pass keeps nothing and allocates nothing.
    let Ok(text) = std::str::from_utf8(body) else { return false };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return false;
    }
    let mut budget = Budget { places: schema.places, cut: 0 };
    let seed = Seed { place: &mut schema.root, budget: &mut budget, depth: 0 };
    let done = seed.deserialize(&mut serde_json::Deserializer::from_str(text));
    schema.places = budget.places;
    schema.cut += budget.cut;
    done.is_ok()
}

/// Parses one value into a place.
struct Seed<'a> {
    place: &'a mut Place,
    budget: &'a mut Budget,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.place.types.null += 1;
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.place.types.boolean += 1;
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.place.types.integer += 1;
        self.place.add_number(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.place.types.integer += 1;
        self.place.add_number(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.place.types.number += 1;
        self.place.add_number(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.place.types.string += 1;
        self.place.add_text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { place, budget, depth } = self;
        place.types.array += 1;
        if depth >= DEPTH_MAX {
            budget.cut += 1;
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        // An empty array makes no place: nothing is known of its items.
        loop {
            let known = place.items.is_some();
            let before = budget.places;
            let Some(item) = place.items(budget) else {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            };
            let seed = Seed { place: item, budget, depth: depth + 1 };
            if items.next_element_seed(seed)?.is_none() {
                if !known {
                    place.items = None;
                    budget.places = before;
                }
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { place, budget, depth } = self;
        place.types.object += 1;
        if depth >= DEPTH_MAX {
            budget.cut += 1;
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while let Some(property) = entries.next_key_seed(Name { place, budget })? {
            match property {
                Some(place) => {
                    entries.next_value_seed(Seed { place, budget, depth: depth + 1 })?;
                }
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Parses a property name into the place of its value.
struct Name<'a, 'b> {
    place: &'a mut Place,
    budget: &'b mut Budget,
}

impl<'de, 'a> DeserializeSeed<'de> for Name<'a, '_> {
    type Value = Option<&'a mut Place>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a, '_> {
    type Value = Option<&'a mut Place>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.place.property(name, self.budget))
    }
}

impl Place {
    fn add_number(&mut self, value: f64) {
        let known = self.range;
        if known.is_some_and(|range| (range.min..=range.max).contains(&value)) {
            return;
        }
        let (low, high) = outwards(value);
        let range = known.unwrap_or(Range { min: low, max: high });
        self.range = Some(Range { min: range.min.min(low), max: range.max.max(high) });
    }

    fn add_text(&mut self, value: &str) {
        let length = u64::try_from(value.chars().count()).unwrap_or(u64::MAX);
        let text = self.text.get_or_insert_with(|| Text {
            min_length: length,
            max_length: length,
            formats: std::collections::BTreeMap::new(),
        });
        text.min_length = text.min_length.min(length);
        text.max_length = text.max_length.max(length);
        if let Some(format) = Format::of(value) {
            *text.formats.entry(format).or_default() += 1;
        }
    }
}

/// The powers of ten (or zero, or minus them) next to a number on either side.
fn outwards(value: f64) -> (f64, f64) {
    if value == 0.0 || !value.is_finite() {
        return (0.0, 0.0);
    }
    let size = value.abs();
    // Numbers under one are not told apart: their exponents have no bound.
    let (low, high) = if size < 1.0 {
        (0.0, 1.0)
    } else {
        let floor = size.log10().floor();
        let low = 10_f64.powf(floor);
        // The logarithm may be rounded up to the next power.
        let low = if low > size { low / 10.0 } else { low };
        // Infinity has no form in JSON.
        (low, 10_f64.powf(floor + 1.0).min(f64::MAX))
    };
    if value > 0.0 { (low, high) } else { (-high, -low) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(body: &str) -> Schema {
        let mut schema = Schema::default();
        schema.observe_json(body.as_bytes());
        schema
    }

    #[test]
    fn types_and_bounds_are_counted_per_place() {
        let schema = schema(r#"{"n":[1,-250,2.5,null,true],"s":"2024-01-01","e":[]}"#);
        let n = schema.root.properties["n"].items.as_ref().unwrap();
        assert_eq!((n.types.integer, n.types.number, n.types.null, n.types.boolean), (2, 1, 1, 1));
        assert_eq!(n.range, Some(Range { min: -1000.0, max: 10.0 }));
        let s = &schema.root.properties["s"];
        assert_eq!(s.text.as_ref().unwrap().format(1), Some(Format::Date));
        assert_eq!(schema.root.properties["e"].items, None);
    }

    #[test]
    fn what_is_not_json_adds_nothing() {
        let body = r#"{"a":1,"b":[1,2,{"c":"d"}]}"#;
        for len in 0..body.len() {
            let schema = schema(&body[..len]);
            assert_eq!((schema.malformed, &schema.root), (1, &Place::default()), "at {len} bytes");
        }
        assert_eq!(schema("{} x").malformed, 1);
        let mut bytes = Schema::default();
        bytes.observe_json(b"\"\xff\"");
        assert_eq!(bytes.malformed, 1);
    }

    #[test]
    fn depth_and_breadth_are_bounded() {
        for depth in [100, 100_000] {
            let schema = schema(&("[".repeat(depth) + &"]".repeat(depth)));
            assert!(schema.cut > 0 && schema.places <= 32);
        }
        let wide: Vec<String> = (0..200)
            .map(|a| {
                let inner: Vec<String> =
                    (0..20).map(|b| format!(r#""k{b}":{{"z{a}":1}}"#)).collect();
                format!(r#""p{a}":{{{}}}"#, inner.join(","))
            })
            .collect();
        let schema = schema(&format!("{{{}}}", wide.join(",")));
        assert!(schema.places <= 2000 && schema.cut > 0);
    }

    #[test]
    fn bounds_are_not_values() {
        assert_eq!(outwards(0.0), (0.0, 0.0));
        assert_eq!(outwards(7.0), (1.0, 10.0));
        assert_eq!(outwards(-1234.0), (-10_000.0, -1000.0));
        assert_eq!(outwards(0.25), (0.0, 1.0));
        let (low, high) = outwards(1e308);
        assert!(low <= 1e308 && high >= 1e308);
    }
}
