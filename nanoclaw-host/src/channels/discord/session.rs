//! One connection to Discord: made in the order in which each step can say best what is wrong, then served until it ends. A session
//! of Discord's may last over several of them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use futures_util::future::FutureExt as _;
use nanoclaw_core::{causes::with_causes, secret::Secret, steps::STEPS, time::Timestamp};
use reqwest::Url;
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Discord, PREFIX, TOKEN,
    client::{Client, StartLimit},
    event::{Meaning, meaning},
    gateway::{DoneWith, Payload, beat, identify, payload, resume},
    trouble::{Session, Trouble, ending_of, new_token},
};
use crate::channels::{
    lanes::{Lanes, MOST_WAITING},
    service::{Ending, Service},
    socket::{Gone, Link, Socket},
    status::{ChannelState, StatusKeeper},
};

/// A large guild is told of in one line, with all its channels, threads, roles and emoji.
const LINK: Link = Link { service: "Discord", longest_line: 64 << 20, pings: false };
/// How long Discord may take to say hello on a socket.
const HELLO_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take until a session has begun, or been gone on with.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);
/// How many groups are caught up with at once.
const CATCH_UPS: usize = 4;
/// The delay before a session is begun in place of one that Discord does not go on with. *Source*: Discord's documentation,
/// "Gateway", "Resuming": one to five seconds.
const AFTER_INVALID: Duration = Duration::from_secs(1);

/// A session of Discord's that can be gone on with.
#[derive(Debug, Clone)]
pub(super) struct Held {
    token: Secret,
    id: String,
    /// Where; `None`: ask.
    url: Option<String>,
    /// Up to which number all is done with.
    seq: u64,
}

#[async_trait]
impl Service for Discord {
    async fn session(&self, stop: &CancellationToken) -> Ending {
        let Some(token) = self.token() else { return without_token(self.settings.required) };
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Ending::Lost { reason: with_causes(&error), after: None },
        };
        let held = self.known().held.take().filter(|held| held.token == token);
        let connected = tokio::select! {
            connected = connect(client, &token, held.as_ref()) => connected,
            () = stop.cancelled() => return Ending::Stopped,
        };
        match connected {
            Ok((socket, every)) => self.serve(client, socket, every, token, held, stop).await,
            Err(ending) => {
                if let (Some(held), Ending::Lost { .. }) = (held, &ending) {
                    // Its own address may be what is wrong.
                    self.known().held = Some(Held { url: None, ..held });
                }
                ending
            }
        }
    }

    fn status(&self) -> &StatusKeeper {
        &self.status
    }
}

/// Opens the gateway; returns it with how often Discord wants to hear of us.
async fn connect(client: &Client, token: &Secret, held: Option<&Held>) -> Result<(Socket, Duration), Ending> {
    let lost = |reason| Ending::Lost { reason, after: None };
    let url = match held.and_then(|held| held.url.clone()) {
        Some(url) => url,
        None => {
            // Asked first: the answer says best whether the token is taken.
            let gateway = client.gateway(token).await.map_err(Trouble::for_connection)?;
            if held.is_none()
                && let Some(StartLimit { remaining: 0, reset_after }) = gateway.session_start_limit
            {
                let reason = "the bot has begun as many sessions as Discord allows a day".to_owned();
                return Err(Ending::Lost { reason, after: Some(Duration::from_millis(reset_after)) });
            }
            gateway.url
        }
    };
    let url = gateway_at(&url, client.api_url())
        .ok_or_else(|| lost("Discord named no address for its gateway that can be used".to_owned()))?;
    let mut socket = Socket::connect(LINK, url.as_str(), client.tls()).await.map_err(|gone| ending_of(gone).0)?;
    let hello = async {
        loop {
            if let Payload::Hello(every) = payload(&socket.next().await.map_err(|gone| ending_of(gone).0)?) {
                return Ok(every);
            }
        }
    };
    match timeout(HELLO_LIMIT, hello).await {
        Ok(every) => every.map(|every| (socket, every)),
        Err(_) => Err(lost(format!("Discord did not say hello within {HELLO_LIMIT:?}"))),
    }
}

impl Discord {
    async fn serve(
        &self,
        client: &Client,
        mut socket: Socket,
        every: Duration,
        token: Secret,
        held: Option<Held>,
        stop: &CancellationToken,
    ) -> Ending {
        let first = match &held {
            Some(held) => resume(&token, &held.id, held.seq),
            None => identify(&token),
        };
        if let Err(gone) = socket.say(first).await {
            self.known().held = held;
            return ending_of(gone).0;
        }
        let mut running = Running {
            discord: self,
            client,
            token,
            so_far: held.as_ref().map_or_else(DoneWith::default, |held| DoneWith::up_to(held.seq)),
            held,
            begun: false,
            lanes: Lanes::of(MOST_WAITING),
            catching_up: 0,
            permits: Arc::new(Semaphore::new(CATCH_UPS)),
        };
        let (ending, session) = running.until_it_ends(&mut socket, every, stop).await;
        let Running { lanes, so_far, held, catching_up, .. } = running;
        // What was begun is seen to its end; what it comes to, Discord hears by being asked again.
        lanes.end().await;
        // A session of which not all was caught up with is begun anew, which catches up again.
        let goes_on = session == Session::GoesOn && catching_up == 0;
        self.known().held = held.filter(|_| goes_on).map(|held| Held { seq: so_far.seq().unwrap_or(0), ..held });
        // One that is closed with a word is over for Discord.
        if ending == Ending::Stopped {
            socket.close().await;
        }
        ending
    }
}

