//! `[assistant]`: who answers.

use super::{
    reader::{Reader, Variable},
    setting::Setting,
    value,
};

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssistantConfig {
    /// The assistant's name; `@` and this wakes it. `ASSISTANT_NAME` in v1.
    pub name: Setting<String>,
}

impl AssistantConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("assistant");
        let config =
            Self { name: section.read("name", Some(Variable::Same("ASSISTANT_NAME")), "Andy".into(), value::line(64)) };
        section.finish();
        config
    }
}
