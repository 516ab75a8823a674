//! Frames of the transport "full" on a connection.
//!
//! *Source*: core.telegram.org/mtproto/mtproto-transports, "Full". A frame is its own length (4 bytes), its number in its direction from 0
//! (4 bytes), the payload, and the CRC32 of all before (4 bytes); numbers are little-endian. A transport error is a negative number alone.

use anyhow::{Context as _, ensure};

/// The longest frame that is taken: what clients send is about a megabyte at most.
const LONGEST: usize = 2 << 20;

const AROUND: usize = 12;

/// Makes frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Writing {
    next: i32,
}

/// Takes frames out of what was read of one direction.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What was read and not taken; whoever reads appends to it.
    pub(super) buffer: Vec<u8>,
    next: i32,
}

impl Writing {
    pub(super) fn frame(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(payload.len() + AROUND);
        // A payload of 2 GiB is not made here.
        frame.extend(((payload.len() + AROUND) as i32).to_le_bytes());
        frame.extend(self.next.to_le_bytes());
        frame.extend(payload);
        frame.extend(crc32fast::hash(&frame).to_le_bytes());
        self.next += 1;
        frame
    }
}

impl Reading {
    /// The payload of the next frame, or `None` while it is not complete.
    ///
    /// # Errors
    /// When what was read is no frame, or not the next. The connection is of no use then.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(i32::from_le_bytes(*length)).context("a frame of negative length")?;
        ensure!((AROUND..=LONGEST).contains(&length), "a frame of {length} bytes");
        if self.buffer.len() < length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(length);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        let crc = frame.split_off(length - 4);
        ensure!(crc == crc32fast::hash(&frame).to_le_bytes(), "a frame with a wrong checksum");
        let number = i32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
        ensure!(number == self.next, "frame {number} where {} was to come", self.next);
        self.next += 1;
        Ok(Some(frame.split_off(8)))
    }
}

/// A transport error as it is on the wire.
pub(super) fn transport_error(code: i32) -> [u8; 4] {
    (-code).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_byte_by_byte_as_they_were_written() {
        let mut writing = Writing::default();
        let wire = [writing.frame(b"first"), writing.frame(b""), writing.frame(b"third")].concat();
        let (mut reading, mut read) = (Reading::default(), Vec::new());
        for byte in wire {
            reading.buffer.push(byte);
            read.extend(reading.take().expect("nothing is wrong with it"));
        }
        assert_eq!(read, [b"first".to_vec(), b"".to_vec(), b"third".to_vec()]);
        assert!(reading.buffer.is_empty());
    }

    #[test]
    fn an_empty_payload_is_the_frame_that_the_client_library_makes_of_it() {
        assert_eq!(Writing::default().frame(b""), [12, 0, 0, 0, 0, 0, 0, 0, 38, 202, 141, 50]);
    }

    #[test]
    fn a_frame_that_is_damaged_or_comes_twice_is_an_error() {
        let frame = Writing::default().frame(b"text");
        let mut damaged = frame.clone();
        damaged[9] ^= 1;
        for wrong in [damaged, [&frame[..], &frame[..]].concat(), transport_error(404).to_vec(), vec![1, 0, 0, 0]] {
            let mut reading = Reading { buffer: wrong, next: 0 };
            let mut taken = reading.take();
            while let Ok(Some(_)) = taken {
                taken = reading.take();
            }
            assert!(taken.is_err(), "{taken:?}");
        }
    }
}
