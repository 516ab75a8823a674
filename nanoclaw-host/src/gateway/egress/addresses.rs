//! Which addresses are public: a pure function over the registries of special-purpose addresses.
//!
//! Sources: IANA IPv4 Special-Purpose Address Registry and IANA IPv6 Special-Purpose Address Registry (RFC 6890 and its
//! updates, as of 2025), IPv4 multicast (RFC 5771), IPv6 global unicast 2000::/3 (RFC 4291). *Everything* that the registries
//! list is refused, also the few ranges that are reachable globally (anycast of AS 112 and AMT): nothing that a group would
//! be allowed lives there. Besides those, the one address of a cloud's services that looks public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not public, as it follows "which is".
pub(crate) type NotPublic = &'static str;

const PRIVATE: NotPublic = "a private address";
const LOOPBACK: NotPublic = "the host itself";
const LINK_LOCAL: NotPublic = "a link-local address";
const METADATA: NotPublic = "an address of cloud metadata";
const MULTICAST: NotPublic = "a multicast address";
const RESERVED: NotPublic = "reserved";
const DOCUMENTATION: NotPublic = "for documentation";
const CARRIER: NotPublic = "an address behind a carrier's NAT";
const MAPPED: NotPublic = "an IPv4 address in disguise";

/// First address, prefix length, what it is. The first that contains an address tells what it is.
const V4: &[(Ipv4Addr, u32, NotPublic)] = &[
    (Ipv4Addr::new(169, 254, 169, 254), 32, METADATA),
    // Azure's "wire server"; public by its number, and answers every virtual machine.
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),
    (Ipv4Addr::new(0, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(10, 0, 0, 0), 8, PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, CARRIER),
    (Ipv4Addr::new(127, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LINK_LOCAL),
    (Ipv4Addr::new(172, 16, 0, 0), 12, PRIVATE),
    (Ipv4Addr::new(192, 0, 0, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 0, 2, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(192, 31, 196, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 52, 193, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 88, 99, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 168, 0, 0), 16, PRIVATE),
    (Ipv4Addr::new(192, 175, 48, 0), 24, RESERVED),
    (Ipv4Addr::new(198, 18, 0, 0), 15, RESERVED),
    (Ipv4Addr::new(198, 51, 100, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(203, 0, 113, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(224, 0, 0, 0), 4, MULTICAST),
    (Ipv4Addr::new(240, 0, 0, 0), 4, RESERVED),
];

/// The part of IPv6 that is given out to networks; everything outside is refused but for [`NAT64`].
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// IPv4 through a translator (RFC 6052), which is how IPv4 is reached in networks that have none: judged by the IPv4 address
/// in it.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// As [`V4`]; inside and outside of [`GLOBAL_UNICAST`].
const V6: &[(Ipv6Addr, u32, NotPublic)] = &[
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::LOCALHOST, 128, LOOPBACK),
    (Ipv6Addr::UNSPECIFIED, 128, LOOPBACK),
    // IPv4-compatible, deprecated.
    (Ipv6Addr::UNSPECIFIED, 96, MAPPED),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, MAPPED),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, PRIVATE),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, RESERVED),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, RESERVED),
    // IETF protocol assignments: Teredo, ORCHID, benchmarking, AMT, AS 112, drones.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, RESERVED),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    // 6to4, deprecated: an IPv4 address is in it.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, MAPPED),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, RESERVED),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, DOCUMENTATION),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, RESERVED),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, PRIVATE),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LINK_LOCAL),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, PRIVATE),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, MULTICAST),
];

/// Why `address` is not public; `None` when it is.
pub(crate) fn not_public(address: IpAddr) -> Option<NotPublic> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// Why not even an endpoint that the operator listed by *name* as private may have this address: the name's answer is
/// another's word, and none that an operator means leads there.
pub(crate) fn never_meant(address: IpAddr) -> Option<NotPublic> {
    not_public(address).filter(|why| ![PRIVATE, LOOPBACK, CARRIER].contains(why) || address.is_unspecified())
}