/// What is done with one thing.
enum Ticket {
    /// The event of this number.
    Event(u64),
    /// A group was caught up with.
    CaughtUp,
    /// Names were kept.
    Named,
}

/// A connection that is being served.
struct Running<'a> {
    discord: &'a Discord,
    client: &'a Client,
    token: Secret,
    /// Which session it is; `None` before one has begun.
    held: Option<Held>,
    /// It was begun or gone on with.
    begun: bool,
    so_far: DoneWith,
    lanes: Lanes<'a, Ticket>,
    /// How many groups are still to be caught up with.
    catching_up: usize,
    permits: Arc<Semaphore>,
}

impl Running<'_> {
    async fn until_it_ends(
        &mut self,
        socket: &mut Socket,
        every: Duration,
        stop: &CancellationToken,
    ) -> (Ending, Session) {
        let mut next_beat = Instant::now() + every.mul_f64(some_part());
        let mut unanswered = false;
        let begin_by = tokio::time::sleep(BEGIN_LIMIT);
        tokio::pin!(begin_by);
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Some((Ending::Stopped, Session::Over)),
                () = tokio::time::sleep_until(next_beat) => {
                    next_beat += every;
                    if unanswered {
                        lost("Discord did not answer a heartbeat")
                    } else {
                        unanswered = true;
                        socket.say(beat(self.so_far.seq())).await.err().map(ending_of)
                    }
                }
                done = self.lanes.done() => match done {
                    Ok(ticket) => { self.done(&ticket); None }
                    Err(reason) => lost(&reason),
                },
                heard = socket.next() => match heard.map(|line| payload(&line)) {
                    Err(gone) => Some(ending_of(gone)),
                    Ok(Payload::Beaten) => { unanswered = false; None }
                    Ok(Payload::BeatNow) => socket.say(beat(self.so_far.seq())).await.err().map(ending_of),
                    Ok(payload) => self.hear(payload),
                },
                () = self.discord.doubted.notified() => refused(self.client, &self.token).await,
                () = &mut begin_by, if !self.begun => lost("Discord did not begin the session in time"),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn hear(&mut self, payload: Payload) -> Option<(Ending, Session)> {
        match payload {
            Payload::Dispatch { seq, kind, data } => self.happened(seq, &kind, data),
            // Every few hours: the connection is moved to another of Discord's machines.
            Payload::Reconnect => Some((Ending::Renew, Session::GoesOn)),
            Payload::Invalid { resumable } => {
                let session = if resumable { Session::GoesOn } else { Session::Over };
                let reason = "Discord does not go on with the session".to_owned();
                match self.begun {
                    true => Some((Ending::Renew, session)),
                    false => Some((Ending::Lost { reason, after: Some(AFTER_INVALID) }, session)),
                }
            }
            Payload::Hello(_) | Payload::BeatNow | Payload::Beaten | Payload::Odd => None,
        }
    }

    fn happened(&mut self, seq: u64, kind: &str, data: Value) -> Option<(Ending, Session)> {
        let discord = self.discord;
        match kind {
            "READY" => {
                // It counts from its own beginning.
                self.so_far = DoneWith::default();
                self.so_far.hear(seq);
                let (Some(me), Some(id)) = (data["user"]["id"].as_str(), data["session_id"].as_str()) else {
                    return lost("Discord began a session without saying who we are");
                };
                let url = data["resume_gateway_url"].as_str().map(str::to_owned);
                self.held = Some(Held { token: self.token.clone(), id: id.to_owned(), url, seq });
                discord.known().me = Some(me.to_owned());
                tracing::info!(user = me, "connected to Discord");
                self.begin();
                return self.catch_up(me);
            }
            "RESUMED" => {
                self.so_far.hear(seq);
                self.begin();
                return None;
            }
            _ => {}
        }
        let me = discord.known().me.clone();
        match (kind, me) {
            ("MESSAGE_CREATE" | "MESSAGE_UPDATE", Some(me)) => self.said(seq, data, kind == "MESSAGE_UPDATE", me),
            (_, Some(me)) => {
                self.so_far.hear(seq);
                self.learn(kind, &data, &me);
                None
            }
            // Nothing is told before it is said who we are.
            (_, None) => {
                self.so_far.hear(seq);
                None
            }
        }
    }

    /// Takes in a message, after what came before it in the same channel.
    fn said(&mut self, seq: u64, message: Value, change: bool, me: String) -> Option<(Ending, Session)> {
        let (discord, client) = (self.discord, self.client);
        match meaning(message, change, &me, |role| discord.known().places.is_our_role(role)) {
            Meaning::Nothing(why) => {
                tracing::debug!(why, "a message on Discord is nothing for us");
                self.so_far.hear(seq);
                None
            }
            Meaning::Said(said) => {
                tracing::debug!(target: STEPS, chat = format!("{PREFIX}{}", said.channel), id = said.id, "seen");
                self.so_far.begin(seq);
                let lane = said.channel.clone();
                let work = async move { discord.take_in(client, &me, *said).await };
                if self.lanes.put(lane, Ticket::Event(seq), work.boxed()) {
                    return None;
                }
                lost("more was said in a channel than can be taken in; it will be said again")
            }
        }
    }

    /// Learns what places are called, and which are gone. Best effort: it is told anew with every session.
    fn learn(&mut self, kind: &str, data: &Value, me: &str) {
        let discord = self.discord;
        let news = discord.known().places.hear(kind, data, me);
        if !news.named.is_empty() || !news.left.is_empty() {
            let guild = data["guild_id"].as_str().or(data["id"].as_str()).unwrap_or_default();
            let noting = async move {
                discord.note_all(news.named).await;
                discord.left(&news.left).await;
                Ok(())
            };
            let _ = self.lanes.put(format!("guild {guild}"), Ticket::Named, noting.boxed());
        }
    }

    fn begin(&mut self) {
        self.begun = true;
        self.discord.status.set(ChannelState::Connected { since: Timestamp::now() });
        self.discord.host.channel_connected(&self.discord.name);
    }

    /// Has what was missed in every group taken in before what is said from now on.
    fn catch_up(&mut self, me: &str) -> Option<(Ending, Session)> {
        let (discord, client) = (self.discord, self.client);
        for chat in discord.intake.chats() {
            let Some(channel) = chat.as_str().strip_prefix(PREFIX).map(str::to_owned) else { continue };
            let (token, me, permits) = (self.token.clone(), me.to_owned(), self.permits.clone());
            let work = async move {
                // Nobody closes it.
                let _permit = permits.acquire().await;
                discord.catch_up(client, &token, &me, &chat).await
            };
            self.catching_up += 1;
            if !self.lanes.put(channel, Ticket::CaughtUp, work.boxed()) {
                return lost("a group cannot be caught up with");
            }
        }
        None
    }

    fn done(&mut self, ticket: &Ticket) {
        match ticket {
            Ticket::Event(seq) => self.so_far.done(*seq),
            Ticket::CaughtUp => self.catching_up -= 1,
            Ticket::Named => {}
        }
    }
}

