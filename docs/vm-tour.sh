#!/usr/bin/env bash
# From an empty home to an assistant that has been killed, backed up, wiped, restored and moved into, as an ordinary user and by commands
# that anyone can type: `bash docs/vm-tour.sh [PROGRAM]`. It needs Python 3 and the sandbox, touches nothing outside of a temporary
# folder, says what it does, stops at the first thing that is not as it should be, and prints what it has measured.
set -euo pipefail

program=$(realpath "${1:-nanoclaw}" 2>/dev/null || command -v nanoclaw)
tour=$(mktemp --directory "${TMPDIR:-/tmp}/nanoclaw-tour.XXXXXX")
# Neither the caller's home nor anything else of the caller's.
export HOME=$tour
unset XDG_CONFIG_HOME XDG_DATA_HOME NANOCLAW_HOME
home=$tour/assistant
service=
figures=()

finish() {
    local status=$?
    trap - EXIT
    [[ -z $service ]] || kill -KILL "$service" 2>/dev/null || true
    if ((status != 0)); then
        printf '\nFAILED in: %s (status %s)\n' "$part" "$status"
        tail --lines=20 "$tour"/service.log 2>/dev/null || true
    fi
    rm --recursive --force "$tour"
    exit "$status"
}
trap finish EXIT

part='the start'
part() {
    part=$1
    printf '\n== %s\n' "$part"
}

must_have() {
    [[ $1 == *"$2"* ]] || {
        printf 'this should have %q in it: %s\n' "$2" "$1"
        return 1
    }
}

nanoclaw() { "$program" --home "$home" "$@"; }
now() { date +%s%3N; }
figure() { figures+=("$1|$2"); }

# Starts the service and waits for the line by which it says that it takes messages.
start() {
    local began ready
    began=$(now)
    coproc SERVICE { exec "$program" --home "$home" run 2>>"$tour/service.log"; }
    service=$SERVICE_PID
    read -r -t 60 -u "${SERVICE[0]}" ready
    printf '%s (%s ms after its start)\n' "$ready" "$(($(now) - began))"
    took=$(($(now) - began))
}

stop() {
    local pid=$service
    service=
    kill "-$1" "$pid"
    # How a killed one ended is known; of one that was asked to end it matters.
    if [[ $1 == KILL ]]; then wait "$pid" || true; else wait "$pid"; fi 2>/dev/null
}

# Says something in a chat, as a bridge, and prints the answer.
ask() {
    python3 - "$home" "$1" "$2" <<'PYTHON'
import json, os, socket, sys, time, uuid

home, chat, text = sys.argv[1:]
os.chdir(os.path.join(home, "store"))
host = socket.socket(socket.AF_UNIX)
host.settimeout(120)
host.connect("bridge.sock")

def say(**line):
    host.sendall((json.dumps(line) + "\n").encode())

say(type="hello", name="vm", prefixes=[chat.split(":")[0] + ":"], capabilities=["deduplicates"])
say(type="message", chat=chat, id=str(uuid.uuid4()), sender="ann", sender_name="Ann", text=text,
    timestamp_ms=int(time.time() * 1000), is_group=True)
for line in host.makefile(encoding="utf-8"):
    line = json.loads(line)
    if line["type"] == "send":
        say(type="sent", key=line["key"], platform_id=line["key"])
        print(line["text"])
        break
    if line["type"] == "error":
        sys.exit("refused: " + line["reason"])
host.shutdown(socket.SHUT_WR)
host.recv(1 << 16)
PYTHON
}

# Registers a thousand groups with the service that runs.
add_a_thousand_groups() {
    python3 - "$home" <<'PYTHON'
import json, os, socket, sys

os.chdir(os.path.join(sys.argv[1], "store"))
service = socket.socket(socket.AF_UNIX)
service.connect("admin.sock")
answers = service.makefile(encoding="utf-8")
for number in range(1000):
    group = {"chat": f"vm:{number + 100}", "name": f"Group {number}", "folder": f"group-{number}", "role": "ordinary"}
    service.sendall((json.dumps({"id": number, "command": "groups_add", "args": group}) + "\n").encode())
    answer = json.loads(answers.readline())
    if "ok" not in answer:
        sys.exit(str(answer))
PYTHON
}

