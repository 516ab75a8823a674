//! Promises about what a container cannot see, reach or do.

use std::fs;

use super::{Promise, SuiteContext, expect_that, promise};
use crate::runtime::{Exit, RunAs, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(there_is_only_loopback_and_no_route, OwnNetwork, "Loopback is up; there is nothing else and no way out."),
    promise!(there_are_no_privileges, OwnMounts, "No capability, no new privileges, a filter on system calls."),
    promise!(
        what_takes_a_privilege_is_refused,
        OwnMounts,
        "Mounts, namespaces, devices, another root: tried, and refused."
    ),
    promise!(
        no_user_namespace_can_be_made,
        OwnMounts,
        "In one, everybody has every capability, and more of the kernel to attack."
    ),
    promise!(the_root_is_read_only, OwnMounts, "Only mounts and /tmp can be written to."),
    promise!(tmp_is_writable_private_and_bounded, OwnMounts, "/tmp is each container's own, of the size asked for."),
    promise!(other_processes_are_not_seen, OwnMounts, "A container sees its own processes only."),
    promise!(there_are_no_disks, OwnMounts, "/dev has the harmless devices only, and they work."),
    promise!(root_is_refused, Nothing, "A spec that asks for root is not started."),
];

async fn there_is_only_loopback_and_no_route(context: &SuiteContext) -> Result<(), String> {
    let script = "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '; echo --; tail -n +2 /proc/net/route; \
                  echo --; readlink /proc/self/ns/net; grep -q 127.0.0.1 /proc/net/fib_trie && echo loopback is up";
    let ended = context.run(script, b"").await?;
    let text = ended.text();
    let mut parts = text.split("--\n");
    let interfaces = parts.next().unwrap_or_default();
    // The kernel offers these in every network namespace when the modules are loaded; they are down and lead nowhere.
    let fallback = ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"];
    let odd: Vec<&str> = interfaces.lines().filter(|name| *name != "lo" && !fallback.contains(name)).collect();
    expect_that!(interfaces.contains("lo") && odd.is_empty(), "interfaces: {interfaces:?}");
    let routes = parts.next().unwrap_or("none were told");
    expect_that!(routes.is_empty(), "routes: {routes:?}");
    let rest = parts.next().unwrap_or_default();
    let ours = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?;
    let own = rest.starts_with("net:[") && !rest.starts_with(&*ours.to_string_lossy());
    expect_that!(own, "its network namespace is the host's: {}", ended.told());
    expect_that!(rest.contains("loopback is up"), "loopback is down: {}", ended.told());
    Ok(())
}

async fn there_are_no_privileges(context: &SuiteContext) -> Result<(), String> {
    let ended = context.run("cat /proc/self/status", b"").await?;
    let text = ended.text();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| format!("{name} is not told: {}", ended.told()))
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let value = field(set)?;
        expect_that!(value.bytes().all(|digit| digit == b'0'), "{set} is {value}");
    }
    expect_that!(field("NoNewPrivs")? == "1", "new privileges can be had");
    expect_that!(field("Seccomp")? == "2", "system calls are not filtered: Seccomp is {}", field("Seccomp")?);
    for (name, id) in [("Uid", context.user.uid), ("Gid", context.user.gid)] {
        let all = field(name)?;
        let right = all.split_whitespace().all(|one| one == id.to_string());
        expect_that!(right, "{name} is {all}, wanted {id} throughout");
    }
    let groups = field("Groups")?;
    expect_that!(groups.split_whitespace().all(|group| group != "0"), "it is in root's group: {groups}");
    Ok(())
}

async fn what_takes_a_privilege_is_refused(context: &SuiteContext) -> Result<(), String> {
    // Each runs something that is there, as its trial by a word that takes nothing shows, and must not succeed.
    let script = "try() { \"$@\" >/dev/null 2>&1 && echo \"$*\"; }
        there() { command -v $1 >/dev/null || echo there is no $1; }
        for one in mount unshare chroot mknod chown; do there $one; done
        try mount -t tmpfs none /tmp
        try mount -o remount,rw /
        try unshare -m true
        try unshare -n true
        try chroot / true
        try mknod /tmp/device b 8 0
        echo x > /tmp/file; try chown 0:0 /tmp/file
        echo tried";
    let ended = context.run(script, b"").await?;
    expect_that!(ended.text() == "tried\n", "wanted that nothing of it works, got {}", ended.told());
    Ok(())
}

