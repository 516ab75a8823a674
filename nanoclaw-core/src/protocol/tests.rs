//! Every wire type as it is written, and v1's own samples as they are read.

use insta::{assert_json_snapshot, assert_snapshot};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    PROTOCOL_VERSION,
    dollars::Dollars,
    input::{Ahead, CLOSE_FILE, ContainerInput, FileInPrompt, FollowUp, follow_up_name},
    output::{Block, FailureKind, JournalEntry, Status},
    requests::{Answer, MessageRequest},
};
use crate::{
    group::GroupFolder,
    message::Seq,
    run::{BlockNumber, RunNumber},
    session::SessionId,
};

fn session(text: &str) -> Option<SessionId> {
    Some(SessionId::new(text).unwrap())
}

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

/// What is written is read as the same again.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(&read::<T>(&json), value, "{json}");
}

fn least_input() -> ContainerInput {
    ContainerInput {
        prompt: "hello".to_owned(),
        session_id: None,
        group_folder: GroupFolder::new("family").unwrap(),
        chat_jid: "tg:-100123".to_owned(),
        is_main: false,
        is_scheduled_task: None,
        assistant_name: None,
        script: None,
        protocol: None,
        run_number: None,
        first_seq: None,
        last_seq: None,
        files: Vec::new(),
    }
}

fn photo() -> FileInPrompt {
    FileInPrompt { path: "attachments/43-1-x.jpg".to_owned(), media_type: "image/jpeg".to_owned(), bytes: 9 }
}

fn silent_block() -> Block {
    Block::success(None)
}

