//! What comes with a message beside its text: files that can be fetched, and what can be said in words.

use grammers_client::{
    media::Downloadable,
    tl::{
        enums::{self, Document, DocumentAttribute, MessageMedia, Photo, PhotoSize},
        types,
    },
};

use crate::channels::clean_name;

/// A file as Telegram tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct File {
    /// What people would call it.
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    /// Where it is; `None` when it is not to be had, or not worth having.
    pub(super) place: Option<Place>,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    location: enums::InputFileLocation,
    data_center: i32,
    pub(super) bytes: u64,
}

impl Downloadable for Place {
    fn to_raw_input_location(&self) -> Option<enums::InputFileLocation> {
        Some(self.location.clone())
    }

    fn size(&self) -> Option<usize> {
        usize::try_from(self.bytes).ok()
    }

    fn dc_id(&self) -> Option<i32> {
        Some(self.data_center)
    }
}

/// The file of a message.
pub(super) fn file_of(media: &MessageMedia) -> Option<File> {
    match media {
        MessageMedia::Photo(media) => {
            let place = match &media.photo {
                Some(Photo::Photo(photo)) => largest(photo),
                Some(Photo::Empty(_)) | None => None,
            };
            Some(File { kind: "photo", name: None, place })
        }
        MessageMedia::Document(media) => match &media.document {
            Some(Document::Document(document)) => Some(document_of(document)),
            Some(Document::Empty(_)) | None => Some(File { kind: "document", name: None, place: None }),
        },
        _ => None,
    }
}

fn document_of(document: &types::Document) -> File {
    let (mut kind, mut name, mut wanted) = ("document", None, true);
    for attribute in &document.attributes {
        match attribute {
            DocumentAttribute::Filename(file) => name = name.or_else(|| clean_name(&file.file_name)),
            // Its name is what it stands for.
            DocumentAttribute::Sticker(sticker) => (kind, name, wanted) = ("sticker", clean_name(&sticker.alt), false),
            DocumentAttribute::Audio(audio) if kind == "document" => kind = if audio.voice { "voice" } else { "audio" },
            DocumentAttribute::Video(_) if kind == "document" => kind = "video",
            _ => {}
        }
    }
    let location = types::InputDocumentFileLocation {
        id: document.id,
        access_hash: document.access_hash,
        file_reference: document.file_reference.clone(),
        thumb_size: String::new(),
    };
    let bytes = u64::try_from(document.size).unwrap_or(0);
    let place = Place { location: location.into(), data_center: document.dc_id, bytes };
    File { kind, name, place: wanted.then_some(place) }
}

