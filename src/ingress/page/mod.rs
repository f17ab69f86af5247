//! The built-in page at `/`: a small chat client, embedded in the program, that any browser can
//! try the server with. It uses the public protocol like every other client and has no
//! privilege.
//!
//! The files are HTML, CSS and JavaScript modules without a framework and without a build. The
//! policy forbids everything that does not come from this server, and all inline code. To add a
//! file: a line in [`FILES`].

use bytes::Bytes;
use warp::http::header::{self, HeaderName};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::app::App;
use super::call::Call;
use super::reply;
use super::route::{Route, Undescribed};
use crate::error::Result;
use crate::model::digest::Digest;

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// What it is.
    pub content_type: &'static str,
    /// What it says.
    pub text: &'static str,
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal: $content_type:ident = $file:literal;)+) => {
        /// Every file of the page.
        pub const FILES: &[$crate::ingress::page::File] = &[$($crate::ingress::page::File {
            path: $path,
            content_type: $content_type,
            text: include_str!($file),
        }),+];
    };
}
pub(super) use files;

files! {
    "/": HTML = "index.html";
    "/app.css": CSS = "app.css";
    "/icon.svg": SVG = "icon.svg";
    "/app.js": SCRIPT = "app.js";
    "/app/chat.js": SCRIPT = "app/chat.js";
    "/app/feed.js": SCRIPT = "app/feed.js";
    "/app/groups.js": SCRIPT = "app/groups.js";
    "/app/house.js": SCRIPT = "app/house.js";
    "/app/link.js": SCRIPT = "app/link.js";
    "/app/outbox.js": SCRIPT = "app/outbox.js";
    "/app/passing.js": SCRIPT = "app/passing.js";
    "/app/people.js": SCRIPT = "app/people.js";
    "/app/screen.js": SCRIPT = "app/screen.js";
    "/app/session.js": SCRIPT = "app/session.js";
    "/app/words.js": SCRIPT = "app/words.js";
}

/// What each file is sent with. Nothing inline, nothing from elsewhere, no framing; a browser
/// asks each time whether a file changed, since its name never does.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    ("cache-control", "no-cache"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The routes of the page.
pub fn routes(app: &App) -> Vec<Route> {
    let route = |file: &'static File| {
        file_route(app, file.path, file.content_type, file.text.into()).is_a_page()
    };
    FILES.iter().map(route).collect()
}

/// A route that serves one text, and only word to who has it already.
pub(super) fn file_route(
    app: &App,
    path: &'static str,
    content_type: &'static str,
    text: Bytes,
) -> Undescribed {
    let tag = tag(&text);
    Route::open(app, Method::GET, path, move |_app: App, call: Call| {
        let response = serve(content_type, &text, &tag, &call);
        async move { Ok(response) as Result<Response> }
    })
}

/// The entity tag of a text (RFC 9110 8.8.3).
fn tag(text: &[u8]) -> String {
    format!("\"{:?}\"", Digest::of(text))
}

/// The file, or only word that the browser has it already.
fn serve(content_type: &'static str, text: &Bytes, tag: &str, call: &Call) -> Response {
    let held = call.headers.get(header::IF_NONE_MATCH);
    let is_held = held.is_some_and(|held| held.as_bytes() == tag.as_bytes());
    let mut response = match is_held {
        true => reply::with_text(StatusCode::NOT_MODIFIED, "", Vec::new()),
        false => reply::with_text(StatusCode::OK, content_type, text.to_vec()),
    };
    for (name, value) in HEADERS {
        reply::set(&mut response, HeaderName::from_static(name), value);
    }
    reply::set(&mut response, header::ETAG, tag);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use warp::http::HeaderMap;

    use super::*;
    use crate::model::trace::{Trace, TraceId};

    /// The files of this page and of the API's.
    fn all() -> impl Iterator<Item = &'static File> {
        FILES.iter().chain(crate::ingress::docs::FILES)
    }

    fn text(path: &str) -> &'static str {
        all().find(|file| file.path == path).unwrap().text
    }

    fn get(path: &str, held: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(held) = held {
            headers.insert(header::IF_NONE_MATCH, held.parse().unwrap());
        }
        let file = FILES.iter().find(|file| file.path == path).unwrap();
        let call = Call {
            variables: Vec::new(),
            query: Vec::new(),
            headers,
            body: Ok(Bytes::new()),
            connection: None,
            trace: Trace {
                id: TraceId([1; 16]),
                span: [1; 8],
                is_sampled: false,
            },
            upgrade: None,
        };
        let text = Bytes::from(file.text);
        serve(file.content_type, &text, &tag(&text), &call)
    }

    #[test]
    fn the_policy_allows_only_what_this_server_serves() {
        let response = get("/", None);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"));
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'));
        assert_eq!(
            response.headers()[header::X_CONTENT_TYPE_OPTIONS],
            "nosniff"
        );
    }

    #[test]
    fn the_page_holds_no_inline_code_and_names_no_other_host() {
        for html in [text("/"), text("/docs")] {
            assert!(!html.contains("<style") && !html.contains(" style=") && !html.contains(" on"));
            assert_eq!(
                html.matches("<script").count(),
                html.matches("<script type=\"module\" src=").count()
            );
        }
        for file in all().filter(|file| file.content_type != SVG) {
            assert!(
                !file.text.contains("//www.") && !file.text.contains("https:"),
                "{}",
                file.path
            );
        }
    }

    #[test]
    fn scripts_show_text_as_text_only() {
        for file in all().filter(|file| file.content_type == SCRIPT) {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!file.text.contains(way), "{way} in {}", file.path);
            }
        }
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let served: HashSet<_> = all().map(|file| file.path).collect();
        for file in all().filter(|file| file.content_type == SCRIPT) {
            let folder = file.path.rsplit_once('/').unwrap().0;
            for import in file.text.lines().filter(|line| line.starts_with("import ")) {
                let name = import
                    .rsplit('"')
                    .nth(1)
                    .unwrap()
                    .strip_prefix("./")
                    .unwrap();
                assert!(
                    served.contains(format!("{folder}/{name}").as_str()),
                    "{import}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_the_browser_holds_is_not_sent_again() {
        let first = get("/app.js", None);
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].to_str().unwrap();
        assert_eq!(get("/app.js", Some(tag)).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("/app.js", Some("\"other\"")).status(), StatusCode::OK);
    }
}
