//! What each method of the Web API answers.

use serde_json::{Value, json};

use super::{
    FakeSlack, State,
    world::{Conversation, World},
};

/// The longest text of a message, in characters.
const LONGEST_TEXT: usize = 40_000;

/// Answers a call. `arguments` are those of the query or the body.
pub(super) fn answer(state: &State, method: &str, token: &str, arguments: &Value) -> Value {
    let mut answer = state.change(|world| match allowed(world, method, token) {
        Err(error) => Err(error),
        Ok(()) => act(world, state, method, arguments),
    });
    match &mut answer {
        Ok(answer) => {
            answer["ok"] = json!(true);
            answer.take()
        }
        Err(error) => json!({"ok": false, "error": error}),
    }
}

fn allowed(world: &World, method: &str, token: &str) -> Result<(), String> {
    let wanted = if method == "apps.connections.open" { FakeSlack::APP_TOKEN } else { FakeSlack::BOT_TOKEN };
    match token {
        "" => Err("not_authed".to_owned()),
        token if world.revoked.contains(token) => Err("token_revoked".to_owned()),
        token if token == wanted => Ok(()),
        FakeSlack::APP_TOKEN | FakeSlack::BOT_TOKEN => Err("not_allowed_token_type".to_owned()),
        _ => Err("invalid_auth".to_owned()),
    }
}

fn act(world: &mut World, state: &State, method: &str, arguments: &Value) -> Result<Value, String> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    match method {
        "auth.test" => Ok(json!({
            "url": "https://fake.slack.com/", "team": "Fake", "user": "andy", "team_id": "T1",
            "user_id": FakeSlack::BOT_USER, "bot_id": "B1",
        })),
        "apps.connections.open" => Ok(json!({"url": format!("ws://{}/link/?ticket=fake&app_id=A1", state.addr)})),
        "chat.postMessage" => post(world, &text("channel"), &text("text"), arguments),
        "conversations.history" => history(world, arguments),
        "conversations.replies" => replies(world, arguments),
        "conversations.info" => {
            let id = text("channel");
            if !world.conversations.contains_key(&id) {
                return Err("channel_not_found".to_owned());
            }
            Ok(json!({"channel": about(world, &id)}))
        }
        "users.conversations" => {
            let ids: Vec<String> = world.conversations.keys().cloned().collect();
            let all: Vec<Value> = ids.iter().map(|id| about(world, id)).collect();
            Ok(json!({"channels": all, "response_metadata": {"next_cursor": ""}}))
        }
        "users.info" => {
            let id = text("user");
            let name = world.users.get(&id).ok_or("user_not_found")?;
            Ok(json!({"user": {
                "id": id, "name": name.to_lowercase(), "real_name": name, "profile": {"display_name": name, "real_name": name},
            }}))
        }
        "files.getUploadURLExternal" => {
            let length = text("length").parse::<usize>().map_err(|_| "invalid_arguments")?;
            let id = world.new_file(&text("filename"), length);
            Ok(json!({"upload_url": format!("http://{}/upload/{id}", state.addr), "file_id": id}))
        }
        "files.completeUploadExternal" => share(world, arguments),
        _ => Err("unknown_method".to_owned()),
    }
}

fn post(world: &mut World, conversation: &str, text: &str, arguments: &Value) -> Result<Value, String> {
    let thread = may_write(world, conversation, arguments)?;
    match text.chars().count() {
        0 => return Err("no_text".to_owned()),
        1..=LONGEST_TEXT => {}
        _ => return Err("msg_too_long".to_owned()),
    }
    let mut message = json!({"text": text});
    let metadata = &arguments["metadata"];
    if metadata.is_object() {
        message["metadata"] = metadata.clone();
    }
    if let Some(thread) = thread {
        message["thread_ts"] = json!(thread);
    }
    // Slack makes blocks of what apps post, of kinds that come and go.
    message["blocks"] =
        json!([{"type": "rich_text", "block_id": "b", "elements": [{"type": "rich_text_of_tomorrow"}]}]);
    let ts = world.post(conversation, message.clone());
    message["ts"] = json!(ts);
    Ok(json!({"channel": conversation, "ts": ts, "message": message}))
}

fn share(world: &mut World, arguments: &Value) -> Result<Value, String> {
    let conversation = arguments["channel_id"].as_str().unwrap_or_default().to_owned();
    let thread = may_write(world, &conversation, arguments)?;
    let (mut files, mut shown) = (Vec::new(), arguments["initial_comment"].as_str().unwrap_or_default().to_owned());
    for file in arguments["files"].as_array().into_iter().flatten() {
        let id = file["id"].as_str().unwrap_or_default();
        let kept = world.files.get(id).ok_or("file_not_found")?;
        let content = kept.content.as_ref().filter(|content| content.len() == kept.length).ok_or("file_not_found")?;
        let title = file["title"].as_str().unwrap_or(&kept.name);
        shown = format!("{shown} [{title}: {}]", String::from_utf8_lossy(content)).trim_start().to_owned();
        files.push(json!({"id": id, "name": kept.name, "title": title, "size": kept.length}));
    }
    let mut message = json!({"text": shown, "files": files.clone()});
    if let Some(thread) = thread {
        message["thread_ts"] = json!(thread);
    }
    world.post(&conversation, message);
    Ok(json!({"files": files}))
}

