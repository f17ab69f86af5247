//! Lays tables over the built-in one. Its keys are all keys there are, and its values show the
//! type of each, so that text from the environment is read as what the key holds.

use std::path::Path;

use strsim::jaro_winkler;
use toml::{Table, Value};

use super::{Config, ConfigError, Flags, REFERENCE};

/// Variables of the environment that begin with `QUNLIU_`.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process. Ones that are not Unicode cannot be meant for us.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(pairs.filter(|(name, _)| is_ours(name)).collect())
    }

    /// These, for tests.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self(owned.collect())
    }
}

/// `QUNLIU_TEST_…` tells the tests where services are, not the server.
fn is_ours(name: &str) -> bool {
    name.starts_with("QUNLIU_") && !name.starts_with("QUNLIU_TEST_")
}

/// The built-in table and what was laid over it.
pub(super) struct Layers(Table);

impl Layers {
    pub(super) fn reference() -> Self {
        Self(
            REFERENCE
                .parse()
                .expect("config.toml is checked by the tests"),
        )
    }

    pub(super) fn lay_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        // Only the parser's message is kept: its full text quotes the line, and so a secret.
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.to_owned(),
                line: error.span().map_or(1, |span| line_of(&text, span.start)),
                message: error.message().to_owned(),
            })?;
        let origin = path.display().to_string();
        for (section, value) in table {
            let Value::Table(keys) = value else {
                self.section(&section, &origin)?;
                return Err(invalid(&section, "must be a section"));
            };
            for (key, value) in keys {
                self.set(&section, &key, value, &origin)?;
            }
        }
        Ok(())
    }

    pub(super) fn lay_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for (name, text) in &environment.0 {
            let path = name.trim_start_matches("QUNLIU_").to_lowercase();
            let (section, key) = path.split_once('_').unwrap_or((&path, ""));
            let value = self.read_text(section, key, text, name)?;
            self.set(section, key, value, name)?;
        }
        Ok(())
    }

    pub(super) fn lay_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let given = [
            ("listen", "--listen", &flags.listen),
            ("admin_listen", "--admin-listen", &flags.admin_listen),
            ("data", "--data", &flags.data),
        ];
        for (key, flag, value) in given {
            if let Some(value) = value {
                self.set("server", key, Value::String(value.clone()), flag)?;
            }
        }
        Ok(())
    }

    /// What the types refuse is told by the default, for their own words quote the value.
    pub(super) fn read(self) -> Result<Config, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.0)).map_err(|error| {
            let path = error.path().to_string();
            let reference = Value::Table(Self::reference().0);
            let default = path
                .split('.')
                .try_fold(&reference, |value, name| value.get(name));
            let default = default.map(ToString::to_string).unwrap_or_default();
            let detail =
                format!("is out of its bounds, or not of the form of its default, {default}");
            invalid(&path, &detail)
        })
    }

    fn set(
        &mut self,
        section: &str,
        key: &str,
        value: Value,
        origin: &str,
    ) -> Result<(), ConfigError> {
        let held = self.held(section, key, origin)?;
        if !same_type(held, &value) {
            return Err(invalid(
                &format!("{section}.{key}"),
                &format!("must be {}", wanted(held)),
            ));
        }
        *held = value;
        Ok(())
    }

    fn section(&mut self, section: &str, origin: &str) -> Result<&mut Table, ConfigError> {
        if !self.0.contains_key(section) {
            let names = self.0.keys();
            let scored = names.map(|name| (jaro_winkler(name, section), name));
            let best = scored.max_by(|one, two| one.0.total_cmp(&two.0));
            return Err(unknown(section, best.map(|(_, name)| name.clone()), origin));
        }
        match self.0.get_mut(section) {
            Some(Value::Table(table)) => Ok(table),
            _ => Err(invalid(section, "must be a section")),
        }
    }

    fn held(&mut self, section: &str, key: &str, origin: &str) -> Result<&mut Value, ConfigError> {
        if !self.section(section, origin)?.contains_key(key) {
            let nearest = self.nearest(section, key);
            return Err(unknown(&format!("{section}.{key}"), nearest, origin));
        }
        let table = self.section(section, origin)?;
        Ok(table.entry(key.to_owned()).or_insert(Value::Boolean(false)))
    }

    /// The key of any section that looks most like this one; of those that do alike, in the section
    /// that does.
    fn nearest(&self, section: &str, key: &str) -> Option<String> {
        let sections = self.0.iter();
        let tables = sections.filter_map(|(of, keys)| Some((of, keys.as_table()?)));
        let all = tables.flat_map(|(of, keys)| keys.keys().map(move |name| (of, name)));
        let likeness = |of: &str, name: &str| (jaro_winkler(name, key), jaro_winkler(of, section));
        let scored = all.map(|(of, name)| (likeness(of, name), format!("{of}.{name}")));
        let best = scored.max_by(|(one, _), (two, _)| {
            let by_section = one.1.total_cmp(&two.1);
            one.0.total_cmp(&two.0).then(by_section)
        });
        best.map(|(_, name)| name)
    }

    /// Reads text as the type that the key holds.
    fn read_text(
        &mut self,
        section: &str,
        key: &str,
        text: &str,
        origin: &str,
    ) -> Result<Value, ConfigError> {
        let held = self.held(section, key, origin)?;
        let value = match held {
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Value::Array(_) => Some(Value::Array(split(text))),
            _ => Some(Value::String(text.to_owned())),
        };
        value.ok_or_else(|| {
            invalid(
                &format!("{section}.{key}"),
                &format!("must be {}", wanted(held)),
            )
        })
    }
}

fn split(text: &str) -> Vec<Value> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(|part| Value::String(part.to_owned())).collect()
}

fn same_type(held: &Value, given: &Value) -> bool {
    match (held, given) {
        (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_str),
        (Value::Integer(_), Value::Integer(number)) => *number >= 0,
        _ => held.same_type(given),
    }
}

const fn wanted(held: &Value) -> &'static str {
    match held {
        Value::Integer(_) => "a whole number, not negative",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of strings",
        _ => "a string",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

fn invalid(key: &str, detail: &str) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        detail: detail.to_owned(),
    }
}

fn unknown(key: &str, nearest: Option<String>, origin: &str) -> ConfigError {
    ConfigError::UnknownKey {
        origin: origin.to_owned(),
        key: key.to_owned(),
        nearest,
    }
}
