//! Routes: a method, a path and a handler. The list of them is data, so that tests and documents
//! can walk it, and each becomes a warp filter.
//!
//! A pattern is a path with variables in braces, as `/v1/groups/{group}`. A signed route's
//! handler is given the [`Caller`] that its token proves; an open one's is not, and so cannot act
//! for anybody. What a route takes and answers is said where it is listed
//! (`openapi/operation.rs`): one that does not say what it does is no [`Route`].
//!
//! Every route spends of what its caller may ask: open ones by address, signed ones by address
//! and user. Handlers of [`Route::counted`] spend of a budget of their own instead of the user's
//! common one; [`Route::probe`] is for supervisors and spends nothing.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::upgrade::OnUpgrade;
use tracing::Instrument as _;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::header::HeaderName;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::app::App;
use super::call::{Call, Language, Variables};
use super::limit::Limits;
use super::listen::Connection;
use super::openapi::operation::Operation;
use super::{body, refusals, reply};
use crate::access::Caller;
use crate::error::{Error, Result};
use crate::model::trace::{Trace, TraceId};
use crate::protocol::code::ErrorCode;
use crate::traces::{Span, TRACEPARENT};

/// The header of an answer under whose value the request is found in logs and traces.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How every route that takes a token may fail.
const SIGNED: &[ErrorCode] = &[
    ErrorCode::Unauthenticated,
    ErrorCode::TokenExpired,
    ErrorCode::RateLimited,
    ErrorCode::Busy,
    ErrorCode::Internal,
];

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
    pub(super) operation: Operation,
    filter: BoxedFilter<(Response,)>,
}

/// An endpoint that does not say yet what it does.
#[must_use]
pub struct Undescribed {
    signature: Signature,
    /// How every route of its kind may fail.
    failures: &'static [ErrorCode],
    filter: BoxedFilter<(Response,)>,
}

impl Undescribed {
    fn of(
        method: Method,
        path: &'static str,
        failures: &'static [ErrorCode],
        filter: BoxedFilter<(Response,)>,
    ) -> Self {
        let signature = Signature {
            method,
            path,
            is_open: !failures.contains(&ErrorCode::Unauthenticated),
        };
        Self {
            signature,
            failures,
            filter,
        }
    }

    /// Says what it does: a name for programs, and a sentence for people.
    pub fn does(self, name: &'static str, summary: &'static str) -> Route {
        let (path, failures) = (self.signature.path, self.failures);
        let route = self.with(Operation::new(name, summary)).fails(failures);
        match path.contains('{') {
            true => route.fails(&[ErrorCode::NotFound]),
            false => route,
        }
    }

    /// A file of a page, which belongs to no API.
    pub fn is_a_page(self) -> Route {
        self.with(Operation::default())
    }

    fn with(self, operation: Operation) -> Route {
        let Self {
            signature, filter, ..
        } = self;
        Route {
            signature,
            operation,
            filter,
        }
    }
}

impl Route {
    /// Whether it belongs to the API, and not to a page.
    pub fn is_described(&self) -> bool {
        !self.operation.name.is_empty()
    }

    /// A route that anyone may call.
    pub fn open<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Undescribed
    where
        H: Fn(App, Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let filter = filter(app, &method, path, Some(Limits::request), handler);
        Undescribed::of(method, path, &[ErrorCode::RateLimited], filter)
    }

    /// An open route that is answered however often it is called.
    pub fn probe<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Undescribed
    where
        H: Fn(App, Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let filter = filter(app, &method, path, None, handler);
        Undescribed::of(method, path, &[], filter)
    }

    /// A route for callers with a token.
    pub fn signed<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Undescribed
    where
        H: Fn(App, Call, Caller) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        Self::counted(app, method, path, move |app: App, call, caller| {
            let handler = handler.clone();
            async move {
                app.limits.other(Call::asker(&call, caller))?;
                handler(app, call, caller).await
            }
        })
    }

    /// A route for callers with a token, whose handler counts what it asks by itself.
    pub fn counted<H, F>(app: &App, method: Method, path: &'static str, handler: H) -> Undescribed
    where
        H: Fn(App, Call, Caller) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let signed = move |app: App, call: Call| {
            let handler = handler.clone();
            async move {
                let caller = app.auth.caller(&call)?;
                handler(app, call, caller).await
            }
        };
        let filter = filter(app, &method, path, Some(Limits::request), signed);
        Undescribed::of(method, path, SIGNED, filter)
    }
}

