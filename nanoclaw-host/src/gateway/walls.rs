//! The gateway's walls, of which a build with the feature `failpoints` can be told to leave one out: whoever judges the
//! gateway (the hostile self-test) has to find what is missing. In every other build they stand, and nothing can be told.

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wall {
    /// That an address is public.
    Addresses,
    /// That a host is listed.
    AllowList,
    /// That TLS names the host.
    TlsName,
}

/// Whether `wall` stands.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn stands(_wall: Wall) -> bool {
    true
}

/// Whether `wall` stands.
#[cfg(feature = "failpoints")]
pub(super) fn stands(wall: Wall) -> bool {
    use crate::failpoints::missing_wall;

    let name = match wall {
        Wall::Addresses => "addresses",
        Wall::AllowList => "allow-list",
        Wall::TlsName => "tls-name",
    };
    missing_wall() != Some(name)
}
