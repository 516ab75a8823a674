//! Loopback to gateway: what connects to the loopback port is connected to the gateway's unix socket.
//!
//! Each connection opens the socket anew, so a gateway that was restarted is found again by the next connection.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use nanoclaw_core::protocol::{
    environment::GATEWAY_PORT,
    gateway::{ANSWER_BYTES, HELLO, says_alive},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

use crate::{egress, log::say, model_access, places::set};

/// How long a connection waits for a gateway that is being restarted: the end of one host and the start of the next one.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);
/// How long the gateway may take to answer the hello: the end of one host and the start of the next one, at the most, since
/// a host opens its socket before it starts a container.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long one answer may take.
const HELLO_ANSWER: Duration = Duration::from_secs(3);
/// How long a refused client may take to read why.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// Listens on loopback.
#[derive(Debug)]
pub(crate) struct Forwarder {
    listener: TcpListener,
    port: u16,
    socket: PathBuf,
}

impl Forwarder {
    /// Listens on [`GATEWAY_PORT`], or on a free port where that is taken, which happens only where containers share
    /// their network with others. Nothing is sent to the wrong gateway then: [`Self::environment`] tells the command.
    pub(crate) async fn listen(socket: PathBuf) -> io::Result<Self> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, GATEWAY_PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?
            }
            bound => bound?,
        };
        let port = listener.local_addr()?.port();
        if port != GATEWAY_PORT {
            say!("init: port {GATEWAY_PORT} is taken; the gateway is on port {port}");
        }
        Ok(Self { listener, port, socket })
    }

    /// What the command must know to use the gateway without knowing of it.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = egress::environment(self.port, set);
        let model = model_access::environment(self.port, set);
        environment.extend(model.into_iter().map(|(name, value)| (name.to_owned(), value)));
        environment
    }

    /// Asks the gateway whether it is there, until it says so or the patience is over. `Err` says what went wrong last.
    pub(crate) async fn hello(&self) -> Result<(), String> {
        let give_up = Instant::now() + HELLO_PATIENCE;
        loop {
            let error = match timeout(HELLO_ANSWER, ask(&self.socket)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => "what answers there is no gateway".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {HELLO_ANSWER:?}"),
            };
            if Instant::now() >= give_up {
                return Err(format!("the gateway at {:?} does not answer: {error}", self.socket));
            }
            sleep(BETWEEN_TRIES).await;
        }
    }

    /// Forwards connections for ever.
    pub(crate) async fn serve(&self) {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let socket = self.socket.clone();
                    // Not owned: connections end with the process, which ends with its command.
                    tokio::spawn(async move { forward(client, &socket).await });
                }
                // Out of file descriptors, most likely; others will close theirs.
                Err(error) => {
                    say!("init: cannot accept a connection to the gateway: {error}");
                    sleep(BETWEEN_TRIES).await;
                }
            }
        }
    }
}

async fn ask(socket: &Path) -> io::Result<bool> {
    let mut gateway = UnixStream::connect(socket).await?;
    gateway.write_all(HELLO).await?;
    let mut answer = Vec::new();
    gateway.take(ANSWER_BYTES as u64).read_to_end(&mut answer).await?;
    Ok(says_alive(&answer))
}

async fn forward(mut client: TcpStream, socket: &Path) {
    match connect(socket).await {
        Ok(mut gateway) => {
            // Either end may hang up whenever it likes; that is the end of this connection and of nothing else.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
        }
        Err(error) => {
            say!("init: the gateway at {socket:?} cannot be reached: {error}");
            let _ = timeout(REFUSAL_PATIENCE, refuse(client, &error)).await;
        }
    }
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let give_up = Instant::now() + GATEWAY_PATIENCE;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= give_up => return Err(error),
            Err(_) => sleep(BETWEEN_TRIES).await,
        }
    }
}

/// Says so in the client's own language: a connection that is just dropped explains nothing.
async fn refuse(mut client: TcpStream, error: &io::Error) -> io::Result<()> {
    let body = format!("the host's gateway cannot be reached: {error}\n");
    let head = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\nconnection: close";
    client.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    client.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the client could lose the answer.
    let mut unread = [0; 4096];
    while client.read(&mut unread).await? > 0 {}
    Ok(())
}
