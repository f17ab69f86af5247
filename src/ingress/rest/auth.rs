//! `/v1/auth/…`: registering, logging in, refreshing, logging out, tickets for sockets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::Caller;
use crate::error::{Busy, Error, Result};
use crate::ingress::app::App;
use crate::ingress::auth::{password, ticket};
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::merchant::Merchant;
use crate::model::name::{AccountName, NO_CONTROL, ShownName};
use crate::model::user::User;
use crate::pipeline::commands::accounts::NewAccount;
use crate::protocol::code::ErrorCode;
use crate::store::accounts::{Credentials, Session, Which};

/// The most characters of a device's name.
const DEVICE_CHARS_MAX: usize = 64;

/// How often a log-in is tried whose account changes while its password is proven.
const RACES_MAX: usize = 3;

/// What a refresh token looks like.
const REFRESH_TOKEN: &str = "qlr_AZDC9HpbfD6PHSpLbI4PEgAAAAAAAAAB";

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::open(app, Method::POST, "/v1/auth/register", register)
            .does("register", "Opens an account, and logs in.")
            .takes::<Register>()
            .answers::<Granted>(StatusCode::CREATED, "The account and its first tokens.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::Conflict]),
        Route::open(app, Method::POST, "/v1/auth/login", login)
            .does("login", "Begins a session by name and password.")
            .takes::<Login>()
            .answers::<Granted>(StatusCode::OK, "The account and its tokens.")
            .fails(&[ErrorCode::Unauthenticated, ErrorCode::Forbidden]),
        Route::open(app, Method::POST, "/v1/auth/refresh", refresh)
            .does("refresh", "Renews the tokens of a session.")
            .takes::<Refresh>()
            .answers::<Granted>(StatusCode::OK, "The next tokens.")
            .fails(&[ErrorCode::Unauthenticated]),
        Route::signed(app, Method::POST, "/v1/auth/logout", logout)
            .does("logout", "Ends the session of the token.")
            .answers_nothing(StatusCode::NO_CONTENT, "The session is over."),
        Route::signed(app, Method::POST, "/v1/auth/logout-all", logout_all)
            .does("logout_all", "Ends every session of the account.")
            .answers_nothing(StatusCode::NO_CONTENT, "All sessions are over."),
        Route::signed(app, Method::POST, "/v1/auth/ticket", issue_ticket)
            .does(
                "issue_ticket",
                "Makes a ticket that stands for the token in one `hello`.",
            )
            .answers::<Issued>(StatusCode::CREATED, "The ticket, good once."),
    ]
}

/// `{"name":"li.lei","password":"…","display_name":"李雷"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    #[schemars(with = "AccountName")]
    name: String,
    #[schemars(with = "password::Chosen")]
    password: String,
    #[schemars(with = "ShownName")]
    display_name: String,
    /// For the first account of a server beyond loopback: printed once at its start.
    #[serde(default)]
    setup_code: Option<String>,
}

/// `{"name":"li.lei","password":"…","device":"web-7f3a"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[schemars(example = &"li.lei")]
    name: String,
    #[schemars(example = &password::EXAMPLE)]
    password: String,
    /// What the session is called in a list of devices.
    #[serde(default)]
    #[schemars(
        length(min = 1, max = DEVICE_CHARS_MAX),
        regex(pattern = NO_CONTROL),
        example = &"web-7f3a",
    )]
    device: Option<String>,
}

/// `{"refresh_token":"…"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[schemars(example = &REFRESH_TOKEN)]
    refresh_token: String,
}

/// What one is given for a password or a refresh token.
#[derive(Serialize, JsonSchema)]
struct Granted {
    /// Who one is; not told by `refresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    /// For the first account of a server: the merchant that was made with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant: Option<Merchant>,
    /// For `Authorization: Bearer`.
    #[schemars(example = &"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl")]
    access_token: String,
    /// Good once, for `refresh`.
    #[schemars(example = &REFRESH_TOKEN)]
    refresh_token: String,
    /// Seconds until the access token runs out.
    #[schemars(example = &900)]
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
    let hash = app.auth.passwords.hash(asked.password).await?;
    let new = NewAccount {
        name,
        display_name,
        password_hash: hash.clone(),
        may_be_first: app.auth.setup.is_proven_by(asked.setup_code.as_deref()),
    };
    let (user, merchant) = app.accounts.register(new).await?;
    let begun = app
        .accounts
        .begin_session(user.id, String::new(), &hash, &hash);
    let session = begun.await?.ok_or_else(changed)?;
    let granted = Granted {
        user: Some(user),
        merchant,
        ..grant(&app, &session)?
    };
    Ok(reply::json(StatusCode::CREATED, &granted))
}

