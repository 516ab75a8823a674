//! The contract suite of the port [`Store`]: every promise of its documentation as a check of its own.
//!
//! A store passes by instantiating [`store_suite!`](crate::store_suite) with a function that makes an empty one.

#![expect(clippy::unwrap_used, reason = "a check is a test: it fails by panicking")]

use crate::{
    attachment::{Attachment, Fetched, OutgoingFile, SpoolName, SpooledFile},
    chat::{ChannelName, ChatId, ChatKind, ChatMetadata},
    delivery::{Answered, Answers, Delivery, DeliveryKey, NewDelivery, OutboxId, ReplyTo, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId, Seq, StoredMessage, Wakes},
    pairing::{Heard, MOST_TRIES, Pairing, PairingEnd, Place, Registers, SaidCode},
    run::{BlockNumber, Handed, Retry, RunEnding, RunId, RunKind, RunNumber, TaskId},
    runtime::{Exit, RuntimeKind},
    secret::Secret,
    session::{SessionId, SessionName},
    store::{
        Accepted, AfterTry, BlockCommit, BlockOutcome, DeliveryFilter, DeliveryState, GiveUp, NewRun, NextSession,
        Resolution, Resolved, SessionContext, SessionEnded, SetAside, SetAsideState, StopWork, Stopped, Store,
        StoreError, StoredDelivery, TurnResolution, TurnResolved, TurnState, superseded,
    },
    time::Timestamp,
};

/// Makes one `#[tokio::test]` per promise of [`Store`](crate::store::Store).
///
/// `$make` names a function `async fn() -> (Arc<dyn Store>, impl Sized)` that makes an empty store; the second value is
/// kept until the test is over (a temporary folder, say).
#[macro_export]
macro_rules! store_suite {
    ($make:path) => {
        $crate::store_suite! { @checks $make;
            the_install_id_stays_the_same
            what_is_known_of_a_chat_is_kept_and_nothing_unknown_overwrites_it
            chats_come_last_seen_first
            groups_come_as_they_were_registered_and_whole
            f67_registering_never_replaces_a_group
            f68_registering_again_strips_no_rights
            there_is_one_main_group
            a_removed_group_is_gone_and_can_be_registered_anew
            removing_what_is_not_there_is_refused
            a_new_group_starts_at_the_end_of_the_inbox
            the_last_pairing_comes_back_whole_and_a_new_one_replaces_it
            the_code_registers_its_chat_ends_the_pairing_and_is_answered_at_once_and_once
            wrong_codes_are_noted_and_change_nothing_else
            a_code_whose_group_is_taken_is_refused_and_answered_with_the_reason
            the_code_where_it_does_not_belong_is_spent_and_answered
            a_pairing_that_is_withdrawn_or_replaced_registers_nothing
            a_message_comes_back_whole
            the_same_message_again_is_a_duplicate
            the_same_platform_id_in_another_chat_is_another_message
            when_something_was_last_said_is_told_by_the_services_clock
            threads_are_told_by_what_was_said_in_them_lately
            a_message_of_an_unregistered_chat_leaves_only_the_chat
            accepting_notes_the_chat
            f04_order_is_the_order_of_arrival_whatever_the_timestamps_say
            f07_a_limit_returns_the_oldest_and_skips_nothing
            messages_of_other_chats_are_not_mixed_in
            questions_about_an_unknown_group_are_refused
            run_numbers_rise
            run_numbers_rise_across_a_new_registration
            a_run_of_no_group_is_refused
            a_run_is_opened_with_its_first_turn_or_not_at_all
            f24_opening_a_run_closes_the_one_before_as_lost
            messages_are_handed_to_the_open_run_only
            handing_the_same_messages_over_again_is_the_same_turn
            a_block_commits_reply_cursor_session_and_turns_together
            a_block_without_an_answer_leaves_the_cursor
            a_block_committed_twice_counts_once
            a_late_block_is_fenced
            a_block_of_a_removed_group_is_fenced
            f09_the_cursor_moves_only_with_an_answer_and_never_back
            a_cursor_goes_no_further_than_what_was_handed_over
            a_block_answers_the_turns_that_end_before_it
            f08_a_session_changes_only_as_told
            sessions_of_tasks_are_their_own
            closing_a_run_marks_its_unanswered_turns
            what_the_agent_has_taken_is_noted
            nothing_is_taken_by_a_run_that_is_over
            whether_an_agent_names_messages_is_kept_with_its_run
            ending_a_session_forgets_it_and_that_of_the_open_run_and_once
            conversations_are_put_aside_by_name_and_taken_up_again
            stopping_drops_what_waits_and_closes_the_run_and_once
            where_nothing_waits_stopping_changes_nothing
            closing_a_run_twice_changes_nothing
            every_ending_is_kept_with_its_sentence
            runs_come_last_opened_first
            giving_up_marks_moves_and_tells_at_once
            giving_up_again_changes_nothing
            giving_up_what_was_answered_changes_nothing
            giving_up_goes_no_further_than_the_inbox
            files_are_in_use_until_their_message_is_done_with
            a_file_that_goes_out_is_kept_with_its_message_and_in_use_until_that_is_done_with
            f06_what_is_given_up_is_set_aside_with_its_reason_and_drops_nothing
            dropping_what_waits_marks_it_and_tells_nobody
            what_was_set_aside_is_said_again_at_the_end_of_the_inbox
            retrying_twice_is_retrying_once
            what_was_dropped_can_be_retried_and_what_was_retried_cannot_be_dropped
            a_decision_about_nothing_changes_nothing
            what_was_set_aside_outlives_its_group_but_is_said_again_in_it_alone
            messages_are_shown_by_their_places
            recovery_lists_groups_as_they_began_to_wait
            recovery_does_not_count_context_as_waiting
            failures_count_until_a_block_or_giving_up
            f21_posting_a_key_again_changes_nothing
            an_answer_says_which_message_it_answers_and_in_which_thread
            an_answer_in_a_private_chat_stays_in_its_thread_and_shows_no_reply
            what_is_said_in_the_middle_of_a_run_answers_what_its_agent_has_taken
            what_nobody_asked_for_answers_nothing
            a_message_that_is_not_in_the_inbox_can_be_answered
            an_answer_to_what_was_said_again_is_one_to_the_original
            pending_rows_come_in_order_and_by_chat
            a_sent_row_stays_sent
            f20_a_failure_reported_after_sending_changes_nothing
            a_row_that_failed_waits_or_is_given_up
            a_row_that_is_not_there_is_refused
            a_row_that_is_being_sent_keeps_its_place_until_more_is_known
            giving_a_row_up_posts_the_notice_in_the_same_breath_and_once
            a_row_of_which_nobody_knew_turns_out_not_to_have_been_sent
            a_person_decides_about_a_row_that_was_not_sent
            rows_are_shown_latest_first_by_state_and_chat
        }
    };
    (@checks $make:path; $($check:ident)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                let (store, _kept) = $make().await;
                $crate::testing::store_suite::$check(&*store).await;
            }
        )*
    };
}

// --- the installation -----------------------------------------------------------------------------------------------

/// See [`Store::install_id`].
pub async fn the_install_id_stays_the_same(store: &dyn Store) {
    let first = store.install_id().await.unwrap();
    assert_eq!(store.install_id().await.unwrap(), first);
}

// --- chats and groups -----------------------------------------------------------------------------------------------

/// See [`Store::note_chat`].
pub async fn what_is_known_of_a_chat_is_kept_and_nothing_unknown_overwrites_it(store: &dyn Store) {
    let told = ChatMetadata { name: Some("Family".into()), kind: Some(ChatKind::Group), ..seen("tg:1", 50) };
    store.note_chat(&told).await.unwrap();
    store.note_chat(&seen("tg:1", 40)).await.unwrap();
    assert_eq!(store.chats().await.unwrap(), std::slice::from_ref(&told));

    let renamed = ChatMetadata { name: Some("Friends".into()), kind: Some(ChatKind::Private), ..seen("tg:1", 60) };
    store.note_chat(&renamed).await.unwrap();
    assert_eq!(store.chats().await.unwrap(), [renamed]);
}

/// See [`Store::chats`].
pub async fn chats_come_last_seen_first(store: &dyn Store) {
    for (chat, at) in [("tg:1", 10), ("tg:3", 30), ("tg:2", 30), ("tg:4", 20)] {
        store.note_chat(&seen(chat, at)).await.unwrap();
    }
    let chats: Vec<String> = store.chats().await.unwrap().into_iter().map(|chat| chat.chat.into()).collect();
    assert_eq!(chats, ["tg:2", "tg:3", "tg:4", "tg:1"]);
}

/// See [`Store::groups`].
pub async fn groups_come_as_they_were_registered_and_whole(store: &dyn Store) {
    let mut main = group("zebra");
    main.role = GroupRole::Main;
    main.trigger = TriggerPolicy::Always;
    let mut words = group("ape");
    words.trigger = TriggerPolicy::Words("hey (you)".into());
    let named = group("bee");
    for group in [&main, &words, &named] {
        store.add_group(group).await.unwrap();
    }
    assert_eq!(store.groups().await.unwrap(), [main, words, named]);
}

/// See [`Store::add_group`].
pub async fn f67_registering_never_replaces_a_group(store: &dyn Store) {
    let first = group("one");
    store.add_group(&first).await.unwrap();
    let same_folder = Group { chat: chat("tg:other"), ..first.clone() };
    let error = store.add_group(&same_folder).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::FolderTaken { folder, chat } if *folder == first.folder && *chat == first.chat)
    );
    let same_chat = Group { folder: folder("two"), ..first.clone() };
    let error = store.add_group(&same_chat).await.unwrap_err();
    assert!(matches!(&error, StoreError::ChatTaken { folder, chat } if *folder == first.folder && *chat == first.chat));
    assert_eq!(store.groups().await.unwrap(), [first]);
}

/// See [`Store::add_group`].
pub async fn f68_registering_again_strips_no_rights(store: &dyn Store) {
    let main = Group { role: GroupRole::Main, ..group("one") };
    store.add_group(&main).await.unwrap();
    let again = Group { role: GroupRole::Ordinary, name: "renamed".into(), ..main.clone() };
    assert!(matches!(store.add_group(&again).await, Err(StoreError::ChatTaken { .. })));
    assert_eq!(store.groups().await.unwrap(), [main]);
}

/// See [`Store::add_group`].
pub async fn there_is_one_main_group(store: &dyn Store) {
    let first = Group { role: GroupRole::Main, ..group("one") };
    let second = Group { role: GroupRole::Main, ..group("two") };
    store.add_group(&first).await.unwrap();
    let error = store.add_group(&second).await.unwrap_err();
    assert!(matches!(&error, StoreError::MainTaken { folder } if *folder == first.folder));
    assert_eq!(store.groups().await.unwrap(), std::slice::from_ref(&first));

    store.remove_group(&first.folder).await.unwrap();
    store.add_group(&second).await.unwrap();
    assert_eq!(store.groups().await.unwrap(), [second]);
}

/// See [`Store::remove_group`].
pub async fn a_removed_group_is_gone_and_can_be_registered_anew(store: &dyn Store) {
    let group = registered(store, "one").await;
    let run = opened(store, "one", 1).await;
    let block = BlockCommit { session: Some(chat_session("s-1")), ..block(1) };
    store.commit_block(&run, &block).await.unwrap();
    told(store, "one", "m-1").await;

    store.remove_group(&group.folder).await.unwrap();
    assert!(store.groups().await.unwrap().is_empty());
    assert!(store.recover().await.unwrap().is_empty());
    assert_eq!(store.runs(Some(&group.folder), 10).await.unwrap().len(), 1, "its runs stay");

    store.add_group(&group).await.unwrap();
    assert_eq!(store.groups().await.unwrap(), std::slice::from_ref(&group));
    assert_eq!(store.session(&group.folder, &SessionContext::Chat).await.unwrap(), None, "its session is forgotten");
    assert_eq!(store.unanswered(&group.folder).await.unwrap(), 0, "what was said before is not answered now");
    let again = store.accept(&message("one", "m-1"), Wakes::Yes, at(9)).await.unwrap();
    assert!(matches!(again, Accepted::Duplicate(_)), "its messages stay: {again:?}");
}

/// See [`Store::remove_group`].
pub async fn removing_what_is_not_there_is_refused(store: &dyn Store) {
    let error = store.remove_group(&folder("nobody")).await.unwrap_err();
    assert!(matches!(&error, StoreError::NoGroup { folder } if folder.as_str() == "nobody"));
}

/// See [`Store::add_group`].
pub async fn a_new_group_starts_at_the_end_of_the_inbox(store: &dyn Store) {
    registered(store, "one").await;
    let last = told(store, "one", "m-1").await;
    registered(store, "two").await;
    assert_eq!(store.cursor(&folder("two")).await.unwrap(), last);
    assert_eq!(store.cursor(&folder("one")).await.unwrap(), Seq::ZERO);
}

// --- pairing --------------------------------------------------------------------------------------------------------

/// A pairing for the main group, and the right code in the message `id` of `chat`.
fn pairing(number: u128) -> (Pairing, impl Fn(&str, &str) -> SaidCode) {
    let registers = Registers {
        folder: folder("main"),
        name: "Main".to_owned(),
        trigger: TriggerPolicy::Words("hey".to_owned()),
        role: GroupRole::Main,
    };
    let (pairing, code) = Pairing::begin(number, u128::MAX / 3, registers, at(1));
    let of = pairing.clone();
    (pairing, move |group: &str, id: &str| of.said(&code, &message(group, id), Place::Private))
}

fn wrong_code(right: SaidCode) -> SaidCode {
    SaidCode { hash: Secret::new("wrong"), ..right }
}

/// See [`Store::pairing`].
pub async fn the_last_pairing_comes_back_whole_and_a_new_one_replaces_it(store: &dyn Store) {
    assert_eq!(store.pairing().await.unwrap(), None);
    let (mut first, code) = pairing(1);
    first.tried = vec![code("one", "1").said, code("two", "2").said];
    let ends = [
        None,
        Some(PairingEnd::Withdrawn),
        Some(PairingEnd::Claimed(code("one", "3").said)),
        Some(PairingEnd::Refused { by: code("one", "3").said, reason: "taken".to_owned() }),
    ];
    for end in ends {
        let kept = Pairing { end, ..first.clone() };
        store.begin_pairing(&kept).await.unwrap();
        assert_eq!(store.pairing().await.unwrap(), Some(kept));
    }
    let (second, _) = pairing(2);
    store.begin_pairing(&second).await.unwrap();
    assert_eq!(store.pairing().await.unwrap(), Some(second));
}

