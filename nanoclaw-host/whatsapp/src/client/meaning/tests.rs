use std::sync::Arc;

use wa::message as kinds;
use wacore::types::message::{MessageInfo, MessageSource};
use whatsapp_rust::buffa::MessageField;

use super::*;

const GROUP: &str = "1203@g.us";

fn jid(address: &str) -> Jid {
    address.parse().unwrap()
}

fn andy() -> Me {
    Me { phone: Some(jid("15@s.whatsapp.net")), lid: Some(jid("90@lid")), name: "Andy".to_owned() }
}

/// A message of Ann's.
fn item(chat: &str, sender: &str, message: wa::Message) -> InboundMessage {
    let source =
        MessageSource { chat: jid(chat), sender: jid(sender), is_group: chat == GROUP, ..MessageSource::default() };
    let info = MessageInfo { id: "A1".to_owned(), source, push_name: "Ann".to_owned(), ..MessageInfo::default() };
    InboundMessage::builder().message(Arc::new(message)).info(Arc::new(info)).build()
}

fn text(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..wa::Message::default() }
}

fn image(caption: Option<&str>) -> wa::Message {
    let image =
        kinds::ImageMessage { caption: caption.map(str::to_owned), file_length: Some(12), ..Default::default() };
    wa::Message { image_message: MessageField::some(image), ..Default::default() }
}

fn told(item: &InboundMessage) -> Result<Said, &'static str> {
    meaning(item, None, &andy(), &Names::default())
}

#[test]
fn what_is_ours_or_nobodys_is_not_told() {
    for (chat, sender, message) in [
        (GROUP, "15:7@s.whatsapp.net", text("our own")),
        (GROUP, "90:3@lid", text("our own, by the other address")),
        ("status@broadcast", "1@s.whatsapp.net", text("a status")),
        ("5@newsletter", "1@s.whatsapp.net", text("a channel")),
        (GROUP, "1@s.whatsapp.net", wa::Message::default()),
        (GROUP, "1@s.whatsapp.net", text("  ")),
    ] {
        told(&item(chat, sender, message)).unwrap_err();
    }
}

#[test]
fn a_private_chat_is_the_persons_number_however_it_is_addressed() {
    let item = item("77@lid", "77:3@lid", text("hello"));
    let said = meaning(&item, Some(jid("1@s.whatsapp.net")), &andy(), &Names::default()).unwrap().message;
    assert_eq!((said.chat.as_str(), said.sender.as_str()), ("1@s.whatsapp.net", "1@s.whatsapp.net"));
    let unknown = told(&item).unwrap().message;
    assert_eq!((unknown.chat.as_str(), unknown.sender.as_str()), ("77@lid", "77@lid"));
}

#[test]
fn what_is_wrapped_is_unwrapped() {
    let inner = kinds::FutureProofMessage { message: MessageField::some(text("it will vanish")) };
    let wrapped = wa::Message { ephemeral_message: MessageField::some(inner), ..Default::default() };
    assert_eq!(told(&item(GROUP, "1@s.whatsapp.net", wrapped)).unwrap().message.text, "it will vanish");
}

#[test]
fn files_are_called_what_people_would_call_them() {
    let audio = |ptt| {
        let audio = kinds::AudioMessage { ptt: Some(ptt), file_length: Some(7), ..Default::default() };
        wa::Message { audio_message: MessageField::some(audio), ..Default::default() }
    };
    let document = kinds::DocumentMessage {
        file_name: Some("plan.pdf".to_owned()),
        caption: Some("the plan".to_owned()),
        file_length: Some(9),
        ..Default::default()
    };
    let document = wa::Message { document_message: MessageField::some(document), ..Default::default() };
    let sticker = wa::Message { sticker_message: MessageField::some(Default::default()), ..Default::default() };
    for (message, kind, name, bytes, shown) in [
        (image(None), "photo", None, Some(12), ""),
        (image(Some("look")), "photo", None, Some(12), "look"),
        (audio(true), "voice", None, Some(7), ""),
        (audio(false), "audio", None, Some(7), ""),
        (document, "document", Some("plan.pdf"), Some(9), "the plan"),
        (sticker, "sticker", None, None, ""),
    ] {
        let is_there = downloadable(&message).is_some();
        let Said { message, file } = told(&item(GROUP, "1@s.whatsapp.net", message)).unwrap();
        assert_eq!(file, Some(File { kind, name: name.map(str::to_owned), bytes }));
        assert_eq!((message.text.as_str(), is_there), (shown, bytes.is_some()));
    }
}

#[test]
fn what_has_no_text_is_told_in_words() {
    let place = kinds::LocationMessage {
        degrees_latitude: Some(1.5),
        degrees_longitude: Some(-2.0),
        name: Some("Home".to_owned()),
        ..Default::default()
    };
    let place = wa::Message { location_message: MessageField::some(place), ..Default::default() };
    let said = told(&item(GROUP, "1@s.whatsapp.net", place)).unwrap().message;
    assert_eq!(said.text, "[location: 1.500000, -2.000000, Home]");
}

#[test]
fn the_id_of_a_changed_message_leads_to_the_original() {
    assert_eq!((original("A1/edited/B2"), original("A1")), ("A1", "A1"));
}
