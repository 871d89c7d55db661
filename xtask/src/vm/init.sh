#!/bin/sh
# The first process of a test machine: mounts what a host has, runs /t/command, ends QEMU with its status.
# dash, not busybox's shell: that one prefers its own applets, and its ip knows no namespaces.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devpts none /dev/pts
for place in /dev/shm /tmp /run; do mount -t tmpfs -o mode=1777 none $place; done
mount -t securityfs none /sys/kernel/security
mount -t tracefs none /sys/kernel/tracing
mount -t bpf none /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /run/netns /run/redis
# Nothing that the kernel logs may be missing when a test looks for it.
echo 0 >/proc/sys/kernel/printk_ratelimit
# So few that a test can open all of them.
echo 4096 >/proc/sys/fs/file-max
ip link set lo up
hostname guest
# The kernel's log stays on the first serial port; the second one carries what the command says, unchanged.
stty -F /dev/ttyS1 raw
exec </dev/null >/dev/ttyS1 2>&1
echo "VMTEST-INIT $(uname -r)"
# A machine whose policy is SELinux's: it begins lenient, or nothing could be labelled.
if [ -f /t/policy ]; then
	mount -t selinuxfs none /sys/fs/selinux
	dd if=/t/policy of=/sys/fs/selinux/load bs=16M 2>/dev/null
	setfiles -F /t/file_contexts /usr /etc
	echo 1 >/sys/fs/selinux/enforce
fi
# Where TOMOYO is at work, this has the kernel load its policy.
/usr/bin/true
mkfifo /run/end
/t/exit </run/end &
exec 4>/run/end
cd /root
sh /t/command 4>&-
status=$?
echo "VMTEST-RC $status"
echo $status >&4
wait
