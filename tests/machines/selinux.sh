#!/bin/sh
# Starts redis-trace in a domain that Debian's SELinux policy lets load nothing: it names the module that stands in its way, and
# the context that it has.
#   cargo xtask vm --policy selinux --script tests/machines/selinux.sh
set -eu
cd /tmp
cat >confined <<'E2'
echo -n system_u:system_r:redis_t:s0 >/proc/self/attr/exec
exec redis-trace watch --duration 1s
E2
{ sh confined 2>&1 && echo "ended with 0" || echo "ended with $?"; } | cat >said
cat said
dmesg | grep -i avc | tail -5
