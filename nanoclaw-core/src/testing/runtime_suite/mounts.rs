//! Promises about files that host and container share.

use std::{fs, os::unix::fs::MetadataExt};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::{
    Promise, SocketClient, SuiteContext,
    context::{SOON, wait_for_text},
    expect_that, promise,
};
use crate::runtime::{Access, Exit, GuestValue, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(f36_a_writable_mount_is_the_hosts_folder, Nothing, "Files go both ways at once and belong to the user."),
    promise!(a_read_only_mount_cannot_be_changed, Isolation, "Reading works, writing, making, deleting do not."),
    promise!(a_mounted_program_can_be_the_command, Nothing, "A single file can be mounted and executed."),
    promise!(a_mount_can_lie_in_another, OwnMounts, "Mounts nest in the order of the spec, each with its own access."),
    promise!(f35_odd_paths_are_only_paths, Nothing, "Signs in a path mean nothing, or it is refused as it is."),
    promise!(a_missing_source_is_refused_and_not_made, Nothing, "No folder appears on the host by mistake."),
    promise!(a_socket_in_a_mounted_folder_can_be_renewed, SocketClient, "A new listener in the folder is reached."),
];

async fn f36_a_writable_mount_is_the_hosts_folder(context: &SuiteContext) -> Result<(), String> {
    let folder = context.folder("rw")?;
    context.file(&folder.join("from-host"), "host\n", 0o644)?;
    let script = "cat $RW/from-host; echo guest > $RW/.tmp && mv $RW/.tmp $RW/from-guest; mkdir $RW/made; \
                  echo ready; read line; cat $RW/late";
    let mut spec = context.spec(script);
    context.mount(&mut spec, "RW", &folder, "/workspace/group", Access::ReadWrite);
    let mut container = context.start(&spec).await?;
    let seen = wait_for_text(&mut container, "ready").await?;
    expect_that!(seen.starts_with("host\n"), "the host's file was not seen: {seen:?}");
    let written = fs::metadata(folder.join("from-guest")).map_err(|error| format!("the guest's file: {error}"))?;
    let made = fs::metadata(folder.join("made")).map_err(|error| format!("the guest's folder: {error}"))?;
    for metadata in [written, made] {
        let owner = (metadata.uid(), metadata.gid());
        let wanted = (context.user.uid, context.user.gid);
        expect_that!(owner == wanted, "what it wrote belongs to {owner:?} on the host, not to {wanted:?}");
    }
    context.file(&folder.join("late"), "written while it ran\n", 0o644)?;
    container.stdin.send(b"go\n", SOON).await.map_err(|error| format!("sending failed: {error}"))?;
    wait_for_text(&mut container, "written while it ran").await?;
    Ok(())
}

async fn a_read_only_mount_cannot_be_changed(context: &SuiteContext) -> Result<(), String> {
    let folder = context.folder("ro")?;
    context.file(&folder.join("file"), "old\n", 0o666)?;
    let script = "cat $RO/file; (echo new > $RO/file) 2>/dev/null; (echo new > $RO/more) 2>/dev/null; \
                  rm -f $RO/file 2>/dev/null; chmod 600 $RO/file 2>/dev/null; mkdir $RO/dir 2>/dev/null; cat $RO/file";
    let mut spec = context.spec(script);
    context.mount(&mut spec, "RO", &folder, "/workspace/global", Access::ReadOnly);
    let ended = context.run_spec(&spec, b"").await?;
    expect_that!(ended.text() == "old\nold\n", "wanted the old text twice, got {}", ended.told());
    let names: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    expect_that!(names == ["file"], "the folder now has {names:?}");
    // Where the host's folder itself is what the guest sees, its owner can still change modes.
    let mode = fs::metadata(folder.join("file")).map_err(|error| error.to_string())?.mode() & 0o777;
    expect_that!(mode == 0o666 || !context.capabilities.own_mounts, "the file's mode was changed to {mode:o}");
    Ok(())
}

async fn a_mounted_program_can_be_the_command(context: &SuiteContext) -> Result<(), String> {
    let program = context.folder("bin")?.join("program");
    context.file(&program, &format!("#!{}\necho \"ran with $1\"\n", context.shell), 0o755)?;
    let mut spec = context.spec("");
    context.mount(&mut spec, "PROGRAM", &program, "/nanoclaw/bin/program", Access::ReadOnly);
    spec.command = vec![GuestValue::Path("/nanoclaw/bin/program".to_owned()), "this".into()];
    let ended = context.run_spec(&spec, b"").await?;
    expect_that!(ended.text() == "ran with this\n", "{}", ended.told());
    Ok(())
}

