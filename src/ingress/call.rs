//! One request as a handler sees it: the variables of its path, its query, its headers and its
//! body, each parsed when asked for, and refused by the name of the field.

use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE};

use super::limit::Asker;
use super::listen::Connection;
use super::openapi::parameter::Parameter;
use crate::access::Caller;
use crate::error::{Error, Result};
use crate::model::trace::Trace;
use crate::protocol::code::ErrorCode;
use crate::protocol::json;

/// The variables of a path, by the names in the route's pattern.
pub type Variables = Vec<(&'static str, String)>;

/// One request.
#[derive(Debug)]
pub struct Call {
    /// The variables of the path, still escaped.
    pub variables: Variables,
    /// The pairs of the query, unescaped.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, within its bounds.
    pub body: Result<Bytes>,
    /// The connection; `None` only where a filter is called without one.
    pub connection: Option<Connection>,
    /// What it belongs to.
    pub trace: Trace,
    /// The way out of HTTP, for a socket.
    pub upgrade: Option<OnUpgrade>,
}

/// A language of the public sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

impl Call {
    /// A variable of the path as an id.
    ///
    /// # Errors
    /// `not_found`: what is not an id names nothing.
    pub fn id<T: FromStr>(&self, name: &'static str) -> Result<T> {
        let text = self.variables.iter().find(|(known, _)| *known == name);
        text.and_then(|(_, text)| text.parse().ok())
            .ok_or_else(|| Error::not_found(name))
    }

    /// The body as `T`, strictly.
    ///
    /// # Errors
    /// `unsupported` for another content type, `too_large`, or `bad_request` naming the field.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        if !is_json(&self.headers) {
            let detail = "the content type must be application/json";
            return Err(Error::new(ErrorCode::Unsupported, detail));
        }
        let body = self.body?;
        json::check(&body).map_err(|(_, invalid)| Error::from(invalid))?;
        json::parse(&body).map_err(Error::from)
    }

    /// The token of `Authorization: Bearer`.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub fn bearer(&self) -> Result<&str> {
        let header = self
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        token.ok_or_else(|| {
            let detail = "send an access token as `Authorization: Bearer …`";
            Error::new(ErrorCode::Unauthenticated, detail)
        })
    }

    /// The parameters of the query, each of which `known` names and which stand once.
    ///
    /// # Errors
    /// `bad_request` naming the parameter that is unknown or stands twice.
    pub fn query(&self, known: &[Parameter]) -> Result<Query<'_>> {
        for (index, (name, _)) in self.query.iter().enumerate() {
            if !known.iter().any(|known| known.name == name) {
                return Err(Error::field(name, "there is no such parameter"));
            }
            if self
                .query
                .iter()
                .take(index)
                .any(|(other, _)| other == name)
            {
                return Err(Error::field(name, "stands twice"));
            }
        }
        Ok(Query(&self.query))
    }

    /// Whose request it is, by address.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.as_ref().map(|connection| connection.client)
    }

    /// Whose request it is, for limits.
    pub fn asker(&self, caller: Caller) -> Asker {
        Asker {
            address: self.address(),
            user: caller.user,
        }
    }
}

/// The checked parameters of a query.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a [(String, String)]);

impl<'a> Query<'a> {
    /// A parameter, if it was given.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// `limit`: how many items a page holds at most, from 1 to `max`.
    ///
    /// # Errors
    /// `bad_request` naming the parameter.
    pub fn limit(&self, default: u32, max: u32) -> Result<u32> {
        let Some(text) = self.get("limit") else {
            return Ok(default);
        };
        let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| Error::field("limit", format!("must be 1 to {max}")))
    }
}

impl Language {
    /// The first of the two that `Accept-Language` names; Chinese if it names neither, for that
    /// is what most of our people read.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepted = headers
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        let mut named = accepted.unwrap_or_default().split(',').filter_map(|range| {
            let range = range.trim().to_ascii_lowercase();
            match range.get(..2) {
                Some("zh") => Some(Self::Zh),
                Some("en") => Some(Self::En),
                _ => None,
            }
        });
        named.next().unwrap_or(Self::Zh)
    }

    /// The tag for `Content-Language`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    /// The public sentence of a code.
    pub const fn sentence(self, code: ErrorCode) -> &'static str {
        match self {
            Self::Zh => code.sentence_zh(),
            Self::En => code.sentence_en(),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(accept: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, accept.parse().unwrap());
        Language::of(&headers)
    }

    #[test]
    fn the_first_language_that_we_speak_is_taken() {
        assert_eq!(language("en-GB,en;q=0.9,zh;q=0.1"), Language::En);
        assert_eq!(language("fr, zh-Hans;q=0.5, en;q=0.1"), Language::Zh);
        assert_eq!(language("é"), Language::Zh);
        assert_eq!(Language::of(&HeaderMap::new()), Language::Zh);
    }
}
