//! Who the client is, and whom it asks about.

use grammers_tl_types::{
    enums::InputUser,
    functions::auth::ImportBotAuthorization,
    types::{self as t, auth},
};

use crate::telegram::{
    FakeTelegram,
    faults::Refusal,
    nouns::User,
    objects,
    tl::{Object, Writer, list},
    world::{World, now},
};

/// How many settings of the configuration are numbers, all of which any number does for.
const NUMBERS: usize = 21;

/// The configuration. It names no addresses, so that clients keep to the one they were given.
pub(super) fn config(api_id: Option<i32>) -> Result<Object, Refusal> {
    if api_id.is_some_and(|id| id != FakeTelegram::API_ID) {
        return Err(Refusal::bad("CONNECTION_API_ID_INVALID"));
    }
    let config = Writer::of::<t::Config>().flags(&[]).int(now()).int(now() + 3600).bool(false);
    let config = config.int(FakeTelegram::DC_ID).list(&[]).text("");
    let config = (0..NUMBERS).fold(config, |config, _| config.int(1000));
    Ok(config.text("https://t.me/").int(1024).int(4096).int(FakeTelegram::DC_ID).done())
}

pub(super) fn nearest_dc() -> Object {
    Writer::of::<t::NearestDc>().text("XX").int(FakeTelegram::DC_ID).int(FakeTelegram::DC_ID).done()
}

/// An application's settings: none.
pub(super) fn app_config() -> Object {
    let none = Writer::of::<t::JsonObject>().list(&[]).done();
    Writer::of::<t::help::AppConfig>().int(0).object(&none).done()
}

pub(super) fn sign_in(world: &mut World, connection: usize, call: &ImportBotAuthorization) -> Result<Object, Refusal> {
    if call.api_id != FakeTelegram::API_ID || call.api_hash != FakeTelegram::API_HASH {
        return Err(Refusal::bad("API_ID_INVALID"));
    }
    if call.bot_auth_token != FakeTelegram::BOT_TOKEN {
        return Err(Refusal::bad("ACCESS_TOKEN_INVALID"));
    }
    if world.access.token_is_revoked {
        return Err(Refusal::bad("ACCESS_TOKEN_EXPIRED"));
    }
    world.access.signed_in = true;
    world.access.logged_out = None;
    world.seen.logins += 1;
    world.pushes.activate(connection);
    let bot = world.user_objects([FakeTelegram::BOT_ID]).concat();
    Ok(Writer::of::<auth::Authorization>().flags(&[]).object(&bot).done())
}

pub(super) fn log_out(world: &mut World) -> Object {
    world.access.signed_in = false;
    Writer::of::<auth::LoggedOut>().flags(&[]).done()
}

pub(super) fn users(world: &World, ids: &[InputUser]) -> Object {
    let users = ids.iter().map(|id| match (world.user_of(id), id) {
        (Some(user), _) => objects::user(user),
        (None, InputUser::User(user)) => Writer::of::<t::UserEmpty>().long(user.user_id).done(),
        (None, _) => Writer::of::<t::UserEmpty>().long(0).done(),
    });
    list(&users.collect::<Vec<_>>())
}

pub(super) fn resolve(world: &World, username: &str) -> Result<Object, Refusal> {
    let named = |user: &&User| user.username.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(username));
    let user = world.users.values().find(named).ok_or(Refusal::bad("USERNAME_NOT_OCCUPIED"))?;
    let resolved = Writer::of::<t::contacts::ResolvedPeer>().object(&objects::peer(user.id));
    Ok(resolved.list(&[]).list(&[objects::user(user)]).done())
}
