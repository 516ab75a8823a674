//! Which build of the program this is.

use std::sync::LazyLock;

use crate::stores::sqlite::newest_schema;

/// The version with what tells builds of it apart, and the schema of the database that it works with.
pub(super) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    &TEXT
}

fn text() -> String {
    let commit = option_env!("NANOCLAW_COMMIT").unwrap_or("commit unknown");
    let services = [
        ("discord", cfg!(feature = "discord")),
        ("slack", cfg!(feature = "slack")),
        ("telegram", cfg!(feature = "telegram")),
    ];
    let services: Vec<_> = services.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    let services = if services.is_empty() { "none".to_owned() } else { services.join(", ") };
    let (version, schema) = (env!("CARGO_PKG_VERSION"), newest_schema());
    format!("{version} ({commit})\nschema of the database: {schema}\nchat services: {services}")
}
