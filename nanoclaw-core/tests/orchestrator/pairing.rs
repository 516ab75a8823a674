//! A chat becomes a group by a code that is written in it, and whoever waits for that learns of it.

use std::time::Duration;

use nanoclaw_core::{
    chat::ChatKind,
    group::{GroupRole, TriggerPolicy},
    message::{InboundMessage, Seq},
    orchestrator::Receipt,
    pairing::{HOLDS_FOR, MOST_TRIES, Pairing, PairingCode, PairingEnd, PairingId, PairingStanding, Place, Registers},
    senders::{SenderPolicy, UnknownPrivate},
    store::{Store, StoreError},
    time::{Timestamp, test_clock},
};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    echo,
    support::{EmptyHouse, House, folder, main_group},
};

const WRONG: &str = "22222-22222";

/// A pairing for the main group, and its code, as it is shown.
fn new_pairing() -> (Pairing, String) {
    let registers = Registers {
        folder: folder("main"),
        name: "Main".to_owned(),
        trigger: TriggerPolicy::Always,
        role: GroupRole::Main,
    };
    let (pairing, code) = Pairing::begin(1, u128::MAX / 7, registers, Timestamp::now());
    (pairing, code.shown())
}

/// One begins; its code.
async fn begin(store: &dyn Store) -> String {
    let (pairing, code) = new_pairing();
    store.begin_pairing(&pairing).await.unwrap();
    code
}

async fn empty() -> EmptyHouse {
    House::empty(echo).await
}

fn private(house: &House, chat: &str, text: &str) -> InboundMessage {
    InboundMessage { chat_kind: Some(ChatKind::Private), ..house.message(chat, text) }
}

async fn accept(house: &House, message: &InboundMessage) -> Receipt {
    house.orchestrator.inbox().accept(message.clone()).await.unwrap()
}

async fn claimed(house: &House, message: &InboundMessage) {
    let receipt = accept(house, message).await;
    assert!(matches!(receipt, Receipt::Obeyed { .. }), "{receipt:?}");
}

async fn standing(house: &House) -> PairingStanding {
    house.store.pairing().await.unwrap().unwrap().standing(Timestamp::now())
}

const NOW_MAIN: &str =
    "This chat is now the main group (its folder is main). What you write here is for your assistant.";

#[tokio::test(start_paused = true)]
async fn the_private_chat_with_the_code_is_a_group_at_once_and_the_code_is_no_message() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let said = private(&house, "test:ann", &format!(" {} ", code.to_lowercase().replace('-', " ")));
    claimed(&house, &said).await;
    house.shown(&[NOW_MAIN]).await;
    let PairingStanding::Ended(PairingEnd::Claimed(by)) = standing(&house).await else { panic!("it is over") };
    assert_eq!(by.chat.as_str(), "test:ann");
    assert_eq!(house.store.messages_after(&folder("main"), Seq::ZERO, 10).await.unwrap(), []);

    // Said again by its service; and by somebody else, who is a stranger like any other.
    claimed(&house, &said).await;
    assert_eq!(accept(&house, &private(&house, "test:eve", &code)).await, Receipt::Unregistered);
    assert!(matches!(house.write_to("test:ann", "hello").await, Receipt::Stored { .. }));
    house.shown(&[NOW_MAIN, "heard hello"]).await;
    house.shut_down().await;
    let house = house.restart().await;
    claimed(&house, &said).await;
    house.write_to("test:ann", "again").await;
    house.shown_last("heard again").await;
    assert_eq!(house.channel.texts().iter().filter(|text| *text == NOW_MAIN).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_chats_with_the_code_at_the_same_time_make_one_group() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let (ann, eve) = (private(&house, "test:ann", &code), private(&house, "test:eve", &code));
    let (first, second) = tokio::join!(accept(&house, &ann), accept(&house, &eve));
    assert!(matches!(first, Receipt::Obeyed { .. }), "{first:?}");
    assert_eq!(second, Receipt::Unregistered);
    assert_eq!(house.store.groups().await.unwrap().len(), 1);
    house.shown(&[NOW_MAIN]).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_codes_are_answered_like_anything_a_stranger_writes_and_five_make_the_right_one_void() {
    let house = empty().await.with_strangers(UnknownPrivate::Hint).start().await;
    let code = begin(&*house.store).await;
    // What is no code is no try, nor is a code where none belongs.
    assert_eq!(accept(&house, &private(&house, "test:eve", "what is the code?")).await, Receipt::Unregistered);
    let in_public = InboundMessage { chat_kind: Some(ChatKind::Group), ..house.message("test:many", WRONG) };
    assert_eq!(accept(&house, &in_public).await, Receipt::Unregistered);
    assert_eq!(standing(&house).await, PairingStanding::Open { tries_left: MOST_TRIES });
    for number in 0..MOST_TRIES {
        let wrong = private(&house, &format!("test:eve{}", number % 2), WRONG);
        for _ in 0..2 {
            assert_eq!(accept(&house, &wrong).await, Receipt::Unregistered);
        }
    }
    assert_eq!(standing(&house).await, PairingStanding::TriesUsedUp);
    assert_eq!(accept(&house, &private(&house, "test:ann", &code)).await, Receipt::Unregistered);
    assert_eq!(house.store.groups().await.unwrap(), []);
    house.tried(4).await;
    let hint = |text: &String| text.starts_with("Nobody reads what you write here");
    assert!(house.channel.texts().iter().all(hint), "{:?}", house.channel.texts());
}

#[tokio::test(start_paused = true)]
async fn a_code_whose_time_is_over_is_like_anything_a_stranger_writes() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let pairing = house.store.pairing().await.unwrap().unwrap();
    house.store.begin_pairing(&Pairing { ends_at: Timestamp::now(), ..pairing }).await.unwrap();
    assert_eq!(accept(&house, &private(&house, "test:ann", &code)).await, Receipt::Unregistered);
    assert_eq!(house.store.groups().await.unwrap(), []);
    assert_eq!(standing(&house).await, PairingStanding::TimeOver);
}

