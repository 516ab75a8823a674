//! What Telegram says, batch by batch and without gaps: what it pushes, and what has to be asked for, after a connection was lost, when
//! something was missed, and at the beginning.
//!
//! The order of updates, and what is missing, is the crate's `MessageBoxes`' affair. Its own loop around them is not used: it
//! says nothing of what is lost on the way to it, takes Telegram's word on where a supergroup stands for where we stand, and
//! tells the state after a batch only by storing it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use grammers_client::{
    Client,
    session::{
        Session as _,
        types::{ChannelKind, PeerAuth, PeerId, PeerInfo, UpdateState, UpdatesState},
        updates::{MessageBoxes, PrematureEndReason, State, UpdatesLike},
    },
    tl::{self, enums::Update},
};
use nanoclaw_core::causes::with_causes;
use tokio::{sync::mpsc, time::Instant};

use super::{
    call,
    gaps::{Gaps, Sequence, told_until},
    store::BotSession,
    trouble::Trouble,
};

/// How long a question may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The most updates of a supergroup that are asked for at once.
const MOST_AT_ONCE: i32 = 1000;
/// Where we are in a supergroup of which we know nothing.
const BEGINNING: i32 = 1;

/// Updates that belong together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) updates: Vec<Update>,
    pub(super) users: Vec<tl::enums::User>,
    pub(super) chats: Vec<tl::enums::Chat>,
    /// A supergroup that cannot be heard any more.
    pub(super) gone: Option<i64>,
    /// Up to where we are with this batch.
    pub(super) state: UpdatesState,
}

/// Why there is no next batch.
#[derive(Debug)]
pub(super) enum Stopped {
    /// More came than could be kept; what was dropped has to be asked for from the stored state on.
    TooMuch,
    Trouble(Trouble),
}

pub(super) struct Feed {
    client: Client,
    session: Arc<BotSession>,
    boxes: MessageBoxes,
    gaps: Gaps,
    pushed: mpsc::Receiver<UpdatesLike>,
    /// The supergroups of which is stored up to where we are.
    stored: HashSet<i64>,
    /// Supergroups of which nobody said where we are, and since when (in seconds) what was written there counts.
    counts_since: HashMap<i64, i32>,
}

impl Feed {
    /// What came after the state that is stored, and all that comes from now on.
    pub(super) async fn new(
        client: Client,
        session: Arc<BotSession>,
        pushed: mpsc::Receiver<UpdatesLike>,
    ) -> Result<Self, Trouble> {
        let state = session.updates_state().await.map_err(not_stored)?;
        let stored = state.channels.iter().map(|channel| channel.id).collect();
        let unread = state.channels.iter().filter(|channel| channel.pts == BEGINNING);
        let counts_since = unread.map(|channel| (channel.id, state.date)).collect();
        Ok(Self {
            client,
            session,
            boxes: MessageBoxes::load(state),
            gaps: Gaps::default(),
            pushed,
            stored,
            counts_since,
        })
    }

    /// The next batch, which may be empty.
    ///
    /// # Errors
    /// [`Stopped`]: there will be none.
    pub(super) async fn next(&mut self) -> Result<Batch, Stopped> {
        loop {
            // It was full, so something may have been dropped.
            if self.pushed.len() >= self.pushed.max_capacity() {
                return Err(Stopped::TooMuch);
            }
            let deadline = self.boxes.check_deadlines().into();
            if let Some(request) = self.boxes.get_difference() {
                return self.difference(&request).await.map_err(Stopped::Trouble);
            }
            if let Some(request) = self.boxes.get_channel_difference() {
                return self.channel_difference(request).await.map_err(Stopped::Trouble);
            }
            if !self.gaps.is_empty() {
                self.gaps.closed(&self.boxes.session_state());
            }
            if let Some(sequence) = self.gaps.due(Instant::now()) {
                self.ask_for(sequence);
                continue;
            }
            let until = self.gaps.ask_at().map_or(deadline, |ask_at| ask_at.min(deadline));
            match tokio::time::timeout_at(until, self.pushed.recv()).await {
                Ok(Some(pushed)) => {
                    let pushed = self.with_people(pushed);
                    let told = told_until(&pushed);
                    // An error is a gap, which is asked for in the next round.
                    if let Ok((updates, users, chats)) = self.boxes.process_updates(pushed) {
                        let now = Instant::now();
                        let batch = self.batch(updates, users, chats).await.map_err(Stopped::Trouble)?;
                        self.gaps.came(told, &batch.state, now);
                        return Ok(batch);
                    }
                }
                Ok(None) => {
                    let reason = "the connection to Telegram ended".to_owned();
                    return Err(Stopped::Trouble(Trouble::Unclear(reason)));
                }
                Err(_) => {}
            }
        }
    }

    /// Has what is missing asked for in the next round.
    fn ask_for(&mut self, sequence: Sequence) {
        let updates = match sequence {
            Sequence::Common => tl::enums::Updates::TooLong,
            Sequence::Channel(channel_id) => {
                let update = Update::ChannelTooLong(tl::types::UpdateChannelTooLong { channel_id, pts: None });
                tl::enums::Updates::UpdateShort(tl::types::UpdateShort { update, date: 0 })
            }
        };
        // There is nothing in it but that something is missing.
        let _ = self.boxes.process_updates(UpdatesLike::Updates(updates));
    }

