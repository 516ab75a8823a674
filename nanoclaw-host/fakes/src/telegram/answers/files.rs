//! Files that the client uploads and fetches.

use grammers_tl_types::{
    enums::{InputDocument, InputFileLocation, InputMedia, InputPhoto},
    functions::upload::GetFile,
    types::{storage, upload},
};

use crate::telegram::{
    faults::Refusal,
    files::{File, FileKind, described},
    nouns::access_hash,
    objects,
    tl::{Object, Writer, boolean, empty},
    world::{World, now},
};

/// What clients may ask for at once, in bytes, and what it is to be a multiple of.
const MOST: i32 = 1 << 20;
const STEP: i32 = 4096;

pub(super) fn save(world: &mut World, upload: i64, part: i32, bytes: &[u8]) -> Result<Object, Refusal> {
    world.files.save_part(upload, part, bytes.to_vec())?;
    Ok(boolean(true))
}

pub(super) fn upload_media(world: &mut World, media: &InputMedia) -> Result<Object, Refusal> {
    let id = of_media(world, media)?;
    let file = world.files.get(id).ok_or(Refusal::bad("MEDIA_INVALID"))?;
    Ok(objects::media(id, file, &world.files, now()))
}

/// The number of the file that is to be sent; what was uploaded becomes one.
pub(super) fn of_media(world: &mut World, media: &InputMedia) -> Result<i64, Refusal> {
    let known = |id: i64, hash: i64| match world.files.get(id) {
        Some(_) if hash == access_hash(id) => Ok(id),
        _ => Err(Refusal::bad("MEDIA_INVALID")),
    };
    let file = match media {
        InputMedia::UploadedPhoto(photo) => {
            let (name, content) = world.files.uploaded(&photo.file)?;
            if !is_picture(&content) {
                return Err(Refusal::bad("IMAGE_PROCESS_FAILED"));
            }
            File { name, ..File::photo(&content) }
        }
        InputMedia::UploadedDocument(document) => {
            let (uploaded_name, content) = world.files.uploaded(&document.file)?;
            let (kind, name) = described(&document.attributes);
            File { kind, name: name.unwrap_or(uploaded_name), mime: document.mime_type.clone(), content }
        }
        InputMedia::Photo(photo) => match &photo.id {
            InputPhoto::Photo(photo) => return known(photo.id, photo.access_hash),
            InputPhoto::Empty => return Err(Refusal::bad("MEDIA_EMPTY")),
        },
        InputMedia::Document(document) => match &document.id {
            InputDocument::Document(document) => return known(document.id, document.access_hash),
            InputDocument::Empty => return Err(Refusal::bad("MEDIA_EMPTY")),
        },
        _ => return Err(Refusal::bad("MEDIA_INVALID")),
    };
    if file.content.is_empty() {
        return Err(Refusal::bad("FILE_PARTS_INVALID"));
    }
    Ok(world.files.keep(file))
}

/// Whether Telegram would make a photo of it, by how it begins: as JPEG, PNG, GIF or WebP.
fn is_picture(content: &[u8]) -> bool {
    let beginnings: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF"];
    beginnings.iter().any(|beginning| content.starts_with(beginning))
}

pub(super) fn get(world: &World, call: &GetFile) -> Result<Object, Refusal> {
    let (id, hash, reference, size) = match &call.location {
        InputFileLocation::InputPhotoFileLocation(photo) => {
            (photo.id, photo.access_hash, &photo.file_reference, &photo.thumb_size)
        }
        InputFileLocation::InputDocumentFileLocation(document) => {
            (document.id, document.access_hash, &document.file_reference, &document.thumb_size)
        }
        _ => return Err(Refusal::bad("LOCATION_INVALID")),
    };
    if call.limit <= 0 || call.limit > MOST || call.limit % STEP != 0 {
        return Err(Refusal::bad("LIMIT_INVALID"));
    }
    if call.offset < 0 || call.offset % i64::from(STEP) != 0 {
        return Err(Refusal::bad("OFFSET_INVALID"));
    }
    let file = world.files.get(id).filter(|_| hash == access_hash(id)).ok_or(Refusal::bad("FILE_ID_INVALID"))?;
    if *reference != world.files.reference() {
        return Err(Refusal::bad("FILE_REFERENCE_EXPIRED"));
    }
    let content = objects::content(file, size).ok_or(Refusal::bad("LOCATION_INVALID"))?;
    // Both are positive, and a file is in memory.
    let begin = content.len().min(call.offset as usize);
    let end = content.len().min(begin + call.limit as usize);
    let kind = match file.kind {
        FileKind::Photo => empty::<storage::FileJpeg>(),
        _ => empty::<storage::FileUnknown>(),
    };
    Ok(Writer::of::<upload::File>().object(&kind).int(now()).bytes(&content[begin..end]).done())
}
