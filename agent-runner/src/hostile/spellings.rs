//! Hosts and ports in all their spellings: those that are not allowed, and those that mean the allowed one.

use nanoclaw_core::protocol::hostile::Reach;

/// Addresses that nobody may reach, in every way that some program takes for an address.
const ADDRESSES: [&str; 48] = [
    // This machine.
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.1%00",
    "0",
    "0.0.0.0",
    "0x0",
    "[::1]",
    "[::1].",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[::ffff:0:127.0.0.1]",
    "[fe80::1%25eth0]",
    "localhost",
    "LOCALHOST.",
    "localhost.localdomain",
    "ip6-localhost",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127.0.0.1.nip.io",
    // Metadata.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "metadata.google.internal",
    "100.100.100.200",
];

/// Targets of CONNECT that are not allowed.
pub(super) fn refused(reach: &Reach) -> Vec<String> {
    let (host, other) = (reach.allowed.as_str(), reach.other.as_str());
    let mut found: Vec<String> = ADDRESSES.iter().map(|address| format!("{address}:443")).collect();
    // Other ports of the allowed host, some of them such as come out as 443 when they are cut to 16 bits.
    for port in [
        "22",
        "444",
        "8080",
        "0",
        "65979",
        "4294967739",
        "-65093",
        "+443",
        "443x",
        "0x1bb",
        "443:22",
        "443 ",
        " 443",
        "443,80",
        "0443",
    ] {
        found.push(format!("{host}:{port}"));
    }
    // The allowed host beside another, in all that could stand between.
    found.extend([
        host.to_owned(),
        format!("{host}:"),
        ":443".to_owned(),
        format!("{other}:443"),
        format!("x.{host}:443"),
        format!("x{host}:443"),
        format!("{host}.{other}:443"),
        format!("{host}..:443"),
        format!(".{host}:443"),
        format!("{other}@{host}:443"),
        format!("{host}@{other}:443"),
        format!("{host}:443@{other}:443"),
        format!("{host}%00.{other}:443"),
        format!("{host}\0.{other}:443"),
        format!("{host}\\.{other}:443"),
        format!("{host}/.{other}:443"),
        format!("{host}#.{other}:443"),
        format!("{host}?.{other}:443"),
        format!("{host},{other}:443"),
        format!("{host};{other}:443"),
        format!("{host}\t{other}:443"),
        format!("{host} {other}:443"),
        format!("{host}%20{other}:443"),
        format!("http://{host}:443"),
        format!("//{host}:443"),
        format!("[{host}]:443"),
        // Letters that look alike, or that are folded into one another.
        format!("\u{430}{}:443", &host[1..]),
        format!("\u{ff41}{}:443", &host[1..]),
        format!("{}\u{3002}test:443", host.trim_end_matches(".test")),
        format!("xn--{host}:443"),
        "xn--llowed-8nf.nanoclaw.test:443".to_owned(),
        // The allowed host's address, which is not allowed as such.
        format!("{}:443", reach.address),
        "[::ffff:9.9.9.9]:443".to_owned(),
        "151587081:443".to_owned(),
        "011.011.011.011:443".to_owned(),
        "0x9.0x9.0x9.0x9:443".to_owned(),
        "9.9.2313:443".to_owned(),
    ]);
    found
}

/// Hosts of `http://` that are not allowed, some with their port.
pub(super) fn refused_for_http(reach: &Reach) -> Vec<String> {
    let (host, other) = (reach.allowed.as_str(), reach.other.as_str());
    let mut found: Vec<String> = ADDRESSES.map(str::to_owned).into();
    found.extend([
        other.to_owned(),
        reach.address.to_string(),
        format!("{host}:81"),
        format!("{host}:65616"),
        format!("{host}:x"),
        format!("{host}@{other}"),
        format!("{other}@{host}"),
        format!("{host}:80@{other}"),
        format!("{host}.{other}"),
        format!("{host}\\@{other}"),
        format!("{other}#{host}"),
        format!("{other}?{host}"),
        format!("{host}%00.{other}"),
        format!("x.{host}"),
    ]);
    found
}

/// Targets of CONNECT that mean the allowed host and its port.
pub(super) fn the_same(reach: &Reach) -> Vec<String> {
    let host = &reach.allowed;
    vec![format!("{}:443", host.to_uppercase()), format!("{host}.:443")]
}
