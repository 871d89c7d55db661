#!/bin/sh
# Lets the OOM killer of a test machine end redis-trace: nothing of it is left in the kernel.
#   cargo xtask vm --script tests/machines/killed.sh
set -eu
cd /tmp
small=/sys/fs/cgroup/small
mkdir $small
mkfifo words
sh -c "echo \$\$ >$small/cgroup.procs; exec redis-trace watch" >/dev/null 2>words &
agent=$!
exec 5<words
until read -r words <&5 && case $words in watching*) ;; *) false ;; esac; do kill -0 $agent; done
rm words
test "$(bpftool prog list | grep -c ' name ')" -gt 10
# Less than it has: the kernel must kill the one process that is there.
echo 64K >$small/memory.max
wait $agent && exit 1 || test $? = 137
grep -q 'oom_kill 1' $small/memory.events
# The kernel lets go after a grace period that nothing announces.
began=$(cut -d . -f 1 /proc/uptime)
while test -n "$(bpftool prog list)$(bpftool map list)"; do
	test $(($(cut -d . -f 1 /proc/uptime) - began)) -lt 60
done
echo "the agent was killed, and nothing of it is left"