# A home of NanoClaw v1: 5 groups with 40 messages each, 10 tasks, a session whose transcript is there.
make_v1_home() {
    python3 - "$1" <<'PYTHON'
import os, sqlite3, sys
from datetime import datetime, timedelta, timezone

root = sys.argv[1]
ago = lambda minutes: (datetime.now(timezone.utc) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")

def write(place, text):
    path = os.path.join(root, place)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)

write("package.json", '{"name":"nanoclaw","version":"1.2.53"}')
write("groups/global/CLAUDE.md", "# What all know\n")
os.makedirs(os.path.join(root, "store"))
database = sqlite3.connect(os.path.join(root, "store/messages.db"))
database.executescript("""
    CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT, channel TEXT, is_group INTEGER DEFAULT 0);
    CREATE TABLE messages (id TEXT, chat_jid TEXT, sender TEXT, sender_name TEXT, content TEXT, timestamp TEXT, is_from_me INTEGER,
        is_bot_message INTEGER DEFAULT 0, PRIMARY KEY (id, chat_jid));
    CREATE TABLE scheduled_tasks (id TEXT PRIMARY KEY, group_folder TEXT, chat_jid TEXT, prompt TEXT, schedule_type TEXT,
        schedule_value TEXT, next_run TEXT, last_run TEXT, last_result TEXT, status TEXT DEFAULT 'active', created_at TEXT,
        context_mode TEXT DEFAULT 'isolated');
    CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE sessions (group_folder TEXT PRIMARY KEY, session_id TEXT NOT NULL);
    CREATE TABLE registered_groups (jid TEXT PRIMARY KEY, name TEXT, folder TEXT UNIQUE, trigger_pattern TEXT, added_at TEXT,
        container_config TEXT, requires_trigger INTEGER DEFAULT 1, is_main INTEGER DEFAULT 0);
""")
cursors = []
for number in range(5):
    chat, folder = f"tg:{number + 1}", "main" if number == 0 else f"group{number}"
    write(f"groups/{folder}/CLAUDE.md", f"# Memory of {folder}\n")
    database.execute("INSERT INTO chats VALUES (?, ?, ?, 'telegram', 1)", (chat, folder, ago(7)))
    database.execute("INSERT INTO registered_groups VALUES (?, ?, ?, '@Andy', ?, NULL, 0, ?)",
                     (chat, folder, folder, ago(1000), int(number == 0)))
    for message in range(40):
        bot = message % 10 == 5
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                         (f"m{message}", chat, "bot" if bot else "1", "Andy" if bot else "Ann", f"line {message}",
                          ago(7 * (40 - message)), int(bot), int(bot)))
    cursors.append(f'"{chat}":"{ago(7)}"')
for number in range(10):
    folder = "main" if number % 5 == 0 else f"group{number % 5}"
    database.execute("INSERT INTO scheduled_tasks VALUES (?, ?, ?, ?, 'cron', '0 9 * * *', ?, NULL, NULL, 'active', ?, 'group')",
                     (f"task-{number}", folder, f"tg:{number % 5 + 1}", f"do {number}", ago(-600), ago(900)))
database.executemany("INSERT INTO router_state VALUES (?, ?)",
                     [("last_timestamp", ago(7)), ("last_agent_timestamp", "{" + ",".join(cursors) + "}")])
