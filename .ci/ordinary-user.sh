# What .ci/run does as a user who is not root: the sandbox promises as much to an ordinary user. Sourced by it.

# Runs the tests that are already built. Docker is not for this user, whom nobody put into its group; Podman is, rootless. The
# simulation is left out: its world is made up, and has no users.
test_as_ordinary_user() {
    cargo test --workspace --locked --no-run --message-format=json 2>"$work/build.log" >"$work/build.json" || {
        cat "$work/build.log"
        return 1
    }
    python3 - "$work/build.json" >"$work/tests" <<'PYTHON'
import json, os, sys

for line in open(sys.argv[1]):
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        if message["target"]["name"] != "simulation":
            print(os.path.dirname(message["manifest_path"]), message["executable"], sep="\t")
PYTHON
    local folder program failed=()
    while IFS=$'\t' read -r folder program; do
        printf '\n%s\n' "${program#"$PWD/"}"
        as_ordinary_user bash -c 'cd "$1" && exec "$2"' bash "$folder" "$program" || failed+=("$program")
    done <"$work/tests"
    ((${#failed[@]} == 0)) && return
    printf 'failed as an ordinary user: %s\n' "${failed[@]}"
    return 1
}

chat_as_ordinary_user() {
    cargo build --release --locked
    local replies
    replies=$(as_ordinary_user ./target/release/nanoclaw chat -m "@Andy what is on my list?")
    printf '%s\n' "$replies"
    [[ $replies == *"heard @Andy what is on my list?"* ]]
}

# Runs a command as the ordinary user, with a bare environment, in a view of the machine of its own: there this user can
# reach the repository and the toolchain, at the same paths, even if both lie in the folder of root.
as_ordinary_user() {
    if ! id "$ORDINARY_USER" >/dev/null 2>&1; then
        useradd --create-home --shell /bin/sh "$ORDINARY_USER"
        # The users of a rootless container; useradd gives them where the system is set up so.
        grep --quiet "^$ORDINARY_USER:" /etc/subuid ||
            usermod --add-subuids "$SUBORDINATE_IDS" --add-subgids "$SUBORDINATE_IDS" "$ORDINARY_USER"
    fi
    if [[ ! -d $work/view ]]; then
        mkdir --parents "$work/view/target" "$work/toolchain"
        git ls-files -z | xargs --null cp --parents --preserve=timestamps --target-directory "$work/view"
        chmod --recursive a+rX "$work/view"
    fi
    unshare --mount --propagation private bash -euc '
        repository=$1 work=$2 toolchain=$3 user=$4
        shift 4
        mount --bind "$toolchain" "$work/toolchain"
        mount --bind "$repository/target" "$work/view/target"
        folder=
        IFS=/ read -ra parts <<<"${repository#/}"
        for part in "${parts[@]:0:${#parts[@]}-1}"; do
            folder+=/$part
            if ! setpriv --reuid "$user" --regid "$user" --init-groups test -x "$folder"; then
                mount -t tmpfs -o mode=755 none "$folder"
                mkdir --parents "$repository"
                break
            fi
        done
        mount --rbind "$work/view" "$repository"
        cd "$repository"
        exec setpriv --reuid "$user" --regid "$user" --init-groups --reset-env \
            env CI=true RUST_TEST_THREADS="$RUST_TEST_THREADS" RUSTC="$work/toolchain/bin/rustc" \
            NANOCLAW_TEST_RUNTIMES=sandbox,bubblewrap,podman,claude \
            NANOCLAW_TEST_CLAUDE="$NANOCLAW_TEST_CLAUDE" "$@"
    ' bash "$PWD" "$work" "$(rustc --print sysroot)" "$ORDINARY_USER" "$@"
}
