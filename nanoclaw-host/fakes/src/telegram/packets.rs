//! What is inside a payload: a session's messages, packed into containers and compressed as each side likes.
//!
//! A message before it is encrypted is salt, session, its id, its number in the session, its length, and its body. The salt here is always 0,
//! which clients take and which keeps them from asking for others.

use std::io::Read as _;

use anyhow::{Context as _, ensure};
use flate2::read::GzDecoder;
use grammers_tl_types::{Cursor, Deserializable as _};

use super::tl::{Object, Writer};

const CONTAINER: u32 = 0x73f1_f8dc;
const GZIP_PACKED: u32 = 0x3072_cfa1;
const RPC_RESULT: u32 = 0xf35c_6d01;

/// The most that is unpacked of a compressed message, in bytes.
const LARGEST: u64 = 64 << 20;

/// A message of the client's, out of its containers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) id: i64,
    pub(super) body: Object,
}

/// What a message of the server's is; its id says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outgoing {
    Answer,
    Push,
}

/// Numbers what is sent in a session.
#[derive(Debug, Default)]
pub(super) struct Packing {
    pub(super) session: i64,
    last_id: i64,
    sent: i32,
}

/// The session of a message and the messages in it, in order.
///
/// # Errors
/// When it is cut short, or compressed wrongly.
pub(super) fn unpack(plain: &[u8]) -> anyhow::Result<(i64, Vec<Incoming>)> {
    let mut cursor = Cursor::from_slice(plain);
    let _salt = i64::deserialize(&mut cursor)?;
    let session = i64::deserialize(&mut cursor)?;
    let mut messages = Vec::new();
    take_message(&mut cursor, &mut messages)?;
    Ok((session, messages))
}

fn take_message(cursor: &mut Cursor<'_>, messages: &mut Vec<Incoming>) -> anyhow::Result<()> {
    let id = i64::deserialize(cursor)?;
    let _number = i32::deserialize(cursor)?;
    let length = usize::try_from(i32::deserialize(cursor)?).context("a message of negative length")?;
    ensure!(length < LARGEST as usize, "a message of {length} bytes");
    let mut body = vec![0; length];
    cursor.read_exact(&mut body)?;
    flatten(id, body, messages)
}

fn flatten(id: i64, body: Object, messages: &mut Vec<Incoming>) -> anyhow::Result<()> {
    let mut cursor = Cursor::from_slice(&body);
    match u32::deserialize(&mut cursor)? {
        CONTAINER => {
            for _ in 0..i32::deserialize(&mut cursor)? {
                take_message(&mut cursor, messages)?;
            }
            Ok(())
        }
        GZIP_PACKED => {
            let packed = Vec::<u8>::deserialize(&mut cursor)?;
            let mut unpacked = Vec::new();
            GzDecoder::new(&packed[..]).take(LARGEST).read_to_end(&mut unpacked).context("a message's compression")?;
            flatten(id, unpacked, messages)
        }
        _ => {
            messages.push(Incoming { id, body });
            Ok(())
        }
    }
}

impl Packing {
    /// A message as it is before it is encrypted. `now` is the time since 1970.
    pub(super) fn pack(&mut self, kind: Outgoing, body: &[u8], now: std::time::Duration) -> Vec<u8> {
        // Until 2038 the seconds fit; ids rise, whatever the clock does.
        let by_clock = ((now.as_secs() as i64) << 32 | i64::from(now.subsec_nanos()) << 2) & !3;
        let id = by_clock.max((self.last_id & !3) + 4) | if kind == Outgoing::Answer { 1 } else { 3 };
        self.last_id = id;
        self.sent += 1;
        let number = self.sent * 2 - 1;
        let message = Writer::default().long(0).long(self.session).long(id).int(number);
        message.int(body.len() as i32).object(body).done()
    }
}

/// The body of an answer to the message `to`.
pub(super) fn result(to: i64, object: &[u8]) -> Object {
    Writer::default().id(RPC_RESULT).long(to).object(object).done()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn message(id: i64, body: &[u8]) -> Object {
        Writer::default().long(id).int(1).int(body.len() as i32).object(body).done()
    }

    #[test]
    fn containers_and_compressed_messages_are_taken_apart_in_order() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"\x01\0\0\0compressed!!").expect("it is written to memory");
        let packed = Writer::default().id(GZIP_PACKED).bytes(&gzip.finish().expect("memory again")).done();
        let inner = [message(4, b"\x02\0\0\0"), message(8, &packed), message(12, b"\x03\0\0\0")].concat();
        let container = Writer::default().id(CONTAINER).int(3).object(&inner).done();
        let plain = Writer::default().long(0).long(77).object(&message(16, &container)).object(&[0; 12]).done();
        let (session, messages) = unpack(&plain).expect("it is well made");
        assert_eq!(session, 77);
        let expected: [(i64, &[u8]); 3] = [(4, b"\x02\0\0\0"), (8, b"\x01\0\0\0compressed!!"), (12, b"\x03\0\0\0")];
        assert_eq!(messages, expected.map(|(id, body)| Incoming { id, body: body.to_vec() }));
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error() {
        let plain = Writer::default().long(0).long(77).long(4).int(1).int(400).object(b"\x02\0\0\0").done();
        assert!(unpack(&plain).is_err());
        assert!(unpack(&plain[..10]).is_err());
    }

    #[test]
    fn ids_rise_though_the_clock_stands_still_and_say_what_a_message_is() {
        let mut packing = Packing { session: 5, ..Packing::default() };
        let ids: Vec<i64> = [Outgoing::Answer, Outgoing::Push, Outgoing::Answer]
            .map(|kind| packing.pack(kind, b"body", Duration::from_secs(1_700_000_000)))
            .iter()
            .map(|packed| i64::from_le_bytes(*packed[16..].first_chunk().expect("it is longer")))
            .collect();
        assert!(ids.is_sorted() && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
        assert_eq!(ids.iter().map(|id| id & 3).collect::<Vec<_>>(), [1, 3, 1]);
    }
}
