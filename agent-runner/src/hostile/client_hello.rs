//! First messages of TLS, as no honest client makes them.

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// One message that names these hosts in its one list of names; without any, there is no list.
pub(super) fn naming(hosts: &[&str]) -> Vec<u8> {
    message(&if hosts.is_empty() { Vec::new() } else { names(hosts) })
}

/// One message with two lists of names.
pub(super) fn twice(first: &str, second: &str) -> Vec<u8> {
    message(&[names(&[first]), names(&[second])].concat())
}

/// The same message in records of `size` bytes.
pub(super) fn in_records_of(size: usize, message: &[u8]) -> Vec<u8> {
    message[5..].chunks(size).flat_map(record).collect()
}

fn record(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![HANDSHAKE, 3, 1];
    bytes.extend(length16(content));
    bytes.extend(content);
    bytes
}

fn message(extensions: &[u8]) -> Vec<u8> {
    // The version, random bytes, no session, one kind of cipher, no compression.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(length16(extensions));
    body.extend(extensions);
    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(length16(&body));
    message.extend(body);
    record(&message)
}

/// The extension `server_name`.
fn names(hosts: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for host in hosts {
        list.push(0);
        list.extend(length16(host.as_bytes()));
        list.extend(host.as_bytes());
    }
    let mut content = length16(&list).to_vec();
    content.extend(list);
    let mut extension = vec![0, 0];
    extension.extend(length16(&content));
    extension.extend(content);
    extension
}

fn length16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