async fn a_mount_can_lie_in_another(context: &SuiteContext) -> Result<(), String> {
    let (outer, inner) = (context.folder("outer")?, context.folder("inner")?);
    context.file(&outer.join("secret"), "secret\n", 0o644)?;
    let inside = outer.join("inner");
    fs::create_dir(&inside).map_err(|error| format!("{}: {error}", inside.display()))?;
    let script = "cat $OUTER/secret; (echo x > $OUTER/file) 2>/dev/null || echo outer is read-only; \
                  echo y > $INNER/file && echo inner is writable";
    let mut spec = context.spec(script);
    context.mount(&mut spec, "OUTER", &outer, "/workspace/project", Access::ReadOnly);
    context.mount(
        &mut spec,
        "SHADOW",
        std::path::Path::new("/dev/null"),
        "/workspace/project/secret",
        Access::ReadOnly,
    );
    context.mount(&mut spec, "INNER", &inner, "/workspace/project/inner", Access::ReadWrite);
    let ended = context.run_spec(&spec, b"").await?;
    let wanted = "outer is read-only\ninner is writable\n";
    expect_that!(ended.text() == wanted, "wanted {wanted:?}, got {}", ended.told());
    expect_that!(inner.join("file").exists(), "the inner file did not arrive on the host");
    Ok(())
}

async fn f35_odd_paths_are_only_paths(context: &SuiteContext) -> Result<(), String> {
    // What separates words, options and lists somewhere; last what not every engine can be told.
    for (name, must_be_taken) in
        [("a:b=c d ü:ro", true), ("'e' $(g) \\;&|", true), ("a,ro=true,b", false), ("\"f\"", false)]
    {
        let folder = context.folder(name)?;
        let mut spec = context.spec("echo written > \"$ODD/file\"");
        context.mount(&mut spec, "ODD", &folder, "/workspace/extra/odd name", Access::ReadWrite);
        let ended = match context.run_or_refusal(&spec).await? {
            Ok(ended) => ended,
            Err(RuntimeError::BadMount { path, .. }) if !must_be_taken && path == folder => continue,
            Err(error) => return Err(format!("{name:?} was refused: {error:?}")),
        };
        let text = fs::read_to_string(folder.join("file")).unwrap_or_default();
        expect_that!(text == "written\n", "the file did not arrive in {name:?}: {}", ended.told());
    }
    Ok(())
}

async fn a_missing_source_is_refused_and_not_made(context: &SuiteContext) -> Result<(), String> {
    let missing = context.folder("there")?.join("not-there");
    let mut spec = context.spec("true");
    context.mount(&mut spec, "MISSING", &missing, "/workspace/extra/x", Access::ReadWrite);
    let error = context.refusal(&spec).await?;
    let typed = matches!(&error, RuntimeError::BadMount { path, .. } if *path == missing);
    expect_that!(typed, "wanted a bad mount at {missing:?}, got {error:?}");
    expect_that!(!missing.exists(), "the missing source was made on the host");
    context.gone(&spec).await
}

async fn a_socket_in_a_mounted_folder_can_be_renewed(context: &SuiteContext) -> Result<(), String> {
    let Some(client) = &context.socket_client else { return Err("no program to connect with".to_owned()) };
    let folder = context.folder("gateway")?;
    let socket = folder.join("gateway.sock");
    let SocketClient { program, arguments } = client;
    let script =
        format!("while read line; do echo \"$line\" | \"$CLIENT\" {arguments} \"$GATEWAY/gateway.sock\"; done");
    let mut spec = context.spec(&script);
    context.mount(&mut spec, "GATEWAY", &folder, "/run/nanoclaw", Access::ReadOnly);
    context.mount(&mut spec, "CLIENT", program, "/nanoclaw/bin/client", Access::ReadOnly);
    let mut container = None;
    for word in ["first", "second"] {
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .map_err(|error| error.to_string())?;
        let serve = async {
            let (mut connection, _) = listener.accept().await?;
            let mut asked = String::new();
            connection.read_to_string(&mut asked).await?;
            connection.write_all(format!("answer to {asked}").as_bytes()).await
        };
        let container = match &mut container {
            Some(running) => running,
            none => none.insert(context.start(&spec).await?),
        };
        container
            .stdin
            .send(format!("{word}\n").as_bytes(), SOON)
            .await
            .map_err(|error| format!("sending failed: {error}"))?;
        let wanted = format!("answer to {word}");
        let (served, answered) = tokio::join!(tokio::time::timeout(SOON, serve), wait_for_text(container, &wanted));
        answered?;
        served.map_err(|_| "nobody connected")?.map_err(|error| format!("the listener failed: {error}"))?;
    }
    let container = container.ok_or("nothing was started")?;
    container.stdin.close().await;
    let exit = container.exit.await;
    expect_that!(exit == Exit::Code(0), "wanted code 0, got {exit}");
    Ok(())
}
