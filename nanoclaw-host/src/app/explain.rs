//! Explains a group while no service runs: chooses a runtime by the rules of a real start, and shows what would be done.

use async_trait::async_trait;
use nanoclaw_core::group::Group;

use super::{
    choose::{Isolation, choose},
    machine,
};
use crate::{
    admin::{
        Explain, from_config,
        types::{AdminError, Explanation},
    },
    config::Config,
    home::Home,
    launcher::{explain_mounts, plan},
};

/// Explains by what this machine would give now.
pub struct WithoutService {
    /// The home.
    pub home: Home,
    /// What is configured.
    pub config: Config,
}

#[async_trait]
impl Explain for WithoutService {
    async fn explain(&self, group: &Group) -> Result<Explanation, AdminError> {
        match choose(&self.home, &self.config, Isolation::Required).await {
            Ok(chosen) => {
                let machine = machine::of(&self.config, &chosen);
                let explanation = plan(group, &self.home, &self.config, &machine).explanation(group, &self.config);
                Ok(explain_mounts(explanation, &self.home, &self.config, &machine).await)
            }
            Err(no_runtime) => {
                let mut explanation = from_config(group, &self.config);
                explanation.problems.push(format!("{no_runtime}; `nanoclaw doctor` says what to do"));
                Ok(explanation)
            }
        }
    }
}
