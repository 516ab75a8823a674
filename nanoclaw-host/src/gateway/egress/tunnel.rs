//! A tunnel: bytes both ways between a group's connection and the host that it may reach, once the client's first words
//! are seen to mean that host.
//!
//! On port 443 the client has to speak TLS and name the host. On other ports whatever begins as TLS has to name it too;
//! anything else passes. Nothing is held back after that: two buffers a tunnel, whatever flows.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    allow::Host,
    sni::{self, FirstWords, LONGEST_HELLO},
};
use crate::gateway::{
    counts::Counters,
    record::Record,
    session::{GroupState, Session},
    walls::{Wall, stands},
};

/// The port on which nothing but TLS is let through.
const TLS_PORT: u16 = 443;
/// How long a client's first words may take: from the beginning on port 443, else from their first byte.
const FIRST_WORDS_TIME: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 64 * 1024;
/// A fatal alert "unrecognized name" (RFC 8446, section 6), so that the client's error says what was refused.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

/// A tunnel that is to begin when its connection is free for it.
pub(in crate::gateway) struct Tunnel {
    upgrade: OnUpgrade,
    far: TcpStream,
    host: Host,
    port: u16,
    idle: Duration,
    state: Arc<GroupState>,
    record: Record,
    _place: OwnedSemaphorePermit,
}

/// Why a client's first words end a tunnel.
enum Refused {
    NotTheHost,
    NotTls,
}

enum Ended {
    Refused(Refused),
    Broken,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Tunnel {
    pub(in crate::gateway) fn new(
        upgrade: OnUpgrade,
        far: TcpStream,
        (host, port): (Host, u16),
        session: &Session,
        mut record: Record,
        place: OwnedSemaphorePermit,
    ) -> Self {
        record.tunnel_opened();
        let (idle, state) = (session.policy.limits.idle, Arc::clone(&session.state));
        Self { upgrade, far, host, port, idle, state, record, _place: place }
    }

    /// Carries bytes until both sides have ended, one breaks off, or nothing moved for too long.
    pub(in crate::gateway) async fn run(self) {
        let Self { upgrade, mut far, host, port, idle, state, mut record, _place } = self;
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<UnixStream>>() else { return };
        let mut near = io.into_inner();
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        let ended = {
            let (mut near_read, mut near_write) = near.split();
            let (mut far_read, mut far_write) = far.split();
            let out = async {
                let words = first_words(&mut near_read, read_buf, &host, port).await?;
                far_write.write_all(&words).await?;
                count(words.len(), &sent, &state.counters.sent);
                pump(&mut near_read, &mut far_write, &sent, &state.counters.sent).await
            };
            let back = pump(&mut far_read, &mut near_write, &received, &state.counters.received);
            tokio::select! {
                ended = async { tokio::try_join!(out, back) } => ended.map(drop),
                () = stands_still(idle, &sent, &received) => Err(Ended::Broken),
            }
        };
        if let Err(Ended::Refused(why)) = &ended {
            record.refused_later(match why {
                Refused::NotTheHost => "other-tls-name",
                Refused::NotTls => "not-tls",
            });
            // The client's last words may never be read; that is its own affair.
            let _ = timeout(FIRST_WORDS_TIME, near.write_all(&UNRECOGNIZED_NAME)).await;
        }
        record.tunnel_ended(sent.into_inner(), received.into_inner(), ended.is_ok());
    }
}

/// What the client says first, when it may be passed on.
async fn first_words(
    near: &mut (impl AsyncRead + Unpin),
    read_already: Bytes,
    host: &Host,
    port: u16,
) -> Result<Vec<u8>, Ended> {
    let mut words = read_already.to_vec();
    let mut until = (port == TLS_PORT).then(|| Instant::now() + FIRST_WORDS_TIME);
    loop {
        let refused = |why| Err(Ended::Refused(why));
        match sni::read(&words) {
            FirstWords::Hello(Some(name)) => {
                let named = Host::of_request(&name);
                let is_meant = named.as_ref() == Ok(host) || !stands(Wall::TlsName);
                return if is_meant { Ok(words) } else { refused(Refused::NotTheHost) };
            }
            // TLS has no name for an address. A listed address is one server, and no front to others.
            FirstWords::Hello(None) if matches!(host, Host::Address(_)) => return Ok(words),
            FirstWords::Hello(None) | FirstWords::Malformed => return refused(Refused::NotTheHost),
            FirstWords::SomethingElse if port == TLS_PORT => return refused(Refused::NotTls),
            FirstWords::SomethingElse => return Ok(words),
            FirstWords::Incomplete if words.len() > LONGEST_HELLO => return refused(Refused::NotTheHost),
            FirstWords::Incomplete => {}
        }
        if !words.is_empty() {
            until = until.or_else(|| Some(Instant::now() + FIRST_WORDS_TIME));
        }
        let read = match until {
            Some(until) => match timeout_at(until, near.read_buf(&mut words)).await {
                Ok(read) => read?,
                Err(_) => return refused(Refused::NotTls),
            },
            None => near.read_buf(&mut words).await?,
        };
        if read == 0 {
            // An end before the first whole word: nothing was said that could mean another host.
            return if words.is_empty() && port != TLS_PORT { Ok(words) } else { refused(Refused::NotTls) };
        }
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &AtomicU64,
    all: &AtomicU64,
) -> Result<(), Ended> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        count(length, moved, all);
    }
}

