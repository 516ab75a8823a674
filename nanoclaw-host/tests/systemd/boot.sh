#!/usr/bin/env bash
# Boots the systemd of this machine as process 1 of namespaces of its own, on a copy of the machine's files that is thrown away, and has
# it run the script TOUR with the arguments after it. FOLDER is the same folder inside and outside. Ends with what the tour ends with.
#
#   boot.sh FOLDER TOUR [ARGUMENT…]
set -euo pipefail
folder=$1

if [[ ${NANOCLAW_BOOT:-} != inside ]]; then
    # A control group of its own, which a new namespace shows as the topmost.
    group=/sys/fs/cgroup
    [[ -d $group/systemd ]] && group+=/systemd
    group+=/nanoclaw-test-$$
    mkdir "$group"
    trap 'rmdir "$group" 2>/dev/null || true' EXIT
    NANOCLAW_BOOT=inside unshare --mount --pid --fork --cgroup --uts --ipc --net --kill-child \
        bash -c 'echo 0 > "$0/cgroup.procs" && exec unshare --cgroup bash "$@"' "$group" "${BASH_SOURCE[0]}" "$@"
    exit
fi

tour=("${@:2}")
mount --make-rprivate /
stage=$folder/stage
mkdir -p "$stage"
mount -t tmpfs tmpfs "$stage"
mkdir "$stage"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" "$stage/root"
root=$stage/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if [[ -d /sys/fs/cgroup/systemd ]]; then
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"
ip link set lo up

# What would reach beyond the namespaces, to the kernel's own settings, is not started.
units=$root/etc/systemd/system
for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-update-utmp systemd-udevd systemd-udev-trigger systemd-timesyncd \
    systemd-binfmt systemd-hwdb-update systemd-random-seed modprobe@; do
    ln -sf /dev/null "$units/$unit.service"
done
for unit in dev-hugepages sys-kernel-debug sys-kernel-tracing sys-fs-fuse-connections sys-kernel-config; do
    ln -sf /dev/null "$units/$unit.mount"
done
printf '[Unit]\nWants=tour.service\n' > "$units/tour.target"
{
    printf '[Service]\nType=oneshot\nTimeoutStartSec=infinity\nWorkingDirectory=%s\n' "$folder"
    printf 'ExecStart=/bin/bash'
    printf ' "%s"' "${tour[@]}"
    printf '\nStandardOutput=append:%s/tour.out\nStandardError=inherit\n' "$folder"
    # The end of the tour is the end of the machine.
    printf 'ExecStopPost=/bin/sh -c "systemctl --no-block exit $$EXIT_STATUS"\n'
} > "$units/tour.service"

cd "$root"
exec chroot "$root" /usr/bin/env -i container=nanoclaw-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=tour.target --show-status=no --log-target=journal
