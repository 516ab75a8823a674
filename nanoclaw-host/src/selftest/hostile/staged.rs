//! The attacked service's end of the staged internet: its gateway asks the judge what a name means, and every connection
//! that it makes leads to the judge, who is told where it was to go. All checks are the gateway's own, on real addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::gateway::Resolve;

/// Begins the question what a name means; the name and a newline follow. Answered with addresses, a space between, and the end.
pub(super) const WHO: &str = "WHO ";
/// Begins a connection; where it was to go and a newline follow, then whatever is said there.
pub(super) const TO: &str = "TO ";
/// More of an answer than this is not read.
const LONGEST_ANSWER: u64 = 4096;

/// An internet that one program on this machine plays.
#[derive(Debug, Clone, Copy)]
pub struct StagedInternet(SocketAddr);

impl StagedInternet {
    /// The one that is played at `address`.
    ///
    /// # Errors
    /// Unless it is on this machine.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        if address.ip().is_loopback() {
            Ok(Self(address))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not on this machine")))
        }
    }

    async fn say(&self, words: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.0).await?;
        stream.write_all(words.as_bytes()).await?;
        Ok(stream)
    }
}

#[async_trait]
impl Resolve for StagedInternet {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut answer = String::new();
        self.say(&format!("{WHO}{host}\n")).await?.take(LONGEST_ANSWER).read_to_string(&mut answer).await?;
        let addresses: Result<Vec<IpAddr>, _> = answer.split_whitespace().map(str::parse).collect();
        match addresses {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.say(&format!("{TO}{address}\n")).await
    }
}
