//! What was said in groups while nobody was connected: asked for when a session begins, in order, and handed in before what is said
//! from then on.
//!
//! Slack says again by itself what was not acknowledged, and gives that up after a while; what is said twice is one message. How far
//! a group was heard is what the store knows of it, and so are the threads in which something was said lately: a history tells of a thread by
//! its first message alone, which may be old. A history is told backwards, so all of it is had before anything is handed in:
//! oldest first, that a host which dies in the middle goes on from there.

use std::time::Duration;

use nanoclaw_core::{chat::ChatId, message::PlatformMessageId, time::Timestamp};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    Slack,
    client::{PAGE, Stream},
    conversation_of,
    event::{Recalled, Said, recalled},
    receive::Session,
    trouble::Trouble,
};

/// How many pages are asked for at once, over all groups.
pub(super) const ASKED_AT_ONCE: usize = 4;
/// The most pages that are asked for of a conversation, and of a thread.
const MOST_PAGES: usize = 25;
/// The most threads of a conversation that are asked for although nothing else leads to them.
const MOST_THREADS: u32 = 5;
/// The most of these in a session, over all groups: what Slack answers within a minute.
pub(super) const MOST_THREADS_OF_ALL: usize = 50;
/// How far back is asked.
const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often a page is asked for of which there is no answer. When Slack asks to wait, that is no try.
const TRIES: u32 = 8;
/// The longest delay between two tries, and the one when Slack asks to wait without saying for how long.
const LONG_PAUSE: Duration = Duration::from_secs(60);