/// See [`Store::hear_code`].
pub async fn the_code_registers_its_chat_ends_the_pairing_and_is_answered_at_once_and_once(store: &dyn Store) {
    told_before(store).await;
    let (pairing, code) = pairing(1);
    store.begin_pairing(&pairing).await.unwrap();
    let said = code("one", "m-1");
    let Heard::Claims(group) = store.hear_code(&said, at(5)).await.unwrap() else { panic!("it is the code") };
    let registers = (group.folder.as_str(), group.name.as_str(), &group.trigger, group.role);
    assert_eq!(registers, ("main", "Main", &TriggerPolicy::Words("hey".to_owned()), GroupRole::Main));
    assert_eq!((&group.chat, group.added_at), (&chat_of("one"), at(5)));
    let groups = store.groups().await.unwrap();
    assert_eq!((groups.len(), groups.last()), (2, Some(&group)));
    let ended = store.pairing().await.unwrap().unwrap();
    assert_eq!(ended.end, Some(PairingEnd::Claimed(said.said.clone())));
    assert_eq!(store.cursor(&group.folder).await.unwrap(), Seq(1), "what was written before is not its own");
    let answers = store.pending_deliveries().await.unwrap();
    let answer = ended.answer(&said);
    let NewDelivery { key, chat, text, .. } = &answer;
    assert_eq!(answers.len(), 1);
    assert_eq!((&answers[0].delivery.key, &answers[0].delivery.chat, &answers[0].delivery.text), (key, chat, text));

    assert_eq!(store.hear_code(&said, at(6)).await.unwrap(), Heard::Again);
    assert_eq!(store.hear_code(&code("two", "m-1"), at(6)).await.unwrap(), Heard::Nothing);
    assert_eq!(store.groups().await.unwrap().len(), 2);
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
}

async fn told_before(store: &dyn Store) {
    registered(store, "other").await;
    told(store, "other", "m-1").await;
}

/// See [`Store::hear_code`].
pub async fn wrong_codes_are_noted_and_change_nothing_else(store: &dyn Store) {
    let (pairing, code) = pairing(1);
    let nobody = store.hear_code(&code("one", "0"), at(5)).await.unwrap();
    assert_eq!(nobody, Heard::Nothing);
    store.begin_pairing(&pairing).await.unwrap();
    for number in 1..=MOST_TRIES {
        let wrong = wrong_code(code("one", &number.to_string()));
        let heard = store.hear_code(&wrong, at(5)).await.unwrap();
        assert_eq!(heard, Heard::Wrong { tries_left: MOST_TRIES - number });
    }
    let tried = store.pairing().await.unwrap().unwrap().tried;
    assert_eq!(tried.iter().map(|said| said.message.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    assert_eq!(store.hear_code(&code("one", "9"), at(5)).await.unwrap(), Heard::Nothing);
    assert_eq!(store.groups().await.unwrap(), []);
    assert_eq!(store.pending_deliveries().await.unwrap(), []);
    assert_eq!(store.chats().await.unwrap(), []);
}

/// See [`Store::hear_code`].
pub async fn a_code_whose_group_is_taken_is_refused_and_answered_with_the_reason(store: &dyn Store) {
    let (pairing, code) = pairing(1);
    store.begin_pairing(&pairing).await.unwrap();
    let taken = registered(store, "main").await;
    let said = code("one", "m-1");
    assert_eq!(store.hear_code(&said, at(5)).await.unwrap(), Heard::Refused);
    assert_eq!(store.hear_code(&said, at(5)).await.unwrap(), Heard::Again);
    assert_eq!(store.groups().await.unwrap(), std::slice::from_ref(&taken));
    let reason = StoreError::FolderTaken { folder: taken.folder, chat: taken.chat }.to_string();
    assert_eq!(texts_to_send(store).await.len(), 1);
    assert!(texts_to_send(store).await[0].contains(&reason));
    let end = store.pairing().await.unwrap().unwrap().end;
    assert_eq!(end, Some(PairingEnd::Refused { by: said.said, reason }));
}

/// See [`Store::hear_code`].
pub async fn the_code_where_it_does_not_belong_is_spent_and_answered(store: &dyn Store) {
    let (pairing, code) = pairing(1);
    store.begin_pairing(&pairing).await.unwrap();
    let said = SaidCode { place: Place::WithOthers, ..code("one", "m-1") };
    assert_eq!(store.hear_code(&said, at(5)).await.unwrap(), Heard::Refused);
    let spent = store.pairing().await.unwrap().unwrap();
    assert_eq!(texts_to_send(store).await, [spent.answer(&said).text]);
    assert_eq!(store.hear_code(&code("two", "m-1"), at(5)).await.unwrap(), Heard::Nothing);
    assert_eq!(store.groups().await.unwrap(), []);
}

/// See [`Store::withdraw_pairing`] and [`Store::begin_pairing`].
pub async fn a_pairing_that_is_withdrawn_or_replaced_registers_nothing(store: &dyn Store) {
    let ((first, first_code), (second, second_code)) = (pairing(1), pairing(2));
    store.begin_pairing(&first).await.unwrap();
    store.begin_pairing(&second).await.unwrap();
    assert_eq!(store.hear_code(&first_code("one", "1"), at(5)).await.unwrap(), Heard::Nothing);
    store.withdraw_pairing(&first.id).await.unwrap();
    assert_eq!(store.pairing().await.unwrap(), Some(second.clone()), "another one is withdrawn");
    store.withdraw_pairing(&second.id).await.unwrap();
    assert_eq!(store.pairing().await.unwrap().unwrap().end, Some(PairingEnd::Withdrawn));
    assert_eq!(store.hear_code(&second_code("one", "1"), at(5)).await.unwrap(), Heard::Nothing);
    assert_eq!(store.groups().await.unwrap(), []);
}

// --- inbox ----------------------------------------------------------------------------------------------------------

/// See [`Store::accept`].
pub async fn a_message_comes_back_whole(store: &dyn Store) {
    registered(store, "one").await;
    let full = InboundMessage {
        chat_kind: Some(ChatKind::Group),
        author: Author::Owner,
        sender_name: "Ann \"the\" O'Hara 🦀".into(),
        text: "line one\nline two\u{0} <b>&amp; 'x'; DROP TABLE messages".into(),
        sent_at: Timestamp::from_ms(-5),
        quote: Some(Quote {
            id: PlatformMessageId::new("q-1").unwrap(),
            sender_name: Some("Bob".into()),
            text: Some("earlier".into()),
        }),
        thread: Some(PlatformMessageId::new("t-1").unwrap()),
        attachments: vec![
            Attachment { kind: "photo".into(), name: Some("beach.jpg".into()), fetched: fetched("a0") },
            Attachment { kind: "voice".into(), name: None, fetched: Fetched::default() },
            Attachment {
                kind: "video".into(),
                name: None,
                fetched: Fetched::No { reason: Some("too \"large\"".into()) },
            },
        ],
        ..message("one", "m-1")
    };
    let bare = InboundMessage {
        text: String::new(),
        quote: Some(Quote { id: PlatformMessageId::new("q-2").unwrap(), sender_name: None, text: None }),
        ..message("one", "m-2")
    };
    let first = stored(store.accept(&full, Wakes::No, at(1)).await);
    let second = stored(store.accept(&bare, Wakes::Yes, at(2)).await);
    assert_eq!(
        store.messages_after(&folder("one"), Seq::ZERO, 10).await.unwrap(),
        [
            StoredMessage {
                seq: first,
                wakes: Wakes::No,
                message: InboundMessage { chat_kind: Some(ChatKind::Group), ..full }
            },
            StoredMessage { seq: second, wakes: Wakes::Yes, message: bare },
        ]
    );
}

/// See [`Store::accept`].
pub async fn the_same_message_again_is_a_duplicate(store: &dyn Store) {
    registered(store, "one").await;
    let first = told(store, "one", "m-1").await;
    told(store, "one", "m-2").await;
    let edited = InboundMessage { text: "something else".into(), ..message("one", "m-1") };
    assert_eq!(store.accept(&edited, Wakes::No, at(99)).await.unwrap(), Accepted::Duplicate(first));
    assert_eq!(texts(store, "one").await, ["text of m-1", "text of m-2"], "nothing changed");
    assert!(store.chats().await.unwrap()[0].last_seen < at(99), "nothing changed");
}

/// See [`Store::accept`].
pub async fn the_same_platform_id_in_another_chat_is_another_message(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    assert!(told(store, "one", "m-1").await < told(store, "two", "m-1").await);
    assert_eq!(texts(store, "one").await.len(), 1);
    assert_eq!(texts(store, "two").await.len(), 1);
}

/// See [`Store::accept`].
pub async fn a_message_of_an_unregistered_chat_leaves_only_the_chat(store: &dyn Store) {
    assert_eq!(store.accept(&message("one", "m-1"), Wakes::Yes, at(7)).await.unwrap(), Accepted::Unregistered);
    assert_eq!(store.chats().await.unwrap(), [seen(chat_of("one").as_str(), 7)]);
    registered(store, "one").await;
    assert_eq!(store.cursor(&folder("one")).await.unwrap(), Seq::ZERO, "nothing is in the inbox");
    stored(store.accept(&message("one", "m-1"), Wakes::Yes, at(8)).await);
}

/// See [`Store::said_until`].
pub async fn when_something_was_last_said_is_told_by_the_services_clock(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    assert_eq!(store.said_until(&chat_of("one")).await.unwrap(), None);
    for (id, said) in [("m-1", 40), ("m-2", 60), ("m-3", 50)] {
        let message = InboundMessage { sent_at: at(said), ..message("one", id) };
        stored(store.accept(&message, Wakes::No, at(900)).await);
    }
    stored(store.accept(&InboundMessage { sent_at: at(70), ..message("two", "m-1") }, Wakes::No, at(900)).await);
    assert_eq!(store.said_until(&chat_of("one")).await.unwrap(), Some(at(60)));
}

/// See [`Store::threads_since`].
pub async fn threads_are_told_by_what_was_said_in_them_lately(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    let says = async |chat: &str, id: &str, thread: &str, said: i64| {
        let thread = (!thread.is_empty()).then(|| PlatformMessageId::new(thread).unwrap());
        let message = InboundMessage { thread, sent_at: at(said), ..message(chat, id) };
        stored(store.accept(&message, Wakes::No, at(900)).await);
    };
    for (id, thread, said) in
        [("m-1", "old", 10), ("m-2", "one", 60), ("m-3", "two", 70), ("m-4", "", 80), ("m-5", "one", 50)]
    {
        says("one", id, thread, said).await;
    }
    says("two", "m-1", "other", 90).await;
    let told = async |since, limit| {
        let threads = store.threads_since(&chat_of("one"), at(since), limit).await.unwrap();
        threads.iter().map(|thread| thread.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(50, 9).await, ["one", "two"]);
    assert_eq!(told(50, 1).await, ["one"]);
    assert_eq!(told(61, 9).await, ["two"]);
    assert_eq!(told(71, 9).await, [""; 0]);
}

/// See [`Store::accept`].
pub async fn accepting_notes_the_chat(store: &dyn Store) {
    registered(store, "one").await;
    let known = ChatMetadata { name: Some("Family".into()), ..seen(chat_of("one").as_str(), 3) };
    store.note_chat(&known).await.unwrap();
    let private = InboundMessage { chat_kind: Some(ChatKind::Private), ..message("one", "m-1") };
    store.accept(&private, Wakes::Yes, at(9)).await.unwrap();
    let noted = ChatMetadata { kind: Some(ChatKind::Private), last_seen: at(9), ..known };
    assert_eq!(store.chats().await.unwrap(), [noted]);
}

/// See [`Store::messages_after`].
pub async fn f04_order_is_the_order_of_arrival_whatever_the_timestamps_say(store: &dyn Store) {
    registered(store, "one").await;
    let mut last = Seq::ZERO;
    for (id, sent_at) in [("m-1", 500), ("m-2", 500), ("m-3", 100), ("m-4", 500)] {
        let message = InboundMessage { sent_at: at(sent_at), ..message("one", id) };
        let seq = stored(store.accept(&message, Wakes::Yes, at(sent_at)).await);
        assert!(seq > last);
        last = seq;
    }
    let expected = ["text of m-1", "text of m-2", "text of m-3", "text of m-4"];
    assert_eq!(texts(store, "one").await, expected);

    let all = store.messages_after(&folder("one"), Seq::ZERO, 10).await.unwrap();
    let rest = store.messages_after(&folder("one"), all[0].seq, 10).await.unwrap();
    assert_eq!(rest, all[1..], "the second of two messages of the same moment is seen");
}

/// See [`Store::messages_after`].
pub async fn f07_a_limit_returns_the_oldest_and_skips_nothing(store: &dyn Store) {
    registered(store, "one").await;
    for number in 1..=7 {
        told(store, "one", &format!("m-{number}")).await;
    }
    let (mut after, mut read) = (Seq::ZERO, Vec::new());
    loop {
        let part = store.messages_after(&folder("one"), after, 3).await.unwrap();
        let Some(last) = part.last() else { break };
        after = last.seq;
        assert!(part.len() <= 3);
        read.extend(part.into_iter().map(|stored| stored.message.id.to_string()));
    }
    assert_eq!(read, ["m-1", "m-2", "m-3", "m-4", "m-5", "m-6", "m-7"]);
    assert!(store.messages_after(&folder("one"), Seq::ZERO, 0).await.unwrap().is_empty());
}

/// See [`Store::messages_after`] and [`Store::unanswered`].
pub async fn messages_of_other_chats_are_not_mixed_in(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    for id in ["m-1", "m-2", "m-3"] {
        told(store, "one", &format!("one {id}")).await;
        told(store, "two", &format!("two {id}")).await;
    }
    assert_eq!(texts(store, "two").await, ["text of two m-1", "text of two m-2", "text of two m-3"]);
    assert_eq!(store.unanswered(&folder("two")).await.unwrap(), 3);
}

/// See the errors of [`Store::messages_after`], [`Store::unanswered`], [`Store::cursor`] and [`Store::given_up`].
pub async fn questions_about_an_unknown_group_are_refused(store: &dyn Store) {
    let nobody = folder("nobody");
    assert!(matches!(store.messages_after(&nobody, Seq::ZERO, 1).await, Err(StoreError::NoGroup { .. })));
    assert!(matches!(store.unanswered(&nobody).await, Err(StoreError::NoGroup { .. })));
    assert!(matches!(store.cursor(&nobody).await, Err(StoreError::NoGroup { .. })));
    assert!(matches!(store.given_up(&nobody, 1).await, Err(StoreError::NoGroup { .. })));
    let notice = delivery("gave-up", "tg:nobody");
    assert!(matches!(
        store.give_up(&nobody, &giving_up(Seq(1), &notice), at(1)).await,
        Err(StoreError::NoGroup { .. })
    ));
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    assert_eq!(store.session(&nobody, &SessionContext::Chat).await.unwrap(), None);
    assert_eq!(store.sessions(&nobody).await.unwrap(), None);
}

// --- runs, turns, sessions ------------------------------------------------------------------------------------------

/// See [`Store::open_run`].
pub async fn run_numbers_rise(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    opened(store, "one", 3).await;
    for number in [1, 3] {
        let error = store.open_run(&new_run("one", number)).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "number {number}");
    }
    let runs = store.runs(None, 10).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].ended_at, None, "a refused run closes nothing");
    opened(store, "two", 1).await;
    opened(store, "one", 4).await;
}

