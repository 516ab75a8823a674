//! `[health]`: where the service says how it is besides its socket, and from when on it counts as failing.

use std::{net::SocketAddr, time::Duration};

use super::{
    reader::Reader,
    setting::Setting,
    value::{self, Raw, Rule},
};
use crate::health::Thresholds;

/// How the service says how it is. It always does on the socket `store/health.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// The address of this machine's loopback at which it says so too; `None`: no port is open.
    pub listen: Option<Setting<SocketAddr>>,
    /// How long a channel may be away before it counts as failing.
    pub channel_away: Setting<Duration>,
    /// How long a message may wait to be sent.
    pub outbox_age: Setting<Duration>,
    /// Bytes that must be free where the store is.
    pub free_space: Setting<u64>,
}

impl HealthConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Thresholds::default();
        let mut section = reader.section("health");
        let time = || value::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400));
        let config = Self {
            listen: section.lookup("listen", None, loopback()),
            channel_away: section.read("channel_away", None, default.channel_away, time()),
            outbox_age: section.read("outbox_age", None, default.outbox_age, time()),
            free_space: section.read("free_space", None, default.free_space, value::size(1 << 20..=1 << 50)),
        };
        section.finish();
        config
    }

    /// The same for the verdict.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { channel_away: *self.channel_away, outbox_age: *self.outbox_age, free_space: *self.free_space }
    }
}

/// An address of loopback. What is said there is for this machine alone, so no other can be meant.
fn loopback() -> impl Rule<SocketAddr> {
    |raw| {
        const RIGHT: &str = "an address of this machine's loopback with a port from 1 to 65535, such as \
                             \"127.0.0.1:9180\" or \"[::1]:9180\"; to let other machines ask, put a proxy with a \
                             password before it";
        let text = match raw {
            Raw::Variable(text) => text.as_ref(),
            Raw::Toml(value) => value.as_str().unwrap_or_default(),
        };
        let address: Option<SocketAddr> = text.trim().parse().ok();
        address.filter(|address| address.ip().is_loopback() && address.port() != 0).ok_or(RIGHT.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, environment_of};

    fn listen(value: &str) -> Result<Option<String>, String> {
        let text = format!("\n[health]\nlisten = {value}\n");
        let environment = environment_of([]);
        Config::parse(Path::new("/home/x/nanoclaw.toml"), &text, Path::new("/home/x"), &environment)
            .map(|config| config.health.listen.map(|listen| listen.value.to_string()))
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn only_loopback_is_listened_on_and_anything_else_is_a_mistake_with_its_line() {
        assert_eq!(listen("\"127.0.0.1:9180\"").unwrap().unwrap(), "127.0.0.1:9180");
        assert_eq!(listen("\"[::1]:9180\"").unwrap().unwrap(), "[::1]:9180");
        for refused in [
            "\"0.0.0.0:9180\"",
            "\"[::]:9180\"",
            "\"192.168.1.2:9180\"",
            "\"127.0.0.1:0\"",
            "9180",
            "\"localhost:9180\"",
        ] {
            let told = listen(refused).unwrap_err();
            assert!(told.contains("nanoclaw.toml:3") && told.contains("health.listen"), "{refused}: {told}");
            assert!(told.contains("loopback"), "{refused}: {told}");
        }
    }

    #[test]
    fn no_port_is_open_unless_somebody_says_so() {
        let config = Config::parse(Path::new("/x"), "", Path::new("/"), &environment_of([])).unwrap();
        assert!(config.health.listen.is_none());
    }
}
