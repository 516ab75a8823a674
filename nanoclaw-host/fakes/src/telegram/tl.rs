//! Writing objects of the type language, byte by byte.
//!
//! The generated structures of the bigger types have dozens of fields that are nearly always empty; on the wire what is empty is not there.

use grammers_tl_types::{Identifiable, Serializable};

/// An object as it is on the wire.
pub(super) type Object = Vec<u8>;

const VECTOR: u32 = 0x1cb5_c415;
const BOOL_TRUE: u32 = 0x9972_75b5;
const BOOL_FALSE: u32 = 0xbc79_9737;

/// An object that is being written, field by field in the order of its definition.
#[derive(Debug, Default)]
pub(super) struct Writer(Object);

impl Writer {
    /// Begins an object of this type.
    pub(super) fn of<T: Identifiable>() -> Self {
        Self::default().id(T::CONSTRUCTOR_ID)
    }

    /// A constructor alone, or one that has no type here.
    pub(super) fn id(self, id: u32) -> Self {
        self.put(&id)
    }

    /// Flags, each by its number.
    pub(super) fn flags(self, flags: &[(u32, bool)]) -> Self {
        let set = flags.iter().filter(|(_, set)| *set).fold(0, |all, (number, _)| all | 1 << number);
        self.put::<u32>(&set)
    }

    pub(super) fn int(self, value: i32) -> Self {
        self.put(&value)
    }

    pub(super) fn long(self, value: i64) -> Self {
        self.put(&value)
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.put(&value.to_owned())
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        self.put(&value.to_vec())
    }

    pub(super) fn bool(self, value: bool) -> Self {
        self.id(if value { BOOL_TRUE } else { BOOL_FALSE })
    }

    /// Anything that can write itself.
    pub(super) fn put<T: Serializable>(mut self, value: &T) -> Self {
        value.serialize(&mut self.0);
        self
    }

    /// An object that is written already.
    pub(super) fn object(mut self, object: &[u8]) -> Self {
        self.0.extend_from_slice(object);
        self
    }

    /// What there is of a field that may be missing. Its flag is the caller's to set.
    pub(super) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    pub(super) fn list(self, objects: &[Object]) -> Self {
        // Lists are of what a test made.
        let begun = self.id(VECTOR).int(objects.len() as i32);
        objects.iter().fold(begun, |all, object| all.object(object))
    }

    pub(super) fn done(self) -> Object {
        self.0
    }
}

/// A constructor without fields.
pub(super) fn empty<T: Identifiable>() -> Object {
    Writer::of::<T>().done()
}

pub(super) fn boolean(value: bool) -> Object {
    Writer::default().bool(value).done()
}

pub(super) fn list(objects: &[Object]) -> Object {
    Writer::default().list(objects).done()
}
