//! What a query may hold. One list names it to the handler, which refuses everything else, and to
//! the document.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::operation::Form;

/// One parameter of a query.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    meaning: &'static str,
    required: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A number from 1 to `max`.
    Limit { default: u32, max: u32 },
    /// Any text.
    Text,
    /// One value.
    One(Form),
    /// 1 to `max` values with commas between.
    List { of: Form, max: usize },
}

impl Parameter {
    /// `limit`: how many items a page holds at most.
    pub const fn limit(default: u32, max: u32) -> Self {
        Self::new(
            "limit",
            "The most items of the page.",
            Kind::Limit { default, max },
        )
    }

    /// `cursor`: where a page begins.
    pub const fn cursor() -> Self {
        let meaning = "Where to go on: `next` of the page before. Good for one list of one user.";
        Self::new("cursor", meaning, Kind::Text)
    }

    /// A value whose text is described by `T`.
    pub const fn one<T: JsonSchema>(name: &'static str, meaning: &'static str) -> Self {
        Self::new(
            name,
            meaning,
            Kind::One(SchemaGenerator::subschema_for::<T>),
        )
    }

    /// 1 to `max` values with commas between, which must be there.
    pub const fn list<T: JsonSchema>(
        name: &'static str,
        meaning: &'static str,
        max: usize,
    ) -> Self {
        let of = SchemaGenerator::subschema_for::<T>;
        Self {
            required: true,
            ..Self::new(name, meaning, Kind::List { of, max })
        }
    }

    const fn new(name: &'static str, meaning: &'static str, kind: Kind) -> Self {
        Self {
            name,
            meaning,
            required: false,
            kind,
        }
    }

    /// The parameter as the document shows it.
    pub(super) fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        json!({
            "name": self.name,
            "in": "query",
            "description": self.meaning,
            "required": self.required,
            "style": "form",
            "explode": false,
            "schema": self.schema(generator),
        })
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        match self.kind {
            Kind::Limit { default, max } => json_schema!({
                "type": "integer", "minimum": 1, "maximum": max, "default": default,
            }),
            Kind::Text => json_schema!({"type": "string"}),
            Kind::One(of) => of(generator),
            Kind::List { of, max } => json_schema!({
                "type": "array", "items": of(generator), "minItems": 1, "maxItems": max,
            }),
        }
    }
}
