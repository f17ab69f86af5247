//! The error table: name, HTTP status, close code, whether a retry may help, and the public
//! sentence in Chinese and English (protocol.md, "Error codes").

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::websocket::close::CloseCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $close:expr, $retry:literal,
        $zh:literal, $en:literal;)+) => {
        /// A name for what went wrong that clients may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)+ }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The WebSocket close code, where a socket is closed for it.
            pub const fn close_code(self) -> Option<CloseCode> {
                match self { $(Self::$variant => $close,)+ }
            }

            /// Whether the same request may succeed later.
            pub const fn may_retry(self) -> bool {
                match self { $(Self::$variant => $retry,)+ }
            }

            /// What a person reads, in Chinese.
            pub const fn sentence_zh(self) -> &'static str {
                match self { $(Self::$variant => $zh,)+ }
            }

            /// What a person reads, in English.
            pub const fn sentence_en(self) -> &'static str {
                match self { $(Self::$variant => $en,)+ }
            }
        }
    };
}

codes! {
    /// A field over its bound, unknown, missing or of the wrong type; an unknown frame type.
    BadRequest = "bad_request", 400, Some(CloseCode::new(4400)), false,
        "请求内容有误", "The request is not valid";
    /// No or wrong credentials.
    Unauthenticated = "unauthenticated", 401, Some(CloseCode::new(4401)), false,
        "请先登录", "Please log in";
    /// The access token ran out.
    TokenExpired = "token_expired", 401, Some(CloseCode::new(4401)), true,
        "登录已过期", "The login has expired";
    /// The role does not allow it.
    Forbidden = "forbidden", 403, None, false,
        "没有权限", "You are not allowed to do this";
    /// One may not speak for now.
    Muted = "muted", 403, None, false,
        "您已被禁言", "You are muted";
    /// A rule of the merchant refused it.
    Refused = "refused", 403, None, false,
        "内容被拒绝", "The content was refused";
    /// It does not exist, or one may not know of it.
    NotFound = "not_found", 404, None, false,
        "找不到", "Not found";
    /// The path takes other methods; `Allow` names them.
    MethodNotAllowed = "method_not_allowed", 405, None, false,
        "不支持的操作", "This cannot be done here";
    /// It contradicts what is there.
    Conflict = "conflict", 409, None, false,
        "与现有内容冲突", "This conflicts with what is there";
    /// A frame or body over its byte limit.
    TooLarge = "too_large", 413, Some(CloseCode::new(1009)), false,
        "内容过大", "The content is too large";
    /// A form of content that is not served.
    Unsupported = "unsupported", 415, Some(CloseCode::new(1003)), false,
        "不支持的内容类型", "This kind of content is not supported";
    /// Too many requests.
    RateLimited = "rate_limited", 429, Some(CloseCode::new(4429)), true,
        "操作过于频繁", "Too many requests";
    /// The log cannot take it now.
    Busy = "busy", 503, None, true,
        "服务繁忙，请稍后再试", "The service is busy, please try again";
    /// A fault of ours.
    Internal = "internal", 500, Some(CloseCode::new(1011)), true,
        "服务出错了", "Something went wrong on our side";
}

/// Close codes that belong to no error of a request.
pub mod close {
    use crate::protocol::websocket::close::CloseCode;

    /// The session was revoked; do not come back with it.
    pub const REVOKED: CloseCode = CloseCode::new(4403);
    /// The client did not read for too long.
    pub const SLOW_READER: CloseCode = CloseCode::new(4408);
    /// The same device connected again, or one socket too many.
    pub const REPLACED: CloseCode = CloseCode::new(4409);
    /// The server goes away; come back (RFC 6455 7.4.1 with IANA's 1012).
    pub const RESTART: CloseCode = CloseCode::new(1012);
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for ErrorCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ErrorCode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::ALL.iter().map(|code| code.name()).collect();
        json_schema!({
            "description": "A name for what went wrong that clients may rely on.",
            "type": "string",
            "enum": names,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        let names: std::collections::HashSet<_> =
            ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        assert!(
            ErrorCode::ALL
                .iter()
                .all(|code| (400..600).contains(&code.status()))
        );
    }
}
