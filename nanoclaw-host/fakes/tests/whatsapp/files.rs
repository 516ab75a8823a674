//! Files of messages.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Fault, File, FileKind, Said};
use whatsapp_rust::{download::MediaType, prelude::*, upload::UploadOptions};

use crate::bot::{ANN, Bot, FAMILY, Heard};

async fn fetched(bot: &Bot, heard: &Heard) -> anyhow::Result<Vec<u8>> {
    let message = &heard.message;
    if let Some(image) = message.image_message.as_option() {
        return bot.client.download(image).await;
    }
    if let Some(audio) = message.audio_message.as_option() {
        return bot.client.download(audio).await;
    }
    if let Some(video) = message.video_message.as_option() {
        return bot.client.download(video).await;
    }
    let document = message.document_message.as_option().expect("it has a file");
    bot.client.download(document).await
}

#[tokio::test]
async fn files_of_people_are_fetched_by_the_client() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    let video = File::new(FileKind::Video, "", "video/mp4", b"a film");
    let large = vec![7; 1 << 20];
    for (chat, file) in [
        (FAMILY, File::image(b"a picture")),
        (FAMILY, File::voice(b"somebody speaks")),
        (FAMILY, video),
        (ANN, File::document("notes.txt", "text/plain", &large)),
    ] {
        whatsapp.say_file(chat, ANN, "look", file.clone());
        let heard = bot.heard().await;
        assert_eq!(fetched(&bot, &heard).await.expect("it is there"), file.content, "{:?}", file.kind);
    }
    let said = Said::text("@15550009999 look").mention(FakeWhatsApp::BOT).file(File::image(b"another"));
    whatsapp.say_more(FAMILY, ANN, said);
    let heard = bot.heard().await;
    let image = heard.message.image_message.as_option().expect("it is a picture");
    assert_eq!((image.caption.as_deref(), image.mimetype.as_deref()), (Some("@15550009999 look"), Some("image/jpeg")));
    let context = image.context_info.as_option().expect("it mentions");
    assert_eq!(context.mentioned_jid, [FakeWhatsApp::BOT]);

    whatsapp.fail_next("download", Fault::Error(404));
    assert!(fetched(&bot, &heard).await.is_ok(), "the library asks again");
    for _ in 0..20 {
        whatsapp.fail_next("download", Fault::DropBefore);
    }
    assert!(fetched(&bot, &heard).await.is_err(), "but not for ever");
    bot.end().await;
}

#[tokio::test]
async fn files_of_the_client_are_read_by_those_to_whom_they_are_sent() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let bot = Bot::ready(&whatsapp).await;
    let upload = |content: &[u8], kind| bot.client.upload(content.to_vec(), kind, UploadOptions::new());
    let up = upload(b"a picture", MediaType::Image).await.expect("it is taken");
    let image = wa::message::ImageMessage {
        url: Some(up.url),
        direct_path: Some(up.direct_path),
        media_key: Some(up.media_key.to_vec()),
        file_sha256: Some(up.file_sha256.to_vec()),
        file_enc_sha256: Some(up.file_enc_sha256.to_vec()),
        file_length: Some(up.file_length),
        mimetype: Some("image/png".to_owned()),
        caption: Some("look".to_owned()),
        ..Default::default()
    };
    let message = wa::Message { image_message: MessageField::some(image), ..Default::default() };
    bot.send(FAMILY, message, "3EB0FF01").await.expect("it is sent");
    whatsapp.wait_until("a picture", |seen| seen.posted(FAMILY).len() == 1).await;
    assert_eq!(whatsapp.posted(FAMILY), ["look [image: a picture]"]);

    let up = upload(b"some words", MediaType::Document).await.expect("it is taken");
    let document = wa::message::DocumentMessage {
        url: Some(up.url),
        direct_path: Some(up.direct_path),
        media_key: Some(up.media_key.to_vec()),
        file_sha256: Some(up.file_sha256.to_vec()),
        file_enc_sha256: Some(up.file_enc_sha256.to_vec()),
        file_length: Some(up.file_length),
        mimetype: Some("text/plain".to_owned()),
        file_name: Some("notes.txt".to_owned()),
        ..Default::default()
    };
    let message = wa::Message { document_message: MessageField::some(document), ..Default::default() };
    bot.send(ANN, message, "3EB0FF02").await.expect("it is sent");
    whatsapp.wait_until("a document", |seen| seen.posted(ANN).len() == 1).await;
    assert_eq!(whatsapp.posted(ANN), ["[notes.txt: some words]"]);
    let seen = whatsapp.seen();
    let file = seen.sent[1].file.as_ref().map(|file| (file.kind, file.mime.as_str()));
    assert_eq!(file, Some((FileKind::Document, "text/plain")));

    whatsapp.fail_next("upload", Fault::Error(507));
    assert!(upload(b"too much", MediaType::Document).await.is_err());
    bot.end().await;
}
