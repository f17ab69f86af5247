//! Routes: a method, a path and a handler. The list of them is data, so that tests and documents
//! can walk it, and each becomes a warp filter.
//!
//! A pattern is a path with variables in braces, as `/v1/groups/{group}`. A signed route's
//! handler is given the [`Caller`] that its token proves; an open one's is not, and so cannot act
//! for anybody.

use std::future::Future;

use hyper::upgrade::OnUpgrade;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::app::App;
use super::call::{Call, Language, Variables};
use super::listen::Connection;
use super::{body, reply};
use crate::access::Caller;
use crate::error::{Error, Result};
use crate::protocol::code::ErrorCode;

/// What a route answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The method.
    pub method: Method,
    /// The pattern of the path.
    pub path: &'static str,
    /// Whether it answers without a token.
    pub is_open: bool,
}

/// One endpoint.
pub struct Route {
    /// What it answers to.
    pub signature: Signature,
    filter: BoxedFilter<(Response,)>,
}

impl Route {
    /// A route that anyone may call.
    pub fn open<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Fn(App, Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let filter = filter(app, &method, path, handler);
        Self {
            signature: Signature {
                method,
                path,
                is_open: true,
            },
            filter,
        }
    }

    /// A route for callers with a token.
    pub fn signed<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Fn(App, Call, Caller) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let signed = move |app: App, call: Call| {
            let handler = handler.clone();
            async move {
                let caller = app.auth.caller(&call).await?;
                handler(app, call, caller).await
            }
        };
        let filter = filter(app, &method, path, signed);
        Self {
            signature: Signature {
                method,
                path,
                is_open: false,
            },
            filter,
        }
    }
}

/// All routes as one filter that always answers: a path that none has with `not_found`, a method
/// that the path does not have with `method_not_allowed` and the ones it has.
pub fn all(app: &App, routes: Vec<Route>) -> BoxedFilter<(Response,)> {
    let known: Vec<_> = routes.iter().map(|route| route.signature.clone()).collect();
    let nothing = warp::any().and_then(|| async { Err::<Response, _>(warp::reject::not_found()) });
    let routes = routes.into_iter().fold(nothing.boxed(), |all, route| {
        all.or(route.filter).unify().boxed()
    });
    let metrics = app.clone();
    let unknown = warp::path::full()
        .and(warp::header::headers_cloned())
        .map(move |path: FullPath, headers: HeaderMap| no_route(&known, path.as_str(), &headers));
    routes
        .or(unknown)
        .unify()
        .map(move |response: Response| count(&metrics, response))
        .boxed()
}

fn filter<H, F>(
    app: &App,
    method: &Method,
    path: &'static str,
    handler: H,
) -> BoxedFilter<(Response,)>
where
    H: Fn(App, Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response>> + Send + 'static,
{
    let app = app.clone();
    matching(method.clone(), path)
        .and(warp::query::<Vec<(String, String)>>())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Connection>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .then(
            move |variables, query, headers, connection, upgrade, chunks| {
                let (app, handler) = (app.clone(), handler.clone());
                async move {
                    let language = Language::of(&headers);
                    let body = body::read(chunks, app.body_deadline).await;
                    let call = Call {
                        variables,
                        query,
                        headers,
                        body,
                        connection,
                        upgrade,
                    };
                    let answer = handler(app.clone(), call).await;
                    answer.unwrap_or_else(|error| fail(&app, &error, language))
                }
            },
        )
        .boxed()
}

/// Matches the method and the pattern, and extracts the variables.
fn matching(
    method: Method,
    pattern: &'static str,
) -> impl Filter<Extract = (Variables,), Error = Rejection> + Clone {
    warp::method()
        .and(warp::path::full())
        .and_then(move |asked: Method, path: FullPath| {
            let variables = variables(pattern, path.as_str()).filter(|_| asked == method);
            async move { variables.ok_or_else(warp::reject::not_found) }
        })
}

/// The variables of `path`, if it has the form of `pattern`.
fn variables(pattern: &'static str, path: &str) -> Option<Variables> {
    let mut variables = Variables::new();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        match expected
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
        {
            Some(name) if !segment.is_empty() => variables.push((name, segment.to_owned())),
            None if segment == expected => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(variables)
}

fn no_route(known: &[Signature], path: &str, headers: &HeaderMap) -> Response {
    let language = Language::of(headers);
    let here = known
        .iter()
        .filter(|known| variables(known.path, path).is_some());
    let allowed: Vec<_> = here.map(|known| known.method.as_str()).collect();
    if allowed.is_empty() {
        return reply::problem(&Error::not_found("path"), language);
    }
    let detail = format!("this path takes {}", allowed.join(", "));
    let error = Error::new(ErrorCode::MethodNotAllowed, detail);
    let mut response = reply::problem(&error, language);
    reply::set(
        &mut response,
        warp::http::header::ALLOW,
        &allowed.join(", "),
    );
    response
}

fn fail(app: &App, error: &Error, language: Language) -> Response {
    app.metrics
        .request_errors
        .with_label_values(&[error.code.name()])
        .inc();
    reply::problem(error, language)
}

fn count(app: &App, response: Response) -> Response {
    app.metrics
        .requests
        .with_label_values(&[response.status().as_str()])
        .inc();
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_paths_only() {
        let pattern = "/v1/groups/{group}/members/{user}";
        let found = variables(pattern, "/v1/groups/g_1/members/u_2").unwrap();
        assert_eq!(
            found,
            [("group", "g_1".to_owned()), ("user", "u_2".to_owned())]
        );
        for path in [
            "/v1/groups/g_1/members",
            "/v1/groups/g_1/members/u_2/",
            "/v1/groups//members/u_2",
            "/",
        ] {
            assert!(variables(pattern, path).is_none(), "{path}");
        }
    }
}
