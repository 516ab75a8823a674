//! Which cryptography TLS uses in this process.

/// Makes `ring` the process's provider for TLS. Call it before the first TLS client is made; later calls, and calls where an
/// embedding program has chosen another provider before, change nothing.
pub fn install_provider() {
    // An error says that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