    async fn difference(&mut self, request: &tl::functions::updates::GetDifference) -> Result<Batch, Trouble> {
        use tl::enums::updates::Difference;
        let mut answer = call(&self.client, request).await?;
        match &mut answer {
            Difference::Difference(found) => self.keep_our_places(&mut found.other_updates),
            Difference::Slice(found) => self.keep_our_places(&mut found.other_updates),
            Difference::TooLong(_) => tracing::error!(
                "too much was written on Telegram while the host was away: what was written in private chats and small groups \
                 before now is lost"
            ),
            Difference::Empty(_) => {}
        }
        let (updates, users, chats) = self.boxes.apply_difference(answer);
        self.batch(updates, users, chats).await
    }

    async fn channel_difference(
        &mut self,
        mut request: tl::functions::updates::GetChannelDifference,
    ) -> Result<Batch, Trouble> {
        let tl::enums::InputChannel::Channel(channel) = &mut request.channel else {
            return Err(Trouble::Unclear("a supergroup without an id is to be asked for".to_owned()));
        };
        let id = channel.channel_id;
        channel.access_hash = self.hash_of(id).await?;
        request.limit = MOST_AT_ONCE;
        match call(&self.client, &request).await {
            Ok(answer) => {
                let answer = self.that_counts(id, with_the_last(id, answer));
                let (updates, users, chats) = self.boxes.apply_channel_difference(answer);
                self.batch(updates, users, chats).await
            }
            Err(Trouble::Told(error)) if ["CHANNEL_PRIVATE", "CHANNEL_INVALID"].contains(&error.name.as_str()) => {
                self.boxes.end_channel_difference(PrematureEndReason::Banned);
                self.session.forget_channel(id).await.map_err(not_stored)?;
                self.stored.remove(&id);
                let batch = self.batch(Vec::new(), Vec::new(), Vec::new()).await?;
                Ok(Batch { gone: Some(id), ..batch })
            }
            Err(Trouble::Told(error)) if error.code >= 500 || error.name == "PERSISTENT_TIMESTAMP_OUTDATED" => {
                tracing::warn!(channel = id, error = error.name, "Telegram cannot say just now what was missed");
                self.boxes.end_channel_difference(PrematureEndReason::TemporaryServerIssues);
                self.batch(Vec::new(), Vec::new(), Vec::new()).await
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn hash_of(&self, channel: i64) -> Result<i64, Trouble> {
        let Some(id) = PeerId::channel(channel) else { return Ok(0) };
        let known = self.session.peer(id).await.map_err(not_stored)?;
        // A bot may do without, where Telegram knows it to be in the group.
        Ok(known.and_then(|peer| peer.auth()).map_or(0, PeerAuth::hash))
    }

    /// Where a supergroup stands now is not where we are in it: what is between the two has to be asked for. In one that we never
    /// heard of, as when the bot was added while the host was away, we are at the beginning, but what is old does not count.
    fn keep_our_places(&mut self, updates: &mut [Update]) {
        let ours = self.boxes.session_state();
        for update in updates {
            if let Update::ChannelTooLong(too_long) = update {
                let known = ours.channels.iter().any(|channel| channel.id == too_long.channel_id);
                too_long.pts = (!known).then_some(BEGINNING);
                if !known {
                    self.counts_since.insert(too_long.channel_id, ours.date);
                }
            }
        }
    }

    /// Leaves out what was written before we came.
    fn that_counts(
        &mut self,
        channel: i64,
        mut answer: tl::enums::updates::ChannelDifference,
    ) -> tl::enums::updates::ChannelDifference {
        use tl::enums::updates::ChannelDifference;
        let Some(&since) = self.counts_since.get(&channel) else { return answer };
        let is_final = match &mut answer {
            ChannelDifference::Difference(found) => {
                found.new_messages.retain(|message| date_of(message).is_some_and(|date| date >= since));
                found.other_updates.clear();
                found.r#final
            }
            ChannelDifference::Empty(found) => found.r#final,
            ChannelDifference::TooLong(found) => found.r#final,
        };
        if is_final {
            self.counts_since.remove(&channel);
        }
        answer
    }

    /// A short message says nothing of its sender but the id: it is asked for with all that belongs to it.
    fn with_people(&mut self, pushed: UpdatesLike) -> UpdatesLike {
        use tl::enums::Updates;
        let mut pushed = pushed;
        match &mut pushed {
            UpdatesLike::Updates(Updates::UpdateShortMessage(_) | Updates::UpdateShortChatMessage(_)) => {
                return UpdatesLike::Updates(Updates::TooLong);
            }
            UpdatesLike::Updates(Updates::Updates(said)) => self.keep_our_places(&mut said.updates),
            UpdatesLike::Updates(Updates::Combined(said)) => self.keep_our_places(&mut said.updates),
            UpdatesLike::Updates(Updates::UpdateShort(said)) => {
                self.keep_our_places(std::slice::from_mut(&mut said.update));
            }
            _ => {}
        }
        pushed
    }

    async fn batch(
        &mut self,
        updates: Vec<(Update, State)>,
        users: Vec<tl::enums::User>,
        chats: Vec<tl::enums::Chat>,
    ) -> Result<Batch, Trouble> {
        let mut updates: Vec<Update> = updates.into_iter().map(|(update, _)| update).collect();
        // A difference names changes before the new messages that they may be of.
        updates.sort_by_key(|update| !matches!(update, Update::NewMessage(_) | Update::NewChannelMessage(_)));
        let peers = peers_to_keep(&updates, &users, &chats);
        if !peers.is_empty() {
            self.session.cache_peers(peers).await.map_err(not_stored)?;
        }
        let state = self.boxes.session_state();
        for channel in &state.channels {
            // The first of a supergroup: a host that dies before this batch is taken in has to know where it began.
            if self.stored.insert(channel.id) {
                let before = updates.iter().find_map(|update| place_before(update, channel.id)).unwrap_or(channel.pts);
                let begins = UpdateState::Channel { id: channel.id, pts: before };
                self.session.set_update_state(begins).await.map_err(not_stored)?;
            }
        }
        Ok(Batch { updates, users, chats, gone: None, state })
    }
}

/// Of a supergroup in which too much was written, Telegram tells the last messages only; `MessageBoxes` would drop those too.
fn with_the_last(channel: i64, answer: tl::enums::updates::ChannelDifference) -> tl::enums::updates::ChannelDifference {
    let tl::enums::updates::ChannelDifference::TooLong(answer) = answer else { return answer };
    tracing::error!(
        channel,
        "too much was written in a supergroup of Telegram's while the host was away: only the last of it arrives"
    );
    let tl::enums::Dialog::Dialog(tl::types::Dialog { pts: Some(pts), .. }) = answer.dialog else {
        return tl::enums::updates::ChannelDifference::TooLong(answer);
    };
    let mut new_messages = answer.messages;
    new_messages.sort_by_key(tl::enums::Message::id);
    let found = tl::types::updates::ChannelDifference {
        r#final: answer.r#final,
        pts,
        timeout: answer.timeout,
        new_messages,
        other_updates: Vec::new(),
        chats: answer.chats,
        users: answer.users,
    };
    tl::enums::updates::ChannelDifference::Difference(found)
}

pub(super) fn not_stored(error: impl std::error::Error + 'static) -> Trouble {
    Trouble::NotStored(with_causes(&error))
}

/// Where we were in a supergroup before one of its updates.
fn place_before(update: &Update, channel: i64) -> Option<i32> {
    let (message, pts, count) = match update {
        Update::NewChannelMessage(update) => (&update.message, update.pts, update.pts_count),
        Update::EditChannelMessage(update) => (&update.message, update.pts, update.pts_count),
        _ => return None,
    };
    let tl::enums::Peer::Channel(peer) = peer_of(message)? else { return None };
    (peer.channel_id == channel && pts > count).then_some(pts - count)
}

fn peer_of(message: &tl::enums::Message) -> Option<&tl::enums::Peer> {
    match message {
        tl::enums::Message::Message(message) => Some(&message.peer_id),
        tl::enums::Message::Service(message) => Some(&message.peer_id),
        tl::enums::Message::Empty(_) => None,
    }
}

fn date_of(message: &tl::enums::Message) -> Option<i32> {
    match message {
        tl::enums::Message::Message(message) => Some(message.date),
        tl::enums::Message::Service(message) => Some(message.date),
        tl::enums::Message::Empty(_) => None,
    }
}

/// Whom we may have to write to, and which groups we may have to ask about. Not everybody who speaks in a group: that is a write
/// for each, and for nothing.
fn peers_to_keep(updates: &[Update], users: &[tl::enums::User], chats: &[tl::enums::Chat]) -> Vec<PeerInfo> {
    let private: HashSet<i64> = updates
        .iter()
        .filter_map(|update| match update {
            Update::NewMessage(update) => match peer_of(&update.message)? {
                tl::enums::Peer::User(user) => Some(user.user_id),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let users = users.iter().filter_map(|user| match user {
        tl::enums::User::User(user) if private.contains(&user.id) && !user.min => {
            PeerId::user(user.id)?;
            let auth = Some(PeerAuth::from_hash(user.access_hash?));
            Some(PeerInfo::User { id: user.id, auth, bot: Some(user.bot), is_self: None })
        }
        _ => None,
    });
    let channels = chats.iter().filter_map(|chat| match chat {
        tl::enums::Chat::Channel(channel) if !channel.min => {
            PeerId::channel(channel.id)?;
            let auth = Some(PeerAuth::from_hash(channel.access_hash?));
            Some(PeerInfo::Channel { id: channel.id, auth, kind: None::<ChannelKind> })
        }
        _ => None,
    });
    users.chain(channels).collect()
}