/// See [`Store::remove_group`].
pub async fn run_numbers_rise_across_a_new_registration(store: &dyn Store) {
    let group = registered(store, "one").await;
    opened(store, "one", 1).await;
    let open = opened(store, "one", 2).await;
    store.remove_group(&group.folder).await.unwrap();
    store.add_group(&Group { added_at: at(77), ..group }).await.unwrap();

    let recovered = store.recover().await.unwrap();
    assert_eq!((recovered[0].last_run, recovered[0].failures), (RunNumber(2), 0));
    let runs = store.runs(Some(&open.group), 1).await.unwrap();
    assert_eq!((runs[0].ended_at, runs[0].ending.as_deref()), (Some(at(77)), Some("lost")));
    assert!(store.open_run(&new_run("one", 2)).await.is_err());
    opened(store, "one", 3).await;
}

/// See [`Store::open_run`] and [`Store::close_run`].
pub async fn a_run_of_no_group_is_refused(store: &dyn Store) {
    let error = store.open_run(&new_run("nobody", 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoGroup { .. }));
    let error = store.close_run(&run_id("nobody", 1), &RunEnding::Finished, at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }));
    assert!(store.runs(None, 10).await.unwrap().is_empty());
}

/// See [`Store::open_run`].
pub async fn f24_opening_a_run_closes_the_one_before_as_lost(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    let first = opened(store, "one", 1).await;
    store.hand_over(&first, Handed { first: seq, last: seq }, at(2)).await.unwrap();
    let second = NewRun { at: at(60), ..new_run("one", 2) };
    store.open_run(&second).await.unwrap();

    let runs = store.runs(Some(&folder("one")), 10).await.unwrap();
    assert_eq!((runs[0].id.number, runs[0].ended_at, runs[0].ending.as_deref()), (RunNumber(2), None, None));
    assert_eq!(
        (runs[1].id.number, runs[1].ended_at, runs[1].ending.as_deref()),
        (RunNumber(1), Some(at(60)), Some("lost"))
    );
    assert_eq!(runs[1].detail.as_deref(), Some(superseded().to_string().as_str()));
    let turns = store.turns(&first).await.unwrap();
    assert_eq!((turns[0].state, turns[0].ended_at), (TurnState::Unanswered, Some(at(60))));
    assert_eq!(store.recover().await.unwrap()[0].failures, 0, "an end that nobody saw is not the messages' fault");
}

/// See [`Store::open_run`] and [`NewRun::handed`].
pub async fn a_run_is_opened_with_its_first_turn_or_not_at_all(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    let handed = Handed { first: seq, last: seq };
    let run = NewRun { handed: Some(handed), ..new_run("one", 2) };
    store.open_run(&run).await.unwrap();
    let turns = store.turns(&run.id).await.unwrap();
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].handed, turns[0].handed_at, turns[0].state), (handed, run.at, TurnState::Handed));
    // The same range handed over again is the same turn.
    store.hand_over(&run.id, handed, at(9)).await.unwrap();
    assert_eq!(store.turns(&run.id).await.unwrap(), turns);

    let late = NewRun { handed: Some(handed), ..new_run("one", 1) };
    assert!(store.open_run(&late).await.is_err());
    assert!(store.turns(&late.id).await.unwrap().is_empty());
}

/// See [`Store::hand_over`].
pub async fn messages_are_handed_to_the_open_run_only(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    let handed = Handed { first: seq, last: seq };
    let first = opened(store, "one", 1).await;
    let second = opened(store, "one", 2).await;
    assert!(matches!(store.hand_over(&first, handed, at(3)).await, Err(StoreError::Failed { .. })), "fenced");
    assert!(
        matches!(store.hand_over(&run_id("one", 9), handed, at(3)).await, Err(StoreError::Failed { .. })),
        "unknown"
    );
    assert!(store.turns(&first).await.unwrap().is_empty());

    store.hand_over(&second, handed, at(4)).await.unwrap();
    let turns = store.turns(&second).await.unwrap();
    assert_eq!(turns.len(), 1);
    assert_eq!(
        (turns[0].handed, turns[0].handed_at, turns[0].state, turns[0].ended_at),
        (handed, at(4), TurnState::Handed, None)
    );
}

/// See [`Store::hand_over`].
pub async fn handing_the_same_messages_over_again_is_the_same_turn(store: &dyn Store) {
    registered(store, "one").await;
    let (first, second) = (told(store, "one", "m-1").await, told(store, "one", "m-2").await);
    let run = opened(store, "one", 1).await;
    let both = Handed { first, last: second };
    for handed in [Handed { first, last: first }, both, both] {
        store.hand_over(&run, handed, at(4)).await.unwrap();
    }
    let turns: Vec<_> = store.turns(&run).await.unwrap().into_iter().map(|turn| turn.handed).collect();
    assert_eq!(turns, [Handed { first, last: first }, both]);
    let next = opened(store, "one", 2).await;
    store.hand_over(&next, both, at(5)).await.unwrap();
    assert_eq!(store.turns(&next).await.unwrap().len(), 1, "another run is handed them anew");
}

/// See [`Store::commit_block`].
pub async fn a_block_commits_reply_cursor_session_and_turns_together(store: &dyn Store) {
    registered(store, "one").await;
    let (run, seq) = run_with_a_turn(store, "one").await;
    let reply = delivery("reply-1", chat_of("one").as_str());
    let block = BlockCommit {
        reply: Some(reply.clone()),
        answers: Some(seq),
        session: Some(chat_session("s-1")),
        at: at(20),
        ..block(1)
    };
    let BlockOutcome::Committed(Some(id)) = store.commit_block(&run, &block).await.unwrap() else {
        panic!("the block was not committed");
    };
    let row = store.delivery(&reply.key).await.unwrap().unwrap();
    assert_eq!((row.delivery.id, row.state, row.not_before), (id, DeliveryState::Pending, at(20)));
    assert_eq!((&row.delivery.chat, &row.delivery.text), (&reply.chat, &reply.text));
    assert_eq!(store.cursor(&run.group).await.unwrap(), seq);
    assert_eq!(store.unanswered(&run.group).await.unwrap(), 0);
    assert!(store.messages_after(&run.group, Seq::ZERO, 10).await.unwrap().is_empty(), "the cursor holds for reading");
    assert_eq!(store.session(&run.group, &SessionContext::Chat).await.unwrap(), Some(session("s-1")));
    let turns = store.turns(&run).await.unwrap();
    assert_eq!((turns[0].state, turns[0].ended_at), (TurnState::Answered, Some(at(20))));
}

/// See [`BlockCommit::answers`].
pub async fn a_block_without_an_answer_leaves_the_cursor(store: &dyn Store) {
    registered(store, "one").await;
    let (run, _) = run_with_a_turn(store, "one").await;
    let said = BlockCommit { reply: Some(delivery("reply-1", "tg:one")), ..block(1) };
    assert!(matches!(store.commit_block(&run, &said).await.unwrap(), BlockOutcome::Committed(Some(_))));
    assert_eq!(
        store.commit_block(&run, &block(2)).await.unwrap(),
        BlockOutcome::Committed(None),
        "silence is a block too"
    );
    assert_eq!(store.cursor(&run.group).await.unwrap(), Seq::ZERO);
    assert_eq!(store.turns(&run).await.unwrap()[0].state, TurnState::Handed);
}

/// See [`BlockOutcome::Duplicate`].
pub async fn a_block_committed_twice_counts_once(store: &dyn Store) {
    registered(store, "one").await;
    let (run, seq) = run_with_a_turn(store, "one").await;
    let first = BlockCommit { reply: Some(delivery("reply-1", "tg:one")), ..block(1) };
    store.commit_block(&run, &first).await.unwrap();
    let copy = BlockCommit {
        reply: Some(delivery("reply-1 by another way", "tg:one")),
        answers: Some(seq),
        session: Some(chat_session("s-9")),
        ..block(1)
    };
    assert_eq!(store.commit_block(&run, &copy).await.unwrap(), BlockOutcome::Duplicate);
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
    assert_eq!(store.cursor(&run.group).await.unwrap(), Seq::ZERO);
    assert_eq!(store.session(&run.group, &SessionContext::Chat).await.unwrap(), None);

    store.close_run(&run, &RunEnding::Finished, at(30)).await.unwrap();
    assert_eq!(store.commit_block(&run, &copy).await.unwrap(), BlockOutcome::Duplicate, "also when the run is over");
    let next = opened(store, "one", 2).await;
    assert_eq!(
        store.commit_block(&next, &block(1)).await.unwrap(),
        BlockOutcome::Committed(None),
        "numbers are per run"
    );
}

/// See [`BlockOutcome::Fenced`].
pub async fn a_late_block_is_fenced(store: &dyn Store) {
    registered(store, "one").await;
    let (first, seq) = run_with_a_turn(store, "one").await;
    let late = |number| BlockCommit {
        reply: Some(delivery("late", "tg:one")),
        answers: Some(seq),
        session: Some(chat_session("late")),
        ..block(number)
    };
    let second = opened(store, "one", 2).await;
    store.hand_over(&second, Handed { first: seq, last: seq }, at(4)).await.unwrap();
    assert_eq!(store.commit_block(&first, &late(1)).await.unwrap(), BlockOutcome::Fenced, "an older run");
    assert_eq!(store.commit_block(&run_id("one", 3), &late(1)).await.unwrap(), BlockOutcome::Fenced, "an unknown run");
    assert_eq!(store.commit_block(&run_id("nobody", 1), &late(1)).await.unwrap(), BlockOutcome::Fenced, "no group");
    store.close_run(&second, &RunEnding::TimedOut, at(5)).await.unwrap();
    assert_eq!(store.commit_block(&second, &late(1)).await.unwrap(), BlockOutcome::Fenced, "a closed run");

    assert!(store.pending_deliveries().await.unwrap().is_empty());
    assert_eq!(store.cursor(&first.group).await.unwrap(), Seq::ZERO);
    assert_eq!(store.session(&first.group, &SessionContext::Chat).await.unwrap(), None);
    assert!(store.turns(&first).await.unwrap().iter().all(|turn| turn.state == TurnState::Unanswered));
}

/// See [`Store::remove_group`].
pub async fn a_block_of_a_removed_group_is_fenced(store: &dyn Store) {
    let group = registered(store, "one").await;
    let (run, seq) = run_with_a_turn(store, "one").await;
    store.remove_group(&group.folder).await.unwrap();
    let late = BlockCommit { reply: Some(delivery("late", "tg:one")), session: Some(chat_session("late")), ..block(1) };
    assert_eq!(store.commit_block(&run, &late).await.unwrap(), BlockOutcome::Fenced);
    let handed = Handed { first: seq, last: seq };
    assert!(matches!(store.hand_over(&run, handed, at(5)).await, Err(StoreError::Failed { .. })));
    store.close_run(&run, &RunEnding::Stopped, at(6)).await.unwrap();
    assert_eq!(store.runs(None, 1).await.unwrap()[0].ending.as_deref(), Some("stopped"), "it can be closed");

    store.add_group(&group).await.unwrap();
    assert_eq!(
        store.commit_block(&run, &late).await.unwrap(),
        BlockOutcome::Fenced,
        "a new registration revives nothing"
    );
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    assert_eq!(store.session(&run.group, &SessionContext::Chat).await.unwrap(), None);
}

/// See [`Store::commit_block`].
pub async fn f09_the_cursor_moves_only_with_an_answer_and_never_back(store: &dyn Store) {
    registered(store, "one").await;
    let first = told(store, "one", "m-1").await;
    let second = told(store, "one", "m-2").await;
    let run = opened(store, "one", 1).await;
    store.hand_over(&run, Handed { first, last: second }, at(2)).await.unwrap();
    assert_eq!(store.cursor(&run.group).await.unwrap(), Seq::ZERO, "not by handing over");

    let answers = |number, seq| BlockCommit { answers: Some(seq), ..block(number) };
    store.commit_block(&run, &answers(1, second)).await.unwrap();
    store.commit_block(&run, &answers(2, first)).await.unwrap();
    assert_eq!(store.cursor(&run.group).await.unwrap(), second, "not back");

    let third = told(store, "one", "m-3").await;
    store.hand_over(&run, Handed { first: third, last: third }, at(3)).await.unwrap();
    let crash = RunEnding::Crashed { exit: Exit::Code(1), last_words: String::new() };
    store.close_run(&run, &crash, at(4)).await.unwrap();
    assert_eq!(store.cursor(&run.group).await.unwrap(), second, "not by ending");
    assert_eq!(texts(store, "one").await, ["text of m-3"], "what was not answered is waiting again");
}