session = "11111111-1111-4111-8111-111111111111"
database.execute("INSERT INTO sessions VALUES ('main', ?)", (session,))
database.commit()
database.close()
state = "data/sessions/main/.claude"
write(f"{state}/projects/-workspace-group/{session}.jsonl", '{"type":"user","sessionId":"%s","cwd":"/workspace/group"}' % session)
# What the agent without a model remembers, which answers here.
write(f"{state}/offline/{session}.jsonl", '{"sender":"Ann","time":"then","text":"the code is 4711"}\n')
PYTHON
}

memory_of() {
    awk '/^VmRSS/ { all = $2 } /^RssAnon/ { own = $2 } END { printf "%.1f MiB, %.1f of its own", all / 1024, own / 1024 }' "/proc/$1/status"
}

part 'an empty home'
nanoclaw setup --non-interactive --runtime sandbox --service no --name Andy | tee "$tour/setup.txt" | tail --lines=1
must_have "$(tail --lines=1 "$tour/setup.txt")" 'It works.'
nanoclaw groups add vm:1 --name Family --folder family --no-trigger
nanoclaw doctor >"$tour/doctor.txt"
grep --count '^ok' "$tour/doctor.txt" | sed 's/$/ checks of the doctor are well/'

part 'a service that answers'
start
figure 'start to ready' "$took ms"
must_have "$(ask vm:1 'the code is 4711')" 'the code is 4711'
nanoclaw status | head --lines=3

part 'killed, and started again'
stop KILL
start
figure 'start to ready, after kill -9' "$took ms"
must_have "$(ask vm:1 recall)" 'the code is 4711'
echo 'it remembers what it was told before'

part 'backed up, wiped, restored'
megabytes=256
head --bytes=${megabytes}M /dev/urandom >"$home/groups/family/large.bin"
began=$(now)
nanoclaw backup create "$tour/backup.tar.gz"
figure 'a backup, while the service runs' "$((($(now) - began) * 1024 / megabytes)) ms per GiB of random bytes"
nanoclaw backup verify "$tour/backup.tar.gz"
stop TERM
rm --recursive "$home"
began=$(now)
nanoclaw backup restore "$tour/backup.tar.gz"
figure 'a restore' "$((($(now) - began) * 1024 / megabytes)) ms per GiB"
start
must_have "$(ask vm:1 recall)" 'the code is 4711'
echo 'it answers as before'

part 'a thousand groups'
add_a_thousand_groups
stop TERM
start
figure 'start to ready, 1,000 groups' "$took ms"
sleep 2
figure 'memory, idle, 1,000 groups' "$(memory_of "$service")"
must_have "$(ask vm:1 recall)" 'the code is 4711'
stop TERM

part 'moving in from NanoClaw v1'
home=$tour/moved
make_v1_home "$tour/v1"
before=$(cd "$tour/v1" && find . -type f -exec sha256sum {} + | sort | sha256sum)
nanoclaw setup --non-interactive --only machine,runtime --runtime sandbox >/dev/null
# Its chats are Telegram's, which a bridge stands in for here.
sed --in-place '/^\[channels.telegram\]/a enabled = false' "$home/nanoclaw.toml"
nanoclaw import "$tour/v1" --yes | tail --lines=1
[[ $before == "$(cd "$tour/v1" && find . -type f -exec sha256sum {} + | sort | sha256sum)" ]]
echo 'the folder of v1 is as it was'
groups=$(nanoclaw groups list --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')
tasks=$(nanoclaw tasks list --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')
messages=$(python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT (SELECT COUNT(*) FROM messages) + (SELECT COUNT(*) FROM outbox)").fetchone()[0])' "$home/store/nanoclaw.db")
printf '%s groups, %s messages, %s tasks\n' "$groups" "$messages" "$tasks"
[[ "$groups $messages $tasks" == '5 200 10' ]]
start
must_have "$(ask tg:1 recall)" 'the code is 4711'
echo 'its first answer goes on with the session of v1'
stop TERM

part 'what was measured'
for figure in "${figures[@]}"; do printf '%-36s %s\n' "${figure%%|*}" "${figure#*|}"; done
