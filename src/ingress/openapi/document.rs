//! All routes as one OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::failure::{self, Responses};
use super::operation::{Answer, Operation};
use super::schema::Schemas;
use crate::ingress::reply::Problem;
use crate::ingress::route::{Route, Signature};
use crate::model::id::{GroupId, SessionId, UserId};

/// Describes these routes, but for files of pages.
pub fn document<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Value {
    let mut draft = Draft::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes.into_iter().filter(|route| route.is_described()) {
        let Signature { path, method, .. } = &route.signature;
        let methods = paths.entry(*path).or_insert_with(|| json!({}));
        methods[method.as_str().to_ascii_lowercase()] = draft.operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": info(),
        "servers": [{"url": "/", "description": "This server."}],
        "security": [{"bearer": []}],
        "tags": tags(&paths),
        "paths": paths,
        "components": draft.into_components(),
    })
}

fn info() -> Value {
    json!({
        "title": "Qunliu",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Group chat for merchants and their customers",
        "description": "Bodies are strict JSON: a field that is unknown, missing or out of its bounds is \
            refused by name. A position `[epoch, seq]` is a place in a group's log. What is pushed comes \
            over the WebSocket at `/v1/socket`, which `docs/asyncapi.yaml` describes.",
        "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    })
}

/// What is collected while routes are described.
struct Draft {
    schemas: Schemas,
    responses: Responses,
}

impl Draft {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        schemas.answers.subschema_for::<Problem<'_>>();
        Self {
            schemas,
            responses: Responses::new(),
        }
    }

    fn operation(&mut self, route: &Route) -> Value {
        let (signature, operation) = (&route.signature, &route.operation);
        let mut described = json!({
            "operationId": operation.name,
            "summary": operation.summary,
            "tags": [tag(signature.path)],
            "parameters": self.parameters(signature.path, operation),
            "responses": self.answers(operation),
        });
        if signature.is_open {
            described["security"] = json!([]);
        }
        if let Some(form) = operation.body {
            let schema = form(&mut self.schemas.requests);
            described["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": schema}},
            });
        }
        described
    }

    fn parameters(&mut self, path: &str, operation: &Operation) -> Vec<Value> {
        let generator = &mut self.schemas.requests;
        let mut parameters: Vec<_> = variables(path)
            .map(|name| {
                let schema = match name {
                    "group" => generator.subschema_for::<GroupId>(),
                    "user" => generator.subschema_for::<UserId>(),
                    "session" => generator.subschema_for::<SessionId>(),
                    _ => generator.subschema_for::<String>(),
                };
                let meaning = format!("The {name}. What is no id names nothing: `not_found`.");
                json!({
                    "name": name, "in": "path", "required": true,
                    "description": meaning, "schema": schema,
                })
            })
            .collect();
        parameters.extend(
            operation
                .query
                .iter()
                .map(|asked| asked.describe(generator)),
        );
        parameters
    }

    fn answers(&mut self, operation: &Operation) -> Map<String, Value> {
        let failures = failure::answers(&operation.failures, &mut self.responses);
        let mut answers: Map<_, _> = failures
            .into_iter()
            .map(|(status, answer)| (status.to_string(), answer))
            .collect();
        for answer in &operation.answers {
            answers.insert(answer.status.as_str().to_owned(), self.answer(answer));
        }
        answers
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut described = json!({"description": answer.meaning});
        if let Some((content_type, form)) = answer.content {
            let schema = form(&mut self.schemas.answers);
            described["content"] = json!({content_type: {"schema": schema}});
        }
        for (name, meaning) in &answer.headers {
            described["headers"][name.as_str()] =
                json!({"description": meaning, "schema": {"type": "string"}});
        }
        described
    }

    fn into_components(self) -> Value {
        json!({
            "schemas": self.schemas.into_components(),
            "responses": self.responses,
            "securitySchemes": {"bearer": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "The `access_token` of `register`, `login` or `refresh`.",
            }},
        })
    }
}

/// The names of a pattern's variables.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// What a path belongs to: the first word below `/v1`.
fn tag(path: &str) -> &str {
    let below = path.strip_prefix("/v1/");
    below
        .and_then(|path| path.split('/').next())
        .unwrap_or("server")
}

fn tags(paths: &Map<String, Value>) -> Vec<Value> {
    let mut names: Vec<_> = paths.keys().map(|path| tag(path)).collect();
    names.dedup();
    names
        .into_iter()
        .map(|name| json!({"name": name}))
        .collect()
}