fn count(length: usize, moved: &AtomicU64, all: &AtomicU64) {
    Counters::add(moved, length as u64);
    Counters::add(all, length as u64);
}

/// Returns when nothing has moved for `idle`, or for up to half as long again.
async fn stands_still(idle: Duration, sent: &AtomicU64, received: &AtomicU64) {
    let moved = || (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    let mut last = moved();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(idle / 2).await;
        let now = moved();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= idle {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "example.com";

    /// What becomes of `words` on `port`: `passed`, or the word for the refusal. The client ends after them.
    async fn judged(words: &[u8], host: &str, port: u16) -> &'static str {
        let mut near = words;
        match first_words(&mut near, Bytes::new(), &Host::of_request(host).unwrap(), port).await {
            Ok(passed) if passed == words => "passed",
            Ok(_) => "changed",
            Err(Ended::Refused(Refused::NotTheHost)) => "other host",
            Err(Ended::Refused(Refused::NotTls)) => "no tls",
            Err(Ended::Broken) => "broken",
        }
    }

    fn hello(name: &str) -> Vec<u8> {
        sni::tests::hello(name)
    }

    #[tokio::test]
    async fn port_443_is_for_tls_that_names_the_host() {
        assert_eq!(judged(&hello(HOST), HOST, 443).await, "passed");
        assert_eq!(judged(&hello("other.example"), HOST, 443).await, "other host");
        assert_eq!(judged(&hello("127.0.0.1"), HOST, 443).await, "other host", "no name at all");
        assert_eq!(judged(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n", HOST, 443).await, "no tls");
        assert_eq!(judged(b"", HOST, 443).await, "no tls");
        assert_eq!(judged(&hello(HOST)[..100], HOST, 443).await, "no tls", "it ends in the middle");
    }

    #[tokio::test]
    async fn on_other_ports_what_begins_as_tls_names_the_host_and_the_rest_passes() {
        assert_eq!(judged(&hello(HOST), HOST, 8443).await, "passed");
        assert_eq!(judged(&hello("other.example"), HOST, 8443).await, "other host");
        assert_eq!(judged(b"SSH-2.0-client\r\n", HOST, 22).await, "passed");
        assert_eq!(judged(b"", HOST, 22).await, "passed");
        assert_eq!(judged(&hello("10.0.0.5"), "10.0.0.5", 8443).await, "passed", "an address has no name");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_come_to_its_point_is_given_up() {
        let (mut near, mut client) = tokio::io::duplex(64);
        let drip = async {
            for byte in hello(HOST) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let host = Host::of_request(HOST).unwrap();
        let begun = Instant::now();
        tokio::select! {
            result = first_words(&mut near, Bytes::new(), &host, 443) => assert!(matches!(result, Err(Ended::Refused(_)))),
            () = drip => {}
        }
        assert!(begun.elapsed() <= FIRST_WORDS_TIME + Duration::from_secs(1));
        // Endless first words are no first words.
        let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xff][..], &vec![0; LONGEST_HELLO * 2]].concat();
        assert_ne!(judged(&endless, HOST, 8443).await, "passed");
    }
}
