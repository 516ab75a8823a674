//! The functions that clients call, taken off the wire.

use anyhow::bail;
use grammers_tl_types::{Cursor, Deserializable, Identifiable as _, enums, functions as f, name_for_id, types as t};

use super::FakeTelegram;

/// A call, without what it was wrapped in.
#[derive(Debug)]
pub(super) struct Call {
    /// The function's name, as `messages.sendMessage`.
    pub(super) method: &'static str,
    pub(super) request: Request,
    /// What the client says of itself when it begins a connection: its application's id.
    pub(super) api_id: Option<i32>,
}

macro_rules! requests {
    ($($name:ident: $function:ty,)* ; $($alone:ident: $without_arguments:ty,)*) => {
        /// A function that this fake knows, with the arguments that it looks at.
        #[derive(Debug)]
        pub(super) enum Request {
            $($name(Box<$function>),)*
            $($alone,)*
            /// A function that bots may not call.
            NotForBots,
            Unknown,
        }

        fn request(id: u32, cursor: &mut Cursor<'_>) -> anyhow::Result<Request> {
            Ok(match id {
                $(<$function>::CONSTRUCTOR_ID => Request::$name(Box::new(<$function>::deserialize(cursor)?)),)*
                $(<$without_arguments>::CONSTRUCTOR_ID => Request::$alone,)*
                id if NOT_FOR_BOTS.contains(&id) => Request::NotForBots,
                _ => Request::Unknown,
            })
        }
    };
}

requests! {
    ImportBot: f::auth::ImportBotAuthorization,
    GetDifference: f::updates::GetDifference,
    GetChannelDifference: f::updates::GetChannelDifference,
    GetUsers: f::users::GetUsers,
    ResolveUsername: f::contacts::ResolveUsername,
    SendMessage: f::messages::SendMessage,
    SendMedia: f::messages::SendMedia,
    SendMultiMedia: f::messages::SendMultiMedia,
    UploadMedia: f::messages::UploadMedia,
    EditMessage: f::messages::EditMessage,
    DeleteMessages: f::messages::DeleteMessages,
    SetTyping: f::messages::SetTyping,
    GetMessages: f::messages::GetMessages,
    GetChats: f::messages::GetChats,
    GetFullChat: f::messages::GetFullChat,
    DeleteChatUser: f::messages::DeleteChatUser,
    GetChannelMessages: f::channels::GetMessages,
    DeleteChannelMessages: f::channels::DeleteMessages,
    GetChannels: f::channels::GetChannels,
    GetFullChannel: f::channels::GetFullChannel,
    GetParticipant: f::channels::GetParticipant,
    LeaveChannel: f::channels::LeaveChannel,
    SaveFilePart: f::upload::SaveFilePart,
    SaveBigFilePart: f::upload::SaveBigFilePart,
    GetFile: f::upload::GetFile,
    ;
    GetConfig: f::help::GetConfig,
    GetNearestDc: f::help::GetNearestDc,
    GetAppConfig: f::help::GetAppConfig,
    LogOut: f::auth::LogOut,
    GetState: f::updates::GetState,
    SetBotCommands: f::bots::SetBotCommands,
}

/// *Source*: core.telegram.org/api/bots, functions that are answered with `BOT_METHOD_INVALID`.
const NOT_FOR_BOTS: [u32; 6] = [
    f::messages::GetDialogs::CONSTRUCTOR_ID,
    f::messages::GetHistory::CONSTRUCTOR_ID,
    f::messages::ReadHistory::CONSTRUCTOR_ID,
    f::messages::Search::CONSTRUCTOR_ID,
    f::channels::ReadHistory::CONSTRUCTOR_ID,
    f::account::UpdateStatus::CONSTRUCTOR_ID,
];

// The type that a wrapper wraps makes no difference to its id.
const WITH_LAYER: u32 = f::InvokeWithLayer::<f::help::GetConfig>::CONSTRUCTOR_ID;
const INIT_CONNECTION: u32 = f::InitConnection::<f::help::GetConfig>::CONSTRUCTOR_ID;
const WITHOUT_UPDATES: u32 = f::InvokeWithoutUpdates::<f::help::GetConfig>::CONSTRUCTOR_ID;

