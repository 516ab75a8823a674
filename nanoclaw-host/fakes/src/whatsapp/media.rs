//! Files: encrypted by who sends them, kept by the service as bytes that it cannot read.
//!
//! The client library makes `https://HOST/…` of the host that it is told, which is this fake's `127.0.0.1:PORT`. So the program's `HttpClient`
//! has to speak plain HTTP to such a host; [`super::FakeWhatsApp::plain`] makes such an address of one of the library's.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use wacore::{
    download::{DownloadUtils, MediaType},
    upload::encrypt_media,
};
use waproto::{
    buffa::MessageField,
    whatsapp::{
        ContextInfo, Message,
        message::{AudioMessage, DocumentMessage, ImageMessage, VideoMessage},
    },
};

use super::nodes::{Node, node, now};

/// By which the client is known where files are.
pub(super) const AUTH: &str = "fake-media-auth";

/// What a file is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Image,
    /// Something to hear that somebody spoke.
    Voice,
    /// Anything else to hear.
    Audio,
    /// Something to see.
    Video,
    /// Any other file.
    Document,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it is shown as.
    pub kind: FileKind,
    /// Its name; only documents have one.
    pub name: String,
    /// What it says that is in it, as `image/png`.
    pub mime: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl File {
    /// A picture.
    #[must_use]
    pub fn image(content: &[u8]) -> Self {
        Self::new(FileKind::Image, "", "image/jpeg", content)
    }

    /// Something that somebody spoke.
    #[must_use]
    pub fn voice(content: &[u8]) -> Self {
        Self::new(FileKind::Voice, "", "audio/ogg; codecs=opus", content)
    }

    /// A document.
    #[must_use]
    pub fn document(name: &str, mime: &str, content: &[u8]) -> Self {
        Self::new(FileKind::Document, name, mime, content)
    }

    /// Any file.
    #[must_use]
    pub fn new(kind: FileKind, name: &str, mime: &str, content: &[u8]) -> Self {
        Self { kind, name: name.to_owned(), mime: mime.to_owned(), content: content.to_vec() }
    }
}

impl FileKind {
    fn media_type(self) -> MediaType {
        match self {
            Self::Image => MediaType::Image,
            Self::Voice | Self::Audio => MediaType::Audio,
            Self::Video => MediaType::Video,
            Self::Document => MediaType::Document,
        }
    }

    /// As stanzas call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Voice => "ptt",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }
}

/// What is kept, by the path at which it is.
#[derive(Default)]
pub(super) struct Media {
    kept: HashMap<String, Vec<u8>>,
    /// Where clients find it: `127.0.0.1:PORT`.
    pub(super) host: String,
}

/// Where a file is, and what is needed to read it.
struct Place {
    url: String,
    path: String,
    key: Vec<u8>,
    hash: Vec<u8>,
    encrypted_hash: Vec<u8>,
    length: u64,
}

impl Media {
    /// Where files are, as the client asks for it.
    pub(super) fn connection(&self) -> Node {
        let host = node("host").attr("hostname", self.host.as_str()).attr("type", "primary").build();
        node("media_conn")
            .attr("auth", AUTH)
            .attr("ttl", "300")
            .attr("auth_ttl", "21600")
            .attr("max_buckets", "12")
            .children([host])
            .build()
    }

    /// Takes what somebody uploads under the hash of it; returns its path.
    pub(super) fn keep(&mut self, token: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
        ensure!(token == URL_SAFE_NO_PAD.encode(Sha256::digest(&bytes)), "the token is not the hash of the bytes");
        let path = format!("/kept/{token}");
        self.kept.insert(path.clone(), bytes);
        Ok(path)
    }

    /// What is kept at a path, to who knows the hash of it.
    pub(super) fn at(&self, path: &str, token: &str) -> Option<Vec<u8>> {
        self.kept.get(path).filter(|_| path.ends_with(token) && !token.is_empty()).cloned()
    }