/// Whether the app may write there; the thread, if it is to be in one.
fn may_write(world: &World, conversation: &str, arguments: &Value) -> Result<Option<String>, String> {
    let conversation = world.conversations.get(conversation).ok_or("channel_not_found")?;
    match () {
        () if conversation.archived => return Err("is_archived".to_owned()),
        () if !conversation.app_is_in => return Err("not_in_channel".to_owned()),
        () => {}
    }
    let Some(thread) = arguments["thread_ts"].as_str() else { return Ok(None) };
    match conversation.history.iter().any(|message| message["ts"] == thread) {
        true => Ok(Some(thread.to_owned())),
        false => Err("thread_not_found".to_owned()),
    }
}

/// What was said outside threads, newest first. With an oldest moment and no latest one, those pages come first that are next to
/// the oldest.
fn history(world: &World, arguments: &Value) -> Result<Value, String> {
    let conversation = may_read(world, arguments)?;
    let shown = |message: &&Value| thread_of(message).is_none() || message["subtype"] == "thread_broadcast";
    let forward = arguments["oldest"].is_string() && !arguments["latest"].is_string();
    let mut shown: Vec<&Value> = conversation.history.iter().filter(shown).collect();
    if !forward {
        shown.reverse();
    }
    let mut answer = page(world, conversation, shown, arguments);
    if let Some(messages) = answer["messages"].as_array_mut().filter(|_| forward) {
        messages.reverse();
    }
    Ok(answer)
}

/// A thread: its first message, and then what was said in it, oldest first.
fn replies(world: &World, arguments: &Value) -> Result<Value, String> {
    let conversation = may_read(world, arguments)?;
    let first = arguments["ts"].as_str().unwrap_or_default();
    if !conversation.history.iter().any(|message| message["ts"] == first) {
        return Err("thread_not_found".to_owned());
    }
    let in_thread = |message: &&Value| message["ts"] == first || thread_of(message) == Some(first);
    Ok(page(world, conversation, conversation.history.iter().filter(in_thread).collect(), arguments))
}

fn may_read<'a>(world: &'a World, arguments: &Value) -> Result<&'a Conversation, String> {
    let conversation = arguments["channel"].as_str().and_then(|id| world.conversations.get(id));
    let conversation = conversation.ok_or("channel_not_found")?;
    if conversation.app_is_in { Ok(conversation) } else { Err("not_in_channel".to_owned()) }
}

/// The thread that a message was said in.
pub(super) fn thread_of(message: &Value) -> Option<&str> {
    message["thread_ts"].as_str().filter(|thread| message["ts"] != *thread)
}

/// A cursor is how many were told before. The first message of a thread is told in any case.
fn page(world: &World, conversation: &Conversation, messages: Vec<&Value>, arguments: &Value) -> Value {
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default();
    let limit: usize = argument("limit").parse().unwrap_or(100).min(world.longest_page);
    let told: usize = argument("cursor").parse().unwrap_or(0);
    let with_metadata = argument("include_all_metadata") == "true";
    let oldest: f64 = argument("oldest").parse().unwrap_or(0.0);
    let latest: f64 = argument("latest").parse().unwrap_or(f64::MAX);
    let is_asked_for = |message: &&Value| {
        let ts = message["ts"].as_str().and_then(|ts| ts.parse::<f64>().ok());
        message["ts"] == argument("ts") || ts.is_some_and(|ts| ts > oldest && ts < latest)
    };
    let all: Vec<&Value> = messages.into_iter().filter(is_asked_for).collect();
    let page = all.iter().skip(told).take(limit).map(|message| {
        let mut message = Value::clone(message);
        let ts = message["ts"].as_str().unwrap_or_default().to_owned();
        let replies = conversation.history.iter().filter(|reply| thread_of(reply) == Some(&ts));
        let (count, latest) = replies.fold((0, None), |(count, _), reply| (count + 1, reply["ts"].as_str()));
        if let Some(latest) = latest {
            message["thread_ts"] = json!(ts);
            message["reply_count"] = json!(count);
            message["latest_reply"] = json!(latest);
        }
        if let Some(message) = message.as_object_mut() {
            // Events alone say these.
            for told in ["channel", "channel_type", "event_ts"] {
                message.remove(told);
            }
            if !with_metadata {
                message.remove("metadata");
            }
        }
        message
    });
    let page: Vec<Value> = page.collect();
    let next = told + page.len();
    let cursor = if next < all.len() { next.to_string() } else { String::new() };
    json!({"messages": page, "has_more": !cursor.is_empty(), "response_metadata": {"next_cursor": cursor}})
}

fn about(world: &World, id: &str) -> Value {
    let Some(conversation) = world.conversations.get(id) else { return Value::Null };
    match id.starts_with('D') {
        true => json!({"id": id, "is_im": true, "user": conversation.name, "created": 1_699_000_000}),
        false => json!({
            "id": id, "name": conversation.name, "is_im": false, "is_channel": true, "created": 1_699_000_000,
            "is_archived": conversation.archived, "is_member": conversation.app_is_in,
        }),
    }
}
