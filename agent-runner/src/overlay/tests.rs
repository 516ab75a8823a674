use std::fs;

use nanoclaw_core::protocol::agent::{AgentSettings, ToolRules};

use super::*;

fn overlay(files: &[(&str, &str)]) -> (tempfile::TempDir, Overlay) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let overlay = Overlay::read(folder.path());
    (folder, overlay)
}

fn given() -> (String, AgentSettings) {
    let settings = AgentSettings {
        model: Some("operators".to_owned()),
        prompt: Some("First.".to_owned()),
        tools: ToolRules {
            allow: Some(vec!["Read".to_owned(), "mcp__*".to_owned()]),
            deny: vec!["mcp__x__*".to_owned()],
        },
        ..AgentSettings::default()
    };
    ("offline".to_owned(), settings)
}

/// A container with a gateway and an upstream.
fn variable(name: &str) -> Option<OsString> {
    match name {
        "NANOCLAW_GATEWAY_SOCKET" | "NANOCLAW_UPSTREAM_LOCAL" => Some("/there".into()),
        _ => None,
    }
}

#[test]
fn without_an_overlay_everything_is_as_the_operator_has_it() {
    for files in [&[][..], &[("agent.toml", "")]] {
        let (_folder, mut overlay) = overlay(files);
        assert_eq!(overlay.on(given(), variable), given());
        assert_eq!(overlay.troubles(), Vec::<String>::new());
    }
    assert_eq!(Overlay::read(Path::new("/nowhere")).troubles(), Vec::<String>::new());
}

#[test]
fn a_group_shapes_its_agent_and_cannot_give_it_more_tools() {
    let (_folder, mut overlay) = overlay(&[(
        "agent.toml",
        r#"
            provider = "native"
            model = "own"
            prompt = "Second."
            [tools]
            allow = ["Read", "Bash", "mcp__y__*", "mcp__x__a"]
            deny = ["mcp__y__no"]
            [mcp_servers.y]
            command = "y-mcp"
        "#,
    )]);
    let (provider, settings) = overlay.on(given(), variable);
    assert_eq!(provider, "native");
    assert_eq!(settings.model.as_deref(), Some("own"));
    assert_eq!(settings.prompt.as_deref(), Some("First.\n\nSecond."));
    assert_eq!(settings.mcp_servers["y"].command, "y-mcp");
    let permitted = ["Read", "Bash", "mcp__y__a", "mcp__y__no", "mcp__x__a"].map(|name| settings.tools.permit(name));
    assert_eq!(permitted, [true, false, true, false, false]);
    assert_eq!(overlay.troubles(), Vec::<String>::new());
}

#[test]
fn a_mistake_costs_the_file_and_neither_the_tools_nor_the_agent() {
    let (folder, mut overlay) = overlay(&[("agent.toml", "model = \"own\"\nprompt = oops\n")]);
    assert_eq!(overlay.on(given(), variable), given());
    let [trouble] = overlay.troubles() else { panic!("{:?}", overlay.troubles()) };
    assert!(trouble.contains("nothing of it is in force") && trouble.contains("line 2, column 10"), "{trouble}");
    fs::create_dir(folder.path().join("tools")).unwrap();
    let tool = folder.path().join("tools/hello");
    fs::write(&tool, "#!/bin/sh\n# Says hello.\necho hello\n").unwrap();
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut overlay = Overlay::read(folder.path());
    assert_eq!(overlay.on(given(), variable).1.mcp_servers[SERVER].args, ["overlay-tools"]);
}

#[test]
fn a_name_that_the_operator_has_given_stays_the_operators() {
    let (_folder, mut overlay) = overlay(&[(
        "agent.toml",
        "[mcp_servers.notes]\ncommand = \"own\"\n[mcp_servers.overlay]\ncommand = \"own\"\n",
    )]);
    let server = McpServer {
        command: "operators".to_owned(),
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        timeout_seconds: None,
    };
    let given = AgentSettings { mcp_servers: [("notes".to_owned(), server)].into(), ..AgentSettings::default() };
    let (_, settings) = overlay.on(("native".to_owned(), given), variable);
    assert_eq!(settings.mcp_servers.len(), 1);
    assert_eq!(settings.mcp_servers["notes"].command, "operators");
    assert_eq!(overlay.troubles().len(), 2, "{:?}", overlay.troubles());
}

#[test]
fn what_this_container_cannot_do_is_left_out_and_the_rest_is_in_force() {
    let elsewhere = "effort = \"low\"\nmodel = \"m\"\nprovider = \"gemini\"\n\
        [api]\nkind = \"openai\"\nupstream = \"elsewhere\"\n";
    let (_folder, mut overlay) = self::overlay(&[("agent.toml", elsewhere)]);
    let (provider, settings) = overlay.on(given(), variable);
    let (given_provider, given) = given();
    assert_eq!((provider, &settings.api, &settings.model), (given_provider, &given.api, &given.model));
    assert_eq!(settings.effort, Some(nanoclaw_core::protocol::agent::Effort::Low));
    assert_eq!(overlay.troubles().len(), 2, "{:?}", overlay.troubles());
    let local = "model = \"m\"\n[api]\nkind = \"openai\"\nupstream = \"local\"\n";
    let (_folder, mut overlay) = self::overlay(&[("agent.toml", local)]);
    assert_eq!(overlay.on(self::given(), variable).1.model.as_deref(), Some("m"));
    assert_eq!(overlay.troubles(), Vec::<String>::new());
}

#[test]
fn sources_of_a_v1_agent_are_said_not_to_run() {
    let (_folder, overlay) = overlay(&[("index.ts", "import x")]);
    assert!(overlay.troubles()[0].contains("index.ts"), "{:?}", overlay.troubles());
    // Whoever has written agent.toml knows.
    let (_folder, overlay) = self::overlay(&[("index.ts", "import x"), ("agent.toml", "")]);
    assert_eq!(overlay.troubles(), Vec::<String>::new());
}
