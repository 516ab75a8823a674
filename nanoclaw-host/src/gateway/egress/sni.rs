//! Which host a client's first TLS message names, read from its first bytes without taking part.
//!
//! An allowed host would otherwise be the way to every host behind the same front: connect to one, name another. TLS names
//! it in the clear (SNI, RFC 6066, section 3). With Encrypted Client Hello the outer name is what is seen and compared, as
//! it has to be: clients send a meaningless one at random (GREASE), which nobody can tell from a real one.

/// More bytes than this no first message has, also not with post-quantum key shares.
pub(super) const LONGEST_HELLO: usize = 32 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the first bytes of a stream are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FirstWords {
    /// More are needed to tell.
    Incomplete,
    /// Not TLS.
    SomethingElse,
    /// Begins as TLS and does not go on as it, or says something twice.
    Malformed,
    /// A client's first message, with the name it gives in lower case, if it gives one.
    Hello(Option<String>),
}

/// Reads the beginning of a stream.
pub(super) fn read(bytes: &[u8]) -> FirstWords {
    match bytes {
        [] | [HANDSHAKE] => return FirstWords::Incomplete,
        [HANDSHAKE, 3, ..] => {}
        _ => return FirstWords::SomethingElse,
    }
    // A handshake message may be spread over several records.
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if message.len() >= 4 {
            let length = usize::from(message[1]) << 16 | usize::from(message[2]) << 8 | usize::from(message[3]);
            if message[0] != CLIENT_HELLO || length > LONGEST_HELLO {
                return FirstWords::Malformed;
            }
            if let Some(body) = message.get(4..4 + length) {
                return name_in(body).map_or(FirstWords::Malformed, FirstWords::Hello);
            }
        }
        let [kind, major, _, high, low, following @ ..] = rest else { return FirstWords::Incomplete };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || *major != 3 || length == 0 || length > 1 << 14 {
            return FirstWords::Malformed;
        }
        message.extend_from_slice(&following[..length.min(following.len())]);
        rest = following.get(length..).unwrap_or_default();
    }
}