fn v4(address: Ipv4Addr) -> Option<NotPublic> {
    let within = |(first, length, _): &&(Ipv4Addr, u32, NotPublic)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        u32::from(address) & mask == u32::from(*first)
    };
    V4.iter().find(within).map(|(_, _, what)| *what)
}

fn v6(address: Ipv6Addr) -> Option<NotPublic> {
    if within_v6(address, NAT64.0, NAT64.1) {
        let [.., a, b, c, d] = address.octets();
        return v4(Ipv4Addr::new(a, b, c, d));
    }
    let listed = V6.iter().find(|(first, length, _)| within_v6(address, *first, *length)).map(|(_, _, what)| *what);
    listed.or_else(|| (!within_v6(address, GLOBAL_UNICAST.0, GLOBAL_UNICAST.1)).then_some(RESERVED))
}

fn within_v6(address: Ipv6Addr, first: Ipv6Addr, length: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    u128::from(address) & mask == u128::from(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> Option<NotPublic> {
        not_public(text.parse().unwrap())
    }

    /// The registries, written out again as they are published, apart from the table above: first and last address.
    const REGISTERED: &[(&str, &str)] = &[
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.31.196.0", "192.31.196.255"),
        ("192.52.193.0", "192.52.193.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("192.175.48.0", "192.175.48.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "239.255.255.255"),
        ("240.0.0.0", "255.255.255.255"),
        ("::", "::ffff:ffff"),
        ("::1", "::1"),
        ("::ffff:0:0", "::ffff:ffff:ffff"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
        ("100::", "100::ffff:ffff:ffff:ffff"),
        ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
        ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"),
        ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ];

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        }
    }

    fn of_number(like: IpAddr, number: u128) -> IpAddr {
        match like {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap().into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }

    #[test]
    fn every_registered_range_is_refused_from_its_first_to_its_last_address() {
        for (first, last) in REGISTERED {
            assert!(refused(first).is_some(), "{first}");
            assert!(refused(last).is_some(), "{last}");
        }
    }

    #[test]
    fn what_is_public_passes_up_to_the_neighbours_of_the_ranges() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "2000::1",
            "2001:200::1",
            "2606:4700::1",
            "2a00:1450::1",
            "3ffe::1",
            "3fff:1000::",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_gains_nothing_by_an_ipv6_form() {
        for inner in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0"] {
            for form in ["::ffff:", "::", "64:ff9b::"] {
                assert!(refused(&format!("{form}{inner}")).is_some(), "{form}{inner}");
            }
            let [a, b, c, d] = inner.parse::<Ipv4Addr>().unwrap().octets();
            let six_to_four =
                Ipv6Addr::new(0x2002, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0, 0, 0, 0, 1);
            assert!(not_public(six_to_four.into()).is_some());
        }
        assert_eq!(refused("fd00:ec2::254"), Some(METADATA));
        assert_eq!(refused("169.254.169.254"), Some(METADATA));
        assert!(refused("4000::1").is_some() && refused("1::").is_some(), "outside of global unicast");
    }

    #[test]
    fn a_private_name_never_leads_to_metadata() {
        for text in ["169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:10.0.0.1"] {
            assert!(never_meant(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.0.0.5", "127.0.0.1", "fd00::1", "100.64.0.1", "1.1.1.1"] {
            assert_eq!(never_meant(text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_address_of_a_registered_range_is_ever_public(range in 0..REGISTERED.len(), at in any::<u128>()) {
            let (first, last) = REGISTERED[range];
            let (first, last): (IpAddr, IpAddr) = (first.parse().unwrap(), last.parse().unwrap());
            let span = number(last) - number(first);
            let offset = if span == u128::MAX { at } else { at % (span + 1) };
            let address = of_number(first, number(first) + offset);
            prop_assert!(not_public(address).is_some(), "{}", address);
        }

        #[test]
        fn an_embedded_address_is_judged_as_itself(inner in any::<u32>()) {
            let nat64 = IpAddr::V6((u128::from(NAT64.0) | u128::from(inner)).into());
            prop_assert_eq!(not_public(nat64), not_public(IpAddr::V4(inner.into())));
        }
    }
}
