//! Giving up: what was tried in vain is set aside, with a word to its chat, so that the group can go on with the rest.

use crate::{
    delivery::{Answered, Answers, DeliveryKey, NewDelivery},
    group::Group,
    message::{Seq, Wakes},
    orchestrator::{Notice, event::Event, run::RunContext, telling::of_given_up},
    store::{GiveUp, SetAside, SetAsideState, StoreError},
    time::Timestamp,
};

/// The most messages that a chat is told of when they are set aside.
const MOST_TOLD_OF: u32 = 1000;

/// Sets the messages aside, tells the chat, and says so; `None` when the store failed: the dispatcher tries them again later.
pub(super) async fn give_up(context: &RunContext, group: &Group, through: Seq, reason: &str) -> Option<Event> {
    let folder = group.folder.clone();
    match set_aside(context, group, through, reason).await {
        Ok(Some(_)) => {
            tracing::error!(group = %folder, %through, reason, "messages are set aside; `nanoclaw turns list` shows them");
            context.nudges.chat(&group.chat);
            let (group, chat) = (folder.clone(), group.chat.clone());
            let _ = context.notices.send(Notice::GaveUp { group, chat, through, reason: reason.to_owned() });
        }
        // They were answered or dropped meanwhile.
        Ok(None) => {}
        Err(error) => {
            tracing::error!(group = %folder, %error, "cannot give up messages; they are tried again");
            // If it happened all the same, the notice is to be sent.
            context.nudges.chat(&group.chat);
            return None;
        }
    }
    Some(Event::GaveUp { group: folder, through })
}

async fn set_aside(
    context: &RunContext,
    group: &Group,
    through: Seq,
    reason: &str,
) -> Result<Option<SetAside>, StoreError> {
    let folder = &group.folder;
    let mut messages = context.store.messages_after(folder, Seq::ZERO, MOST_TOLD_OF).await?;
    messages.retain(|stored| stored.seq <= through);
    let text = of_given_up(folder, through, &messages, reason);
    // Where an answer would have gone.
    let asked = messages.iter().rev().find(|stored| stored.wakes == Wakes::Yes);
    let answers = asked.map(|stored| Answers::Message(Answered::to(&stored.message, true)));
    let run = context.store.runs(Some(folder), 1).await?.first().map(|run| run.id.number);
    let notice =
        NewDelivery { key: DeliveryKey::gave_up(folder, through), chat: group.chat.clone(), text, file: None, answers };
    let (reason, state) = (reason.to_owned(), SetAsideState::Kept);
    let given_up = GiveUp { through, reason, run, state, notice: Some(notice) };
    context.store.give_up(folder, &given_up, Timestamp::now()).await
}
