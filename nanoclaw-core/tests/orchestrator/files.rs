//! Files that come with messages, on their way to the agent.

use std::sync::{Arc, Mutex};

use nanoclaw_core::{
    attachment::{Attachment, Fetched, SpoolName, SpooledFile},
    message::InboundMessage,
    protocol::input::FileInPrompt,
    runtime::Exit,
};

use crate::support::{Agent, House, waiting};

type Seen = Arc<Mutex<Vec<(String, Vec<FileInPrompt>)>>>;

fn with_file(message: InboundMessage, name: &str, spool: &str) -> InboundMessage {
    let spool = SpoolName::new(spool).unwrap();
    let file = SpooledFile { spool, media_type: "image/png".to_owned(), bytes: 9 };
    let attachment = Attachment { kind: "photo".to_owned(), name: Some(name.to_owned()), fetched: Fetched::Yes(file) };
    let mut attachments = message.attachments.clone();
    attachments.push(attachment);
    InboundMessage { attachments, ..message }
}

/// Notes each prompt with its files, and answers with how many there were.
async fn looks(seen: Seen, mut agent: Agent) -> Exit {
    loop {
        seen.lock().unwrap().push((agent.prompt().to_owned(), agent.files.clone()));
        let count = agent.files.len();
        agent.answer(|_| Some(format!("{count} files"))).await;
        if !agent.follow_up().await {
            return Exit::Code(0);
        }
    }
}

async fn house(seen: &Seen) -> House {
    let seen = seen.clone();
    House::new(move |agent| looks(seen.clone(), agent)).await
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_message_lie_in_the_groups_folder_when_its_prompt_names_them() {
    let seen = Seen::default();
    let house = house(&seen).await;
    let first = with_file(with_file(house.message("test:main", "look"), "a b.png", "one"), "b.png", "two");
    house.orchestrator.inbox().accept(first).await.unwrap();
    house.shown(&["2 files"]).await;
    // And those of a follow-up.
    let second = with_file(house.message("test:main", "and this"), "c.png", "three");
    house.orchestrator.inbox().accept(second).await.unwrap();
    house.shown(&["2 files", "1 files"]).await;

    let seen = seen.lock().unwrap().clone();
    let [(first, files), (second, more)] = &seen[..] else { panic!("{seen:?}") };
    assert!(
        first.contains("look\n[photo: attachments/1-1-a_b.png, image/png, 9 bytes]\n[photo: attachments/1-2-b.png"),
        "{first}"
    );
    assert_eq!(
        files.iter().map(|file| &*file.path).collect::<Vec<_>>(),
        ["attachments/1-1-a_b.png", "attachments/1-2-b.png"]
    );
    assert!(second.contains("[photo: attachments/2-1-c.png, image/png, 9 bytes]"), "{second}");
    assert_eq!(more.len(), 1);
    assert_eq!(house.group_file("main", "attachments/1-2-b.png"), "two");
    assert_eq!(house.group_file("main", "attachments/2-1-c.png"), "three");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_put_there_is_said_to_be_missing_and_the_message_is_answered() {
    let seen = Seen::default();
    let house = house(&seen).await;
    let message = with_file(with_file(house.message("test:main", "look"), "a.png", "gone"), "b.png", "two");
    house.orchestrator.inbox().accept(message).await.unwrap();
    house.shown(&["1 files"]).await;
    let prompt = seen.lock().unwrap()[0].0.clone();
    assert!(
        prompt.contains("look\n[photo: a.png, not fetched: it is gone]\n[photo: attachments/1-2-b.png"),
        "{prompt}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_turn_that_is_tried_again_have_the_same_names() {
    let seen = Seen::default();
    let watch = seen.clone();
    let house = House::new(move |mut agent: Agent| {
        let seen = watch.clone();
        async move {
            let first = {
                let mut seen = seen.lock().unwrap();
                seen.push((agent.prompt().to_owned(), agent.files.clone()));
                seen.len() == 1
            };
            if first {
                return Exit::Code(3);
            }
            agent.answer(|_| Some("done".to_owned())).await;
            Exit::Code(0)
        }
    })
    .await;
    house.orchestrator.inbox().accept(with_file(house.message("test:main", "look"), "a.png", "one")).await.unwrap();
    waiting("the second try", async || seen.lock().unwrap().len() == 2).await;
    house.shown(&["done"]).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0], seen[1]);
}
