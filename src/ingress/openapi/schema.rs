//! Forms of what comes in and of what goes out. One type may have both: what is left out when it
//! is empty is optional in an answer, what has a default is optional in a request. Where both
//! are used they must agree, for a name stands for one form in the whole document.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where named forms stand in the document.
const PLACE: &str = "/components/schemas";

/// Makes forms, and collects those that have a name.
pub(super) struct Schemas {
    /// Of what comes in.
    pub(super) requests: SchemaGenerator,
    /// Of what goes out.
    pub(super) answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = PLACE.into();
            settings.meta_schema = None;
        });
        let settings = settings.with_transform(RecursiveTransform(join_lines));
        Self {
            requests: settings.clone().for_deserialize().into_generator(),
            answers: settings
                .for_serialize()
                .with_transform(RecursiveTransform(leave_out_null))
                .into_generator(),
        }
    }

    /// Every named form.
    pub(super) fn into_components(mut self) -> Map<String, Value> {
        let mut named = self.answers.take_definitions(true);
        for (name, form) in self.requests.take_definitions(true) {
            let same = named.get(&name).is_none_or(|other| *other == form);
            debug_assert!(
                same,
                "{name} is one thing in requests and another in answers"
            );
            named.insert(name, form);
        }
        named
    }
}

/// Comments are wrapped in the source; a description is not.
fn join_lines(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// A field of an answer that may be left out is never null: it is left out instead.
fn leave_out_null(schema: &mut Schema) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        let names = required.as_array();
        names.is_some_and(|names| names.iter().any(|known| known == name))
    };
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if !is_required(name) {
            drop_null(property);
        }
    }
}

fn drop_null(property: &mut Value) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            property["type"] = only.clone();
        }
    }
    let Some(Value::Array(choices)) = property.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let ([only], Some(fields)) = (choices.clone().as_slice(), property.as_object_mut()) {
        fields.remove("anyOf");
        fields.extend(only.as_object().cloned().unwrap_or_default());
    }
}
