//! The API's description for programs at `/openapi.json`, and for people at `/docs`: a page
//! without a framework and without a build, that draws that document and can try its operations.
//! Its policy is that of the built-in page: nothing comes from elsewhere.

use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::Value;
use warp::http::StatusCode;

use super::app::App;
use super::openapi::document::document;
use super::page::{CSS, HTML, SCRIPT, file_route, files};
use super::route::Route;

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

files! {
    "/docs": HTML = "index.html";
    "/docs/page.css": CSS = "page.css";
    "/docs/page.js": SCRIPT = "page.js";
    "/docs/dom.js": SCRIPT = "dom.js";
    "/docs/schema.js": SCRIPT = "schema.js";
    "/docs/trial.js": SCRIPT = "trial.js";
}

/// An OpenAPI 3.1 document.
#[derive(JsonSchema)]
#[schemars(rename = "OpenApi", with = "serde_json::Map<String, Value>")]
struct OpenApi;

/// `routes`, the page that shows them, and the document that describes them and itself.
pub fn describing(app: &App, mut routes: Vec<Route>) -> Vec<Route> {
    let pages = FILES.iter().map(|file| {
        let text = Bytes::from(file.text);
        file_route(app, file.path, file.content_type, text).is_a_page()
    });
    routes.extend(pages);
    let itself = served(app, Bytes::new());
    let text = document(routes.iter().chain([&itself])).to_string();
    routes.push(served(app, text.into()));
    routes
}

fn served(app: &App, text: Bytes) -> Route {
    file_route(app, DOCUMENT, "application/json", text)
        .does("openapi", "Describes this API.")
        .answers::<OpenApi>(StatusCode::OK, "An OpenAPI 3.1 document.")
        .answers_nothing(
            StatusCode::NOT_MODIFIED,
            "It is the one that `If-None-Match` names.",
        )
}