/// All routes as one filter that always answers: a path that none has with `not_found`, a method
/// that the path does not have with `method_not_allowed` and the ones it has.
pub fn all(app: &App, routes: Vec<Route>) -> BoxedFilter<(Response,)> {
    let known: Vec<_> = routes.iter().map(|route| route.signature.clone()).collect();
    let nothing = warp::any().and_then(|| async { Err::<Response, _>(warp::reject::not_found()) });
    let (app, metrics) = (app.clone(), app.clone());
    let routes = routes.into_iter().fold(nothing.boxed(), |all, route| {
        all.or(route.filter).unify().boxed()
    });
    let unknown = warp::path::full()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Connection>())
        .map(move |path: FullPath, headers: HeaderMap, connection| {
            let trace = begin(&app, "no route", &headers).trace();
            let counted = app.limits.request(client(&connection));
            let mut response = match counted {
                Ok(()) => no_route(&known, path.as_str(), &headers, trace.id),
                Err(error) => fail(&app, &error, Language::of(&headers), trace.id),
            };
            reply::set(&mut response, REQUEST_ID, &trace.id.to_string());
            response
        });
    routes
        .or(unknown)
        .unify()
        .map(move |response: Response| finish(&metrics, response))
        .boxed()
}

/// What a request spends before it is parsed.
type Count = fn(&Limits, Option<IpAddr>) -> Result<()>;

fn filter<H, F>(
    app: &App,
    method: &Method,
    path: &'static str,
    count: Option<Count>,
    handler: H,
) -> BoxedFilter<(Response,)>
where
    H: Fn(App, Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response>> + Send + 'static,
{
    let app = app.clone();
    let name: Arc<str> = format!("{method} {path}").into();
    let method_name: Arc<str> = method.as_str().into();
    matching(method.clone(), path)
        .and(warp::query::<Vec<(String, String)>>())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Connection>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .then(
            move |variables, query, headers, connection, upgrade, chunks| {
                let (app, handler, method) = (app.clone(), handler.clone(), method_name.clone());
                let began = Instant::now();
                let span = begin(&app, &name, &headers);
                let trace = span.trace();
                // Of the highest level, so that no line of the request is without it.
                let log_span = tracing::error_span!("request", trace = %trace.id, route = %name);
                let answer = async move {
                    let language = Language::of(&headers);
                    if let Some(count) = count
                        && let Err(error) = count(&app.limits, client(&connection))
                    {
                        return fail(&app, &error, language, trace.id);
                    }
                    let body = body::read(chunks, app.body_deadline).await;
                    let call = Call {
                        variables,
                        query,
                        headers,
                        body,
                        connection,
                        trace,
                        upgrade,
                    };
                    let answer = handler(app.clone(), call).await;
                    let seconds = app
                        .metrics
                        .request_seconds
                        .with_label_values(&[&method, path]);
                    seconds.observe(began.elapsed().as_secs_f64());
                    answer.unwrap_or_else(|error| fail(&app, &error, language, trace.id))
                };
                async move { tell(span, trace, answer.instrument(log_span).await) }
            },
        )
        .boxed()
}

/// The address of who asks.
fn client(connection: &Option<Connection>) -> Option<IpAddr> {
    connection.as_ref().map(|connection| connection.client)
}

/// Begins what a request asks for.
fn begin(app: &App, name: &str, headers: &HeaderMap) -> Span {
    let traceparent = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    app.traces.entry(name.to_owned(), traceparent)
}

/// Ends a request, and tells the client under which id it is found.
fn tell(mut span: Span, trace: Trace, mut response: Response) -> Response {
    let status = response.status();
    span.note("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.fail("server error");
    }
    reply::set(&mut response, REQUEST_ID, &trace.id.to_string());
    response
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

fn no_route(known: &[Signature], path: &str, headers: &HeaderMap, trace: TraceId) -> Response {
    let language = Language::of(headers);
    let here = known
        .iter()
        .filter(|known| variables(known.path, path).is_some());
    let allowed: Vec<_> = here.map(|known| known.method.as_str()).collect();
    if allowed.is_empty() {
        return reply::problem(&Error::not_found("path"), language, trace);
    }
    let detail = format!("this path takes {}", allowed.join(", "));
    let error = Error::new(ErrorCode::MethodNotAllowed, detail);
    let mut response = reply::problem(&error, language, trace);
    reply::set(
        &mut response,
        warp::http::header::ALLOW,
        &allowed.join(", "),
    );
    response
}

fn fail(app: &App, error: &Error, language: Language, trace: TraceId) -> Response {
    refusals::count(&app.metrics, error);
    reply::problem(error, language, trace)
}

fn finish(app: &App, mut response: Response) -> Response {
    app.metrics
        .requests
        .with_label_values(&[response.status().as_str()])
        .inc();
    reply::secure(&mut response);
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
