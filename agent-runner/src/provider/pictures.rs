//! Pictures that came with messages, as a model is shown them.
//!
//! A prompt names every file that came with it; those that are pictures a model can look at are shown besides. What cannot be
//! shown (too large, too many, gone) is left to the agent, which reads of it in the prompt and has tools for files.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nanoclaw_core::protocol::input::FileInPrompt;

use crate::log::say;

/// What the Messages API takes of a picture, in base64 5 MB.
pub(crate) const IMAGE_BYTES: u64 = 3_750_000;
/// How much of all pictures of one prompt is shown: together with a conversation it must fit a request, which has 32 MB.
const ALL_BYTES: u64 = 12_000_000;
/// How many are shown with one prompt.
const MOST: usize = 20;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// `image/png`, for one.
    pub(crate) media_type: &'static str,
    /// The file, in base64.
    pub(crate) data: String,
}

/// The pictures among `files` that can be shown, in their order; paths begin in `group`.
pub(crate) fn of(files: &[FileInPrompt], group: &Path) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let mut left = ALL_BYTES;
    for file in files.iter().filter(|file| file.media_type.starts_with("image/")) {
        if pictures.len() == MOST {
            say!("{} is not shown to the model: {MOST} pictures are", file.path);
            continue;
        }
        match read(&group.join(&file.path), left.min(IMAGE_BYTES)) {
            Ok(Some((picture, bytes))) => {
                left -= bytes;
                pictures.push(picture);
            }
            Ok(None) => {}
            Err(error) => say!("{} is not shown to the model: {error}", file.path),
        }
    }
    pictures
}

/// The picture at `path`, with its size; `None` when it is none that a model can look at.
fn read(path: &Path, most: u64) -> io::Result<Option<(Picture, u64)>> {
    // Without waiting: to open a FIFO would wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    if size > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes, which is what can be shown")));
    }
    Ok(media_type(&bytes).map(|media_type| (Picture { media_type, data: STANDARD.encode(bytes) }, size)))
}

/// Which of the kinds of picture that a model can look at this is, by what is in it.
pub(crate) fn media_type(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, media_type: &str) -> FileInPrompt {
        FileInPrompt { path: path.to_owned(), media_type: media_type.to_owned(), bytes: 1 }
    }

    #[test]
    fn pictures_are_shown_and_nothing_else_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"\x89PNG\x00\x01").unwrap();
        fs::write(folder.path().join("b"), b"\xff\xd8\xff\xe0").unwrap();
        fs::write(folder.path().join("text"), b"not a picture").unwrap();
        let mut large = b"\x89PNG".to_vec();
        large.resize(usize::try_from(IMAGE_BYTES).unwrap() + 1, 0);
        fs::write(folder.path().join("large"), large).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let files = [
            file("a", "image/png"),
            file("text", "image/png"),
            file("large", "image/png"),
            file("gone", "image/png"),
            file("fifo", "image/png"),
            file("b", "image/jpeg"),
            file("b", "application/pdf"),
        ];
        let shown = of(&files, folder.path());
        let types: Vec<_> = shown.iter().map(|picture| picture.media_type).collect();
        assert_eq!(types, ["image/png", "image/jpeg"]);
        assert_eq!(shown[0].data, "iVBORwAB");
    }

    #[test]
    fn no_more_is_shown_than_a_request_can_have() {
        let folder = tempfile::tempdir().unwrap();
        let mut large = b"\x89PNG".to_vec();
        large.resize(3_500_000, 0);
        fs::write(folder.path().join("large"), large).unwrap();
        fs::write(folder.path().join("small"), b"\x89PNG").unwrap();
        assert_eq!(of(&vec![file("large", "image/png"); 5], folder.path()).len(), 3);
        assert_eq!(of(&vec![file("small", "image/png"); 30], folder.path()).len(), MOST);
    }
}