/// The name in the body of a client's first message; `None` when it is malformed.
fn name_in(body: &[u8]) -> Option<Option<String>> {
    let mut body = Bytes(body);
    body.take(2 + 32)?;
    body.block8()?;
    body.block16()?;
    body.block8()?;
    if body.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Bytes(body.block16()?);
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.block16()?;
        if kind == SERVER_NAME {
            // Said twice, two readers could take different ones.
            if found.is_some() {
                return None;
            }
            let mut content = Bytes(content);
            let mut names = Bytes(content.block16()?);
            let [kind] = names.take(1)? else { return None };
            let name = names.block16()?;
            if *kind != HOST_NAME || !names.0.is_empty() || !content.0.is_empty() || name.is_empty() || !name.is_ascii()
            {
                return None;
            }
            found = Some(String::from_utf8(name.to_ascii_lowercase()).ok()?);
        }
    }
    Some(found)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn block8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// What rustls really says first to a host of this name.
    pub(in crate::gateway::egress) fn hello(name: &str) -> Vec<u8> {
        crate::gateway::tls::install_provider();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_found_in_a_real_first_message_and_not_before_it_is_whole() {
        let bytes = hello("Registry.npmjs.org");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), FirstWords::Incomplete, "{end} of {}", bytes.len());
        }
        assert_eq!(read(&bytes), FirstWords::Hello(Some("registry.npmjs.org".into())));
        assert_eq!(read(&hello("127.0.0.1")), FirstWords::Hello(None), "an address is not named");
    }

    #[test]
    fn a_message_in_many_records_is_read_as_one() {
        assert_eq!(read(&in_records(7)), FirstWords::Hello(Some("example.com".into())));
    }

    #[test]
    fn what_is_not_tls_is_told_from_what_is_broken() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), FirstWords::SomethingElse);
        assert_eq!(read(b"SSH-2.0-x"), FirstWords::SomethingElse);
        // SSL 2.
        assert_eq!(read(&[0x80, 0x2e, 1, 3, 1]), FirstWords::SomethingElse);
        assert_eq!(read(&[HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 0]), FirstWords::Malformed, "a server's message");
        assert_eq!(read(&[HANDSHAKE, 3, 1, 0xff, 0xff]), FirstWords::Malformed, "a record that is too long");
        assert_eq!(read(&[HANDSHAKE, 3, 1, 0, 0]), FirstWords::Malformed, "an empty record");
    }

    #[test]
    fn a_name_that_is_said_twice_is_malformed() {
        let name = b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost";
        assert_eq!(read(&hello_with(name)), FirstWords::Hello(Some("localhost".into())));
        assert_eq!(read(&hello_with(&[name.as_slice(), name].concat())), FirstWords::Malformed);
        assert_eq!(read(&hello_with(b"")), FirstWords::Hello(None));
    }

    /// Where rustls is content with less; see `docs/decisions/2026-11-own-reader-of-tls-names.md`.
    #[test]
    fn what_another_reader_could_take_for_the_name_is_refused() {
        let signatures = b"\x00\x0d\x00\x04\x00\x02\x04\x03";
        let second = b"\x00\x00\x00\x17\x00\x15\x00\x00\x09localhost\x07\x00\x06hidden";
        let both = hello_with(&[second.as_slice(), signatures].concat());
        assert_eq!(by_rustls(&both), Some(Some("localhost".into())));
        assert_eq!(read(&both), FirstWords::Malformed, "a second name, of another kind");
        let address = b"\x00\x00\x00\x0d\x00\x0b\x00\x00\x0810.0.0.6";
        let address = hello_with(&[address.as_slice(), signatures].concat());
        assert_eq!(by_rustls(&address), Some(None));
        assert_eq!(read(&address), FirstWords::Hello(Some("10.0.0.6".into())), "an address is compared as well");
    }

    /// A first message with these extensions.
    fn hello_with(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut bytes = vec![HANDSHAKE, 3, 1];
        bytes.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend([CLIENT_HELLO, 0]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// What rustls reads from the same bytes: the name, if there is one; `None` when it refuses them, or waits for more.
    fn by_rustls(mut bytes: &[u8]) -> Option<Option<String>> {
        let mut acceptor = rustls::server::Acceptor::default();
        while !bytes.is_empty() {
            acceptor.read_tls(&mut bytes).ok()?;
            if let Some(accepted) = acceptor.accept().ok()? {
                return Some(accepted.client_hello().server_name().map(ToOwned::to_owned));
            }
        }
        None
    }

    /// The bytes of `hello("example.com")` in records of at most `length`.
    fn in_records(length: usize) -> Vec<u8> {
        let mut split = Vec::new();
        for part in hello("example.com")[5..].chunks(length) {
            split.extend([HANDSHAKE, 3, 1]);
            split.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            split.extend_from_slice(part);
        }
        split
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), tls in any::<bool>()) {
            let mut bytes = bytes;
            if tls {
                bytes.splice(0..0, [HANDSHAKE, 3, 1, 1, 0, CLIENT_HELLO, 0, 0, 200]);
            }
            read(&bytes);
        }

        #[test]
        fn what_passes_has_the_name_that_rustls_reads_from_it(
            record in prop_oneof![1..40_usize, Just(1 << 14)],
            changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = in_records(record);
            let name = bytes.windows(7).position(|window| window == b"example");
            for (near_the_name, at, byte) in changes {
                let at = match name {
                    Some(name) if near_the_name => (name - 12 + at.index(28)).min(bytes.len() - 1),
                    _ => at.index(bytes.len()),
                };
                bytes[at] = byte;
            }
            if let (FirstWords::Hello(ours), Some(theirs)) = (read(&bytes), by_rustls(&bytes)) {
                let is_address = ours.as_ref().is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok());
                prop_assert!(ours == theirs || theirs.is_none() && is_address, "{:?} {:?}", ours, theirs);
            }
        }
    }
}