/// See [`BlockCommit::answers`].
pub async fn a_cursor_goes_no_further_than_what_was_handed_over(store: &dyn Store) {
    registered(store, "one").await;
    let first = told(store, "one", "m-1").await;
    told(store, "one", "m-2").await;
    let run = opened(store, "one", 1).await;
    let everything = |number| BlockCommit { answers: Some(Seq(i64::MAX)), ..block(number) };
    store.commit_block(&run, &everything(1)).await.unwrap();
    assert_eq!(store.cursor(&run.group).await.unwrap(), Seq::ZERO, "nothing was handed over");
    store.hand_over(&run, Handed { first, last: first }, at(2)).await.unwrap();
    store.commit_block(&run, &everything(2)).await.unwrap();
    assert_eq!(store.cursor(&run.group).await.unwrap(), first);
    assert_eq!(texts(store, "one").await, ["text of m-2"]);
}

/// See [`Handed::last`].
pub async fn a_block_answers_the_turns_that_end_before_it(store: &dyn Store) {
    registered(store, "one").await;
    let run = opened(store, "one", 1).await;
    let mut seqs = Vec::new();
    for id in ["m-1", "m-2", "m-3", "m-4"] {
        seqs.push(told(store, "one", id).await);
    }
    for (first, last) in [(0, 1), (2, 2), (3, 3)] {
        let handed = Handed { first: seqs[first], last: seqs[last] };
        store.hand_over(&run, handed, at(3)).await.unwrap();
    }
    let states =
        async || -> Vec<TurnState> { store.turns(&run).await.unwrap().into_iter().map(|turn| turn.state).collect() };
    use TurnState::Answered;
    store.commit_block(&run, &BlockCommit { answers: Some(seqs[0]), ..block(1) }).await.unwrap();
    assert_eq!(states().await, [TurnState::Handed; 3], "half a turn is no answer");
    store.commit_block(&run, &BlockCommit { answers: Some(seqs[2]), ..block(2) }).await.unwrap();
    assert_eq!(states().await, [Answered, Answered, TurnState::Handed]);
    assert_eq!(store.cursor(&run.group).await.unwrap(), seqs[2]);
}

/// See [`BlockCommit::session`].
pub async fn f08_a_session_changes_only_as_told(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    let run = opened(store, "one", 1).await;
    let with = |number, session| BlockCommit { session, ..block(number) };
    let kept = async || store.session(&group, &SessionContext::Chat).await.unwrap();
    assert_eq!(kept().await, None);
    store.commit_block(&run, &with(1, Some(chat_session("s-1")))).await.unwrap();
    assert_eq!(kept().await, Some(session("s-1")));
    store.commit_block(&run, &with(2, None)).await.unwrap();
    assert_eq!(kept().await, Some(session("s-1")), "none leaves the stored one");
    let failed = RunEnding::Failed { reason: "no login".into(), retry: Retry::Never };
    store.close_run(&run, &failed, at(5)).await.unwrap();
    assert_eq!(kept().await, Some(session("s-1")), "a failure leaves the stored one");
    let run = opened(store, "one", 2).await;
    store.commit_block(&run, &with(1, Some(chat_session("s-2")))).await.unwrap();
    assert_eq!(kept().await, Some(session("s-2")));
    store.forget_session(&run_id("one", 1), &SessionContext::Chat).await.unwrap();
    assert_eq!(kept().await, Some(session("s-2")), "what an earlier run cannot resume is not this one");
    store.forget_session(&run, &SessionContext::Chat).await.unwrap();
    assert_eq!(kept().await, None);
}

/// See [`SessionContext`].
pub async fn sessions_of_tasks_are_their_own(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    let task = TaskId::new("chat").unwrap();
    let chat_run = opened(store, "one", 1).await;
    store.commit_block(&chat_run, &BlockCommit { session: Some(chat_session("s-chat")), ..block(1) }).await.unwrap();
    let task_run = NewRun { kind: RunKind::Task(task.clone()), ..new_run("one", 2) };
    store.open_run(&task_run).await.unwrap();
    store
        .commit_block(
            &task_run.id,
            &BlockCommit { session: Some((SessionContext::Task(task.clone()), session("s-task"))), ..block(1) },
        )
        .await
        .unwrap();

    let of_task = SessionContext::Task(task);
    assert_eq!(store.session(&group, &SessionContext::Chat).await.unwrap(), Some(session("s-chat")));
    assert_eq!(store.session(&group, &of_task).await.unwrap(), Some(session("s-task")));
    store.forget_session(&task_run.id, &of_task).await.unwrap();
    assert_eq!(store.session(&group, &of_task).await.unwrap(), None);
    assert_eq!(store.session(&group, &SessionContext::Chat).await.unwrap(), Some(session("s-chat")));
}

/// See [`Store::close_run`].
pub async fn closing_a_run_marks_its_unanswered_turns(store: &dyn Store) {
    registered(store, "one").await;
    let (run, first) = run_with_a_turn(store, "one").await;
    store.commit_block(&run, &BlockCommit { answers: Some(first), at: at(5), ..block(1) }).await.unwrap();
    let second = told(store, "one", "m-2").await;
    store.hand_over(&run, Handed { first: second, last: second }, at(6)).await.unwrap();
    store.close_run(&run, &RunEnding::TimedOut, at(7)).await.unwrap();
    let turns = store.turns(&run).await.unwrap();
    assert_eq!((turns[0].state, turns[0].ended_at), (TurnState::Answered, Some(at(5))));
    assert_eq!((turns[1].state, turns[1].ended_at), (TurnState::Unanswered, Some(at(7))));
}

/// See [`Store::turns_taken`] and [`BlockCommit::taken`].
pub async fn what_the_agent_has_taken_is_noted(store: &dyn Store) {
    registered(store, "one").await;
    let (run, first) = run_with_a_turn(store, "one").await;
    for id in ["m-2", "m-3"] {
        let seq = told(store, "one", id).await;
        store.hand_over(&run, Handed { first: seq, last: seq }, at(3)).await.unwrap();
    }
    let turns = async || -> Vec<(TurnState, Option<Timestamp>)> {
        store.turns(&run).await.unwrap().into_iter().map(|turn| (turn.state, turn.taken_at)).collect()
    };
    use TurnState::{Answered, Taken, Unanswered};
    let handed = (TurnState::Handed, None);
    assert_eq!(turns().await, [handed; 3]);
    store.turns_taken(&run, first, at(5)).await.unwrap();
    assert_eq!(turns().await, [(Taken, Some(at(5))), handed, handed]);
    let second = Seq(first.0 + 1);
    let block = BlockCommit { answers: Some(first), taken: Some(second), at: at(6), ..block(1) };
    store.commit_block(&run, &block).await.unwrap();
    assert_eq!(turns().await, [(Answered, Some(at(5))), (Taken, Some(at(6))), handed]);
    store.turns_taken(&run, second, at(7)).await.unwrap();
    assert_eq!(turns().await[1], (Taken, Some(at(6))), "noted once");
    store.close_run(&run, &RunEnding::Finished, at(8)).await.unwrap();
    assert_eq!(turns().await, [(Answered, Some(at(5))), (Unanswered, Some(at(6))), (Unanswered, None)]);
}

/// See [`Store::turns_taken`].
pub async fn nothing_is_taken_by_a_run_that_is_over(store: &dyn Store) {
    registered(store, "one").await;
    let (run, seq) = run_with_a_turn(store, "one").await;
    store.close_run(&run, &RunEnding::HostEnded, at(7)).await.unwrap();
    store.turns_taken(&run, seq, at(8)).await.unwrap();
    store.turns_taken(&run_id("one", 9), seq, at(8)).await.unwrap();
    let turn = store.turns(&run).await.unwrap().remove(0);
    assert_eq!((turn.state, turn.taken_at), (TurnState::Unanswered, None));
}

/// See [`Store::end_session`].
pub async fn ending_a_session_forgets_it_and_that_of_the_open_run_and_once(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    let (run, seq) = run_with_a_turn(store, "one").await;
    let with = |number, name| BlockCommit { session: Some(chat_session(name)), ..block(number) };
    let kept = async || store.session(&group, &SessionContext::Chat).await.unwrap();
    store.commit_block(&run, &with(1, "s-1")).await.unwrap();
    let answer = delivery("new", "tg:one");
    let end = async |time| store.end_session(&group, &NextSession::New, Some(&answer), at(time)).await.unwrap();
    assert_eq!(end(4).await, SessionEnded::Now);
    assert_eq!((kept().await, store.open_runs().await.unwrap()[0].session_ended), (None, true));
    let last = BlockCommit { answers: Some(seq), ..with(2, "s-1") };
    assert!(matches!(store.commit_block(&run, &last).await.unwrap(), BlockOutcome::Committed(_)));
    assert_eq!((kept().await, store.cursor(&group).await.unwrap()), (None, seq), "it answers, and keeps no session");
    let run = opened(store, "one", 2).await;
    store.commit_block(&run, &with(1, "s-2")).await.unwrap();
    assert_eq!(end(6).await, SessionEnded::Before);
    assert_eq!((kept().await, store.open_runs().await.unwrap()[0].session_ended), (Some(session("s-2")), false));
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
    let of_nobody = store.end_session(&folder("none"), &NextSession::New, Some(&answer), at(6)).await;
    assert!(matches!(of_nobody, Err(StoreError::NoGroup { .. })));
}

