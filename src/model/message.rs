//! What a message says: [`Body`] is the one list of message kinds. A kind is added by a variant
//! here with its validation, and a golden frame in `tests/wire/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::UserId;

/// The longest text of a message, in Unicode scalars (protocol.md, "WebSocket").
pub const TEXT_CHARS_MAX: usize = 20_000;

/// The most people one message may mention.
pub const MENTIONS_MAX: usize = 100;

/// A text without NUL that is not blank, as a pattern (ECMA 262): white space as Unicode has it.
const TEXT_PATTERN: &str = concat!(
    r"^[^\x00]*",
    r"[^\x00\x09-\x0d\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\x00]*$",
);

/// The content of a message. As JSON `{"kind":"text","text":"在吗"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "AnyBody")]
#[schemars(!try_from, deny_unknown_fields)]
pub enum Body {
    /// Plain text.
    Text {
        /// Unicode scalars without NUL, not blank.
        #[schemars(
            length(min = 1, max = TEXT_CHARS_MAX),
            regex(pattern = TEXT_PATTERN),
            example = &"在吗",
        )]
        text: String,
    },
}

/// The fields of every kind side by side, so that an error of parsing names the exact field
/// (serde's tagged enums lose the path).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyBody {
    kind: BodyKind,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyKind {
    Text,
}

impl TryFrom<AnyBody> for Body {
    type Error = &'static str;

    fn try_from(any: AnyBody) -> Result<Self, Self::Error> {
        match any.kind {
            BodyKind::Text => any
                .text
                .map(|text| Self::Text { text })
                .ok_or("missing field `text`"),
        }
    }
}

/// Why a body is refused: the field below `body`, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBody {
    /// The path of the field, as in `text`.
    pub field: &'static str,
    /// What is wrong and how to mend it.
    pub detail: String,
}

impl Body {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first field that is out of its bounds.
    pub fn validate(&self) -> Result<(), InvalidBody> {
        match self {
            Self::Text { text } => validate_text(text),
        }
    }
}

fn validate_text(text: &str) -> Result<(), InvalidBody> {
    let invalid = |detail: String| {
        Err(InvalidBody {
            field: "text",
            detail,
        })
    };
    if text.contains('\0') {
        return invalid("must not contain NUL (U+0000)".to_owned());
    }
    if text.trim().is_empty() {
        return invalid("must not be empty or blank".to_owned());
    }
    match text.chars().count() {
        chars if chars > TEXT_CHARS_MAX => invalid(format!(
            "has {chars} characters, at most {TEXT_CHARS_MAX} are allowed"
        )),
        _ => Ok(()),
    }
}

/// Whom a message mentions. As JSON a list of user ids, or `"all"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Mentions {
    /// Everyone in the group.
    All(AllWord),
    /// These people.
    Users(#[schemars(length(max = MENTIONS_MAX))] Vec<UserId>),
}

/// The word `"all"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AllWord {
    /// `"all"`.
    #[serde(rename = "all")]
    All,
}

impl Default for Mentions {
    fn default() -> Self {
        Self::Users(Vec::new())
    }
}

impl Mentions {
    /// Whether nobody is mentioned.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Users(users) if users.is_empty())
    }

    /// Whether everyone is mentioned.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All(_))
    }

    /// The people named one by one.
    pub fn users(&self) -> &[UserId] {
        match self {
            Self::All(_) => &[],
            Self::Users(users) => users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: String) -> Result<(), InvalidBody> {
        Body::Text { text }.validate()
    }

    #[test]
    fn a_text_of_exactly_the_bound_is_taken_and_one_more_is_not() {
        assert_eq!(text("字".repeat(TEXT_CHARS_MAX)), Ok(()));
        let refused = text("字".repeat(TEXT_CHARS_MAX + 1)).unwrap_err();
        assert!(refused.detail.contains("20001"), "{}", refused.detail);
    }

    #[test]
    fn nul_and_blank_texts_are_refused() {
        assert!(text("a\0b".to_owned()).is_err());
        assert!(text(" \n".to_owned()).is_err());
    }

    #[test]
    fn mentions_are_all_or_a_list() {
        let all: Mentions = serde_json::from_str("\"all\"").unwrap();
        assert!(all.is_all());
        assert_eq!(serde_json::to_string(&all).unwrap(), "\"all\"");
        assert!(serde_json::from_str::<Mentions>("[]").unwrap().is_empty());
        assert!(serde_json::from_str::<Mentions>("\"some\"").is_err());
    }
}
