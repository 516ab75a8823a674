//! The configuration and the environment of the service under attack: everything at its default but what the test is about.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use nanoclaw_core::{
    protocol::{
        environment::guest,
        hostile::{Reach, canary},
    },
    runtime::Limits,
};

use super::{
    ATTACKS, Settings, TUNNEL, Weakness,
    internet::{ALLOWED_HOST, CHANGING_HOST, REQUESTS_A_MINUTE},
    place::{CREDENTIAL, DESK, TMP_BYTES, VAULT, VICTIMS, attacker},
    witness::Witness,
};
use crate::random::random;

/// The configuration of the service under attack: everything at its default but what the test is about.
pub(super) fn configuration(settings: &Settings, witness: &Witness, limits: &Limits) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    // What the runtime says that it cannot bound is refused until its operator does without.
    let unbounded: String = [
        ("memory", limits.memory_bytes.is_none()),
        ("pids", limits.pids.is_none()),
        ("cpus", limits.milli_cpus.is_none()),
    ]
    .into_iter()
    .filter(|(_, unbounded)| *unbounded)
    .map(|(name, _)| format!("{name} = \"none\"\n"))
    .collect();
    let mut text = format!(
        "[agent]\nprovider = \"offline\"\n{}\n[container]\nruntime = \"{}\"\ntmp = \"{}MiB\"\n{}{unbounded}\n[limits]\n\
         max_concurrent_containers = 5\n\n[model]\nbase_url = \"{}\"\n\n[groups.bob]\nidle_timeout = \"1s\"\n",
        settings.runner.as_deref().map(|runner| format!("runner = {}\n", quoted(runner))).unwrap_or_default(),
        settings.runtime.kind(),
        TMP_BYTES >> 20,
        settings.image.as_ref().map(|image| format!("image = \"{image}\"\n")).unwrap_or_default(),
        format_args!("http://{}", witness.model_api.address()),
    );
    // Their addresses are this machine's, which the operator has to except.
    let [desk, vault] =
        [&witness.desk, &witness.vault].map(|upstream| format!("localhost:{}", upstream.address().port()));
    text.push_str(&format!(
        "\n[gateway]\nprivate = [\"{desk}\", \"{vault}\"]\nmax_requests_per_minute = {REQUESTS_A_MINUTE}\n"
    ));
    for (name, address, group) in [(DESK, desk, attacker(TUNNEL)), (VAULT, vault, VICTIMS[0].0.to_owned())] {
        text.push_str(&format!(
            "\n[[gateway.upstreams]]\nname = \"{name}\"\nbase_url = \"http://{address}/base\"\ninject = \"bearer\"\n\
             secret = \"{}\"\npaths = [\"/desk\"]\ngroups = [\"{group}\"]\n",
            secret_of(name)
        ));
    }
    for attack in ATTACKS {
        text.push_str(&format!(
            "\n[groups.{}]\ncommand = [\"{}\", \"hostile\"]\nidle_timeout = \"1s\"\n",
            attacker(attack),
            guest::RUNNER
        ));
        if attack == TUNNEL {
            let hosts = [
                (ALLOWED_HOST, 443),
                (ALLOWED_HOST, 80),
                (ALLOWED_HOST, Reach::PLAIN_PORT),
                (CHANGING_HOST, 443),
                (CHANGING_HOST, 80),
            ]
            .map(|(host, port)| format!("\"{host}:{port}\""));
            text.push_str(&format!("allow = [{}]\n", hosts.join(", ")));
        }
        if let Some(bytes) = limits.memory_bytes {
            text.push_str(&format!("memory = \"{}MiB\"\n", bytes >> 20));
        }
        if let Some(pids) = limits.pids {
            text.push_str(&format!("pids = {pids}\n"));
        }
        if let Some(milli) = limits.milli_cpus {
            text.push_str(&format!("cpus = {}\n", f64::from(milli) / 1000.0));
        }
    }
    text
}

/// The environment of the service under attack, with what is planted there.
pub(super) fn environment(settings: &Settings, user: &Path) -> anyhow::Result<BTreeMap<String, OsString>> {
    let mut environment: BTreeMap<String, OsString> = [
        ("HOME", user.into()),
        ("XDG_CONFIG_HOME", user.join(".config").into()),
        ("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())),
        ("TZ", "UTC".into()),
        // In use: the environment wins over the file.
        ("ANTHROPIC_API_KEY", canary(CREDENTIAL, random()?).into()),
        ("SELFTEST_OTHER_SECRET", canary("otherenvironment", random()?).into()),
    ]
    .map(|(name, value): (&str, OsString)| (name.to_owned(), value))
    .into();
    for upstream in [DESK, VAULT] {
        environment.insert(secret_of(upstream), canary(upstream, random()?).into());
    }
    environment.extend(settings.environment.clone());
    for weakness in &settings.weaknesses {
        if let Weakness::NoWall(name) = weakness {
            environment.insert("NANOCLAW_WITHOUT_WALL".to_owned(), name.into());
        }
    }
    Ok(environment)
}

/// The name of a further upstream's secret.
fn secret_of(upstream: &str) -> String {
    format!("SELFTEST_{}_SECRET", upstream.to_uppercase())
}
