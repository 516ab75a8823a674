//! Files, in and out.

use nanoclaw_fakes::whatsapp::{Fault, File, FileKind};
use serde_json::{Value, json};

use crate::house::{ANN, FAMILY, House, TEAM};

fn attachment(heard: &Value) -> &Value {
    assert_eq!(heard["attachments"].as_array().unwrap().len(), 1, "{heard}");
    &heard["attachments"][0]
}

#[tokio::test]
async fn a_file_that_comes_is_where_the_host_wants_it_before_the_message_is_said() {
    let house = House::begin().await;
    for (file, kind, name) in [
        (File::image(b"a picture"), "photo", json!(null)),
        (File::voice(b"a voice"), "voice", json!(null)),
        (File::document("plan.pdf", "application/pdf", b"a plan"), "document", json!("plan.pdf")),
        (File::new(FileKind::Video, "", "video/mp4", b"a film"), "video", json!(null)),
    ] {
        let content = file.content.clone();
        let heard = house.host.message(&house.whatsapp.say_file(FAMILY, ANN, "look", file)).await;
        let attachment = attachment(&heard);
        assert_eq!((&attachment["kind"], &attachment["name"]), (&json!(kind), &name), "{heard}");
        let path = house.home.path().join("store/files/arriving").join(attachment["file"].as_str().unwrap());
        assert_eq!(std::fs::read(path).unwrap(), content);
        if kind != "voice" {
            assert_eq!(heard["text"], "look", "{heard}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_or_not_to_be_had_is_told_as_missing() {
    let house = House::begin().await;
    let large = File::document("large", "application/zip", &vec![7; 3 << 20]);
    let heard = house.host.message(&house.whatsapp.say_file(FAMILY, ANN, "", large)).await;
    assert_eq!((&attachment(&heard)["error"], &attachment(&heard)["file"]), (&json!("it has 3 MB"), &json!(null)));
    // It is tried again by the library before it is given up.
    let lost = File::document("lost", "application/zip", b"lost");
    for _ in 0..20 {
        house.whatsapp.fail_next("download", Fault::Error(500));
    }
    let heard = house.host.message(&house.whatsapp.say_file(FAMILY, ANN, "", lost)).await;
    assert_eq!(attachment(&heard)["error"], "WhatsApp did not give it out");
}

#[tokio::test]
async fn a_file_in_a_chat_that_is_no_group_is_not_fetched() {
    let house = House::begin().await;
    house.host.unregister(TEAM);
    // Were it asked for, it would be said to be lost.
    for _ in 0..20 {
        house.whatsapp.fail_next("download", Fault::Error(500));
    }
    let file = File::document("plan.pdf", "application/pdf", b"a plan");
    let heard = house.host.message(&house.whatsapp.say_file(TEAM, ANN, "look", file)).await;
    assert_eq!((&attachment(&heard)["error"], &heard["text"]), (&json!("its chat was no group"), &json!("look")));
    assert_eq!(std::fs::read_dir(house.home.path().join("store/files/arriving")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_goes_out_with_its_text_as_what_it_is() {
    let house = House::begin().await;
    for (key, name, media_type, expected) in [
        ("k1", "cat.png", "image/png", "look [image: a file]"),
        ("k2", "plan.pdf", "application/pdf", "look [plan.pdf: a file]"),
    ] {
        let path = house.home.path().join(name);
        std::fs::write(&path, "a file").unwrap();
        let file = json!({"path": path, "name": name, "media_type": media_type, "bytes": 6});
        let send = json!({"type": "send", "key": key, "chat": FAMILY, "text": "look", "files": [file]});
        let sent = house.send(send).await;
        assert_eq!(sent["type"], "sent", "{sent}");
        assert_eq!(house.whatsapp.posted(FAMILY).last().unwrap(), expected);
    }
    let gone = json!({"path": "/nowhere", "name": "x", "media_type": "image/png", "bytes": 6});
    let failed = house.send(json!({"type": "send", "key": "k3", "chat": FAMILY, "text": "", "files": [gone]})).await;
    assert_eq!((&failed["type"], &failed["permanent"]), (&json!("failed"), &json!(true)), "{failed}");
}
