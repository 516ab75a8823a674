# From a home to a service under systemd that is killed, hangs, and is removed. Each step that came out as it should says so in a line.
#
#   tour.sh NANOCLAW FOLDER
set -euo pipefail
exec 2>&1
nanoclaw() { command "$program" --home "$home" "$@"; }
program=$1
home=$2/home
export HOME=/root LC_ALL=C
cd "$2"

failed() { journalctl --no-pager -u nanoclaw | tail -40; }
trap failed ERR

main_process() { systemctl show --property=MainPID --value nanoclaw; }
until_restarted_after() {
    until [[ $(main_process) != "$1" && $(systemctl is-active nanoclaw) == active ]]; do sleep 0.05; done
}
answers() {
    nanoclaw chat -m "@Andy $1" > answer
    grep -q "$1" answer || { cat answer; return 1; }
}

nanoclaw init > /dev/null
# Of control groups there is only systemd's own here.
printf '[container]\nruntime = "sandbox"\nmemory = "none"\npids = "none"\ncpus = "none"\n' > "$home/nanoclaw.toml"

nanoclaw service install --print > printed
nanoclaw service install
cmp printed /etc/systemd/system/nanoclaw.service
systemd-analyze verify /etc/systemd/system/nanoclaw.service
answers "is it installed?"
nanoclaw service status | tee status
grep -q 'is active; at boot: enabled' status
grep -q 'embedded sandbox.*channels: local: connected' status
! journalctl --no-pager -u nanoclaw -o verbose | grep -q 'is it installed'
journalctl --no-pager -u nanoclaw -p info "NANOCLAW_GROUP=$(journalctl --no-pager -F NANOCLAW_GROUP | head -1)" | grep -q 'run opened run='
echo "installed: it is ready when install ends, enabled at boot, and answers"

nanoclaw service install > again
grep -q Replaced again
answers "and again?"
echo "installed again: it answers"

mkdir -p /etc/systemd/system/nanoclaw.service.d
printf '[Service]\nWatchdogSec=2\nRestartSec=100ms\n' > /etc/systemd/system/nanoclaw.service.d/soon.conf
systemctl daemon-reload
systemctl restart nanoclaw
before=$(main_process)
kill -KILL "$before"
until_restarted_after "$before"
answers "was it killed?"
echo "killed: systemd has started it again, and it answers"

before=$(main_process)
kill -STOP "$before"
until_restarted_after "$before"
journalctl --no-pager -u nanoclaw | grep -q 'Watchdog timeout'
answers "did it hang?"
echo "hanging: the watchdog has ended it, systemd has started it again, and it answers"

before=$(main_process)
sleep 5
[[ $(main_process) == "$before" ]]
echo "at work: the watchdog of two seconds leaves it alone for five"

nanoclaw service logs -n 1000 | grep -q 'Watchdog timeout'
nanoclaw service uninstall
[[ $(systemctl is-active nanoclaw || true) != active && ! -e /etc/systemd/system/nanoclaw.service ]]
if nanoclaw service status 2> refused; then exit 1; fi
grep -q 'nanoclaw service install' refused
[[ -e $home/nanoclaw.toml ]]
echo "uninstalled: it is stopped, its unit is gone, the home is there"

useradd --create-home tour
chown -R tour "$home"
chmod 755 "$2"
nanoclaw service install
[[ $(stat --format=%U "/proc/$(main_process)") == tour ]]
answers "whose are you?"
echo "of an ordinary user: it is that of whom the home belongs to, and answers"
