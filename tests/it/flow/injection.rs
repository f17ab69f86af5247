//! Operators of a database in the place of values: for every field of every body and every
//! parameter that the server describes, so that a new one is tried without being named here. What
//! sockets take is tried in `wire/client.rs`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::operators::{operators, pointers};
use crate::support::server::{Person, TestServer};

/// An owner, another person, and a group of both.
struct House {
    server: TestServer,
    owner: Person,
    other: Person,
    group: String,
    document: Value,
}

impl House {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let owner = server.register("li.lei").await;
        let other = server.register("han.meimei").await;
        let group = owner.found("群", &[&other]).await;
        let group = group.rsplit('/').next().unwrap().to_owned();
        let document = server.anyone().get("/openapi.json").await.ok();
        Self {
            server,
            owner,
            other,
            group,
            document,
        }
    }

    /// Every operation: method, path, what it takes.
    fn operations(&self) -> Vec<(Method, String, &Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &'_ Value)| {
            let methods = methods.as_object().unwrap().keys();
            methods
                .map(|method| (method.clone(), path.clone()))
                .collect::<Vec<_>>()
        };
        let named = paths.iter().flat_map(of_path);
        named
            .map(|(method, path)| {
                let operation = &self.document["paths"][&path][&method];
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                (method, path, operation)
            })
            .collect()
    }

    /// The path with ids that are there.
    fn target(&self, path: &str) -> String {
        path.replace("{group}", &self.group)
            .replace("{user}", &self.other.id)
            .replace("{session}", &format!("s_{}", "0".repeat(32)))
    }

    /// A value of this form, so that nothing but the field that is tried is wrong.
    fn value(&self, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.value(self.document.pointer(&reference[1..]).unwrap());
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            if let Some(first) = schema[choice].get(0) {
                return merged(self.value(first), self.fields(schema));
            }
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        let of_type = schema["type"].as_str().or(schema["type"][0].as_str());
        match of_type.unwrap_or("object") {
            "string" => self.text(schema),
            "integer" | "number" => json!(1),
            "boolean" => json!(true),
            "array" => self.list(schema),
            _ => self.fields(schema),
        }
    }

    fn text(&self, schema: &Value) -> Value {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        match pattern {
            user if user.contains("u_") => json!(self.other.id),
            group if group.contains("g_") => json!(self.group),
            merchant if merchant.contains("t_") => json!(format!("t_{}", "0".repeat(32))),
            _ if schema["format"] == "uuid" => json!(uuid::Uuid::new_v4()),
            _ => json!("words enough"),
        }
    }

    fn list(&self, schema: &Value) -> Value {
        match schema["prefixItems"].as_array() {
            Some(items) => items.iter().map(|item| self.value(item)).collect(),
            None => json!([self.value(&schema["items"])]),
        }
    }

    fn fields(&self, schema: &Value) -> Value {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let fields = fields.map(|(name, field)| (name.clone(), self.value(field)));
        Value::Object(fields.collect())
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_of_a_body_takes_an_operator() {
    let house = House::new().await;
    let mut tried = 0;
    for (method, path, operation) in house.operations() {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let (target, good) = (house.target(&path), house.value(schema));
        let fields = pointers(&good);
        assert!(
            !fields.is_empty(),
            "{path} takes a body without fields: {schema}"
        );
        for field in fields {
            for operator in operators() {
                let mut body = good.clone();
                *body.pointer_mut(&field).unwrap() = operator;
                let body = body.to_string();
                let answer = house
                    .owner
                    .client
                    .json(method.clone(), &target, &body)
                    .await;
                let problem = answer.problem(400, "bad_request");
                let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
                let outermost = field[1..].split('/').next().unwrap();
                assert!(named.starts_with(outermost), "{path} {body}: {problem}");
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "only {tried} were tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_parameter_takes_an_operator() {
    let house = House::new().await;
    let escaped = "%7B%22%24gt%22%3A%22%22%7D";
    let mut tried = 0;
    for (method, path, operation) in house.operations() {
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            let send = async |target: &str| {
                let client = &house.owner.client;
                client.send(method.clone(), target, &[], None).await
            };
            if parameter["in"] == "path" {
                let target = house.target(&path.replace(&format!("{{{name}}}"), escaped));
                let answer = send(&target).await;
                assert!(
                    (400..500).contains(&answer.status),
                    "{method} {target}: {answer:?}"
                );
                tried += 1;
            }
            if parameter["in"] == "query" {
                let target = house.target(&path);
                for query in [format!("{name}={escaped}"), format!("{name}%5B%24gt%5D=1")] {
                    let answer = send(&format!("{target}?{query}")).await;
                    answer.problem(400, "bad_request");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 20, "only {tried} were tried");
    assert_eq!(house.server.anyone().get("/healthz").await.status, 200);
}
