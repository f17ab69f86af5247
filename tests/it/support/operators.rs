//! Operators of a database in the place of values, for requests and frames alike.

use serde_json::{Value, json};

/// Each means something to MongoDB where a filter is made of what a client sent.
pub(crate) fn operators() -> [Value; 3] {
    [
        json!({"$gt": ""}),
        json!({"$ne": null}),
        json!({"$where": "sleep(9)"}),
    ]
}

/// Pointers (RFC 6901) to every value within this one, itself left out. No name in it may hold a
/// slash.
pub(crate) fn pointers(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    gather(value, "", &mut found);
    found
}

fn gather(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, one)| (name.clone(), one))
            .collect(),
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered
                .map(|(index, one)| (index.to_string(), one))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, child) in children {
        let pointer = format!("{at}/{name}");
        gather(child, &pointer, found);
        found.push(pointer);
    }
}
