# What .ci/run needs of the machine: packages, a Docker daemon, Claude Code, cargo-deny. Sourced by it. Podman needs no
# daemon: each test starts a service of its own, with its own configuration and storage.

describe_machine() {
    uname --kernel-release --machine
    (source /etc/os-release && echo "$PRETTY_NAME, $(nproc) processors")
    rustc --version
    cargo --version
    git log -1 --format='%h %s'
}

# Services of packages must not start by themselves: what this script did not start, it could not stop.
install_packages() {
    local policy=/usr/sbin/policy-rc.d
    local kept_out=
    if [[ ! -e $policy ]]; then
        kept_out=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local status=0
    apt_get update && apt_get install bubblewrap busybox-static catatonit docker.io iproute2 podman python3 runc systemd uidmap util-linux ||
        status=$?
    [[ -z $kept_out ]] || rm "$policy"
    return "$status"
}

apt_get() {
    local log=$work/apt.log
    apt-get --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 && return
    cat "$log"
    return 1
}

docker_answers() {
    local version
    version=$(timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null) && echo "Docker $version answers."
}

# Takes the daemon that answers, or starts one. It needs no network of its own: no container gets one.
start_docker() {
    docker_answers && return
    local log=$work/dockerd.log
    dockerd --bridge=none --iptables=false --ip6tables=false --pidfile="$work/dockerd.pid" >"$log" 2>&1 &
    dockerd_pid=$!
    local tries
    for tries in {1..120}; do
        docker_answers && return
        kill -0 "$dockerd_pid" 2>/dev/null || break
        sleep 0.5
    done
    echo "dockerd does not answer. The end of its log:"
    tail -n 30 "$log"
    return 1
}

stop_docker() {
    [[ -n $dockerd_pid ]] || return 0
    kill "$dockerd_pid" 2>/dev/null
    timeout 30 tail --pid="$dockerd_pid" --follow /dev/null || kill -KILL "$dockerd_pid"
    wait "$dockerd_pid"
    dockerd_pid=
}

# The Linux program alone is used; the wrapper's scripts would only put it elsewhere.
install_claude() {
    local arch
    case $(uname --machine) in
        x86_64) arch=x64 ;;
        aarch64) arch=arm64 ;;
        *) echo "there is no Claude Code for $(uname --machine)" && return 1 ;;
    esac
    npm install --prefix "$work/npm" --ignore-scripts --no-save --no-audit --no-fund \
        "@anthropic-ai/claude-code@$CLAUDE_VERSION"
    export NANOCLAW_TEST_CLAUDE=$work/npm/node_modules/@anthropic-ai/claude-code-linux-$arch/claude
    "$NANOCLAW_TEST_CLAUDE" --version
}

# Unoptimised, which builds in a third of the time and checks in a second all the same.
install_cargo_deny() {
    if cargo deny --version 2>/dev/null; then
        return
    fi
    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --quiet --version "$CARGO_DENY_VERSION" --locked --debug \
        --root "$work/cargo" --target-dir "$work/cargo-target"
    rm -rf "$work/cargo-target"
}