/// A send was refused for its token; whether it still is taken is asked.
async fn refused(client: &Client, token: &Secret) -> Option<(Ending, Session)> {
    match client.gateway(token).await {
        Err(trouble @ Trouble::Token) => Some((trouble.for_connection(), Session::Over)),
        _ => None,
    }
}

fn lost(reason: &str) -> Option<(Ending, Session)> {
    Some(ending_of(Gone { reason: reason.to_owned(), code: None }))
}

/// The address of the gateway that Discord names, with the version that we speak. Without TLS only where the API is without.
fn gateway_at(told: &str, api_url: &Url) -> Option<Url> {
    let mut url = Url::parse(told).ok()?;
    let fits = url.scheme() == "wss" || url.scheme() == "ws" && api_url.scheme() == "http";
    url.set_query(Some("v=10&encoding=json"));
    fits.then_some(url)
}

/// A part of the whole, from 0 to 1: so that not all who lost their connection at the same moment beat together.
fn some_part() -> f64 {
    f64::from(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos())) / 1e9
}

fn without_token(required: bool) -> Ending {
    match required {
        true => Ending::Refused { reason: format!("there is no {TOKEN}"), remedy: new_token() },
        false => Ending::Unused { needs: format!("{TOKEN}, for chats {PREFIX}…") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_where_discord_says_and_never_without_tls() {
        let of = |told: &str, api: &str| gateway_at(told, &Url::parse(api).unwrap()).map(|url| url.to_string());
        let discord = "https://discord.com";
        let expected = "wss://gateway.discord.gg/?v=10&encoding=json";
        assert_eq!(of("wss://gateway.discord.gg", discord).as_deref(), Some(expected));
        assert_eq!(of("wss://gateway.discord.gg/?v=9", discord).as_deref(), Some(expected));
        for bad in ["ws://gateway.discord.gg", "https://gateway.discord.gg", "", "gateway"] {
            assert_eq!(of(bad, discord), None, "{bad:?}");
        }
        assert!(of("ws://127.0.0.1:1/gateway", "http://127.0.0.1:1").is_some());
    }

    #[test]
    fn nobody_is_told_of_a_token_that_nobody_wants() {
        assert!(matches!(without_token(false), Ending::Unused { .. }));
        let Ending::Refused { remedy, .. } = without_token(true) else { panic!("it was asked for") };
        assert!(remedy.contains("auth set DISCORD_BOT_TOKEN"), "{remedy}");
    }
}
