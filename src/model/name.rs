//! Names people choose, parsed once at the edge (protocol.md, "names").

use std::fmt;

use schemars::JsonSchema;

/// Characters of an account name: at least, and at most.
const ACCOUNT_MIN: usize = 2;
const ACCOUNT_MAX: usize = 64;

/// Characters of a shown name at most.
const SHOWN_MAX: usize = 64;

/// Text without control characters, as a pattern (ECMA 262).
pub const NO_CONTROL: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// The same, and not blank: white space as Unicode has it.
const NOT_BLANK: &str = concat!(
    r"^[^\x00-\x1f\x7f-\x9f]*",
    r"[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\x00-\x1f\x7f-\x9f]*$",
);

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(&'static str);

/// The name one logs in with: 2 to 64 of `a-z0-9._-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(inline, with = "String", extend(
    "minLength" = ACCOUNT_MIN,
    "maxLength" = ACCOUNT_MAX,
    "pattern" = "^[a-z0-9._-]*$",
    "examples" = ["li.lei"],
))]
pub struct AccountName(String);

/// A name shown to people: of a person, a group, a merchant. 1 to 64 characters, not blank,
/// without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(inline, with = "String", extend(
    "minLength" = 1,
    "maxLength" = SHOWN_MAX,
    "pattern" = NOT_BLANK,
    "examples" = ["李雷"],
))]
pub struct ShownName(String);

impl AccountName {
    /// # Errors
    /// The text is too short, too long, or holds another character.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if (ACCOUNT_MIN..=ACCOUNT_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName(
            "must be 2 to 64 characters of a-z, 0-9, dot, underscore and hyphen",
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ShownName {
    /// White space around the text counts towards its length, and is dropped.
    ///
    /// # Errors
    /// The text is blank, too long, or holds a control character.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits = text.chars().count() <= SHOWN_MAX;
        let text = text.trim();
        if fits && !text.is_empty() && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName(
            "must be 1 to 64 characters, not blank, without control characters",
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ShownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_keep_to_their_alphabet() {
        assert!(AccountName::parse("li.lei").is_ok());
        for text in ["", "a", "Li", "李雷", "a b", "a\0b", &"a".repeat(65)] {
            assert!(AccountName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn shown_names_count_characters_and_not_bytes() {
        assert_eq!(ShownName::parse(" 老街面馆 ").unwrap().as_str(), "老街面馆");
        assert!(ShownName::parse(&"字".repeat(64)).is_ok());
        assert!(ShownName::parse(&"字".repeat(65)).is_err());
        assert!(ShownName::parse("  ").is_err());
        assert!(ShownName::parse("a\u{7}b").is_err());
    }
}
