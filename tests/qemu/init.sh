#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of the guest, inside the initramfs: reach the root file system of the machine outside, and go there.
# Full paths or "busybox X" only: busybox sh would otherwise take its own applet for any name.
b=/bin/busybox

fail() {
	echo "@@ init: $1"
	$b poweroff -f
}

$b mount -t proc proc /proc
while read -r module; do
	$b insmod "/modules/$module" || fail "module $module does not load"
done </modules/order
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower || fail "the 9p root does not mount"
$b mount -t tmpfs -o mode=0755,size=1g upper /upper || fail "no tmpfs"
$b mkdir /upper/data /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root || fail "no overlay"
for place in proc sys dev run; do
	[ -d /root/$place ] || $b mkdir /root/$place
done
$b mount -t tmpfs -o mode=0755 run /root/run || fail "no tmpfs on /run"
$b cp /guest.sh /root/run/guest.sh
$b umount /proc
exec $b switch_root -c /dev/console /root /bin/sh /run/guest.sh