impl Slack {
    /// Hands in what was said in a group since something of it was last taken in, and what became of earlier messages meanwhile.
    ///
    /// # Errors
    /// Why it cannot be had or stored just now: the next session has to ask for it again.
    pub(super) async fn catch_up(&self, session: &Session<'_>, chat: &ChatId) -> Result<(), String> {
        let until = self.intake.heard_until(chat).await.map_err(|error| error.to_string())?;
        let Some(until) = until else { return Ok(()) };
        let look_back = i64::try_from(LOOK_BACK.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_ms(Timestamp::now().as_ms().saturating_sub(look_back));
        let since = until.max(oldest);
        let known = self.intake.threads_since(chat, oldest, MOST_THREADS).await.map_err(|error| error.to_string())?;
        let recalled = tokio::select! {
            recalled = recall(session, conversation_of(chat), &known, oldest, since) => recalled,
            () = session.over.cancelled() => return Err("the session is over".to_owned()),
        };
        let recalled = match recalled {
            Ok(recalled) => recalled,
            Err(trouble) if trouble.may_pass() || trouble.is_about_token() => {
                return Err(format!("what was said in {chat} cannot be read: {trouble}"));
            }
            Err(trouble) => {
                tracing::warn!(%chat, %trouble, "what was said in a group cannot be read");
                return Ok(());
            }
        };
        for said in missed(recalled, since) {
            self.take_in(session, said).await?;
        }
        Ok(())
    }
}

/// What was said in a conversation since then, in threads too, the `known` ones among them, and of what was said before as much as comes
/// with it.
async fn recall(
    session: &Session<'_>,
    channel: &str,
    known: &[PlatformMessageId],
    oldest: Timestamp,
    since: Timestamp,
) -> Result<Vec<Recalled>, Trouble> {
    let mut all = read(session, Stream { channel, thread: None }, oldest, since).await?;
    let is_new = |message: &&Recalled| message.latest_reply.is_some_and(|at| at >= since);
    let mut threads: Vec<String> = all.iter().filter(is_new).map(|message| message.id.clone()).collect();
    // Of the others of which the history told it told whether there is something new.
    let untold = known.iter().filter(|thread| all.iter().all(|message| message.id != thread.as_str()));
    for thread in untold {
        match session.threads.try_acquire() {
            Ok(one) => one.forget(),
            Err(_) => {
                tracing::warn!(channel, "an older thread is not asked for what was said in it, since too many are");
                break;
            }
        }
        threads.push(thread.as_str().to_owned());
    }
    for thread in threads {
        match read(session, Stream { channel, thread: Some(&thread) }, since, since).await {
            Ok(replies) => all.extend(replies),
            Err(trouble) if trouble.is_about_thread() => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(all)
}

/// Reads a stream: outside threads, backwards until something was said before `since`.
async fn read(
    session: &Session<'_>,
    stream: Stream<'_>,
    oldest: Timestamp,
    since: Timestamp,
) -> Result<Vec<Recalled>, Trouble> {
    let Session { client, bot, me, .. } = session;
    let (mut all, mut from) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let ask = || client.history::<Value>(bot, stream, oldest, from.clone());
        let (page, next) = patiently(&session.asking, ask).await?;
        let before = all.len();
        all.extend(page.into_iter().filter_map(|message| recalled(message, stream.channel, me)));
        let reached = stream.thread.is_none() && all[before..].iter().any(|message| message.at < since);
        match next {
            Some(next) if !reached => from = Some(next),
            _ => return Ok(all),
        }
    }
    let Stream { channel, thread } = stream;
    let messages = MOST_PAGES * PAGE;
    tracing::warn!(channel, thread, messages, "more was said on Slack than is asked for; some of it is left out");
    Ok(all)
}

/// What was missed since then, oldest first: a host that dies in the middle has heard all that was said before.
fn missed(recalled: Vec<Recalled>, since: Timestamp) -> Vec<Said> {
    let mut missed: Vec<Said> = Vec::new();
    for Recalled { at, said, change, .. } in recalled {
        // What was said since reads as it was changed. Of the moment itself nobody knows whether all was heard.
        missed.extend(said.filter(|_| at >= since));
        missed.extend(change.filter(|change| at <= since && change.at >= since));
    }
    missed.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    missed
}

/// Asks until there is an answer. While Slack wants to be asked less, nobody else is let ask in the place of this one.
async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    asking: &Semaphore,
    ask: impl Fn() -> F,
) -> Result<T, Trouble> {
    let mut tried = 0;
    loop {
        // Nobody closes it.
        let permit = asking.acquire().await;
        let trouble = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Limited(after) => tokio::time::sleep(after.unwrap_or(LONG_PAUSE)).await,
            trouble if trouble.may_pass() && tried + 1 < TRIES => {
                drop(permit);
                tried += 1;
                tokio::time::sleep(Duration::from_millis(250 << tried).min(LONG_PAUSE)).await;
            }
            trouble => return Err(trouble),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use nanoclaw_core::chat::ChatKind;

    use super::*;

    fn said(id: &str, at: i64, edited: bool) -> Said {
        Said {
            conversation: "C1".to_owned(),
            kind: ChatKind::Group,
            id: id.to_owned(),
            at: Timestamp::from_ms(at),
            user: "U1".to_owned(),
            text: String::new(),
            edited,
            thread: None,
            files: Vec::new(),
        }
    }

    fn recalled(at: i64, edited_at: Option<i64>) -> Recalled {
        Recalled {
            id: at.to_string(),
            at: Timestamp::from_ms(at),
            said: Some(said(&at.to_string(), at, false)),
            change: edited_at.map(|edited| said(&format!("{at}/{edited}"), edited, true)),
            latest_reply: None,
        }
    }

    #[test]
    fn what_was_missed_comes_in_the_order_of_its_time_and_changes_of_what_was_heard_among_it() {
        let history = vec![
            recalled(40, Some(45)),
            recalled(30, None),
            recalled(20, Some(25)),
            recalled(10, Some(35)),
            recalled(9, Some(15)),
        ];
        let missed = missed(history, Timestamp::from_ms(20));
        let ids: Vec<_> = missed.iter().map(|said| said.id.as_str()).collect();
        assert_eq!(ids, ["20", "20/25", "30", "10/35", "40"]);
    }

    #[tokio::test(start_paused = true)]
    async fn slack_is_asked_again_as_long_as_that_may_help_and_as_it_asks() {
        let asked = async |troubles: Vec<Trouble>| {
            let (troubles, began) = (RefCell::new(troubles.into_iter()), tokio::time::Instant::now());
            let ask = || {
                let trouble = troubles.borrow_mut().next();
                async { trouble.map_or(Ok(()), Err) }
            };
            let answer = patiently(&Semaphore::new(1), ask).await;
            (answer.is_ok(), troubles.borrow().len(), began.elapsed().as_secs())
        };
        let told = |code: &str| Trouble::Told(code.to_owned());
        let limited = |seconds| Trouble::Limited(Some(Duration::from_secs(seconds)));
        assert_eq!(asked(vec![limited(100), Trouble::Limited(None)]).await, (true, 0, 160));
        assert!(asked(vec![limited(1); 99]).await.0, "a limit is no failure");
        assert_eq!(asked(vec![told("internal_error"), Trouble::Unclear("x".into())]).await, (true, 0, 1));
        assert_eq!(asked(vec![Trouble::NotReached("x".into()); 9]).await, (false, 1, 63));
        assert_eq!(asked(vec![told("not_in_channel"); 2]).await, (false, 1, 0));
    }
}
