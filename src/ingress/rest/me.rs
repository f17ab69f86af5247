//! `/v1/me`: the own profile, password and devices.

use schemars::JsonSchema;
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
use crate::model::id::SessionId;
use crate::model::merchant::Merchant;
use crate::model::name::ShownName;
use crate::model::time::Time;
use crate::model::user::User;
use crate::protocol::code::ErrorCode;
use crate::store::accounts::{Session, Which};

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::signed(app, Method::GET, "/v1/me", read)
            .does("read_me", "Tells who one is.")
            .answers::<Profile>(StatusCode::OK, "The own profile.")
            .fails(&[ErrorCode::NotFound]),
        Route::signed(app, Method::PATCH, "/v1/me", rename)
            .does("change_me", "Changes the name that others see.")
            .takes::<Rename>()
            .answers::<Profile>(StatusCode::OK, "The own profile as it is now.")
            .fails(&[ErrorCode::NotFound]),
        Route::signed(app, Method::PUT, "/v1/me/password", change_password)
            .does(
                "change_password",
                "Changes the password, and ends every other session.",
            )
            .takes::<ChangePassword>()
            .answers_nothing(StatusCode::NO_CONTENT, "It is changed.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::NotFound]),
        Route::signed(app, Method::GET, "/v1/me/sessions", sessions)
            .does(
                "list_sessions",
                "Lists the devices on which one is logged in.",
            )
            .answers::<Sessions>(StatusCode::OK, "All sessions of the account."),
        Route::signed(
            app,
            Method::DELETE,
            "/v1/me/sessions/{session}",
            end_session,
        )
        .does("end_session", "Ends a session of the account.")
        .answers_nothing(StatusCode::NO_CONTENT, "It is over."),
    ]
}

/// `{"id":"u_…","name":"li.lei","display_name":"李雷","merchants":[{"id","name","role"}]}`
#[derive(Serialize, JsonSchema)]
struct Profile {
    #[serde(flatten)]
    user: User,
    /// The merchants whose staff one is.
    merchants: Vec<Merchant>,
}

/// `{"display_name":"李雷"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProfileChange")]
struct Rename {
    #[schemars(with = "ShownName")]
    display_name: String,
}

/// `{"password":"…","new_password":"…"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PasswordChange")]
struct ChangePassword {
    /// The one until now.
    #[schemars(example = &password::EXAMPLE)]
    password: String,
    #[schemars(with = "password::Chosen")]
    new_password: String,
}

/// `{"items":[{"id":"s_…","device":"web-7f3a","created_at":"…","renewed_at":"…","current":true}]}`
#[derive(Serialize, JsonSchema)]
struct Sessions {
    items: Vec<SessionView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
struct SessionView {
    id: SessionId,
    /// What it was called when it began; may be empty.
    #[schemars(example = &"web-7f3a")]
    device: String,
    created_at: Time,
    /// When its tokens were last renewed.
    renewed_at: Time,
    /// Whether it is the one of the token.
    current: bool,
}

async fn rename(app: App, call: Call, caller: Caller) -> Result<Response> {
    let asked: Rename = call.json()?;
    let name = ShownName::parse(&asked.display_name)
        .map_err(|error| Error::field("display_name", error.to_string()))?;
    let renamed = app.profiles.rename(caller.user, &name).await;
    app.roster.wrote(caller.user);
    renamed?;
    profile(app, caller).await
}

/// Every other session ends: whoever had the old password is out.
async fn change_password(app: App, call: Call, caller: Caller) -> Result<Response> {
    app.limits.login(call.address())?;
    let asked: ChangePassword = call.json()?;
    let user = own(&app, caller).await?;
    password::check(&asked.new_password, &user.name).map_err(named_new)?;
    let known = app.accounts.credentials_of(&user).await?;
    let hash = Some(known.password_hash);
    if !app.auth.passwords.verify(asked.password, hash).await? {
        return Err(Error {
            code: ErrorCode::Forbidden,
            ..Error::field("password", "is wrong")
        });
    }
    let hash = app.auth.passwords.hash(asked.new_password).await?;
    let keep = Some(caller.session);
    app.accounts.set_password(caller.user, &hash, keep).await?;
    app.note_revocations().await;
    Ok(reply::no_content())
}

/// The check of a chosen password names the field that registering has.
fn named_new(mut error: Error) -> Error {
    for wrong in &mut error.fields {
        wrong.field = "new_password".to_owned();
        error.detail = format!("{}: {}", wrong.field, wrong.detail);
    }
    error
}

async fn sessions(app: App, _call: Call, caller: Caller) -> Result<Response> {
    let view = |session: Session| SessionView {
        current: session.id == caller.session,
        created_at: session.id.made_at(),
        renewed_at: session.refreshed_at,
        device: session.device,
        id: session.id,
    };
    let sessions = app.accounts.sessions_of(caller.user).await?;
    let items = sessions.into_iter().map(view).collect();
    Ok(reply::json(StatusCode::OK, &Sessions { items }))
}

async fn end_session(app: App, call: Call, caller: Caller) -> Result<Response> {
    let session: SessionId = call.id("session")?;
    let which = Which::One(session);
    if app.accounts.end_sessions(caller.user, which).await? == 0 {
        return Err(Error::not_found("session"));
    }
    app.note_revocations().await;
    Ok(reply::no_content())
}

async fn own(app: &App, caller: Caller) -> Result<User> {
    let users = app.directory.users(&[caller.user]).await?;
    users
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("user"))
}

async fn read(app: App, _call: Call, caller: Caller) -> Result<Response> {
    profile(app, caller).await
}

async fn profile(app: App, caller: Caller) -> Result<Response> {
    let (user, merchants) = futures::try_join!(own(&app, caller), async {
        Ok(app.directory.merchants_of(caller.user).await?)
    })?;
    Ok(reply::json(StatusCode::OK, &Profile { user, merchants }))
}