    /// The full address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.host)
    }

    /// Somebody's phone encrypts a file and uploads it.
    pub(super) fn message(&mut self, file: &File, caption: &str, context: Option<ContextInfo>) -> Message {
        let place = self.upload(file).expect("a file in memory can be encrypted");
        let caption = Some(caption.to_owned()).filter(|caption| !caption.is_empty());
        let context = context.map_or_else(MessageField::default, MessageField::some);
        let mime = Some(file.mime.clone());
        let Place { url, path, key, hash, encrypted_hash, length } = place;
        let (url, direct_path, media_key) = (Some(url), Some(path), Some(key));
        let (file_sha256, file_enc_sha256, file_length) = (Some(hash), Some(encrypted_hash), Some(length));
        let media_key_timestamp = Some(now() as i64);
        match file.kind {
            FileKind::Image => Message {
                image_message: MessageField::some(ImageMessage {
                    url,
                    direct_path,
                    media_key,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    media_key_timestamp,
                    mimetype: mime,
                    caption,
                    context_info: context,
                    ..Default::default()
                }),
                ..Default::default()
            },
            FileKind::Video => Message {
                video_message: MessageField::some(VideoMessage {
                    url,
                    direct_path,
                    media_key,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    media_key_timestamp,
                    mimetype: mime,
                    caption,
                    context_info: context,
                    ..Default::default()
                }),
                ..Default::default()
            },
            FileKind::Voice | FileKind::Audio => Message {
                audio_message: MessageField::some(AudioMessage {
                    url,
                    direct_path,
                    media_key,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    media_key_timestamp,
                    mimetype: mime,
                    ptt: Some(file.kind == FileKind::Voice),
                    context_info: context,
                    ..Default::default()
                }),
                ..Default::default()
            },
            FileKind::Document => Message {
                document_message: MessageField::some(DocumentMessage {
                    url,
                    direct_path,
                    media_key,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    media_key_timestamp,
                    mimetype: mime,
                    file_name: Some(file.name.clone()),
                    title: Some(file.name.clone()),
                    caption,
                    context_info: context,
                    ..Default::default()
                }),
                ..Default::default()
            },
        }
    }

    /// The file of a message, with its caption and context, or `None` when it has none. Whoever reads it has its bytes.
    pub(super) fn of(&self, message: &Message) -> Option<anyhow::Result<Shown>> {
        let shown = if let Some(image) = message.image_message.as_option() {
            let content = self.read(FileKind::Image, &image.direct_path, &image.media_key, &image.file_sha256);
            Shown::new(FileKind::Image, &None, &image.mimetype, content, &image.caption, &image.context_info)
        } else if let Some(video) = message.video_message.as_option() {
            let content = self.read(FileKind::Video, &video.direct_path, &video.media_key, &video.file_sha256);
            Shown::new(FileKind::Video, &None, &video.mimetype, content, &video.caption, &video.context_info)
        } else if let Some(audio) = message.audio_message.as_option() {
            let kind = if audio.ptt == Some(true) { FileKind::Voice } else { FileKind::Audio };
            let content = self.read(kind, &audio.direct_path, &audio.media_key, &audio.file_sha256);
            Shown::new(kind, &None, &audio.mimetype, content, &None, &audio.context_info)
        } else if let Some(document) = message.document_message.as_option() {
            let kind = FileKind::Document;
            let content = self.read(kind, &document.direct_path, &document.media_key, &document.file_sha256);
            let name = &document.file_name;
            Shown::new(kind, name, &document.mimetype, content, &document.caption, &document.context_info)
        } else {
            return None;
        };
        Some(shown)
    }

    fn upload(&mut self, file: &File) -> anyhow::Result<Place> {
        let encrypted = encrypt_media(&file.content, file.kind.media_type())?;
        let token = URL_SAFE_NO_PAD.encode(encrypted.file_enc_sha256);
        let path = self.keep(&token, encrypted.data_to_upload)?;
        Ok(Place {
            url: self.url(&path),
            path,
            key: encrypted.media_key.to_vec(),
            hash: encrypted.file_sha256.to_vec(),
            encrypted_hash: encrypted.file_enc_sha256.to_vec(),
            length: file.content.len() as u64,
        })
    }

    fn read(
        &self,
        kind: FileKind,
        path: &Option<String>,
        key: &Option<Vec<u8>>,
        hash: &Option<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let path = path.as_ref().context("it does not say where its file is")?;
        let kept = self.kept.get(path).with_context(|| format!("there is no file at {path}"))?;
        let key = key.as_ref().context("it has no key of its file")?;
        let content = DownloadUtils::verify_and_decrypt(kept, key, kind.media_type())?;
        ensure!(hash.as_deref() == Some(&*Sha256::digest(&content)), "its file is another one");
        Ok(content)
    }
}

/// A file, its caption, and what it says of other messages.
pub(super) struct Shown {
    pub(super) file: File,
    pub(super) caption: String,
    pub(super) context: Option<ContextInfo>,
}

impl Shown {
    fn new(
        kind: FileKind,
        name: &Option<String>,
        mime: &Option<String>,
        content: anyhow::Result<Vec<u8>>,
        caption: &Option<String>,
        context: &MessageField<ContextInfo>,
    ) -> anyhow::Result<Self> {
        let name = name.clone().unwrap_or_default();
        let file = File { kind, name, mime: mime.clone().unwrap_or_default(), content: content? };
        let caption = caption.clone().unwrap_or_default();
        Ok(Self { file, caption, context: context.as_option().cloned() })
    }
}
