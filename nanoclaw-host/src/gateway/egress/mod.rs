//! Egress: what a group may reach besides the model API and further upstreams, by CONNECT and by plain HTTP through the
//! proxy. Nothing that is not listed, and nothing that is not public after resolution. No credential is added here.
//!
//! The order: is the target an address or name that everybody reads the same ([`allow::Host`])? Is it listed with its
//! port ([`AllowList`])? Are *all* addresses of the name public, or is it the operator's private endpoint
//! ([`resolve::Destination`])? Then one of those very addresses is connected to, so a name that changes its answer gains
//! nothing. In a tunnel, TLS has to name the host that was asked for ([`sni`]).

pub(super) mod addresses;
pub(super) mod allow;
pub(super) mod plain;
pub(super) mod resolve;
pub(super) mod sni;
pub(super) mod tunnel;

pub use allow::{AllowList, Endpoint, PrivateEndpoints};
pub use resolve::{Resolve, SystemResolver};
