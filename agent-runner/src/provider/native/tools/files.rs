//! Reads, writes and changes files: regular files only, since reading a FIFO would never end.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, Tool, Workplace, elsewhere, limits::TEXT_BYTES};
use crate::provider::{
    native::conversation::Seen,
    pictures::{IMAGE_BYTES, media_type},
};

const LINES: usize = 2000;
const LINE_BYTES: usize = 2000;
/// The largest file that is changed.
const EDIT_BYTES: u64 = 16 * 1024 * 1024;

pub(super) struct Read;

#[derive(Deserialize)]
pub(super) struct ReadInput {
    file_path: String,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Tool for Read {
    const NAME: &'static str = "Read";
    const DESCRIPTION: &'static str = "Reads a file. A text comes with line numbers, 2000 lines at most from the first or \
        from `offset` on, and what is left out is said. Lines beyond 2000 bytes are cut. A PNG, JPEG, GIF or WebP picture of \
        up to 3.7 MB comes as a picture. A folder is not read: use Bash or Glob.";
    type Input = ReadInput;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The file; relative paths begin in the working folder."},
                "offset": {"type": "integer", "description": "The number of the first line, from 1."},
                "limit": {"type": "integer", "description": "How many lines, at most 2000."},
            },
            "required": ["file_path"],
        })
    }

    async fn call(workplace: &Workplace, input: ReadInput) -> Outcome {
        let path = workplace.path(&input.file_path).await;
        elsewhere(move || read(&path, input.offset.unwrap_or(1).max(1), input.limit.unwrap_or(LINES).clamp(1, LINES)))
            .await
    }
}

/// Opens a regular file. Without waiting: to open a FIFO would wait for its writer.
fn open(path: &Path) -> Result<(fs::File, u64), String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(told)?;
    let metadata = file.metadata().map_err(told)?;
    if metadata.is_dir() {
        return Err(format!("{} is a folder", path.display()));
    }
    if !metadata.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    Ok((file, metadata.len()))
}

fn read(path: &Path, first: usize, limit: usize) -> Outcome {
    let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let (file, size) = open(path)?;
    let mut file = BufReader::new(file);
    if let Some(media_type) = media_type(file.fill_buf().map_err(told)?) {
        if size > IMAGE_BYTES {
            return Err(format!("{} is a picture of {size} bytes; at most {IMAGE_BYTES} can be shown", path.display()));
        }
        let mut bytes = Vec::new();
        file.take(IMAGE_BYTES).read_to_end(&mut bytes).map_err(told)?;
        return Ok(vec![Seen::Image { media_type: media_type.to_owned(), data: STANDARD.encode(bytes) }]);
    }
    if file.fill_buf().map_err(told)?.contains(&0) {
        return Err(format!("{} is no text ({size} bytes); look at it with Bash (file, xxd, strings)", path.display()));
    }
    let (mut text, mut number, mut shown) = (String::new(), 0, 0);
    while let Some(line) = next_line(&mut file).map_err(told)? {
        number += 1;
        if number < first {
            continue;
        }
        if shown == limit || text.len() > TEXT_BYTES {
            text.push_str(&format!("\n[The file goes on; read it from line {number} on with `offset`.]"));
            break;
        }
        text.push_str(&format!("{number:>6}\t{line}\n"));
        shown += 1;
    }
    match (shown, number) {
        (0, 0) => Ok(vec![Seen::text("(the file is empty)")]),
        (0, lines) => Err(format!("{} has {lines} lines", path.display())),
        _ => Ok(vec![Seen::text(text)]),
    }
}

/// The next line, cut; what is cut off is not held.
fn next_line(file: &mut impl io::BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut any = false;
    let mut cut = 0_u64;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        any = true;
        let (line, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&buffer[..end], true),
            None => (buffer, false),
        };
        let room = line.len().min(LINE_BYTES - bytes.len());
        bytes.extend_from_slice(&line[..room]);
        cut += (line.len() - room) as u64;
        let used = line.len() + usize::from(ends);
        file.consume(used);
        if ends {
            break;
        }
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if cut > 0 {
        text.push_str(&format!("[… {cut} more bytes]"));
    }
    Ok(any.then_some(text))
}

pub(super) struct Write;

#[derive(Deserialize)]
pub(super) struct WriteInput {
    file_path: String,
    content: String,
}

