//! `[delivery]`: how replies are sent.

use nanoclaw_core::orchestrator::WhenUnknown;

use super::{
    reader::Reader,
    setting::Setting,
    value::{self, Raw, Right},
};

/// How replies are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// What is done with a message that may have been shown, where nobody can tell.
    pub when_unknown: Setting<WhenUnknown>,
}

impl DeliveryConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("delivery");
        let config = Self { when_unknown: section.read("when_unknown", None, WhenUnknown::default(), when_unknown) };
        section.finish();
        config
    }
}

fn when_unknown(raw: &Raw<'_>) -> Result<WhenUnknown, Right> {
    const RIGHT: &str = "\"ask\" or \"send_again\"";
    match value::line(32)(raw).map_err(|_| RIGHT)?.as_str() {
        "ask" => Ok(WhenUnknown::Ask),
        "send_again" => Ok(WhenUnknown::SendAgain),
        _ => Err(RIGHT.into()),
    }
}
