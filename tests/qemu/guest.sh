# SPDX-License-Identifier: Apache-2.0
# Sourced by the guest's script, process 1 on the machine's own root file system: makes it a machine, gives `step`.
# shellcheck shell=sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
trap 'sync; busybox poweroff -f' EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/net /run/netns /run/lock
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
hostname tulle-qemu
ulimit -n 65536

# step NAME SECONDS COMMAND: its output between two marks on the console, its status on the second.
step() {
	echo "@@ begin $1"
	timeout -k 5 "$2" sh -c "$3" </dev/null 2>&1
	printf '\n@@ end %s %s\n' "$1" $?
}