/// A log-in that renewed the hash meanwhile makes this one prove the password once more.
async fn login(app: App, call: Call) -> Result<Response> {
    app.limits.login(call.address())?;
    let asked: Login = call.json()?;
    let device = device(asked.device)?;
    for _ in 0..RACES_MAX {
        let known = authenticate(&app, &asked.name, asked.password.clone()).await?;
        let (user, proven) = (known.user, known.password_hash);
        let renewed = app.auth.passwords.renew(asked.password.clone(), &proven);
        let kept = renewed.await?.unwrap_or_else(|| proven.clone());
        let accounts = &app.accounts;
        let begun = accounts.begin_session(user.id, device.clone(), &proven, &kept);
        if let Some(session) = begun.await? {
            let granted = Granted {
                user: Some(user),
                ..grant(&app, &session)?
            };
            return Ok(reply::json(StatusCode::OK, &granted));
        }
    }
    Err(changed())
}

fn changed() -> Error {
    let detail = "the account is being changed; log in again";
    Error::busy(Busy::Race, detail, 200)
}

/// Whose name and password these are. A wrong name looks and lasts as a wrong password does: a
/// hash is checked either way. A text that can be no name is nobody's. Only who knows the password
/// learns that the account is disabled.
async fn authenticate(app: &App, name: &str, password: String) -> Result<Credentials> {
    let known = match AccountName::parse(name) {
        Ok(_) => app.accounts.credentials(name).await?,
        Err(_) => None,
    };
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let is_right = app.auth.passwords.verify(password, hash).await?;
    let result = if is_right { "right" } else { "wrong" };
    app.metrics.logins.with_label_values(&[result]).inc();
    let known = known.filter(|_| is_right).ok_or_else(|| {
        Error::new(
            ErrorCode::Unauthenticated,
            "the name or the password is wrong",
        )
    })?;
    if known.is_disabled {
        let detail = "the account is disabled; ask whoever runs this server";
        return Err(Error::new(ErrorCode::Forbidden, detail));
    }
    Ok(known)
}

async fn refresh(app: App, call: Call) -> Result<Response> {
    let asked: Refresh = call.json()?;
    let (id, generation) = app.auth.refresh.read(&asked.refresh_token)?;
    let renewed = app.accounts.renew(id, generation).await;
    if renewed.is_err() {
        app.note_revocations().await;
    }
    Ok(reply::json(StatusCode::OK, &grant(&app, &renewed?)?))
}

async fn logout(app: App, _call: Call, caller: Caller) -> Result<Response> {
    let own = Which::One(caller.session);
    app.accounts.end_sessions(caller.user, own).await?;
    app.note_revocations().await;
    Ok(reply::no_content())
}

async fn logout_all(app: App, _call: Call, caller: Caller) -> Result<Response> {
    app.accounts.end_sessions(caller.user, Which::All).await?;
    app.note_revocations().await;
    Ok(reply::no_content())
}

/// `{"ticket":"qlt_…","expires_in":30}`
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ticket")]
struct Issued {
    #[schemars(example = &"qlt_AZDC9HpbfD6PHSpLbI4PEg")]
    ticket: String,
    /// Seconds until it runs out.
    #[schemars(example = &ticket::LIFE_S)]
    expires_in: u32,
}

async fn issue_ticket(app: App, _call: Call, caller: Caller) -> Result<Response> {
    let (ticket, hash) = ticket::generate()?;
    let kept = app
        .accounts
        .keep_ticket(&hash, caller.session, ticket::LIFE_S);
    kept.await?;
    let issued = Issued {
        ticket,
        expires_in: ticket::LIFE_S,
    };
    Ok(reply::json(StatusCode::CREATED, &issued))
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
        let detail =
            format!("must be 1 to {DEVICE_CHARS_MAX} characters without control characters");
        Error::field("device", detail)
    })
}
