//! Out: by every kind of socket, to every address, past the gateway and through it.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::FileTypeExt as _,
            net::{SocketAddr as UnixAddress, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nanoclaw_core::protocol::hostile::Outcome;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use super::{Attack, gateway, must_fail};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(attack: &mut Attack) {
    addresses(attack);
    families(attack);
    sockets(attack);
    gateway::run(attack);
}

fn addresses(attack: &mut Attack) {
    attack.tries("interfaces beside loopback", |_| {
        let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        // Tunnels that have no other end are made by the kernel in every namespace.
        let idle = ["lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"];
        match names.filter(|name| !idle.contains(name)).collect::<Vec<_>>() {
            others if others.is_empty() => Outcome::Refused("only loopback".to_owned()),
            others => Outcome::Succeeded(others.join(", ")),
        }
    });
    attack.tries("routes", |_| {
        let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
        match table.lines().skip(1).filter(|line| !line.starts_with("lo")).count() {
            0 => Outcome::Refused("the table is empty".to_owned()),
            count => Outcome::Succeeded(format!("{count} routes")),
        }
    });
    let public = ["1.1.1.1:443", "8.8.8.8:53", "[2606:4700:4700::1111]:443", "169.254.169.254:80", "172.17.0.1:22"];
    let known = public.into_iter().filter_map(|text| text.parse().ok());
    let all: Vec<SocketAddr> = known.chain(attack.orders.addresses.clone()).collect();
    for address in all {
        attack.tries(format!("TCP to {address}"), |_| {
            must_fail(TcpStream::connect_timeout(&address, PATIENCE), |mut stream| {
                let _ = stream.write_all(b"the attacker was here");
                "connected".to_owned()
            })
        });
        attack.tries(format!("UDP to {address}"), |_| match send_datagram(address) {
            // Nobody needs to listen for that; the host's listener would have told.
            Ok(()) if address.ip().is_loopback() => Outcome::Allowed("sent, into its own loopback".to_owned()),
            sent => must_fail(sent, |()| "sent".to_owned()),
        });
    }
    for server in name_servers() {
        attack.tries(format!("DNS by the configured server {server}"), |_| {
            if server.is_loopback() {
                return Outcome::Absent("it is loopback".to_owned());
            }
            must_fail(send_datagram((server, 53).into()), |()| "sent".to_owned())
        });
    }
    attack.tries("resolving a name", |_| {
        must_fail(("example.com", 443).to_socket_addrs(), |found| format!("{:?}", found.collect::<Vec<_>>()))
    });
}

fn send_datagram(to: SocketAddr) -> std::io::Result<()> {
    let from: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { "[::]:0".parse().expect("an address") };
    UdpSocket::bind(from)?.send_to(b"the attacker was here", to).map(|_| ())
}

fn name_servers() -> Vec<IpAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok()).collect()
}

fn families(attack: &mut Attack) {
    let kinds: [(&str, i32, SocketType, u32); 10] = [
        ("a raw ICMP socket", libc::AF_INET, SocketType::RAW, 1),
        ("a raw IPv6 socket", libc::AF_INET6, SocketType::RAW, 58),
        ("a packet socket", libc::AF_PACKET, SocketType::RAW, 0x0300),
        ("an XDP socket", 44, SocketType::RAW, 0),
        ("a Bluetooth socket", 31, SocketType::RAW, 1),
        ("a CAN socket", 29, SocketType::RAW, 1),
        ("a TIPC socket", 30, SocketType::SEQPACKET, 0),
        ("the kernel's crypto by a socket", libc::AF_ALG, SocketType::SEQPACKET, 0),
        ("a KCM socket", 41, SocketType::SEQPACKET, 0),
        ("a PPP over X socket", 24, SocketType::STREAM, 0),
    ];
    for (name, family, kind, protocol) in kinds {
        attack.tries(name, |_| must_fail(open(family, kind, protocol), |_| "it was opened".to_owned()));
    }
    attack.tries("a ping socket", |_| {
        let ping = open(libc::AF_INET, SocketType::DGRAM, 1).and_then(|socket| {
            let to: SocketAddr = (Ipv4Addr::new(1, 1, 1, 1), 0).into();
            rustix::net::sendto(&socket, &[8, 0, 0, 0, 0, 0, 0, 1], rustix::net::SendFlags::empty(), &to)?;
            Ok(())
        });
        must_fail(ping, |()| "sent".to_owned())
    });
    attack.tries("vsock to the hypervisor", |_| match open(libc::AF_VSOCK, SocketType::STREAM, 0) {
        Err(error) => Outcome::Refused(error.to_string()),
        // Whether somebody listens there is chance: that the network's wall does not stand in the way is the finding.
        Ok(_) => Outcome::Succeeded("the socket was opened".to_owned()),
    });
    attack.tries("a route of our own by netlink", |_| {
        // RTM_NEWROUTE: default, by loopback.
        let mut message = vec![28, 0, 0, 0, 24, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        let answer = open(libc::AF_NETLINK, SocketType::RAW, 0).and_then(|socket| {
            rustix::io::write(&socket, &message)?;
            let mut answer = [0; 128];
            let read = rustix::io::read(&socket, &mut answer)?;
            let error =
                answer[..read].get(16..20).map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            match error {
                Some(0) => Ok(()),
                Some(error) => Err(std::io::Error::from_raw_os_error(-error)),
                None => Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        });
        must_fail(answer, |()| "the route is there".to_owned())
    });
}

fn open(family: i32, kind: SocketType, protocol: u32) -> std::io::Result<std::os::fd::OwnedFd> {
    let family = AddressFamily::from_raw(u16::try_from(family).unwrap_or_default());
    let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?)
}

fn sockets(attack: &mut Attack) {
    for name in attack.orders.abstract_sockets.clone() {
        attack.tries(format!("the host's abstract socket @{name}"), |_| {
            let connected =
                UnixAddress::from_abstract_name(&name).and_then(|address| UnixStream::connect_addr(&address));
            must_fail(connected, |_| "connected".to_owned())
        });
    }
    let known = [
        "/var/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/run/systemd/journal/socket",
        "/run/user/1000/bus",
        "/run/snapd.socket",
        "/dev/log",
        "/tmp/.X11-unix/X0",
    ];
    let all: Vec<PathBuf> = known.into_iter().map(PathBuf::from).chain(attack.orders.sockets.clone()).collect();
    for path in all {
        attack.tries(format!("the host's socket {}", path.display()), |_| {
            must_fail(UnixStream::connect(&path), |_| "connected".to_owned())
        });
    }
    attack.tries("any other socket that can be seen", |attack| {
        let own = attack.places.gateway.clone().unwrap_or_default();
        let mut found = Vec::new();
        for top in ["/run", "/var", "/tmp", "/workspace", "/home", "/dev", "/nanoclaw", "/srv", "/mnt", "/opt"] {
            find_sockets(Path::new(top), 6, &mut found);
        }
        found.retain(|path| path.canonicalize().ok() != own.canonicalize().ok());
        let open: Vec<String> = found
            .iter()
            .filter(|path| UnixStream::connect(path).is_ok())
            .map(|path| path.display().to_string())
            .collect();
        if open.is_empty() { Outcome::Refused("there is none".to_owned()) } else { Outcome::Succeeded(open.join(", ")) }
    });
}

fn find_sockets(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            Ok(kind) if kind.is_dir() && depth > 0 => find_sockets(&entry.path(), depth - 1, found),
            _ => {}
        }
    }
}