async fn no_user_namespace_can_be_made(context: &SuiteContext) -> Result<(), String> {
    let script = "command -v unshare >/dev/null && echo there; unshare -U echo made 2>&1";
    let ended = context.run(script, b"").await?;
    let text = ended.text();
    let right = text.starts_with("there\n") && !text.contains("made\n") && ended.exit != Exit::Code(0);
    expect_that!(right, "{}", ended.told());
    Ok(())
}

async fn the_root_is_read_only(context: &SuiteContext) -> Result<(), String> {
    let script = "for path in / /etc /usr /bin /dev /proc /sys /home /root /workspace /nanoclaw; do \
                  (echo x > $path/suite-wrote-this) 2>/dev/null && echo $path; done; echo --; \
                  while read a b c root point options rest; do [ $point = / ] && echo $options; done < /proc/self/mountinfo";
    let ended = context.run(script, b"").await?;
    let text = ended.text();
    let (written, options) = text.split_once("--\n").unwrap_or((&text, ""));
    expect_that!(written.is_empty(), "could be written to: {written:?}");
    let options = options.lines().last().unwrap_or_default();
    expect_that!(options.split(',').any(|one| one == "ro"), "the root is mounted {options:?}");
    Ok(())
}

async fn tmp_is_writable_private_and_bounded(context: &SuiteContext) -> Result<(), String> {
    let mark = format!("nanoclaw-suite-{}", context.install);
    let script = format!(
        "ls -A /tmp; echo x > /tmp/{mark} && cat /tmp/{mark}; \
         dd if=/dev/zero of=/tmp/big bs=1048576 count=64 2>/dev/null || echo full; rm /tmp/big; \
         echo x > /tmp/again && echo again"
    );
    for round in 1..=2 {
        let mut spec = context.spec(&script);
        spec.tmp_bytes = 8 << 20;
        let ended = context.run_spec(&spec, b"").await?;
        expect_that!(ended.text() == "x\nfull\nagain\n", "round {round}: {}", ended.told());
        expect_that!(!std::env::temp_dir().join(&mark).exists(), "what it wrote to /tmp is in the host's");
    }
    Ok(())
}

async fn other_processes_are_not_seen(context: &SuiteContext) -> Result<(), String> {
    let ended = context.run("for one in /proc/[0-9]*; do echo ${one#/proc/}; done", b"").await?;
    let text = ended.text();
    let seen: Vec<&str> = text.lines().collect();
    expect_that!(!seen.is_empty() && seen.len() <= 5, "it sees {} processes: {seen:?}", seen.len());
    Ok(())
}

async fn there_are_no_disks(context: &SuiteContext) -> Result<(), String> {
    let script = "ls -lR /dev 2>/dev/null | grep '^b'; for one in mem kmem port kvm fuse loop-control; do \
                  [ -e /dev/$one ] && echo $one; done; \
                  echo x > /dev/null && [ $(head -c 4 /dev/zero | wc -c) = 4 ] && [ $(head -c 4 /dev/urandom | wc -c) = 4 ] \
                  && echo good";
    let ended = context.run(script, b"").await?;
    expect_that!(ended.text() == "good\n", "{}", ended.told());
    Ok(())
}

async fn root_is_refused(context: &SuiteContext) -> Result<(), String> {
    let mut spec = context.spec("id");
    spec.user = RunAs { uid: 0, gid: 0 };
    let error = context.refusal(&spec).await?;
    expect_that!(matches!(error, RuntimeError::NotEnforced { .. }), "wanted a refusal, got {error:?}");
    context.gone(&spec).await
}
