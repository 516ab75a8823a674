//! What each function answers.

mod account;
mod chats;
mod files;
mod messages;
mod news;
mod said;

use super::{
    faults::Refusal,
    requests::{Call, Request},
    tl::{Object, boolean},
    world::World,
};

/// Answers a call that came on this connection.
pub(super) fn answer(world: &mut World, connection: usize, call: &Call) -> Result<Object, Refusal> {
    use Request as R;
    may_call(world, call)?;
    if call.wants_news() && world.access.signed_in {
        world.pushes.activate(connection);
    }
    match &call.request {
        R::GetConfig => account::config(call.api_id),
        R::GetNearestDc => Ok(account::nearest_dc()),
        R::ImportBot(call) => account::sign_in(world, connection, call),
        R::GetAppConfig => Ok(account::app_config()),
        R::LogOut => Ok(account::log_out(world)),
        R::GetUsers(call) => Ok(account::users(world, &call.id)),
        R::ResolveUsername(call) => account::resolve(world, &call.username),
        R::GetState => Ok(news::state(world)),
        R::GetDifference(call) => news::difference(world, call),
        R::GetChannelDifference(call) => news::channel_difference(world, call),
        R::SendMessage(call) => messages::send_message(world, call),
        R::SendMedia(call) => messages::send_media(world, call),
        R::SendMultiMedia(call) => messages::send_album(world, call),
        R::UploadMedia(call) => files::upload_media(world, &call.media),
        R::EditMessage(call) => said::edit(world, call),
        R::DeleteMessages(call) => said::delete(world, &call.id),
        R::DeleteChannelMessages(call) => said::delete_of_channel(world, &call.channel, &call.id),
        R::SetTyping(call) => said::set_typing(world, call),
        R::GetMessages(call) => said::get(world, &call.id),
        R::GetChannelMessages(call) => said::get_of_channel(world, &call.channel, &call.id),
        R::GetChats(call) => Ok(chats::groups(world, &call.id)),
        R::GetChannels(call) => chats::supergroups(world, &call.id),
        R::GetFullChat(call) => chats::full_group(world, call.chat_id),
        R::GetFullChannel(call) => chats::full_supergroup(world, &call.channel),
        R::DeleteChatUser(call) => chats::leave_group(world, call.chat_id, &call.user_id),
        R::GetParticipant(call) => chats::participant(world, &call.channel, &call.participant),
        R::LeaveChannel(call) => chats::leave_supergroup(world, &call.channel),
        R::SaveFilePart(call) => files::save(world, call.file_id, call.file_part, &call.bytes),
        R::SaveBigFilePart(call) => files::save(world, call.file_id, call.file_part, &call.bytes),
        R::GetFile(call) => files::get(world, call),
        R::SetBotCommands => Ok(boolean(true)),
        R::NotForBots => Err(Refusal::bad("BOT_METHOD_INVALID")),
        R::Unknown => Err(Refusal::bad(format!("METHOD_UNKNOWN_TO_THE_FAKE_{}", call.method))),
    }
}

fn may_call(world: &World, call: &Call) -> Result<(), Refusal> {
    let access = &world.access;
    let is_for_all = matches!(call.request, Request::GetConfig | Request::GetNearestDc);
    let may = access.signed_in || matches!(call.request, Request::ImportBot(_));
    match (&access.banned, &access.logged_out) {
        _ if is_for_all => Ok(()),
        (Some(banned), _) => Err(banned.clone()),
        _ if may => Ok(()),
        (None, Some(logged_out)) => Err(logged_out.clone()),
        (None, None) => Err(Refusal::new(401, "AUTH_KEY_UNREGISTERED")),
    }
}
