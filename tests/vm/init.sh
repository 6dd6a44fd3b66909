#!/bin/busybox sh
# The first process of a test guest: lays a writable layer over the read-only
# root of the machine, runs /command in it, reports the exit status on the second
# serial line and powers off. The first serial line is the command's output.

busybox=/bin/busybox
$busybox mkdir -p /bin /dev /host /layer /proc /root /sys
$busybox --install -s /bin
export PATH=/bin

end() {
    sync
    poweroff -f
}

# Without a status on the second line the caller knows that the guest failed,
# not the command.
fail() {
    echo "vm-init: cannot $1"
    end
}

mount -t proc proc /proc || fail "mount proc"
mount -t sysfs sysfs /sys || fail "mount sysfs"
mount -t devtmpfs devtmpfs /dev || fail "mount devtmpfs"

# Numbered in the order in which they depend on each other.
for module in /modules/*.ko; do
    insmod "$module" || fail "load $module"
done

mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 hostroot /host ||
    fail "mount the machine's root"
mount -t tmpfs -o size=75% tmpfs /layer || fail "mount tmpfs"
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root ||
    fail "lay the overlay"

# What the machine has mounted there is not in its root file system, so these
# are empty directories until now.
in_root() {
    kind=$1 at=/root$2
    mkdir -p "$at"
    mount -t "$kind" "$kind" "$at" || fail "mount $kind on $2"
}
in_root proc /proc
in_root sysfs /sys
in_root devtmpfs /dev
in_root devpts /dev/pts
in_root tmpfs /dev/shm
in_root tmpfs /run
# Version 1 as systemd has it: a hierarchy for each controller that this kernel still has
# one for, and one for names alone.
cgroups_1() {
    in_root tmpfs /sys/fs/cgroup
    for controller in $(awk '!/^#/ && $4 { print $1 }' /proc/cgroups) name=systemd; do
        at=/root/sys/fs/cgroup/${controller#name=}
        mkdir "$at"
        case $controller in name=*) controller=none,$controller ;; esac
        mount -t cgroup -o "$controller" cgroup "$at" || fail "mount the cgroup $controller"
    done
}

case $(cat /proc/cmdline) in
*apiscope.cgroup=1*) cgroups_1 ;;
*) in_root cgroup2 /sys/fs/cgroup ;;
esac
in_root tracefs /sys/kernel/tracing
in_root bpf /sys/fs/bpf

ip link set lo up || fail "bring lo up"
hostname guest

cp /command /root/run/command
# Moved over the root of all, as a system's start does it: otherwise the kernel tells files
# of containers as below /root.
cd /root && mount -o move . / || fail "move the root"
echo "vm-init: ready"
chroot . /bin/sh /run/command
echo $? > /dev/ttyS1
echo "vm-init: done"
end
