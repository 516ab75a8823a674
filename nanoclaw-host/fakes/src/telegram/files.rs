//! Files: those of messages, and the parts that a client uploads of its own.

use std::collections::BTreeMap;

use grammers_tl_types::enums::{DocumentAttribute, InputFile};

use super::faults::Refusal;

/// The longest part that is taken, in bytes.
const LONGEST_PART: usize = 512 << 10;

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// How it is shown.
    pub kind: FileKind,
    /// Its name; photos and voice messages have none.
    pub name: String,
    /// Its type, as `text/plain`.
    pub mime: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// How a file is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture, that Telegram has in two sizes.
    Photo,
    /// Something said.
    Voice {
        /// How long it takes.
        seconds: i32,
    },
    /// Music.
    Audio {
        /// How long it takes.
        seconds: i32,
    },
    /// A film.
    Video {
        /// How long it takes.
        seconds: i32,
    },
    /// Anything else.
    Document,
}

impl File {
    /// A photo, as JPEG.
    #[must_use]
    pub fn photo(content: &[u8]) -> Self {
        Self { kind: FileKind::Photo, name: String::new(), mime: "image/jpeg".to_owned(), content: content.to_vec() }
    }

    /// A voice message.
    #[must_use]
    pub fn voice(content: &[u8], seconds: i32) -> Self {
        let kind = FileKind::Voice { seconds };
        Self { kind, name: String::new(), mime: "audio/ogg".to_owned(), content: content.to_vec() }
    }

    /// A document of this name and type.
    #[must_use]
    pub fn document(name: &str, mime: &str, content: &[u8]) -> Self {
        let (name, mime) = (name.to_owned(), mime.to_owned());
        Self { kind: FileKind::Document, name, mime, content: content.to_vec() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Files {
    /// By number from 1; it is also the id.
    kept: BTreeMap<i64, File>,
    uploads: BTreeMap<i64, BTreeMap<i32, Vec<u8>>>,
    /// What a client must say with a file's id; old ones are not taken.
    generation: u8,
}

impl Files {
    pub(super) fn keep(&mut self, file: File) -> i64 {
        // Tests do not keep 2^63 files.
        let id = self.kept.len() as i64 + 1;
        self.kept.insert(id, file);
        id
    }

    pub(super) fn get(&self, id: i64) -> Option<&File> {
        self.kept.get(&id)
    }

    /// What stands for the right to fetch a file, for a while.
    pub(super) fn reference(&self) -> Vec<u8> {
        vec![self.generation; 8]
    }

    /// References that were told until now are not taken any more.
    pub(super) fn expire_references(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn save_part(&mut self, upload: i64, part: i32, bytes: Vec<u8>) -> Result<(), Refusal> {
        match bytes.len() {
            0 => return Err(Refusal::bad("FILE_PART_EMPTY")),
            1..=LONGEST_PART => {}
            _ => return Err(Refusal::bad("FILE_PART_TOO_BIG")),
        }
        self.uploads.entry(upload).or_default().insert(part, bytes);
        Ok(())
    }

    /// What was uploaded, with the name that the client gives it.
    pub(super) fn uploaded(&self, file: &InputFile) -> Result<(String, Vec<u8>), Refusal> {
        let (id, parts, name) = match file {
            InputFile::File(file) => (file.id, file.parts, &file.name),
            InputFile::Big(file) => (file.id, file.parts, &file.name),
            InputFile::StoryDocument(_) => return Err(Refusal::bad("MEDIA_INVALID")),
        };
        let uploaded = self.uploads.get(&id).ok_or(Refusal::bad("FILE_PARTS_INVALID"))?;
        let mut content = Vec::new();
        for number in 0..parts {
            let part = uploaded.get(&number).ok_or_else(|| Refusal::bad(format!("FILE_PART_{number}_MISSING")))?;
            content.extend_from_slice(part);
        }
        Ok((name.clone(), content))
    }
}

/// How a document that a client uploaded is shown, by what the client says of it; and its name there.
pub(super) fn described(attributes: &[DocumentAttribute]) -> (FileKind, Option<String>) {
    use DocumentAttribute as A;
    let (mut kind, mut name) = (FileKind::Document, None);
    for attribute in attributes {
        match attribute {
            A::Filename(filename) => name = Some(filename.file_name.clone()),
            A::Audio(audio) if audio.voice => kind = FileKind::Voice { seconds: audio.duration },
            A::Audio(audio) => kind = FileKind::Audio { seconds: audio.duration },
            // Seconds of a test's film.
            A::Video(video) => kind = FileKind::Video { seconds: video.duration as i32 },
            _ => {}
        }
    }
    (kind, name)
}