impl Tool for Write {
    const NAME: &'static str = "Write";
    const DESCRIPTION: &'static str = "Writes a file: what was in it is replaced, folders above it are made where they are \
        missing. To change a part of a file, use Edit.";
    type Input = WriteInput;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The file; relative paths begin in the working folder."},
                "content": {"type": "string", "description": "All that is to be in it."},
            },
            "required": ["file_path", "content"],
        })
    }

    async fn call(workplace: &Workplace, input: WriteInput) -> Outcome {
        let path = workplace.path(&input.file_path).await;
        let _held = workplace.changing.lock().await;
        elsewhere(move || {
            let told = |error: io::Error| format!("cannot write {}: {error}", path.display());
            let new = match fs::metadata(&path) {
                Ok(metadata) if !metadata.is_file() => return Err(format!("{} is no regular file", path.display())),
                Ok(_) => false,
                Err(_) => true,
            };
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(told)?;
            }
            fs::write(&path, &input.content).map_err(told)?;
            let done = if new { "Made" } else { "Replaced" };
            Ok(vec![Seen::text(format!("{done} {} ({} bytes).", path.display(), input.content.len()))])
        })
        .await
    }
}

pub(super) struct Edit;

#[derive(Deserialize)]
pub(super) struct EditInput {
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

impl Tool for Edit {
    const NAME: &'static str = "Edit";
    const DESCRIPTION: &'static str = "Replaces a text in a file by another. The old text has to be in the file exactly as \
        given, spaces and line ends included (without the line numbers that Read shows), and only once, unless `replace_all` \
        is set; otherwise nothing is changed.";
    type Input = EditInput;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The file; relative paths begin in the working folder."},
                "old_string": {"type": "string", "description": "The text to be replaced."},
                "new_string": {"type": "string", "description": "The text in its place."},
                "replace_all": {"type": "boolean", "description": "Replace it wherever it is. Otherwise it has to be there once."},
            },
            "required": ["file_path", "old_string", "new_string"],
        })
    }

    async fn call(workplace: &Workplace, input: EditInput) -> Outcome {
        let path = workplace.path(&input.file_path).await;
        // Two edits of one answer run side by side, and each writes the whole file.
        let _held = workplace.changing.lock().await;
        elsewhere(move || edit(&path, &input)).await
    }
}