/// See [`NextSession::Named`].
pub async fn conversations_are_put_aside_by_name_and_taken_up_again(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    let run = opened(store, "one", 1).await;
    let says = async |run: &RunId, number, name| {
        let block = BlockCommit { session: Some(chat_session(name)), ..block(number) };
        store.commit_block(run, &block).await.unwrap();
    };
    let end = async |next| store.end_session(&group, &next, None, at(4)).await.unwrap();
    let named = |name| NextSession::Named(SessionName::new(name).unwrap());
    // What the chat's is called, it, and those that were put aside.
    let kept = async || {
        let known = store.sessions(&group).await.unwrap().unwrap();
        let mut kept: Vec<_> =
            known.sessions.iter().map(|(context, session)| format!("{context:?} {session}")).collect();
        kept.sort();
        (known.current.to_string(), kept.join(", "))
    };
    let are = |name: &str, sessions: &str| (name.to_owned(), sessions.to_owned());
    assert_eq!(kept().await, are("default", ""));
    says(&run, 1, "s-1").await;
    assert_eq!(end(named("default")).await, SessionEnded::Same);
    assert!(!store.open_runs().await.unwrap()[0].session_ended);
    assert_eq!(end(named("trip")).await, SessionEnded::Now);
    assert!(store.open_runs().await.unwrap()[0].session_ended);
    assert_eq!(kept().await, are("trip", r#"Aside("default") s-1"#));
    says(&run, 2, "s-2").await;
    assert_eq!(kept().await, are("trip", r#"Aside("default") s-2"#), "what the run was at has gone on");
    store.forget_session(&run, &SessionContext::Chat).await.unwrap();
    assert_eq!(kept().await, are("trip", ""), "and is forgotten, and no other");
    says(&run, 3, "s-3").await;
    // Taken up again while that run is there still.
    assert_eq!(end(named("default")).await, SessionEnded::Now);
    assert_eq!(kept().await, are("default", "Chat s-3"));
    says(&run, 4, "s-4").await;
    assert_eq!(kept().await, are("default", "Chat s-4"));
    assert_eq!(end(NextSession::New).await, SessionEnded::Now);
    says(&run, 5, "s-5").await;
    assert_eq!(kept().await, are("default", ""), "it was ended for good");
    store.close_run(&run, &RunEnding::Finished, at(5)).await.unwrap();
    let run = opened(store, "one", 2).await;
    says(&run, 1, "s-6").await;
    assert_eq!(end(NextSession::New).await, SessionEnded::Now);
    assert_eq!(end(named("trip")).await, SessionEnded::Now);
    says(&run, 2, "s-6").await;
    assert_eq!(kept().await, are("trip", ""), "its conversation was ended before the other began");
    store.close_run(&run, &RunEnding::Finished, at(5)).await.unwrap();
    let run = opened(store, "one", 3).await;
    says(&run, 1, "s-7").await;
    assert_eq!(end(named("default")).await, SessionEnded::Now);
    let trip = SessionContext::Aside(SessionName::new("trip").unwrap());
    assert_eq!(kept().await, are("default", r#"Aside("trip") s-7"#));
    assert!(store.drop_session(&group, &trip).await.unwrap());
    assert!(!store.drop_session(&group, &trip).await.unwrap());
    assert_eq!(kept().await, are("default", ""));
    assert_eq!(end(named("trip")).await, SessionEnded::Now);
    store.remove_group(&group).await.unwrap();
    registered(store, "one").await;
    assert_eq!(kept().await, are("default", ""));
}

fn stopping(key: &str) -> StopWork {
    let texts = ["was stopped", "stopped", "the task too", "nothing"].map(str::to_owned);
    let [reason, stopped, task_stopped, nothing] = texts;
    StopWork { key: DeliveryKey::new(key).unwrap(), command: said_in_thread(), reason, stopped, task_stopped, nothing }
}

async fn texts_to_send(store: &dyn Store) -> Vec<String> {
    store.pending_deliveries().await.unwrap().into_iter().map(|row| row.delivery.text).collect()
}

/// See [`Store::stop_work`].
pub async fn stopping_drops_what_waits_and_closes_the_run_and_once(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    let (run, _) = run_with_a_turn(store, "one").await;
    let waits = told(store, "one", "m-2").await;
    stored(store.accept(&message("one", "context"), Wakes::No, at(2)).await);
    let stopped = store.stop_work(&group, &stopping("stop"), at(4)).await.unwrap();
    assert_eq!(stopped, Stopped::Work { through: Some(waits), run: Some(run.number), task: None });
    assert_eq!((store.cursor(&group).await.unwrap(), store.unanswered(&group).await.unwrap()), (waits, 1));
    assert_eq!(store.commit_block(&run, &block(1)).await.unwrap(), BlockOutcome::Fenced, "what it says is late");
    let closed = &store.runs(None, 1).await.unwrap()[0];
    assert_eq!(closed.ending.as_deref(), Some(RunEnding::Stopped.word()));
    let aside = store.set_aside(None, true, 10).await.unwrap();
    assert_eq!((aside.len(), aside[0].state, aside[0].run), (1, SetAsideState::Dropped, Some(run.number)));
    assert_eq!(texts_to_send(store).await, ["stopped"]);
    assert_eq!(
        store.pending_deliveries().await.unwrap()[0].delivery.answered,
        said_in_thread(),
        "it says what it answers"
    );

    let later = told(store, "one", "m-3").await;
    opened(store, "one", 2).await;
    assert_eq!(store.stop_work(&group, &stopping("stop"), at(5)).await.unwrap(), Stopped::Before);
    assert_eq!((store.cursor(&group).await.unwrap(), store.open_runs().await.unwrap().len()), (waits, 1));
    let again = store.stop_work(&group, &stopping("again"), at(5)).await.unwrap();
    assert_eq!(again, Stopped::Work { through: Some(later), run: Some(RunNumber(2)), task: None });
}

/// See [`Store::stop_work`].
pub async fn where_nothing_waits_stopping_changes_nothing(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    stored(store.accept(&message("one", "context"), Wakes::No, at(2)).await);
    let run = opened(store, "one", 1).await;
    assert_eq!(store.stop_work(&group, &stopping("stop"), at(4)).await.unwrap(), Stopped::Nothing);
    assert_eq!(store.open_runs().await.unwrap()[0].id, run);
    assert_eq!((store.unanswered(&group).await.unwrap(), texts_to_send(store).await), (1, vec!["nothing".to_owned()]));
    let unknown = store.stop_work(&folder("none"), &stopping("other"), at(4)).await;
    assert!(matches!(unknown, Err(StoreError::NoGroup { .. })));
}

/// See [`StoredRun::names_messages`](crate::store::StoredRun::names_messages).
pub async fn whether_an_agent_names_messages_is_kept_with_its_run(store: &dyn Store) {
    registered(store, "one").await;
    let (run, _) = run_with_a_turn(store, "one").await;
    let names = async || store.open_runs().await.unwrap()[0].names_messages;
    assert_eq!(names().await, None, "it has not spoken");
    for (number, names_messages, kept) in [(1, false, false), (2, true, true), (3, false, true)] {
        store.commit_block(&run, &BlockCommit { names_messages, ..block(number) }).await.unwrap();
        assert_eq!(names().await, Some(kept), "after block {number}");
    }
    store.commit_block(&run, &BlockCommit { names_messages: true, ..block(3) }).await.unwrap();
    let next = opened(store, "one", 2).await;
    assert_eq!(store.open_runs().await.unwrap()[0].id, next);
    assert_eq!(names().await, None, "each run has an agent of its own");
}

/// See [`Store::close_run`].
pub async fn closing_a_run_twice_changes_nothing(store: &dyn Store) {
    registered(store, "one").await;
    let run = opened(store, "one", 1).await;
    store.close_run(&run, &RunEnding::TimedOut, at(7)).await.unwrap();
    let before = store.runs(None, 10).await.unwrap();
    store.close_run(&run, &RunEnding::Lost { reason: "again".into() }, at(8)).await.unwrap();
    assert_eq!(store.runs(None, 10).await.unwrap(), before);
    assert_eq!(store.recover().await.unwrap()[0].failures, 1);
}

/// See [`StoredRun`](crate::store::StoredRun).
pub async fn every_ending_is_kept_with_its_sentence(store: &dyn Store) {
    registered(store, "one").await;
    let endings = [
        RunEnding::Finished,
        RunEnding::NotStarted { reason: "no image".into(), retry: Retry::Never },
        RunEnding::Failed { reason: "no login".into(), retry: Retry::Later },
        RunEnding::Crashed { exit: Exit::Signal(9), last_words: "out of ideas".into() },
        RunEnding::TimedOut,
        RunEnding::Stopped,
        RunEnding::Lost { reason: "the host was not there".into() },
    ];
    let runtimes = [RuntimeKind::Docker, RuntimeKind::Podman, RuntimeKind::Sandbox, RuntimeKind::Fake];
    for (number, ending) in (1..).zip(&endings) {
        let run = NewRun { runtime: runtimes[number as usize % 4], ..new_run("one", number) };
        store.open_run(&run).await.unwrap();
        store.close_run(&run.id, ending, at(100 + i64::from(number))).await.unwrap();
        let kept = store.runs(None, 1).await.unwrap().remove(0);
        assert_eq!((kept.id, kept.kind, kept.runtime, kept.started_at), (run.id, run.kind, run.runtime, run.at));
        assert_eq!(kept.ended_at, Some(at(100 + i64::from(number))));
        assert_eq!((kept.ending.as_deref(), kept.detail), (Some(ending.word()), Some(ending.to_string())));
    }
}

/// See [`Store::runs`].
pub async fn runs_come_last_opened_first(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    for (name, number) in [("one", 1), ("two", 5), ("one", 2), ("two", 6)] {
        // The clock goes backwards; the order is the one in which they were opened.
        store.open_run(&NewRun { at: at(100 - i64::from(number)), ..new_run(name, number) }).await.unwrap();
    }
    let names = async |group: Option<&str>, limit| -> Vec<String> {
        let group = group.map(folder);
        store.runs(group.as_ref(), limit).await.unwrap().into_iter().map(|run| run.id.to_string()).collect()
    };
    assert_eq!(names(None, 10).await, ["two#6", "one#2", "two#5", "one#1"]);
    assert_eq!(names(None, 2).await, ["two#6", "one#2"]);
    assert_eq!(names(Some("one"), 10).await, ["one#2", "one#1"]);
    assert_eq!(names(Some("two"), 1).await, ["two#6"]);
    assert!(names(Some("nobody"), 1).await.is_empty());
}

/// See [`Store::give_up`].
pub async fn giving_up_marks_moves_and_tells_at_once(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    let first = told(store, "one", "m-1").await;
    told(store, "two", "other").await;
    let second = told(store, "one", "m-2").await;
    told(store, "one", "m-3").await;
    let notice = delivery("gave-up", "tg:one");
    store.give_up(&folder("one"), &giving_up(second, &notice), at(50)).await.unwrap();

    assert_eq!(store.cursor(&folder("one")).await.unwrap(), second);
    assert_eq!(texts(store, "one").await, ["text of m-3"]);
    let given_up = store.given_up(&folder("one"), 10).await.unwrap();
    assert_eq!(given_up.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [second, first]);
    assert_eq!(given_up[0].message, message("one", "m-2"), "they are kept");
    assert_eq!(store.given_up(&folder("one"), 1).await.unwrap().len(), 1);
    let row = store.delivery(&notice.key).await.unwrap().unwrap();
    assert_eq!((row.state, row.delivery.text, row.not_before), (DeliveryState::Pending, notice.text, at(50)));

    assert_eq!(store.unanswered(&folder("two")).await.unwrap(), 1, "another group's are left alone");
    assert!(store.given_up(&folder("two"), 10).await.unwrap().is_empty());
}

/// See [`Store::give_up`].
pub async fn giving_up_again_changes_nothing(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    store.give_up(&folder("one"), &giving_up(seq, &delivery("gave-up", "tg:one")), at(50)).await.unwrap();
    store.give_up(&folder("one"), &giving_up(seq, &delivery("gave-up again", "tg:one")), at(51)).await.unwrap();
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
    assert_eq!(store.given_up(&folder("one"), 10).await.unwrap().len(), 1);
}

/// See [`Store::give_up`].
pub async fn giving_up_what_was_answered_changes_nothing(store: &dyn Store) {
    registered(store, "one").await;
    let (run, seq) = run_with_a_turn(store, "one").await;
    store.commit_block(&run, &BlockCommit { answers: Some(seq), ..block(1) }).await.unwrap();
    store.give_up(&run.group, &giving_up(seq, &delivery("gave-up", "tg:one")), at(50)).await.unwrap();
    assert!(store.given_up(&run.group, 10).await.unwrap().is_empty());
    assert!(store.pending_deliveries().await.unwrap().is_empty());

    let next = told(store, "one", "m-2").await;
    store.give_up(&run.group, &giving_up(next, &delivery("gave-up", "tg:one")), at(51)).await.unwrap();
    let given_up = store.given_up(&run.group, 10).await.unwrap();
    assert_eq!(given_up.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [next], "answered ones are not marked");
}

/// See [`Store::give_up`].
pub async fn giving_up_goes_no_further_than_the_inbox(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    store.give_up(&folder("one"), &giving_up(Seq(i64::MAX), &delivery("gave-up", "tg:one")), at(50)).await.unwrap();
    assert_eq!(store.cursor(&folder("one")).await.unwrap(), seq);
    told(store, "one", "m-2").await;
    assert_eq!(texts(store, "one").await, ["text of m-2"], "what comes later is not lost");
}

/// See [`Store::files_in_use`].
pub async fn files_are_in_use_until_their_message_is_done_with(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    assert!(store.files_in_use().await.unwrap().is_empty());
    let with_files = |group: &str, id: &str, names: &[&str]| {
        let attachment = |name| Attachment { kind: "photo".into(), name: None, fetched: fetched(name) };
        let unfetched = Attachment { kind: "video".into(), name: None, fetched: Fetched::default() };
        let attachments = names.iter().copied().map(attachment).chain([unfetched]).collect();
        InboundMessage { attachments, ..message(group, id) }
    };
    let mut told = Vec::new();
    for (group, id, names) in [("one", "m-1", &["a1", "a2"][..]), ("one", "m-2", &["a3"]), ("two", "m-1", &["b1"])] {
        told.push(stored(store.accept(&with_files(group, id, names), Wakes::Yes, at(1)).await));
    }
    assert_eq!(in_use(store).await, ["a1", "a2", "a3", "b1"]);
    // Set aside, and kept; the group's other messages wait.
    let through = told[0];
    store.give_up(&folder("one"), &giving_up(through, &delivery("gave-up", "tg:one")), at(2)).await.unwrap();
    assert_eq!(in_use(store).await, ["a1", "a2", "a3", "b1"]);
    store.give_up(&folder("one"), &GiveUp::dropped(told[1]), at(3)).await.unwrap();
    assert_eq!(in_use(store).await, ["a1", "a2", "b1"], "what was dropped is done with");
    store.resolve_set_aside(&folder("one"), through, TurnResolution::Retry, at(4)).await.unwrap();
    assert_eq!(in_use(store).await, ["a1", "a2", "b1"], "said again");
    store.remove_group(&folder("two")).await.unwrap();
    assert_eq!(in_use(store).await, ["a1", "a2"]);
}

/// See [`Store::files_in_use`] and [`Store::post`].
pub async fn a_file_that_goes_out_is_kept_with_its_message_and_in_use_until_that_is_done_with(store: &dyn Store) {
    let file = |name: &str| {
        let spool = SpoolName::new(name).unwrap();
        let file = SpooledFile { spool, media_type: "application/pdf".into(), bytes: 4711 };
        OutgoingFile::new(folder("one"), "out/report.pdf", file)
    };
    let with_file = |key: &str| NewDelivery { file: Some(file(key)), text: String::new(), ..delivery(key, "tg:1") };
    let mut ids = Vec::new();
    for key in ["sent", "failed", "unknown", "waits"] {
        ids.push(store.post(&with_file(key), at(1)).await.unwrap());
    }
    store.post(&delivery("words", "tg:1"), at(1)).await.unwrap();
    let again = store.post(&NewDelivery { file: Some(file("other")), ..with_file("waits") }, at(2)).await.unwrap();
    assert_eq!(again, ids[3]);
    let kept = store.delivery(&DeliveryKey::new("waits").unwrap()).await.unwrap().unwrap().delivery;
    assert_eq!((kept.file, &*kept.text), (Some(file("waits")), ""), "the same key is the same message");
    let words = store.delivery(&DeliveryKey::new("words").unwrap()).await.unwrap().unwrap().delivery;
    assert_eq!(words.file, None);
    assert_eq!(in_use(store).await, ["failed", "sent", "unknown", "waits"]);

    store.delivery_sent(ids[0], &Sent::default(), at(3)).await.unwrap();
    store.delivery_failed(ids[1], "refused", &AfterTry::GiveUp(None), at(3)).await.unwrap();
    store.delivery_failed(ids[2], "silence", &AfterTry::Ask(None), at(3)).await.unwrap();
    store.delivery_begun(ids[3]).await.unwrap();
    assert_eq!(in_use(store).await, ["failed", "unknown", "waits"], "a person may have them sent");
    store.resolve_delivery(ids[1], Resolution::Drop, at(4)).await.unwrap();
    store.resolve_delivery(ids[2], Resolution::SendAgain, at(4)).await.unwrap();
    assert_eq!(in_use(store).await, ["unknown", "waits"]);
    let pending = store.pending_deliveries().await.unwrap();
    assert_eq!(pending[0].delivery.file, Some(file("unknown")));
}

async fn in_use(store: &dyn Store) -> Vec<String> {
    let mut names: Vec<String> = store.files_in_use().await.unwrap().into_iter().map(Into::into).collect();
    names.sort();
    names
}

fn fetched(name: &str) -> Fetched {
    let spool = SpoolName::new(name).unwrap();
    Fetched::Yes(SpooledFile { spool, media_type: "image/jpeg".into(), bytes: 4711 })
}

/// See [`Store::give_up`] and [`Store::set_aside`].
pub async fn f06_what_is_given_up_is_set_aside_with_its_reason_and_drops_nothing(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    let first = told(store, "one", "m-1").await;
    let other = told(store, "two", "other").await;
    let last = told(store, "one", "m-2").await;
    let given_up = GiveUp { run: Some(RunNumber(3)), ..giving_up(last, &delivery("gave-up", "tg:one")) };
    let told_of = store.give_up(&folder("one"), &given_up, at(50)).await.unwrap();
    let expected = SetAside {
        group: folder("one"),
        chat: chat_of("one"),
        messages: Handed { first, last },
        reason: "crashed".into(),
        run: Some(RunNumber(3)),
        at: at(50),
        state: SetAsideState::Kept,
    };
    assert_eq!(told_of.as_ref(), Some(&expected));
    assert_eq!(store.set_aside(None, false, 10).await.unwrap(), std::slice::from_ref(&expected));
    assert!(store.give_up(&folder("one"), &given_up, at(51)).await.unwrap().is_none(), "once");
    store.give_up(&folder("two"), &giving_up(other, &delivery("gave-up two", "tg:two")), at(52)).await.unwrap();
    let groups = |listed: Vec<SetAside>| listed.into_iter().map(|one| one.group.to_string()).collect::<Vec<_>>();
    assert_eq!(groups(store.set_aside(None, true, 10).await.unwrap()), ["two", "one"], "latest first");
    assert_eq!(groups(store.set_aside(None, true, 1).await.unwrap()), ["two"]);
    assert_eq!(store.set_aside(Some(&folder("one")), false, 10).await.unwrap(), [expected]);
}

/// See [`Store::give_up`].
pub async fn dropping_what_waits_marks_it_and_tells_nobody(store: &dyn Store) {
    registered(store, "one").await;
    let seq = told(store, "one", "m-1").await;
    let dropped =
        GiveUp { through: seq, reason: "unwanted".into(), run: None, state: SetAsideState::Dropped, notice: None };
    store.give_up(&folder("one"), &dropped, at(50)).await.unwrap();
    assert_eq!(store.cursor(&folder("one")).await.unwrap(), seq);
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    assert!(store.set_aside(None, false, 10).await.unwrap().is_empty(), "nothing is left to decide");
    let kept = store.set_aside(None, true, 10).await.unwrap();
    assert_eq!((kept[0].state, &*kept[0].reason), (SetAsideState::Dropped, "unwanted"));
    assert_eq!(store.given_up(&folder("one"), 10).await.unwrap().len(), 1);
}

/// Two messages of the group, the first as context, set aside up to the second, which is returned.
async fn two_set_aside(store: &dyn Store, group: &str) -> Seq {
    registered(store, group).await;
    stored(store.accept(&message(group, "context"), Wakes::No, at(2)).await);
    let last = told(store, group, "m-1").await;
    let notice = delivery(&format!("gave-up {group}"), chat_of(group).as_str());
    store.give_up(&folder(group), &giving_up(last, &notice), at(50)).await.unwrap();
    last
}

/// See [`Store::resolve_set_aside`].
pub async fn what_was_set_aside_is_said_again_at_the_end_of_the_inbox(store: &dyn Store) {
    let last = two_set_aside(store, "one").await;
    let between = told(store, "one", "m-2").await;
    let resolved = store.resolve_set_aside(&folder("one"), last, TurnResolution::Retry, at(60)).await.unwrap();
    let TurnResolved::Retried { newest: Some(newest) } = resolved else { panic!("{resolved:?}") };
    assert!(newest > between);
    assert_eq!(texts(store, "one").await, ["text of m-2", "text of context", "text of m-1"]);
    let waiting = store.messages_after(&folder("one"), between, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|again| again.wakes).collect::<Vec<_>>(), [Wakes::No, Wakes::Yes]);
    let original = message("one", "m-1");
    assert_eq!(waiting[1].message, InboundMessage { id: PlatformMessageId::said_again(last), ..original });
    assert_eq!(store.recover().await.unwrap()[0].waiting, Some(newest), "it wakes");
    assert_eq!(store.given_up(&folder("one"), 10).await.unwrap().len(), 2, "the originals keep their marks");
    assert!(store.set_aside(None, false, 10).await.unwrap().is_empty());
    assert_eq!(store.set_aside(None, true, 10).await.unwrap()[0].state, SetAsideState::Retried);
}

/// See [`Store::resolve_set_aside`].
pub async fn retrying_twice_is_retrying_once(store: &dyn Store) {
    let last = two_set_aside(store, "one").await;
    store.resolve_set_aside(&folder("one"), last, TurnResolution::Retry, at(60)).await.unwrap();
    let again = store.resolve_set_aside(&folder("one"), last, TurnResolution::Retry, at(61)).await.unwrap();
    assert_eq!(again, TurnResolved::Already(SetAsideState::Retried));
    assert_eq!(store.unanswered(&folder("one")).await.unwrap(), 2);
    // Set aside once more, it can be retried once more.
    let newest = store.recover().await.unwrap()[0].waiting.unwrap();
    store.give_up(&folder("one"), &giving_up(newest, &delivery("again", "tg:one")), at(70)).await.unwrap();
    let third = store.resolve_set_aside(&folder("one"), newest, TurnResolution::Retry, at(80)).await.unwrap();
    assert!(matches!(third, TurnResolved::Retried { newest: Some(_) }), "{third:?}");
    assert_eq!(texts(store, "one").await, ["text of context", "text of m-1"]);
}

/// See [`Store::resolve_set_aside`].
pub async fn what_was_dropped_can_be_retried_and_what_was_retried_cannot_be_dropped(store: &dyn Store) {
    let (group, last) = (folder("one"), two_set_aside(store, "one").await);
    let decide = async |resolution| store.resolve_set_aside(&group, last, resolution, at(60)).await.unwrap();
    assert_eq!(decide(TurnResolution::Drop).await, TurnResolved::Dropped);
    assert_eq!(decide(TurnResolution::Drop).await, TurnResolved::Already(SetAsideState::Dropped));
    assert_eq!(store.unanswered(&group).await.unwrap(), 0);
    assert!(matches!(decide(TurnResolution::Retry).await, TurnResolved::Retried { .. }));
    assert_eq!(decide(TurnResolution::Drop).await, TurnResolved::Already(SetAsideState::Retried));
}

/// See [`Store::resolve_set_aside`].
pub async fn a_decision_about_nothing_changes_nothing(store: &dyn Store) {
    let last = two_set_aside(store, "one").await;
    for (group, seq) in [("one", Seq(last.0 + 1)), ("one", Seq::ZERO), ("nobody", last)] {
        for resolution in [TurnResolution::Retry, TurnResolution::Drop] {
            let resolved = store.resolve_set_aside(&folder(group), seq, resolution, at(60)).await.unwrap();
            assert_eq!(resolved, TurnResolved::Unknown);
        }
    }
    assert_eq!(store.set_aside(None, false, 10).await.unwrap().len(), 1);
}

/// See [`Store::resolve_set_aside`] and [`Store::set_aside`].
pub async fn what_was_set_aside_outlives_its_group_but_is_said_again_in_it_alone(store: &dyn Store) {
    let (one, last) = (folder("one"), two_set_aside(store, "one").await);
    store.remove_group(&one).await.unwrap();
    assert_eq!(store.set_aside(None, false, 10).await.unwrap().len(), 1);
    let refused = store.resolve_set_aside(&one, last, TurnResolution::Retry, at(60)).await;
    assert!(matches!(refused, Err(StoreError::NoGroup { .. })), "{refused:?}");
    store.add_group(&Group { chat: chat_of("elsewhere"), ..group("one") }).await.unwrap();
    let refused = store.resolve_set_aside(&one, last, TurnResolution::Retry, at(61)).await;
    assert!(matches!(refused, Err(StoreError::NoGroup { .. })), "another chat's words: {refused:?}");
    assert_eq!(store.unanswered(&one).await.unwrap(), 0);
    store.remove_group(&one).await.unwrap();
    registered(store, "one").await;
    store.resolve_set_aside(&one, last, TurnResolution::Retry, at(62)).await.unwrap();
    assert_eq!(texts(store, "one").await, ["text of context", "text of m-1"]);
}

/// See [`Store::messages_between`].
pub async fn messages_are_shown_by_their_places(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    let first = told(store, "one", "m-1").await;
    told(store, "two", "other").await;
    let second = told(store, "one", "m-2").await;
    told(store, "one", "m-3").await;
    let shown = async |first, last, limit| -> Vec<Seq> {
        let found = store.messages_between(&chat_of("one"), Handed { first, last }, limit).await.unwrap();
        found.into_iter().map(|stored| stored.seq).collect()
    };
    assert_eq!(shown(first, second, 10).await, [first, second]);
    assert_eq!(shown(first, second, 1).await, [first]);
    assert!(shown(second, first, 10).await.is_empty());
}

/// See [`Store::recover`].
pub async fn recovery_lists_groups_as_they_began_to_wait(store: &dyn Store) {
    for name in ["idle", "third", "first", "second", "quiet"] {
        registered(store, name).await;
    }
    for (name, id) in [("first", "a"), ("second", "b"), ("first", "c"), ("third", "d")] {
        told(store, name, id).await;
    }
    let order = async || -> Vec<(String, bool)> {
        let groups = store.recover().await.unwrap().into_iter();
        groups.map(|recovery| (recovery.group.folder.to_string(), recovery.waiting.is_some())).collect()
    };
    let expect = |names: [(&str, bool); 5]| names.map(|(name, pending)| (name.to_owned(), pending));
    let all = [("first", true), ("second", true), ("third", true), ("idle", false), ("quiet", false)];
    assert_eq!(order().await, expect(all));

    // Once its first message is answered, a group waits since its next one.
    let run = opened(store, "first", 7).await;
    let seq = store.messages_after(&run.group, Seq::ZERO, 1).await.unwrap()[0].seq;
    store.hand_over(&run, Handed { first: seq, last: seq }, at(2)).await.unwrap();
    store.commit_block(&run, &BlockCommit { answers: Some(seq), ..block(1) }).await.unwrap();
    let all = [("second", true), ("first", true), ("third", true), ("idle", false), ("quiet", false)];
    assert_eq!(order().await, expect(all));
    let last_runs: Vec<RunNumber> =
        store.recover().await.unwrap().into_iter().map(|recovery| recovery.last_run).collect();
    assert_eq!(last_runs, [RunNumber::ZERO, RunNumber(7), RunNumber::ZERO, RunNumber::ZERO, RunNumber::ZERO]);
}

/// See [`GroupRecovery::waiting`](crate::store::GroupRecovery::waiting).
pub async fn recovery_does_not_count_context_as_waiting(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    store.accept(&message("two", "m-1"), Wakes::No, at(1)).await.unwrap();
    told(store, "one", "m-2").await;
    told(store, "two", "m-3").await;
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered[0].group.folder.as_str(), "one", "waiting began with the message that wakes");
    assert_eq!(store.unanswered(&folder("two")).await.unwrap(), 2);

    registered(store, "three").await;
    store.accept(&message("three", "m-4"), Wakes::No, at(1)).await.unwrap();
    let recovered = store.recover().await.unwrap();
    assert_eq!((recovered[2].group.folder.as_str(), recovered[2].waiting), ("three", None));
    assert_eq!(store.unanswered(&folder("three")).await.unwrap(), 1);
}

/// See [`GroupRecovery::failures`](crate::store::GroupRecovery::failures).
pub async fn failures_count_until_a_block_or_giving_up(store: &dyn Store) {
    let group = registered(store, "one").await.folder;
    registered(store, "two").await;
    let failures = async || -> u32 {
        let recovered = store.recover().await.unwrap();
        recovered.iter().find(|recovery| recovery.group.folder == group).unwrap().failures
    };
    let failed = RunEnding::Failed { reason: "overloaded".into(), retry: Retry::Later };
    for (number, ending, expected) in [
        (1, failed.clone(), 1),
        (2, RunEnding::Crashed { exit: Exit::OutOfMemory, last_words: String::new() }, 2),
        (3, RunEnding::Finished, 2),
        (4, RunEnding::Stopped, 2),
        (5, RunEnding::Lost { reason: "the runtime went away".into() }, 2),
        (6, RunEnding::HostEnded, 2),
    ] {
        let run = opened(store, "one", number).await;
        store.close_run(&run, &ending, at(5)).await.unwrap();
        assert_eq!(failures().await, expected, "after run {number}");
    }
    let run = opened(store, "one", 7).await;
    store.commit_block(&run, &block(1)).await.unwrap();
    assert_eq!(failures().await, 0, "a block");
    store.close_run(&run, &failed, at(6)).await.unwrap();
    assert_eq!(failures().await, 1, "a failure after the block counts");
    store.commit_block(&run, &block(1)).await.unwrap();
    store.commit_block(&run, &block(2)).await.unwrap();
    assert_eq!(failures().await, 1, "copies and late blocks do not");
    let seq = told(store, "one", "m-1").await;
    store.give_up(&group, &giving_up(seq, &delivery("gave-up", "tg:one")), at(50)).await.unwrap();
    assert_eq!(failures().await, 0, "giving up");
}

// --- outbox ---------------------------------------------------------------------------------------------------------

/// See [`Store::post`].
pub async fn f21_posting_a_key_again_changes_nothing(store: &dyn Store) {
    let first = delivery("key-1", "tg:1");
    let id = store.post(&first, at(1)).await.unwrap();
    let other = store.post(&delivery("key-2", "tg:1"), at(2)).await.unwrap();
    assert!(other > id);
    let again = NewDelivery { text: "changed".into(), chat: chat("tg:2"), ..first.clone() };
    assert_eq!(store.post(&again, at(3)).await.unwrap(), id);
    let row = store.delivery(&first.key).await.unwrap().unwrap();
    assert_eq!((&row.delivery.text, &row.delivery.chat, row.not_before), (&first.text, &first.chat, at(1)));

    store.delivery_sent(id, &Sent::default(), at(4)).await.unwrap();
    assert_eq!(store.post(&first, at(5)).await.unwrap(), id);
    let pending: Vec<OutboxId> =
        store.pending_deliveries().await.unwrap().into_iter().map(|row| row.delivery.id).collect();
    assert_eq!(pending, [other], "what was sent is not sent again");

    registered(store, "one").await;
    let run = opened(store, "one", 1).await;
    let reply = BlockCommit { reply: Some(first), ..block(1) };
    assert_eq!(store.commit_block(&run, &reply).await.unwrap(), BlockOutcome::Committed(Some(id)));
}

/// What a command is answered with that somebody gave in a thread.
fn said_in_thread() -> Answered {
    let said = InboundMessage { thread: Some(PlatformMessageId::new("t-9").unwrap()), ..message("one", "c-1") };
    Answered::to(&said, true)
}

/// Posts what `run` says to `to`, up to `through`, and returns what the row is an answer to.
async fn says(store: &dyn Store, run: &RunId, to: &str, key: &str, through: Option<Seq>) -> Answered {
    let answers = Some(Answers::Run { run: run.clone(), through });
    store.post(&NewDelivery { answers, ..delivery(key, to) }, at(4)).await.unwrap();
    store.delivery(&DeliveryKey::new(key).unwrap()).await.unwrap().unwrap().delivery.answered
}

/// See [`Answers::Run`].
pub async fn an_answer_says_which_message_it_answers_and_in_which_thread(store: &dyn Store) {
    registered(store, "one").await;
    let first = told(store, "one", "m-1").await;
    let thread = Some(PlatformMessageId::new("t-1").unwrap());
    let asked = InboundMessage { thread: thread.clone(), chat_kind: Some(ChatKind::Group), ..message("one", "m-2") };
    let second = stored(store.accept(&asked, Wakes::Yes, at(2)).await);
    let context = stored(store.accept(&message("one", "context"), Wakes::No, at(2)).await);
    let run = opened(store, "one", 1).await;
    store.hand_over(&run, Handed { first, last: context }, at(3)).await.unwrap();
    let beyond = told(store, "one", "m-3").await;
    let reply = |number: u32, through: Seq| {
        let answers = Some(Answers::Run { run: run.clone(), through: Some(through) });
        let reply = NewDelivery { answers, ..delivery(&format!("reply-{number}"), "tg:one") };
        BlockCommit { reply: Some(reply), answers: Some(through), ..block(number) }
    };
    // What the container says counts no further than what was handed over.
    store.commit_block(&run, &reply(1, beyond)).await.unwrap();
    store.commit_block(&run, &reply(2, context)).await.unwrap();
    store.commit_block(&run, &reply(3, first)).await.unwrap();
    let answered =
        |rows: Vec<StoredDelivery>| -> Vec<Answered> { rows.into_iter().map(|row| row.delivery.answered).collect() };
    let to = |id: &str| {
        let [id, text] = [id.to_owned(), format!("text of {id}")];
        Some(ReplyTo { id: PlatformMessageId::new(id).unwrap(), sender: SenderId::new("u-1").unwrap(), text })
    };
    let expected = [
        Answered { reply_to: to("m-2"), thread: thread.clone() },
        // Another answer to the same stays where it was asked, and shows no reply again.
        Answered { reply_to: None, thread },
        Answered { reply_to: to("m-1"), thread: None },
    ];
    assert!(second < context);
    assert_eq!(answered(store.pending_deliveries().await.unwrap()), expected);
    assert_eq!(answered(store.pending_deliveries_of(&chat("tg:one"), 9).await.unwrap()), expected);
    let latest_first: Vec<Answered> = expected.iter().rev().cloned().collect();
    assert_eq!(answered(store.deliveries(&DeliveryFilter::default(), 9).await.unwrap()), latest_first);
    let id = store.deliveries(&DeliveryFilter::default(), 1).await.unwrap()[0].delivery.id;
    assert_eq!(store.delivery_at(id).await.unwrap().unwrap().delivery.answered, expected[2]);
    let Resolved::Done(row) = store.resolve_delivery(id, Resolution::SendAgain, at(9)).await.unwrap() else {
        panic!("it can be sent again")
    };
    assert_eq!(row.delivery.answered, expected[2]);
}

/// See [`Answered::reply_to`].
pub async fn an_answer_in_a_private_chat_stays_in_its_thread_and_shows_no_reply(store: &dyn Store) {
    registered(store, "one").await;
    let thread = Some(PlatformMessageId::new("t-1").unwrap());
    let asked = InboundMessage { thread: thread.clone(), chat_kind: Some(ChatKind::Private), ..message("one", "m-1") };
    let seq = stored(store.accept(&asked, Wakes::Yes, at(2)).await);
    let run = opened(store, "one", 1).await;
    store.hand_over(&run, Handed { first: seq, last: seq }, at(3)).await.unwrap();
    assert_eq!(says(store, &run, "tg:one", "key", Some(seq)).await, Answered { reply_to: None, thread });
}

/// See [`Answers::Run`].
pub async fn what_is_said_in_the_middle_of_a_run_answers_what_its_agent_has_taken(store: &dyn Store) {
    registered(store, "one").await;
    let (run, _) = run_with_a_turn(store, "one").await;
    let second = told(store, "one", "m-2").await;
    store.hand_over(&run, Handed { first: second, last: second }, at(3)).await.unwrap();
    let to = |answered: Answered| answered.reply_to.map(|reply_to| reply_to.id.to_string());
    assert_eq!(to(says(store, &run, "tg:one", "key-1", None).await).as_deref(), Some("m-1"), "it was begun with that");
    assert_eq!(to(says(store, &run, "tg:one", "key-1", Some(second)).await).as_deref(), Some("m-1"), "decided once");
    store.turns_taken(&run, second, at(3)).await.unwrap();
    assert_eq!(to(says(store, &run, "tg:one", "key-2", None).await).as_deref(), Some("m-2"));
    // What a container left when it ended is still about that.
    store.close_run(&run, &RunEnding::Finished, at(4)).await.unwrap();
    let left =
        NewDelivery { answers: Some(Answers::Run { run: run.clone(), through: None }), ..delivery("key-3", "tg:one") };
    let third = told(store, "one", "m-3").await;
    let next = opened(store, "one", 2).await;
    store.hand_over(&next, Handed { first: second, last: third }, at(5)).await.unwrap();
    store.post(&left, at(6)).await.unwrap();
    assert_eq!(to(says(store, &next, "tg:one", "key-4", None).await).as_deref(), Some("m-3"), "nobody answered it yet");
}

/// See [`Answers::Run`].
pub async fn what_nobody_asked_for_answers_nothing(store: &dyn Store) {
    registered(store, "one").await;
    registered(store, "two").await;
    let nothing = Answered::default();
    let unasked = store.post(&delivery("alert", "tg:one"), at(1)).await.unwrap();
    assert_eq!(store.delivery_at(unasked).await.unwrap().unwrap().delivery.answered, nothing);
    let first = told(store, "one", "m-1").await;
    let other = told(store, "two", "m-1").await;
    let run = opened(store, "one", 1).await;
    assert_eq!(says(store, &run, "tg:one", "before it was handed anything", None).await, nothing);
    store.hand_over(&run, Handed { first, last: other }, at(3)).await.unwrap();
    assert_eq!(says(store, &run, "tg:two", "to another chat", None).await, nothing);
    assert_eq!(says(store, &run_id("one", 7), "tg:one", "of a run that never was", None).await, nothing);
    assert_eq!(says(store, &run, "tg:one", "before what it was handed", Some(Seq(first.0 - 1))).await, nothing);
    let task = NewRun { kind: RunKind::Task(TaskId::new("t-1").unwrap()), ..new_run("one", 2) };
    store.open_run(&task).await.unwrap();
    store.hand_over(&task.id, Handed { first, last: first }, at(3)).await.unwrap();
    assert_eq!(says(store, &task.id, "tg:one", "of a task", None).await, nothing);
    store.remove_group(&folder("one")).await.unwrap();
    assert_eq!(says(store, &run, "tg:one", "of a group that is gone", None).await, nothing);
}

/// See [`Answers::Message`].
pub async fn a_message_that_is_not_in_the_inbox_can_be_answered(store: &dyn Store) {
    let answers = Some(Answers::Message(said_in_thread()));
    let id = store.post(&NewDelivery { answers, ..delivery("pong", "tg:one") }, at(1)).await.unwrap();
    let Delivery { answered, .. } = store.delivery_at(id).await.unwrap().unwrap().delivery;
    assert_eq!(answered, said_in_thread());
    assert_eq!(answered.reply_to.map(|reply_to| reply_to.id.to_string()).as_deref(), Some("c-1"));
}

/// See [`Store::post`].
pub async fn an_answer_to_what_was_said_again_is_one_to_the_original(store: &dyn Store) {
    let mut last = two_set_aside(store, "one").await;
    for number in 1..=2 {
        let retried = store.resolve_set_aside(&folder("one"), last, TurnResolution::Retry, at(60)).await.unwrap();
        let TurnResolved::Retried { newest: Some(newest) } = retried else { panic!("{retried:?}") };
        let run = opened(store, "one", number).await;
        store.hand_over(&run, Handed { first: newest, last: newest }, at(61)).await.unwrap();
        let answered = says(store, &run, "tg:one", &format!("key-{number}"), Some(newest)).await;
        // The second time it is a further answer to the same message.
        let expected = (number == 1).then_some("m-1");
        assert_eq!(answered.reply_to.as_ref().map(|reply_to| reply_to.id.as_str()), expected);
        store.give_up(&folder("one"), &GiveUp::dropped(newest), at(62)).await.unwrap();
        last = newest;
    }
}

/// See [`Store::pending_deliveries`] and [`Store::pending_deliveries_of`].
pub async fn pending_rows_come_in_order_and_by_chat(store: &dyn Store) {
    let mut ids = Vec::new();
    for (key, chat) in [("z", "tg:2"), ("b", "tg:1"), ("y", "tg:2"), ("a", "tg:1"), ("c", "tg:1")] {
        // Later rows are posted at earlier moments: order is by id.
        ids.push(store.post(&delivery(key, chat), at(100 - ids.len() as i64)).await.unwrap());
    }
    assert!(ids.is_sorted());
    store.delivery_failed(ids[1], "no network", &AfterTry::TryAgain(at(9_000)), at(9)).await.unwrap();
    let all = store.pending_deliveries().await.unwrap();
    assert_eq!(all.iter().map(|row| row.delivery.id).collect::<Vec<_>>(), ids, "one that waits keeps its place");
    let of = async |name: &str, limit| -> Vec<OutboxId> {
        let rows = store.pending_deliveries_of(&chat(name), limit).await.unwrap();
        rows.into_iter().map(|row| row.delivery.id).collect()
    };
    assert_eq!(of("tg:1", 10).await, [ids[1], ids[3], ids[4]]);
    assert_eq!(of("tg:1", 2).await, [ids[1], ids[3]]);
    assert_eq!(of("tg:2", 10).await, [ids[0], ids[2]]);
    assert!(of("tg:3", 10).await.is_empty());
}

/// See [`Store::delivery_sent`].
pub async fn a_sent_row_stays_sent(store: &dyn Store) {
    let row = delivery("key-1", "tg:1");
    let id = store.post(&row, at(1)).await.unwrap();
    store.delivery_failed(id, "no network", &AfterTry::TryAgain(at(5)), at(4)).await.unwrap();
    let sent = Sent { platform_id: Some(PlatformMessageId::new("p-1").unwrap()) };
    store.delivery_sent(id, &sent, at(6)).await.unwrap();
    let kept = store.delivery(&row.key).await.unwrap().unwrap();
    assert_eq!((kept.state, kept.delivery.attempts, kept.last_error.as_deref()), (DeliveryState::Sent, 2, None));
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    store.delivery_sent(id, &Sent::default(), at(7)).await.unwrap();
    assert_eq!(store.delivery(&row.key).await.unwrap().unwrap(), kept, "said twice is said once");
}

/// See [`Store::delivery_sent`] and [`Store::delivery_failed`].
pub async fn f20_a_failure_reported_after_sending_changes_nothing(store: &dyn Store) {
    let row = delivery("key-1", "tg:1");
    let id = store.post(&row, at(1)).await.unwrap();
    store.delivery_sent(id, &Sent::default(), at(6)).await.unwrap();
    store.delivery_failed(id, "timed out", &AfterTry::TryAgain(at(7)), at(6)).await.unwrap();
    store.delivery_failed(id, "timed out", &AfterTry::GiveUp(Some(delivery("notice", "tg:1"))), at(6)).await.unwrap();
    assert_eq!(store.delivery(&row.key).await.unwrap().unwrap().state, DeliveryState::Sent);
    assert!(store.pending_deliveries().await.unwrap().is_empty());
}

/// See [`Store::delivery_failed`].
pub async fn a_row_that_failed_waits_or_is_given_up(store: &dyn Store) {
    let row = delivery("key-1", "tg:1");
    let id = store.post(&row, at(1)).await.unwrap();
    let kept = async || store.delivery(&row.key).await.unwrap().unwrap();
    store.delivery_failed(id, "no network", &AfterTry::TryAgain(at(500)), at(4)).await.unwrap();
    assert_eq!(
        (kept().await.state, kept().await.not_before, kept().await.delivery.attempts),
        (DeliveryState::Pending, at(500), 1)
    );
    assert_eq!(kept().await.last_error.as_deref(), Some("no network"));

    store.delivery_failed(id, "the chat is gone", &AfterTry::GiveUp(None), at(5)).await.unwrap();
    assert_eq!((kept().await.state, kept().await.delivery.attempts), (DeliveryState::Failed, 2));
    assert_eq!(kept().await.last_error.as_deref(), Some("the chat is gone"), "it is kept and shown");
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    let given_up = kept().await;
    store.delivery_failed(id, "once more", &AfterTry::TryAgain(at(900)), at(5)).await.unwrap();
    assert_eq!(kept().await, given_up, "given up is given up");
}

/// See [`Store::delivery`], [`Store::delivery_sent`] and [`Store::delivery_failed`].
pub async fn a_row_that_is_not_there_is_refused(store: &dyn Store) {
    assert_eq!(store.delivery(&delivery("key-1", "tg:1").key).await.unwrap(), None);
    let sent = store.delivery_sent(OutboxId(7), &Sent::default(), at(1)).await;
    assert!(matches!(sent, Err(StoreError::Failed { .. })));
    let failed = store.delivery_failed(OutboxId(7), "no network", &AfterTry::GiveUp(None), at(1)).await;
    assert!(matches!(failed, Err(StoreError::Failed { .. })));
    assert!(matches!(store.delivery_begun(OutboxId(7)).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.delivery_postponed(OutboxId(7)).await, Err(StoreError::Failed { .. })));
    assert_eq!(store.delivery_at(OutboxId(7)).await.unwrap(), None);
    assert_eq!(store.resolve_delivery(OutboxId(7), Resolution::Drop, at(1)).await.unwrap(), Resolved::NoRow);
}

/// See [`Store::delivery_begun`] and [`Store::delivery_postponed`].
pub async fn a_row_that_is_being_sent_keeps_its_place_until_more_is_known(store: &dyn Store) {
    let first = store.post(&delivery("key-1", "tg:1"), at(1)).await.unwrap();
    let second = store.post(&delivery("key-2", "tg:1"), at(1)).await.unwrap();
    let waiting = async || -> Vec<(OutboxId, DeliveryState, u32)> {
        let rows = store.pending_deliveries_of(&chat("tg:1"), 10).await.unwrap();
        assert_eq!(store.pending_deliveries().await.unwrap(), rows);
        rows.into_iter().map(|row| (row.delivery.id, row.state, row.delivery.attempts)).collect()
    };
    store.delivery_begun(first).await.unwrap();
    store.delivery_begun(first).await.unwrap();
    assert_eq!(waiting().await, [(first, DeliveryState::Sending, 0), (second, DeliveryState::Pending, 0)]);
    store.delivery_postponed(first).await.unwrap();
    store.delivery_postponed(second).await.unwrap();
    assert_eq!(waiting().await, [(first, DeliveryState::Pending, 0), (second, DeliveryState::Pending, 0)]);

    store.delivery_begun(first).await.unwrap();
    store.delivery_failed(first, "timed out", &AfterTry::LookUp(at(700)), at(2)).await.unwrap();
    assert_eq!(waiting().await[0], (first, DeliveryState::Sending, 1), "it is looked up before it is sent again");
    assert_eq!(store.delivery_at(first).await.unwrap().unwrap().not_before, at(700));
    store.delivery_failed(first, "it was not", &AfterTry::TryAgain(at(800)), at(3)).await.unwrap();
    assert_eq!(waiting().await[0], (first, DeliveryState::Pending, 2));

    store.delivery_begun(first).await.unwrap();
    store.delivery_sent(first, &Sent::default(), at(4)).await.unwrap();
    for changed in [store.delivery_begun(first).await, store.delivery_postponed(first).await] {
        changed.unwrap();
    }
    assert_eq!(waiting().await, [(second, DeliveryState::Pending, 0)], "what was sent stays sent");
}

/// See [`Store::delivery_failed`].
pub async fn giving_a_row_up_posts_the_notice_in_the_same_breath_and_once(store: &dyn Store) {
    for (place, state) in [DeliveryState::Failed, DeliveryState::Unknown].into_iter().enumerate() {
        let row = store.post(&delivery(&format!("key-{place}"), "tg:1"), at(1)).await.unwrap();
        let notice = |text: &str| Some(delivery(&format!("{text}-{place}"), "tg:owner"));
        let after = |notice| match state {
            DeliveryState::Failed => AfterTry::GiveUp(notice),
            _ => AfterTry::Ask(notice),
        };
        store.delivery_begun(row).await.unwrap();
        store.delivery_failed(row, "why", &after(notice("first")), at(2)).await.unwrap();
        store.delivery_failed(row, "again", &after(notice("second")), at(3)).await.unwrap();
        let kept = store.delivery_at(row).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.delivery.attempts, kept.last_error.as_deref()), (state, 1, Some("why")));
        let told = store.pending_deliveries_of(&chat("tg:owner"), 10).await.unwrap();
        assert_eq!(told.len(), place + 1, "a row that was given up already tells nobody again");
        assert_eq!(
            (told[place].delivery.text.as_str(), told[place].delivery.posted_at),
            (format!("text of first-{place}").as_str(), at(2))
        );
        assert!(store.pending_deliveries_of(&chat("tg:1"), 10).await.unwrap().is_empty());
    }
}

/// See [`Store::delivery_not_sent`].
pub async fn a_row_of_which_nobody_knew_turns_out_not_to_have_been_sent(store: &dyn Store) {
    let id = store.post(&delivery("key-1", "tg:1"), at(1)).await.unwrap();
    let kept = async || store.delivery_at(id).await.unwrap().unwrap();
    let in_doubt = async || store.delivery_failed(id, "timed out", &AfterTry::Ask(None), at(2)).await.unwrap();
    let before = kept().await;
    let notice = || AfterTry::GiveUp(Some(delivery("notice", "tg:owner")));
    store.delivery_not_sent(id, "late", &notice(), at(3)).await.unwrap();
    assert_eq!(kept().await, before, "one that waits is not in doubt");

    in_doubt().await;
    store.delivery_not_sent(id, "late", &AfterTry::TryAgain(at(40)), at(3)).await.unwrap();
    let waits = kept().await;
    assert_eq!((waits.state, waits.not_before), (DeliveryState::Pending, at(40)));
    assert_eq!((waits.delivery.attempts, waits.last_error.as_deref()), (1, Some("late")), "the try was counted before");

    in_doubt().await;
    store.delivery_not_sent(id, "the chat is gone", &notice(), at(4)).await.unwrap();
    let failed = kept().await;
    assert_eq!((failed.state, failed.delivery.attempts), (DeliveryState::Failed, 2));
    let told = store.pending_deliveries_of(&chat("tg:owner"), 10).await.unwrap();
    assert_eq!(told.iter().map(|row| row.delivery.posted_at).collect::<Vec<_>>(), [at(4)]);

    for settled in [DeliveryState::Failed, DeliveryState::Dropped, DeliveryState::Sent] {
        match settled {
            DeliveryState::Dropped => drop(store.resolve_delivery(id, Resolution::Drop, at(5)).await.unwrap()),
            DeliveryState::Sent => store.delivery_sent(id, &Sent::default(), at(5)).await.unwrap(),
            _ => {}
        }
        store.delivery_not_sent(id, "late", &AfterTry::TryAgain(at(9)), at(9)).await.unwrap();
        assert_eq!(kept().await.state, settled);
    }
    let nowhere = store.delivery_not_sent(OutboxId(7), "late", &AfterTry::TryAgain(at(9)), at(9)).await;
    assert!(matches!(nowhere, Err(StoreError::Failed { .. })));
}

/// See [`Store::resolve_delivery`].
pub async fn a_person_decides_about_a_row_that_was_not_sent(store: &dyn Store) {
    use DeliveryState::{Dropped, Pending, Sending, Sent as WasSent, Unknown};
    let id = store.post(&delivery("key-1", "tg:1"), at(1)).await.unwrap();
    let decide = async |resolution| match store.resolve_delivery(id, resolution, at(50)).await.unwrap() {
        Resolved::Done(row) => {
            assert_eq!(store.delivery_at(id).await.unwrap().as_ref(), Some(&row));
            Ok(row.state)
        }
        Resolved::Refused(row) => {
            assert_eq!(store.delivery_at(id).await.unwrap().as_ref(), Some(&row));
            Err(row.state)
        }
        Resolved::NoRow => panic!("the row is there"),
    };
    store.delivery_begun(id).await.unwrap();
    assert_eq!(decide(Resolution::SendAgain).await, Err(Sending), "what may be under way is not doubled");
    store.delivery_failed(id, "timed out", &AfterTry::Ask(None), at(2)).await.unwrap();
    assert_eq!(store.delivery_at(id).await.unwrap().unwrap().state, Unknown);

    assert_eq!(decide(Resolution::SendAgain).await, Ok(Pending));
    let row = store.delivery_at(id).await.unwrap().unwrap();
    assert_eq!((row.delivery.attempts, row.not_before), (0, at(50)), "it has all its tries, from now on");
    assert_eq!(row.decisions, 1, "what was refused is no decision");
    store.delivery_failed(id, "the chat is gone", &AfterTry::GiveUp(None), at(3)).await.unwrap();
    assert_eq!(decide(Resolution::Drop).await, Ok(Dropped));
    assert!(store.pending_deliveries().await.unwrap().is_empty());
    store.delivery_failed(id, "late word", &AfterTry::TryAgain(at(9)), at(4)).await.unwrap();
    assert_eq!(store.delivery_at(id).await.unwrap().unwrap().state, Dropped);

    assert_eq!(decide(Resolution::SendAgain).await, Ok(Pending), "a person may think again");
    store.delivery_begun(id).await.unwrap();
    assert_eq!(decide(Resolution::Drop).await, Ok(Dropped));
    store.delivery_sent(id, &Sent::default(), at(5)).await.unwrap();
    assert_eq!(decide(Resolution::Drop).await, Err(WasSent), "it turned out to be sent, which nobody can take back");
    assert_eq!(decide(Resolution::SendAgain).await, Err(WasSent));
}

/// See [`Store::deliveries`] and [`Store::delivery_at`].
pub async fn rows_are_shown_latest_first_by_state_and_chat(store: &dyn Store) {
    let mut ids = Vec::new();
    for (number, to) in ["tg:1", "tg:2", "tg:1", "tg:1"].into_iter().enumerate() {
        ids.push(store.post(&delivery(&format!("key-{number}"), to), at(7)).await.unwrap());
    }
    let sent = Sent { platform_id: Some(PlatformMessageId::new("p-1").unwrap()) };
    store.delivery_sent(ids[0], &sent, at(8)).await.unwrap();
    store.delivery_failed(ids[1], "gone", &AfterTry::GiveUp(None), at(9)).await.unwrap();
    store.delivery_failed(ids[2], "timed out", &AfterTry::Ask(None), at(9)).await.unwrap();
    let shown = async |states: &[DeliveryState], to: Option<&str>, limit| -> Vec<OutboxId> {
        let filter = DeliveryFilter { states: states.to_vec(), chat: to.map(chat) };
        let rows = store.deliveries(&filter, limit).await.unwrap();
        rows.into_iter().map(|row| row.delivery.id).collect()
    };
    assert_eq!(shown(&[], None, 10).await, [ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(shown(&[], None, 2).await, [ids[3], ids[2]]);
    assert_eq!(shown(&[], Some("tg:1"), 10).await, [ids[3], ids[2], ids[0]]);
    let trouble = [DeliveryState::Failed, DeliveryState::Unknown];
    assert_eq!(shown(&trouble, None, 10).await, [ids[2], ids[1]]);
    assert_eq!(shown(&trouble, Some("tg:2"), 10).await, [ids[1]]);
    assert_eq!(shown(&[DeliveryState::Dropped], None, 10).await, []);
    let row = store.delivery_at(ids[0]).await.unwrap().unwrap();
    assert_eq!((row.delivery.posted_at, row.sent_at, row.platform_id), (at(7), Some(at(8)), sent.platform_id));
}

// --- what the checks are made of ------------------------------------------------------------------------------------

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

fn chat(id: &str) -> ChatId {
    ChatId::new(id).unwrap()
}

fn chat_of(group: &str) -> ChatId {
    chat(&format!("tg:{group}"))
}

/// As the chat's conversation.
fn chat_session(id: &str) -> (SessionContext, SessionId) {
    (SessionContext::Chat, session(id))
}

fn session(id: &str) -> SessionId {
    SessionId::new(id).unwrap()
}

fn channel() -> ChannelName {
    ChannelName::new("telegram").unwrap()
}

fn seen(id: &str, ms: i64) -> ChatMetadata {
    ChatMetadata { chat: chat(id), channel: channel(), name: None, kind: None, last_seen: at(ms) }
}

fn group(name: &str) -> Group {
    Group {
        folder: folder(name),
        chat: chat_of(name),
        name: format!("The group {name}"),
        trigger: TriggerPolicy::AssistantName,
        role: GroupRole::Ordinary,
        added_at: at(1),
    }
}

fn message(group: &str, id: &str) -> InboundMessage {
    InboundMessage {
        chat: chat_of(group),
        channel: channel(),
        chat_kind: None,
        id: PlatformMessageId::new(id).unwrap(),
        sender: SenderId::new("u-1").unwrap(),
        sender_name: "Ann".into(),
        author: Author::Person,
        text: format!("text of {id}"),
        sent_at: at(1),
        quote: None,
        thread: None,
        attachments: Vec::new(),
    }
}

fn delivery(key: &str, to: &str) -> NewDelivery {
    NewDelivery {
        key: DeliveryKey::new(key).unwrap(),
        chat: chat(to),
        text: format!("text of {key}"),
        file: None,
        answers: None,
    }
}

/// What is told of messages that are given up.
fn giving_up(through: Seq, notice: &NewDelivery) -> GiveUp {
    let reason = "crashed".to_owned();
    GiveUp { through, reason, run: None, state: SetAsideState::Kept, notice: Some(notice.clone()) }
}

fn run_id(group: &str, number: u32) -> RunId {
    RunId { group: folder(group), number: RunNumber(number) }
}

fn new_run(group: &str, number: u32) -> NewRun {
    NewRun { id: run_id(group, number), kind: RunKind::Chat, runtime: RuntimeKind::Fake, handed: None, at: at(2) }
}

fn block(number: u32) -> BlockCommit {
    let number = BlockNumber(number);
    BlockCommit {
        number,
        reply: None,
        answers: None,
        session: None,
        taken: None,
        names_messages: false,
        firing: None,
        at: at(3),
    }
}

fn stored(accepted: Result<Accepted, StoreError>) -> Seq {
    match accepted {
        Ok(Accepted::Stored(seq)) => seq,
        other => panic!("the message was not stored: {other:?}"),
    }
}

async fn registered(store: &dyn Store, name: &str) -> Group {
    let group = group(name);
    store.add_group(&group).await.unwrap();
    group
}

/// Accepts a message that wakes.
async fn told(store: &dyn Store, group: &str, id: &str) -> Seq {
    stored(store.accept(&message(group, id), Wakes::Yes, at(2)).await)
}

async fn opened(store: &dyn Store, group: &str, number: u32) -> RunId {
    store.open_run(&new_run(group, number)).await.unwrap();
    run_id(group, number)
}

/// Run 1 of the group, with one message handed to it.
async fn run_with_a_turn(store: &dyn Store, group: &str) -> (RunId, Seq) {
    let seq = told(store, group, "m-1").await;
    let run = opened(store, group, 1).await;
    store.hand_over(&run, Handed { first: seq, last: seq }, at(2)).await.unwrap();
    (run, seq)
}

/// What is waiting, in order.
async fn texts(store: &dyn Store, group: &str) -> Vec<String> {
    let messages = store.messages_after(&folder(group), Seq::ZERO, 1000).await.unwrap();
    messages.into_iter().map(|stored| stored.message.text).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_check_is_instantiated_by_the_macro() {
        let source = include_str!("store_suite.rs");
        let checks = source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        let (list, _) = source.split_once("(@checks").unwrap();
        for check in checks {
            assert!(list.lines().any(|line| line.trim() == check), "{check} is not in the list of the macro");
        }
    }
}