impl Call {
    /// Takes a call off the wire and out of its wrappers.
    ///
    /// # Errors
    /// When it cannot be read; that it is not known is none.
    pub(super) fn read(body: &[u8]) -> anyhow::Result<Self> {
        let mut cursor = Cursor::from_slice(body);
        let mut api_id = None;
        loop {
            match u32::deserialize(&mut cursor)? {
                WITH_LAYER => drop(i32::deserialize(&mut cursor)?),
                WITHOUT_UPDATES => {}
                INIT_CONNECTION => api_id = Some(read_client(&mut cursor)?),
                id => {
                    let request = request(id, &mut cursor)?;
                    return Ok(Self { method: name_for_id(id), request, api_id });
                }
            }
        }
    }

    /// The chat that it is about, if it is about one.
    pub(super) fn chat(&self) -> Option<i64> {
        use Request as R;
        match &self.request {
            R::SendMessage(call) => chat(&call.peer),
            R::SendMedia(call) => chat(&call.peer),
            R::SendMultiMedia(call) => chat(&call.peer),
            R::UploadMedia(call) => chat(&call.peer),
            R::EditMessage(call) => chat(&call.peer),
            R::SetTyping(call) => chat(&call.peer),
            R::GetFullChat(call) => Some(-call.chat_id),
            R::DeleteChatUser(call) => Some(-call.chat_id),
            R::GetChannelDifference(call) => channel(&call.channel),
            R::GetChannelMessages(call) => channel(&call.channel),
            R::DeleteChannelMessages(call) => channel(&call.channel),
            R::GetFullChannel(call) => channel(&call.channel),
            R::GetParticipant(call) => channel(&call.channel),
            R::LeaveChannel(call) => channel(&call.channel),
            _ => None,
        }
    }

    /// The chat and the random id of a message that is to be sent.
    pub(super) fn random_id(&self) -> Option<(i64, i64)> {
        match &self.request {
            Request::SendMessage(call) => Some((chat(&call.peer)?, call.random_id)),
            Request::SendMedia(call) => Some((chat(&call.peer)?, call.random_id)),
            _ => None,
        }
    }

    /// Whether the client wants to hear of news on the connection on which it comes.
    pub(super) fn wants_news(&self) -> bool {
        use Request as R;
        let only_files = matches!(self.request, R::SaveFilePart(_) | R::SaveBigFilePart(_) | R::GetFile(_));
        !only_files && !matches!(self.request, R::GetConfig)
    }
}

/// What a client says of itself; returns its application's id.
fn read_client(cursor: &mut Cursor<'_>) -> anyhow::Result<i32> {
    let flags = u32::deserialize(cursor)?;
    let api_id = i32::deserialize(cursor)?;
    for _ in ["device", "system", "version", "system's language", "language pack", "language"] {
        String::deserialize(cursor)?;
    }
    if flags & 1 != 0 {
        enums::InputClientProxy::deserialize(cursor)?;
    }
    if flags & 2 != 0 {
        enums::Jsonvalue::deserialize(cursor)?;
    }
    if flags & !3 != 0 {
        bail!("initConnection with the unknown flags {flags:b}");
    }
    Ok(api_id)
}

fn chat(peer: &enums::InputPeer) -> Option<i64> {
    match peer {
        enums::InputPeer::User(user) => Some(user.user_id),
        enums::InputPeer::Chat(chat) => Some(-chat.chat_id),
        enums::InputPeer::Channel(channel) => Some(FakeTelegram::SUPERGROUP - channel.channel_id),
        _ => None,
    }
}

fn channel(channel: &enums::InputChannel) -> Option<i64> {
    match channel {
        enums::InputChannel::Channel(t::InputChannel { channel_id, .. }) => Some(FakeTelegram::SUPERGROUP - channel_id),
        _ => None,
    }
}