fn edit(path: &Path, input: &EditInput) -> Outcome {
    let (file, size) = open(path)?;
    if size > EDIT_BYTES {
        return Err(format!(
            "{} has {size} bytes, which is too large to be changed so; use Bash (sed)",
            path.display()
        ));
    }
    let mut text = String::new();
    file.take(EDIT_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {} as text: {error}", path.display()))?;
    if input.old_string.is_empty() {
        return Err("old_string is empty; to write a whole file, use Write".to_owned());
    }
    if input.old_string == input.new_string {
        return Err("old_string and new_string are the same: there is nothing to change".to_owned());
    }
    let count = match text.matches(&input.old_string).count() {
        0 => return Err(format!("old_string is not in {}; nothing was changed. Read the file again", path.display())),
        count if count > 1 && !input.replace_all => {
            return Err(format!(
                "old_string is {count} times in {}; nothing was changed. Give more of what is around it, or set replace_all",
                path.display()
            ));
        }
        count => count,
    };
    fs::write(path, text.replace(&input.old_string, &input.new_string))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let places = if count == 1 { "1 place".to_owned() } else { format!("{count} places") };
    Ok(vec![Seen::text(format!("Changed {places} in {}.", path.display()))])
}

#[cfg(test)]
mod tests {
    use super::{super::place::Place, *};

    #[tokio::test]
    async fn a_file_is_written_read_with_numbers_and_changed_where_it_is_meant() {
        let place = Place::new();
        let told = place.call::<Write>(json!({"file_path": "a/b.txt", "content": "one\ntwo\ntwo\n"})).await.unwrap();
        assert!(told.starts_with("Made "), "{told}");
        let read = || place.call::<Read>(json!({"file_path": "a/b.txt"}));
        assert_eq!(read().await.unwrap(), "     1\tone\n     2\ttwo\n     3\ttwo\n");
        let edit = |old: &str, new: &str, all: bool| {
            place
                .call::<Edit>(json!({"file_path": "a/b.txt", "old_string": old, "new_string": new, "replace_all": all}))
        };
        assert!(edit("two", "2", false).await.unwrap_err().contains("2 times"));
        assert!(edit("three", "3", false).await.unwrap_err().contains("is not in"));
        assert!(edit("one", "one", false).await.unwrap_err().contains("the same"));
        assert!(edit("", "x", false).await.unwrap_err().contains("empty"));
        assert_eq!(
            read().await.unwrap(),
            "     1\tone\n     2\ttwo\n     3\ttwo\n",
            "a refused change changes nothing"
        );
        edit("one\ntwo", "one\n2", false).await.unwrap();
        assert!(edit("t", "T", true).await.unwrap().contains("1 place"));
        assert_eq!(fs::read_to_string(place.folder.path().join("a/b.txt")).unwrap(), "one\n2\nTwo\n");
        assert!(
            place.call::<Write>(json!({"file_path": "a/b.txt", "content": ""})).await.unwrap().starts_with("Replaced")
        );
        assert_eq!(read().await.unwrap(), "(the file is empty)");
    }

    #[tokio::test]
    async fn a_long_file_is_read_in_parts_that_say_what_is_left() {
        let place = Place::new();
        let lines: String = (1..=5000).map(|number| format!("line {number}\n")).collect();
        fs::write(place.folder.path().join("long"), lines).unwrap();
        let text = place.call::<Read>(json!({"file_path": "long"})).await.unwrap();
        assert!(text.contains("  2000\tline 2000\n") && text.contains("from line 2001 on"), "{}", text.len());
        let text = place.call::<Read>(json!({"file_path": "long", "offset": 4999, "limit": 10})).await.unwrap();
        assert_eq!(text, "  4999\tline 4999\n  5000\tline 5000\n");
        let told = place.call::<Read>(json!({"file_path": "long", "offset": 6000})).await.unwrap_err();
        assert!(told.contains("has 5000 lines"), "{told}");
        fs::write(place.folder.path().join("wide"), "x".repeat(10 * 1024 * 1024)).unwrap();
        let text = place.call::<Read>(json!({"file_path": "wide"})).await.unwrap();
        assert!(text.len() < 3000 && text.contains("more bytes"), "{}", text.len());
    }

    #[tokio::test]
    async fn a_picture_is_seen_as_a_picture_by_its_content() {
        let place = Place::new();
        fs::write(place.folder.path().join("p.txt"), [0x89, b'P', b'N', b'G', 0, 1]).unwrap();
        assert_eq!(place.call::<Read>(json!({"file_path": "p.txt"})).await.unwrap(), "image/png iVBORwAB");
        fs::write(place.folder.path().join("x.png"), [1, 0, 2]).unwrap();
        assert!(place.call::<Read>(json!({"file_path": "x.png"})).await.unwrap_err().contains("no text"));
        let large = fs::File::create(place.folder.path().join("large")).unwrap();
        io::Write::write_all(&mut &large, &[0xff, 0xd8, 0xff]).unwrap();
        large.set_len(IMAGE_BYTES + 1).unwrap();
        assert!(place.call::<Read>(json!({"file_path": "large"})).await.unwrap_err().contains("at most"));
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused_and_never_waited_for() {
        let place = Place::new();
        let fifo = place.folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, part) in [("fifo", "no regular file"), ("nothing", "No such file"), (".", "a folder")] {
            assert!(place.call::<Read>(json!({"file_path": path})).await.unwrap_err().contains(part), "{path}");
        }
        let told = place.call::<Write>(json!({"file_path": "fifo", "content": "x"})).await.unwrap_err();
        assert!(told.contains("no regular file"), "{told}");
        let edit = json!({"file_path": "fifo", "old_string": "a", "new_string": "b"});
        assert!(place.call::<Edit>(edit).await.unwrap_err().contains("no regular file"));
    }

    #[tokio::test]
    async fn changes_side_by_side_lose_nothing() {
        let place = Place::new();
        let text: String = (0..20).map(|number| format!("<{number}>\n")).collect();
        fs::write(place.folder.path().join("f"), text).unwrap();
        let edits = (0..20).map(|number| {
            let (old, new) = (format!("<{number}>"), format!("[{number}]"));
            place.call::<Edit>(json!({"file_path": "f", "old_string": old, "new_string": new}))
        });
        for told in futures_util::future::join_all(edits).await {
            told.unwrap();
        }
        assert!(!fs::read_to_string(place.folder.path().join("f")).unwrap().contains('<'));
    }
}