#[tokio::test(start_paused = true)]
async fn the_code_in_a_chat_that_is_a_group_is_kept_from_its_agent_and_void() {
    let house = empty().await.start().await;
    house.add_group("family", "test:family").await;
    let code = begin(&*house.store).await;
    assert!(matches!(house.write_to("test:family", WRONG).await, Receipt::Stored { .. }), "it is a message");
    let said = house.message("test:family", &code);
    for _ in 0..2 {
        claimed(&house, &said).await;
    }
    let told =
        "That was the code, but this chat cannot be registered: it is the group family already. The code is void now.";
    house.shown(&[told]).await;
    let stored = house.store.messages_after(&folder("family"), Seq::ZERO, 10).await.unwrap();
    assert_eq!(stored.iter().map(|stored| &*stored.message.text).collect::<Vec<_>>(), [WRONG]);
    assert_eq!(accept(&house, &private(&house, "test:ann", &code)).await, Receipt::Unregistered);
    assert_eq!(house.store.groups().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_code_where_others_read_it_is_void() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let said = InboundMessage { chat_kind: Some(ChatKind::Group), ..house.message("test:many", &code) };
    claimed(&house, &said).await;
    house.shown_last_containing("others may have read the code there. The code is void now.").await;
    assert_eq!(accept(&house, &private(&house, "test:ann", &code)).await, Receipt::Unregistered);
    assert_eq!(house.store.groups().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_code_gets_through_whoever_may_speak_to_agents() {
    let (house, _) = empty().await.with_senders(Ok(SenderPolicy::nobody()));
    let house = house.start().await;
    let code = begin(&*house.store).await;
    claimed(&house, &private(&house, "test:ann", &code)).await;
    house.shown(&[NOW_MAIN]).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_a_main_group_by_then_the_code_is_refused_with_the_reason_and_spent() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    house.orchestrator.add_group(main_group()).await.unwrap();
    claimed(&house, &private(&house, "test:ann", &code)).await;
    house.shown_last_containing("this chat cannot be registered").await;
    assert_eq!(house.store.groups().await.unwrap().len(), 1);
    assert!(matches!(standing(&house).await, PairingStanding::Ended(PairingEnd::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_code_that_could_not_be_stored_is_taken_when_it_comes_again() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let said = private(&house, "test:ann", &code);
    house.store.fail_writes("the disk is full");
    house.orchestrator.inbox().accept(said.clone()).await.unwrap_err();
    house.store.mend();
    claimed(&house, &said).await;
    house.write_to("test:ann", "hello").await;
    house.shown(&[NOW_MAIN, "heard hello"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_which_an_error_was_told_and_that_happened_is_served_when_it_comes_again() {
    let house = empty().await.start().await;
    let code = begin(&*house.store).await;
    let said = private(&house, "test:ann", &code);
    // What a commit leaves of which nobody heard.
    let pairing = house.store.pairing().await.unwrap().unwrap();
    let code = PairingCode::in_message(&said).unwrap();
    house.store.hear_code(&pairing.said(&code, &said, Place::Private), Timestamp::now()).await.unwrap();
    assert_eq!(house.write_to("test:ann", "too early").await, Receipt::Unregistered);
    claimed(&house, &said).await;
    house.write_to("test:ann", "hello").await;
    house.shown(&[NOW_MAIN, "heard hello"]).await;
}

// --- waiting for it ---------------------------------------------------------------------------------------------------

type Over = JoinHandle<Result<Option<Pairing>, StoreError>>;

/// A pairing begins, by the handle; its code, and somebody who waits until it is over.
async fn awaited(house: &House) -> (Pairing, String, Over) {
    let (pairing, code) = new_pairing();
    house.orchestrator.begin_pairing(&pairing).await.unwrap();
    let (orchestrator, id) = (house.orchestrator.clone(), pairing.id.clone());
    let over = tokio::spawn(async move { orchestrator.pairing_over(&id).await });
    still_waits(&over).await;
    (pairing, code, over)
}

/// Nothing else is to be done at this moment, and it waits.
async fn still_waits(over: &Over) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!over.is_finished());
}

/// How the pairing stands for which somebody waits, told without a moment's delay.
async fn told(over: Over) -> PairingStanding {
    let before = Instant::now();
    let last = over.await.unwrap().unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    last.standing(Timestamp::now())
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_code_learns_at_once_that_it_was_written() {
    let house = empty().await.start().await;
    let (_, code, over) = awaited(&house).await;
    accept(&house, &private(&house, "test:eve", WRONG)).await;
    still_waits(&over).await;
    claimed(&house, &private(&house, "test:ann", &code)).await;
    assert!(
        matches!(told(over).await, PairingStanding::Ended(PairingEnd::Claimed(by)) if by.chat.as_str() == "test:ann")
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_code_learns_that_it_was_written_in_the_wrong_place_or_guessed_too_often() {
    let house = empty().await.start().await;
    let (_, code, over) = awaited(&house).await;
    claimed(&house, &InboundMessage { chat_kind: Some(ChatKind::Group), ..house.message("test:many", &code) }).await;
    assert!(matches!(told(over).await, PairingStanding::Ended(PairingEnd::Refused { .. })));

    let (_, _, over) = awaited(&house).await;
    for _ in 0..MOST_TRIES {
        still_waits(&over).await;
        accept(&house, &private(&house, "test:eve", WRONG)).await;
    }
    assert_eq!(told(over).await, PairingStanding::TriesUsedUp);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_code_learns_that_it_was_withdrawn_or_replaced() {
    let house = empty().await.start().await;
    let (pairing, _, over) = awaited(&house).await;
    let withdrawn = house.orchestrator.withdraw_pairing(&pairing.id).await.unwrap().unwrap();
    assert_eq!(withdrawn.end, Some(PairingEnd::Withdrawn));
    assert_eq!(told(over).await, PairingStanding::Ended(PairingEnd::Withdrawn));

    let (pairing, _, over) = awaited(&house).await;
    let next = Pairing { id: PairingId::new("the-next").unwrap(), ..pairing };
    house.orchestrator.begin_pairing(&next).await.unwrap();
    assert_eq!(over.await.unwrap().unwrap(), Some(next));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_code_that_nobody_writes_learns_that_when_its_time_is_over() {
    let house = empty().await.start().await;
    test_clock::set(Some(Timestamp::from_ms(1_772_600_000_000)));
    let began = Instant::now();
    let (_, _, over) = awaited(&house).await;
    let last = over.await.unwrap().unwrap().unwrap();
    assert_eq!((last.standing(Timestamp::now()), began.elapsed()), (PairingStanding::TimeOver, HOLDS_FOR));
    // One that is over, or was never there, is not waited for.
    let again = house.orchestrator.pairing_over(&last.id).await.unwrap();
    let never = house.orchestrator.pairing_over(&PairingId::new("never").unwrap()).await.unwrap();
    assert_eq!((again, never, began.elapsed()), (Some(last.clone()), Some(last), HOLDS_FOR));
    test_clock::set(None);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_which_an_error_was_told_is_told_to_who_waits_when_it_comes_again() {
    let house = empty().await.start().await;
    let (_, code, over) = awaited(&house).await;
    let said = private(&house, "test:ann", &code);
    house.store.fail_writes("the disk is full");
    house.orchestrator.inbox().accept(said.clone()).await.unwrap_err();
    still_waits(&over).await;
    house.store.mend();
    claimed(&house, &said).await;
    assert!(matches!(told(over).await, PairingStanding::Ended(PairingEnd::Claimed(_))));
}