/// The largest form of a photo that there is.
fn largest(photo: &types::Photo) -> Option<Place> {
    let sizes = photo.sizes.iter().filter_map(|size| match size {
        PhotoSize::Size(size) => Some((&size.r#type, size.size)),
        PhotoSize::Progressive(size) => Some((&size.r#type, size.sizes.iter().copied().max()?)),
        _ => None,
    });
    let (form, bytes) = sizes.max_by_key(|(_, bytes)| *bytes)?;
    let location = types::InputPhotoFileLocation {
        id: photo.id,
        access_hash: photo.access_hash,
        file_reference: photo.file_reference.clone(),
        thumb_size: form.clone(),
    };
    Some(Place { location: location.into(), data_center: photo.dc_id, bytes: u64::try_from(bytes).unwrap_or(0) })
}

/// What is neither text nor a file, in words.
pub(super) fn in_words(media: &MessageMedia) -> Option<String> {
    let place = |geo: &enums::GeoPoint| match geo {
        enums::GeoPoint::Point(point) => format!("{:.6}, {:.6}", point.lat, point.long),
        enums::GeoPoint::Empty => "unknown".to_owned(),
    };
    Some(match media {
        MessageMedia::Geo(geo) => format!("[location: {}]", place(&geo.geo)),
        MessageMedia::GeoLive(geo) => format!("[location, as it was then: {}]", place(&geo.geo)),
        MessageMedia::Venue(venue) => format!("[place: {}, {} ({})]", venue.title, venue.address, place(&venue.geo)),
        MessageMedia::Contact(contact) => {
            let name = format!("{} {}", contact.first_name, contact.last_name);
            format!("[contact: {}, {}]", name.trim(), contact.phone_number)
        }
        MessageMedia::Poll(poll) => {
            let enums::Poll::Poll(poll) = &poll.poll;
            let enums::TextWithEntities::Entities(question) = &poll.question;
            format!("[poll: {}]", question.text)
        }
        MessageMedia::Dice(dice) => format!("[{} {}]", dice.emoticon, dice.value),
        MessageMedia::Unsupported => "[something that this version does not know]".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(attributes: Vec<DocumentAttribute>) -> MessageMedia {
        let document = types::Document {
            id: 5,
            access_hash: 6,
            file_reference: vec![7],
            date: 0,
            mime_type: "application/pdf".to_owned(),
            size: 8,
            thumbs: None,
            video_thumbs: None,
            dc_id: 2,
            attributes,
        };
        let media = types::MessageMediaDocument {
            nopremium: false,
            spoiler: false,
            video: false,
            round: false,
            voice: false,
            document: Some(document.into()),
            alt_documents: None,
            video_cover: None,
            video_timestamp: None,
            ttl_seconds: None,
        };
        media.into()
    }

    #[test]
    fn a_file_is_called_what_people_would_call_it() {
        let name = DocumentAttribute::Filename(types::DocumentAttributeFilename { file_name: "a.pdf".to_owned() });
        let audio = |voice| {
            let audio =
                types::DocumentAttributeAudio { voice, duration: 1, title: None, performer: None, waveform: None };
            DocumentAttribute::Audio(audio)
        };
        let sticker = DocumentAttribute::Sticker(types::DocumentAttributeSticker {
            mask: false,
            alt: "🦀".to_owned(),
            stickerset: enums::InputStickerSet::Empty,
            mask_coords: None,
        });
        for (attributes, kind, called, fetched) in [
            (vec![name], "document", Some("a.pdf"), true),
            (vec![], "document", None, true),
            (vec![audio(true)], "voice", None, true),
            (vec![audio(false)], "audio", None, true),
            (vec![sticker], "sticker", Some("🦀"), false),
        ] {
            let file = file_of(&document(attributes)).unwrap();
            assert_eq!((file.kind, file.name.as_deref(), file.place.is_some()), (kind, called, fetched));
        }
    }

    #[test]
    fn of_a_photo_the_largest_form_is_fetched() {
        let size = |form: &str, size| PhotoSize::Size(types::PhotoSize { r#type: form.to_owned(), w: 1, h: 1, size });
        let progressive = types::PhotoSizeProgressive { r#type: "y".to_owned(), w: 1, h: 1, sizes: vec![10, 300] };
        let photo = types::Photo {
            has_stickers: false,
            id: 1,
            access_hash: 2,
            file_reference: vec![],
            date: 0,
            sizes: vec![size("m", 100), progressive.into(), size("s", 10)],
            video_sizes: None,
            dc_id: 4,
        };
        let place = largest(&photo).unwrap();
        assert_eq!((place.bytes, place.dc_id()), (300, Some(4)));
        let Some(enums::InputFileLocation::InputPhotoFileLocation(location)) = place.to_raw_input_location() else {
            panic!("it is a photo's")
        };
        assert_eq!(location.thumb_size, "y");
    }

    #[test]
    fn what_is_neither_text_nor_file_is_told_in_words() {
        let contact = types::MessageMediaContact {
            phone_number: "+4915550".to_owned(),
            first_name: "Ann".to_owned(),
            last_name: String::new(),
            vcard: String::new(),
            user_id: 0,
        };
        assert_eq!(in_words(&contact.into()).unwrap(), "[contact: Ann, +4915550]");
        assert_eq!(in_words(&MessageMedia::Empty), None);
    }
}