#[test]
fn container_input() {
    let least = least_input();
    comes_back(&least);
    assert_json_snapshot!(least, @r#"
        {
          "prompt": "hello",
          "groupFolder": "family",
          "chatJid": "tg:-100123",
          "isMain": false
        }
        "#);

    let full = ContainerInput {
        session_id: session("6f2c"),
        is_main: true,
        is_scheduled_task: Some(true),
        assistant_name: Some("Andy".to_owned()),
        script: Some("echo '{\"wakeAgent\":true}'".to_owned()),
        protocol: Some(PROTOCOL_VERSION),
        run_number: Some(RunNumber(7)),
        first_seq: Some(Seq(41)),
        last_seq: Some(Seq(43)),
        files: vec![photo()],
        ..least
    };
    comes_back(&full);
    assert_json_snapshot!(full, @r#"
        {
          "prompt": "hello",
          "sessionId": "6f2c",
          "groupFolder": "family",
          "chatJid": "tg:-100123",
          "isMain": true,
          "isScheduledTask": true,
          "assistantName": "Andy",
          "script": "echo '{\"wakeAgent\":true}'",
          "protocol": 1,
          "runNumber": 7,
          "firstSeq": 41,
          "lastSeq": 43,
          "files": [
            {
              "path": "attachments/43-1-x.jpg",
              "mediaType": "image/jpeg",
              "bytes": 9
            }
          ]
        }
        "#);
}

#[test]
fn what_is_known_of_the_input_ahead() {
    let least = least_input().ahead();
    comes_back(&least);
    assert_json_snapshot!(least, @r#"
        {
          "groupFolder": "family",
          "chatJid": "tg:-100123",
          "isMain": false
        }
        "#);

    let full = ContainerInput {
        session_id: session("6f2c"),
        assistant_name: Some("Andy".to_owned()),
        protocol: Some(PROTOCOL_VERSION),
        ..least_input()
    };
    comes_back(&full.ahead());
    assert_json_snapshot!(full.ahead(), @r#"
        {
          "sessionId": "6f2c",
          "groupFolder": "family",
          "chatJid": "tg:-100123",
          "isMain": false,
          "assistantName": "Andy",
          "protocol": 1
        }
        "#);
    let later: Ahead = read(r#"{"groupFolder":"family","chatJid":"tg:1","isMain":true,"sessionId":"","later":1}"#);
    assert_eq!((later.session_id, later.is_main), (None, true));
}

#[test]
fn container_input_of_a_v1_host_is_read() {
    let input: ContainerInput = read(
        r#"{
            "prompt": "<messages>\n<message sender=\"Ann\" time=\"2026-03-04T12:30:00.000Z\">hi</message>\n</messages>",
            "sessionId": "0b9e9a1c-5c1f-4a66-9d3c-1e8b5f5a2a10",
            "groupFolder": "telegram_family",
            "chatJid": "tg:-100123",
            "isMain": false,
            "isScheduledTask": false,
            "assistantName": "Andy",
            "secrets": { "ANTHROPIC_API_KEY": "x" },
            "future": [1, { "two": null }]
        }"#,
    );
    assert_eq!(input.session_id, session("0b9e9a1c-5c1f-4a66-9d3c-1e8b5f5a2a10"));
    assert_eq!(input.group_folder.as_str(), "telegram_family");
    assert_eq!(input.is_scheduled_task, Some(false));
    assert_eq!((input.protocol, input.run_number, input.last_seq), (None, None, None));

    let least: ContainerInput =
        read(r#"{"prompt":"hello","groupFolder":"family","chatJid":"tg:-100123","isMain":false,"sessionId":null}"#);
    assert_eq!(least, least_input());
}

#[test]
fn f55_container_input_with_a_folder_that_leads_elsewhere_is_refused() {
    let json = r#"{"prompt":"hello","groupFolder":"../main","chatJid":"tg:-100123","isMain":false}"#;
    let error = serde_json::from_str::<ContainerInput>(json).unwrap_err().to_string();
    assert!(error.contains("group folder") && error.contains("../main"), "{error}");
}

#[test]
fn follow_up() {
    let least = FollowUp::Message { text: "more".to_owned(), first_seq: None, last_seq: None, files: Vec::new() };
    comes_back(&least);
    assert_snapshot!(serde_json::to_string(&least).unwrap(), @r#"{"type":"message","text":"more"}"#);
    let full = FollowUp::Message {
        text: "more".to_owned(),
        first_seq: Some(Seq(44)),
        last_seq: Some(Seq(45)),
        files: vec![photo()],
    };
    comes_back(&full);
    assert_snapshot!(serde_json::to_string(&full).unwrap(), @r#"{"type":"message","text":"more","firstSeq":44,"lastSeq":45,"files":[{"path":"attachments/43-1-x.jpg","mediaType":"image/jpeg","bytes":9}]}"#);
    assert_eq!(read::<FollowUp>(r#"{"type":"message","text":"more","future":true}"#), least);
    assert!(serde_json::from_str::<FollowUp>(r#"{"type":"reaction","text":"more"}"#).is_err());
}

#[test]
fn follow_up_names_sort_as_the_inbox_does() {
    assert_eq!(CLOSE_FILE, "_close");
    assert_eq!(follow_up_name(Seq(45)), "00000000000000000045.json");
    let mut names = [0, 9, 10, 99, i64::MAX].map(|seq| follow_up_name(Seq(seq)));
    let in_order = names.clone();
    names.sort();
    assert_eq!(names, in_order);
}

#[test]
fn block() {
    let silent = silent_block();
    comes_back(&silent);
    assert_snapshot!(serde_json::to_string(&silent).unwrap(), @r#"{"status":"success","result":null}"#);

    let reply = Block {
        result: Some("Milk.".to_owned()),
        new_session_id: session("6f2c"),
        answered_seq: Some(Seq(43)),
        ..silent_block()
    };
    comes_back(&reply);
    assert_json_snapshot!(reply, @r#"
        {
          "status": "success",
          "result": "Milk.",
          "newSessionId": "6f2c",
          "answeredSeq": 43
        }
        "#);

    let failure = Block {
        status: Status::Error,
        error: Some("you are not logged in".to_owned()),
        failure: Some(FailureKind::Login),
        ..silent_block()
    };
    comes_back(&failure);
    assert_json_snapshot!(failure, @r#"
        {
          "status": "error",
          "result": null,
          "error": "you are not logged in",
          "failure": "login"
        }
        "#);

    let asleep = Block { answered_seq: Some(Seq(43)), woke: Some(false), ..silent_block() };
    comes_back(&asleep);
    assert_snapshot!(serde_json::to_string(&asleep).unwrap(), @r#"{"status":"success","result":null,"answeredSeq":43,"woke":false}"#);

    let with_cost = Block { cost_usd: Some(Dollars::from_millionths(65_600)), ..silent_block() };
    comes_back(&with_cost);
    assert_snapshot!(serde_json::to_string(&with_cost).unwrap(), @r#"{"status":"success","result":null,"costUsd":0.0656}"#);
}

#[test]
fn block_of_a_v1_agent_is_read() {
    assert_eq!(
        read::<Block>(r#"{"status":"success","result":"text","newSessionId":"s","future":{}}"#),
        Block { result: Some("text".to_owned()), new_session_id: session("s"), ..silent_block() }
    );
    assert_eq!(read::<Block>(r#"{"status":"success","result":null}"#), silent_block());
    assert_eq!(read::<Block>(r#"{"status":"success"}"#), silent_block());
    assert_eq!(
        read::<Block>(r#"{"status":"error","result":null,"error":"boom"}"#),
        Block { status: Status::Error, error: Some("boom".to_owned()), ..silent_block() }
    );
}

#[test]
fn a_session_id_that_cannot_be_one_costs_no_reply() {
    for id in [r#""""#, r#""a\nb""#, "null"] {
        let block: Block = read(&format!(r#"{{"status":"success","result":"text","newSessionId":{id}}}"#));
        assert_eq!(block, Block { result: Some("text".to_owned()), ..silent_block() }, "{id}");
    }
}

#[test]
fn what_is_no_amount_and_neither_true_nor_false_costs_no_reply() {
    for (cost, woke) in [("null", "null"), (r#""much""#, r#""no""#), ("-1", "0"), ("1e300", "[]")] {
        let block: Block = read(&format!(r#"{{"status":"success","result":"text","costUsd":{cost},"woke":{woke}}}"#));
        assert_eq!(block, Block::success(Some("text".to_owned())), "{cost} {woke}");
    }
    assert_eq!(read::<Block>(r#"{"status":"success","costUsd":2}"#).cost_usd, Dollars::new(2.0));
}

#[test]
fn every_kind_of_failure_has_a_word_and_a_newer_one_is_read() {
    for (kind, word) in [
        (FailureKind::Login, "login"),
        (FailureKind::Quota, "quota"),
        (FailureKind::Overload, "overload"),
        (FailureKind::Refused, "refused"),
        (FailureKind::NoSession, "no_session"),
        (FailureKind::Script, "script"),
        (FailureKind::Other, "other"),
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), word);
        comes_back(&kind);
    }
    assert_eq!(read::<FailureKind>(r#""bored""#), FailureKind::Unknown);
}

#[test]
fn journal_entry() {
    let entry = JournalEntry {
        run: RunNumber(7),
        number: BlockNumber(2),
        block: Block { result: Some("Milk.".to_owned()), ..silent_block() },
    };
    comes_back(&entry);
    assert_json_snapshot!(entry, @r#"
        {
          "run": 7,
          "number": 2,
          "block": {
            "status": "success",
            "result": "Milk."
          }
        }
        "#);
    assert_eq!(entry.file_name(), "0000000007-0000000002.json");
    let name =
        |run, number| JournalEntry { run: RunNumber(run), number: BlockNumber(number), ..entry.clone() }.file_name();
    let in_order = [name(1, u32::MAX), name(2, 9), name(2, 10), name(10, 1), name(u32::MAX, 1)];
    assert!(in_order.is_sorted(), "{in_order:?}");
}

#[test]
fn message_request() {
    let least = MessageRequest::Message { chat_jid: "tg:-100123".to_owned(), text: "hi".to_owned(), sender: None };
    comes_back(&least);
    assert_snapshot!(serde_json::to_string(&least).unwrap(), @r#"{"type":"message","chatJid":"tg:-100123","text":"hi"}"#);
    let full = MessageRequest::Message {
        chat_jid: "tg:-100123".to_owned(),
        text: "hi".to_owned(),
        sender: Some("Researcher".to_owned()),
    };
    comes_back(&full);
    assert_snapshot!(serde_json::to_string(&full).unwrap(), @r#"{"type":"message","chatJid":"tg:-100123","text":"hi","sender":"Researcher"}"#);
}

#[test]
fn message_request_of_a_v1_agent_is_read_and_the_sender_it_claims_is_not() {
    let request: MessageRequest = read(
        r#"{
  "type": "message",
  "chatJid": "tg:-100123",
  "text": "hi",
  "groupFolder": "main",
  "timestamp": "2026-03-04T12:30:00.000Z"
}"#,
    );
    assert_eq!(
        request,
        MessageRequest::Message { chat_jid: "tg:-100123".to_owned(), text: "hi".to_owned(), sender: None }
    );
}

#[test]
fn answer() {
    let answers = [
        Answer::Done { detail: "queued for delivery".to_owned() },
        Answer::Refused { reason: "the chat belongs to another group".to_owned() },
        Answer::Failed { reason: "the disk is full".to_owned() },
    ];
    answers.iter().for_each(comes_back);
    assert_json_snapshot!(answers, @r#"
        [
          {
            "status": "done",
            "detail": "queued for delivery"
          },
          {
            "status": "refused",
            "reason": "the chat belongs to another group"
          },
          {
            "status": "failed",
            "reason": "the disk is full"
          }
        ]
        "#);
}

#[test]
fn a_fence_is_a_number_and_nothing_else() {
    assert_snapshot!(super::fence::text(RunNumber(12)).escape_default(), @r"12\n");
    let read = super::fence::oldest;
    assert_eq!(read(super::fence::text(RunNumber(u32::MAX)).as_bytes()), Some(RunNumber(u32::MAX)));
    assert_eq!((read(b"12"), read(b" 12 \n")), (Some(RunNumber(12)), Some(RunNumber(12))));
    assert_eq!(
        (read(b""), read(b"1 2"), read(b"-1"), read(b"4294967296"), read(b"\xff")),
        (None, None, None, None, None)
    );
}

#[test]
fn json_of_any_depth_or_size_is_refused_and_overflows_no_stack() {
    use super::{
        input::ContainerInput,
        output::{Block, JournalEntry},
        requests::{Answer, MessageRequest},
    };
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(500_000), close.repeat(500_000));
    let within = |field: &str| format!(r#"{{"type":"message","status":"success","{field}":{}"#, "[".repeat(1 << 20));
    let texts = [
        deep("[", "]"),
        deep(r#"{"block":"#, "}"),
        within("unknown"),
        within("text"),
        format!(r#"{{"run":{}}}"#, "9".repeat(1 << 20)),
        format!(r#"{{"run":-1e{}}}"#, "9".repeat(1000)),
        r#"{"type":"message","chatJid":"a","chatJid":"b","text":"twice"}"#.to_owned(),
        r#"{"type":"message","chatJid":"tg:1","text":"\ud800"}"#.to_owned(),
    ];
    for text in &texts {
        let begins = &text[..text.len().min(40)];
        assert!(serde_json::from_str::<MessageRequest>(text).is_err(), "{begins}");
        assert!(serde_json::from_str::<JournalEntry>(text).is_err(), "{begins}");
        assert!(serde_json::from_str::<Block>(text).is_err(), "{begins}");
        assert!(serde_json::from_str::<Answer>(text).is_err(), "{begins}");
        assert!(serde_json::from_str::<ContainerInput>(text).is_err(), "{begins}");
    }
}
