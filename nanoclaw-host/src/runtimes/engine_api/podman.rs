//! What Podman says and the engine's client library does not read: its own fields, and its own words in known ones.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use nanoclaw_core::{
    causes::with_causes,
    runtime::{ContainerId, InstallId, RuntimeError},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::INSTALL_LABEL;
use crate::gateway::tls;

/// Answers come within milliseconds; on a very busy machine within seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Podman's socket, for questions.
#[derive(Debug, Clone)]
pub(super) struct Asker(reqwest::Client);

/// What Podman says of itself and its machine.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    host: Host,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    security: Security,
    #[serde(default)]
    cgroup_version: String,
    #[serde(default)]
    cgroup_controllers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Security {
    rootless: bool,
}

impl Info {
    /// Whether it works without the rights of root.
    pub(super) fn is_rootless(&self) -> bool {
        self.host.security.rootless
    }

    /// Whether containers can be limited by this controller of cgroup v2; `None` with cgroup v1. What its Docker-compatible
    /// answer says of that is wrong: Podman 5.4 looks for files that the hierarchy's root does not have, and so denies the limit on
    /// processor time and on swap everywhere.
    pub(super) fn has_controller(&self, controller: &str) -> Option<bool> {
        let all = self.host.cgroup_controllers.iter().flatten();
        (self.host.cgroup_version == "v2").then(|| all.into_iter().any(|one| one == controller))
    }
}

/// A container as Podman lists it. Its states are more than Docker's: `stopped` is between `running` and `exited`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    state: String,
}

impl Asker {
    pub(super) fn new(socket: &Path) -> Result<Self, RuntimeError> {
        tls::install_provider();
        let client = reqwest::Client::builder().unix_socket(socket).timeout(ANSWER_WITHIN).build();
        Ok(Self(client.map_err(|error| failed("reach Podman", &error))?))
    }

    /// What it is.
    pub(super) async fn info(&self) -> Result<Info, RuntimeError> {
        self.ask("ask what Podman is", "v4.0.0/libpod/info", &[]).await
    }

    /// A container as Podman's own API describes it, which tells capabilities.
    pub(super) async fn inspect(&self, id: &ContainerId) -> Result<serde_json::Value, RuntimeError> {
        const ACTION: &str = "look at the container";
        let url = format!("http://podman/v4.0.0/libpod/containers/{id}/json");
        let answer = self.0.get(url).send().await.map_err(|error| failed(ACTION, &error))?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(RuntimeError::Gone { id: id.clone() });
        }
        let answer = answer.error_for_status().map_err(|error| failed(ACTION, &error))?;
        let answer = answer.bytes().await.map_err(|error| failed(ACTION, &error))?;
        serde_json::from_slice(&answer).map_err(|error| RuntimeError::Other {
            action: ACTION,
            reason: format!("Podman's answer cannot be read: {error}"),
        })
    }

    /// All containers of an installation.
    pub(super) async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let ours = HashMap::from([("label", [format!("{INSTALL_LABEL}={install}")])]);
        let filters = serde_json::to_string(&ours).expect("a map of texts is JSON");
        let query = [("all", "true"), ("filters", filters.as_str())];
        let all = self.ask::<Vec<Listed>>("list the containers", "containers/json", &query).await?;
        Ok(all.into_iter().map(Listed::in_dockers_words).collect())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        action: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RuntimeError> {
        let url = reqwest::Url::parse_with_params(&format!("http://podman/{path}"), query)
            .map_err(|error| RuntimeError::Other { action, reason: error.to_string() })?;
        let answer = self.0.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|error| failed(action, &error))?.bytes().await;
        let answer = answer.map_err(|error| failed(action, &error))?;
        serde_json::from_slice(&answer)
            .map_err(|error| RuntimeError::Other { action, reason: format!("Podman's answer cannot be read: {error}") })
    }
}

impl Listed {
    fn in_dockers_words(self) -> ContainerSummary {
        let state = match self.state.as_str() {
            "running" => ContainerSummaryStateEnum::RUNNING,
            "paused" => ContainerSummaryStateEnum::PAUSED,
            "restarting" => ContainerSummaryStateEnum::RESTARTING,
            "created" | "configured" | "initialized" => ContainerSummaryStateEnum::CREATED,
            _ => ContainerSummaryStateEnum::EXITED,
        };
        ContainerSummary {
            id: Some(self.id),
            labels: Some(self.labels.unwrap_or_default().into_iter().collect()),
            state: Some(state),
            ..ContainerSummary::default()
        }
    }
}

fn failed(action: &'static str, error: &reqwest::Error) -> RuntimeError {
    match () {
        () if error.is_timeout() => RuntimeError::TimedOut { action },
        () if error.is_connect() => RuntimeError::Unavailable {
            runtime: nanoclaw_core::runtime::RuntimeKind::Podman,
            reason: format!("failed to {action}: {}", with_causes(error)),
            remedy: super::dialect::Dialect::Podman.remedy(false).to_owned(),
        },
        () => RuntimeError::Other { action, reason: with_causes(error) },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// As Podman told it, without what is not read.
    fn info(version: &str, controllers: &str, rootless: bool) -> Info {
        let text = format!(
            r#"{{"host":{{"arch":"amd64","cgroupControllers":{controllers},"cgroupManager":"systemd","cgroupVersion":"{version}",
               "security":{{"rootless":{rootless},"seccompEnabled":true,"selinuxEnabled":false}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn which_limits_can_be_set_with_cgroup_v2_is_told_by_the_controllers() {
        // Podman 5.4.2 on Debian 13, rootful and rootless.
        let rootful = r#"["cpuset","cpu","io","memory","hugetlb","pids","rdma","misc"]"#;
        for (controllers, rootless) in [(rootful, false), (r#"["cpu","memory","pids"]"#, true)] {
            let info = info("v2", controllers, rootless);
            assert_eq!(info.is_rootless(), rootless);
            for controller in ["cpu", "memory", "pids"] {
                assert_eq!(info.has_controller(controller), Some(true), "{controller}");
            }
        }
        let without_cpu = info("v2", r#"["memory","pids"]"#, true);
        assert_eq!(without_cpu.has_controller("cpu"), Some(false), "not delegated");
        assert_eq!(without_cpu.has_controller("cpuset"), Some(false), "the whole name counts");
        // Podman 4.3.1 on a machine with cgroup v1.
        assert_eq!(info("v1", "[]", true).has_controller("cpu"), None);
        assert_eq!(info("v1", "null", false).has_controller("memory"), None);
    }
}
