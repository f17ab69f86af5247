//! `/v1/auth/…`: registering, logging in, refreshing, logging out.

use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::Caller;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::auth::password;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::merchant::Merchant;
use crate::model::name::{AccountName, ShownName};
use crate::model::user::User;
use crate::pipeline::commands::accounts::NewAccount;
use crate::protocol::code::ErrorCode;
use crate::store::directory::Session;

/// The most characters of a device's name.
const DEVICE_CHARS_MAX: usize = 64;

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::open(app, Method::POST, "/v1/auth/register", register),
        Route::open(app, Method::POST, "/v1/auth/login", login),
        Route::open(app, Method::POST, "/v1/auth/refresh", refresh),
        Route::signed(app, Method::POST, "/v1/auth/logout", logout),
    ]
}

/// `{"name":"li.lei","password":"…","display_name":"李雷"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    name: String,
    password: String,
    display_name: String,
    #[serde(default)]
    setup_code: Option<String>,
}

/// `{"name":"li.lei","password":"…","device":"web-7f3a"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: String,
    #[serde(default)]
    device: Option<String>,
}

/// `{"refresh_token":"…"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

/// What one is given for a password or a refresh token.
#[derive(Serialize)]
struct Granted {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant: Option<Merchant>,
    access_token: String,
    refresh_token: String,
    expires_in: u32,
}

async fn register(app: App, call: Call) -> Result<Response> {
    app.limits.registration(call.address())?;
    let asked: Register = call.json()?;
    let name =
        AccountName::parse(&asked.name).map_err(|error| Error::field("name", error.to_string()))?;
    let display_name = ShownName::parse(&asked.display_name)
        .map_err(|error| Error::field("display_name", error.to_string()))?;
    password::check(&asked.password, name.as_str())?;
    let new = NewAccount {
        name,
        display_name,
        password_hash: app.auth.passwords.hash(asked.password).await?,
        may_be_first: app.auth.setup.is_proven_by(asked.setup_code.as_deref()),
    };
    let (user, merchant) = app.accounts.register(new).await?;
    let session = app.accounts.begin_session(user.id, String::new()).await?;
    let granted = Granted {
        user: Some(user),
        merchant,
        ..grant(&app, &session)?
    };
    Ok(reply::json(StatusCode::CREATED, &granted))
}

async fn login(app: App, call: Call) -> Result<Response> {
    app.limits.login(call.address())?;
    let asked: Login = call.json()?;
    let device = device(asked.device)?;
    let user = authenticate(&app, &asked.name, asked.password).await?;
    let session = app.accounts.begin_session(user.id, device).await?;
    let granted = Granted {
        user: Some(user),
        ..grant(&app, &session)?
    };
    Ok(reply::json(StatusCode::OK, &granted))
}

/// Whose name and password these are. A wrong name looks and lasts as a wrong password does: a
/// hash is checked either way, and a text that can be no name is asked for like any other.
async fn authenticate(app: &App, name: &str, password: String) -> Result<User> {
    let known = app.directory.credentials(name).await?;
    let (user, hash) = known.map(|known| (known.user, known.password_hash)).unzip();
    let is_right = app.auth.passwords.verify(password, hash).await?;
    let result = if is_right { "right" } else { "wrong" };
    app.metrics.logins.with_label_values(&[result]).inc();
    user.filter(|_| is_right).ok_or_else(|| {
        Error::new(
            ErrorCode::Unauthenticated,
            "the name or the password is wrong",
        )
    })
}

async fn refresh(app: App, call: Call) -> Result<Response> {
    let asked: Refresh = call.json()?;
    let (id, generation) = app.auth.refresh.read(&asked.refresh_token)?;
    let renewed = app.accounts.renew(id, generation).await;
    if renewed.is_err() {
        app.auth.sessions.forget(id);
    }
    Ok(reply::json(StatusCode::OK, &grant(&app, &renewed?)?))
}

async fn logout(app: App, _call: Call, caller: Caller) -> Result<Response> {
    app.accounts.end_session(caller.session).await?;
    app.auth.sessions.forget(caller.session);
    Ok(reply::no_content())
}

fn grant(app: &App, session: &Session) -> Result<Granted> {
    let caller = Caller {
        user: session.user,
        session: session.id,
    };
    Ok(Granted {
        user: None,
        merchant: None,
        access_token: app.auth.tokens.sign(caller)?,
        refresh_token: app.auth.refresh.sign(session.id, session.generation),
        expires_in: app.auth.tokens.life_s(),
    })
}

fn device(given: Option<String>) -> Result<String> {
    let Some(device) = given else {
        return Ok(String::new());
    };
    let is_good = (1..=DEVICE_CHARS_MAX).contains(&device.chars().count())
        && !device.chars().any(char::is_control);
    is_good.then_some(device).ok_or_else(|| {
        Error::field(
            "device",
            "must be 1 to 64 characters without control characters",
        )
    })
}
