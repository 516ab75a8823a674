//! From a host to the addresses that may be connected to: resolved once, checked, and those very addresses used.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{net::TcpStream, time::timeout};

use super::{
    addresses::{NotPublic, never_meant, not_public},
    allow::{Host, PrivateEndpoints},
};
use crate::gateway::{
    refusal::Refusal,
    walls::{Wall, stands},
};

/// How long a name may take to be resolved.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// How long a connection may take to come about, all addresses together.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long one address may take, so that one that leads nowhere (IPv6 without a route back) leaves time for the next.
const ONE_CONNECT_TIME: Duration = Duration::from_secs(4);

/// Turns names into addresses, and addresses that were found good into connections.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, in the order in which they are to be tried.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// A connection to `address`, which has passed every check. A test gives one to itself, and so has real checks of real
    /// addresses without a packet that leaves the machine.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// The system's resolver, `/etc/hosts` included.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// The addresses of one host that were checked; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Destination {
    /// Resolves `host` and checks every one of its addresses.
    pub(crate) async fn find(
        resolver: &Arc<dyn Resolve>,
        private: &PrivateEndpoints,
        host: &Host,
        port: u16,
    ) -> Result<Self, Refusal> {
        let excepted = private.has(host, port);
        let refused =
            |address: IpAddr, why: NotPublic| Refusal::NotPublic { host: format!("{host}:{port}"), address, why };
        let addresses = match host {
            Host::Address(address) => {
                if !excepted
                    && stands(Wall::Addresses)
                    && let Some(why) = not_public(*address)
                {
                    return Err(refused(*address, why));
                }
                vec![*address]
            }
            Host::Name(name) => {
                let unknown = |reason: String| Refusal::NotResolved { host: name.clone(), reason };
                let addresses = match timeout(RESOLVE_TIME, resolver.resolve(name)).await {
                    Ok(addresses) => addresses.map_err(|error| unknown(error.to_string()))?,
                    Err(_) => return Err(unknown("no answer in time".to_owned())),
                };
                let judge = if excepted { never_meant } else { not_public };
                // One that is not public spoils the others: whoever mixes them hopes that we take the wrong one.
                for address in &addresses {
                    if stands(Wall::Addresses)
                        && let Some(why) = judge(*address)
                    {
                        return Err(refused(*address, why));
                    }
                }
                if addresses.is_empty() {
                    return Err(unknown("it has no address".to_owned()));
                }
                addresses
            }
        };
        Ok(Self { addresses: addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect() })
    }

    /// Connects to the first of the addresses that answers.
    pub(crate) async fn connect(
        &self,
        resolver: &Arc<dyn Resolve>,
        host: &Host,
        port: u16,
    ) -> Result<TcpStream, Refusal> {
        let mut last = "it has no address".to_owned();
        let all = async {
            for address in &self.addresses {
                match timeout(ONE_CONNECT_TIME, resolver.connect(*address)).await {
                    Ok(Ok(stream)) => return Some(stream),
                    Ok(Err(error)) => last = error.to_string(),
                    Err(_) => last = "no answer in time".to_owned(),
                }
            }
            None
        };
        let Some(stream) = timeout(CONNECT_TIME, all).await.ok().flatten() else {
            return Err(Refusal::HostUnreachable { host: format!("{host}:{port}"), reason: last });
        };
        // Small pieces of an interactive stream must not wait for each other.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}
