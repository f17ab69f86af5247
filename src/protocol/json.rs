//! Strict JSON from clients, for frames and for REST bodies alike: nesting is bounded, a key may
//! stand once, and an error names the field.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess,
    Visitor,
};

/// How deep arrays and objects may nest.
pub const NESTING_MAX: usize = 32;

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The path of the field, as in `body.text`; empty for the text as a whole.
    pub field: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

/// Parses `text` as exactly `T`. Call [`check`] first.
///
/// # Errors
/// The field that is unknown, missing, of the wrong type or out of its range.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Invalid> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        Invalid {
            field,
            detail: error.into_inner().to_string(),
        }
    })
}

/// What a shallow look at an object tells, whatever else it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The top-level string `type`.
    pub frame: Option<String>,
    /// The top-level integer `id`, if it is at most 2^53 − 1.
    pub id: Option<u64>,
    /// The top-level string `group`.
    pub group: Option<String>,
}

/// Checks that `text` is one JSON object within [`NESTING_MAX`] and without duplicate keys, and
/// notes its outline on the way.
///
/// # Errors
/// What is wrong, beside what could be read before it.
pub fn check(text: &[u8]) -> Result<Outline, (Outline, Invalid)> {
    let mut outline = Outline::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let looked = deserializer
        .deserialize_map(Top {
            outline: &mut outline,
        })
        .and_then(|()| deserializer.end());
    match looked {
        Ok(()) => Ok(outline),
        Err(error) => Err((
            outline,
            Invalid {
                field: String::new(),
                detail: error.to_string(),
            },
        )),
    }
}

/// Visits the top-level object.
struct Top<'a> {
    outline: &'a mut Outline,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            let key = keys.add(key)?;
            let mut seen = Scalar::default();
            map.next_value_seed(Value {
                depth: 2,
                scalar: &mut seen,
            })?;
            match key {
                "type" => self.outline.frame = seen.text,
                "group" => self.outline.group = seen.text,
                "id" => self.outline.id = seen.number.filter(|id| *id < 1 << 53),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The keys of one object so far.
#[derive(Default)]
struct Keys(HashSet<String>, String);

impl Keys {
    fn add<E: de::Error>(&mut self, key: String) -> Result<&str, E> {
        if !self.0.insert(key.clone()) {
            return Err(E::custom(format_args!("the key `{key}` stands twice")));
        }
        self.1 = key;
        Ok(&self.1)
    }
}

/// The last scalar that was visited.
#[derive(Default)]
struct Scalar {
    text: Option<String>,
    number: Option<u64>,
}

/// Visits any value at a depth, counting the top-level object as depth 1.
struct Value<'a> {
    depth: usize,
    scalar: &'a mut Scalar,
}

impl Value<'_> {
    fn deeper<E: de::Error>(&mut self) -> Result<usize, E> {
        if self.depth > NESTING_MAX {
            return Err(E::custom(format_args!("nests deeper than {NESTING_MAX}")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.scalar.number = Some(number);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        // Only short strings are of interest, and long ones need not be copied.
        self.scalar.text = (text.len() <= 64).then(|| text.to_owned());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let mut scalar = Scalar::default();
        while seq
            .next_element_seed(Value {
                depth,
                scalar: &mut scalar,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let mut keys = Keys::default();
        let mut scalar = Scalar::default();
        while let Some(key) = map.next_key::<String>()? {
            keys.add(key)?;
            map.next_value_seed(Value {
                depth,
                scalar: &mut scalar,
            })?;
        }
        Ok(())
    }
}

/// A field that may be there once and is not looked at: the `type` of a frame, known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known;

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        check(text.as_bytes()).unwrap_err().1.detail
    }

    #[test]
    fn the_outline_is_read_whatever_else_is_there() {
        let outline =
            check(r#"{"x":[{}],"type":"send","id":12,"group":"g_1"}"#.as_bytes()).unwrap();
        assert_eq!(outline.frame.as_deref(), Some("send"));
        assert_eq!(outline.id, Some(12));
        assert_eq!(outline.group.as_deref(), Some("g_1"));
    }

    #[test]
    fn what_could_be_read_before_an_error_is_kept() {
        let (outline, _) = check(br#"{"type":"send","id":12,"a":}"#).unwrap_err();
        assert_eq!(outline.id, Some(12));
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert!(refusal(r#"{"a":1,"a":2}"#).contains("`a` stands twice"));
        assert!(refusal(r#"{"b":[{"c":1,"c":2}]}"#).contains("`c` stands twice"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            format!(
                r#"{{"a":{}{}}}"#,
                "[".repeat(depth - 1),
                "]".repeat(depth - 1)
            )
        };
        assert!(check(nested(NESTING_MAX).as_bytes()).is_ok());
        assert!(refusal(&nested(NESTING_MAX + 1)).contains("deeper"));
        assert!(check("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn lone_surrogates_and_trailing_text_are_refused() {
        assert!(check(br#"{"a":"\ud800"}"#).is_err());
        assert!(check(br#"{} {}"#).is_err());
        assert!(check(b"[]").is_err());
        assert!(check(b"").is_err());
    }
}
