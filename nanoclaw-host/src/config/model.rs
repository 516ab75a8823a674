//! `[model]`: where the model is.

use reqwest::Url;

use super::{
    reader::{Reader, Variable},
    setting::Setting,
    value::{self, Raw, Right},
};

/// Where the model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The model API, to which the gateway forwards. `ANTHROPIC_BASE_URL` in the environment.
    pub base_url: Setting<Url>,
}

impl ModelConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("model");
        let default = Url::parse("https://api.anthropic.com").expect("the default address is well formed");
        let config =
            Self { base_url: section.read("base_url", Some(Variable::Same("ANTHROPIC_BASE_URL")), default, address) };
        section.finish();
        config
    }
}

pub(super) fn address(raw: &Raw<'_>) -> Result<Url, Right> {
    const RIGHT: &str =
        "an address such as \"https://api.anthropic.com\": http or https, without user, query or fragment in it";
    let text = value::line(1024)(raw).map_err(|_| RIGHT)?;
    let url = Url::parse(&text).map_err(|_| RIGHT)?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain { Ok(url) } else { Err(RIGHT.into()) }
}
