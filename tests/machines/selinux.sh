#!/bin/sh
# Starts redis-trace in a domain that Debian's SELinux policy lets load nothing: root, with every capability. It does not say that
# one is missing, but who stands in its way, and the context that it has.
#   cargo xtask vm --policy selinux --script tests/machines/selinux.sh
set -eu
cd /tmp
context=system_u:system_r:redis_t:s0
cat >confined <<CONFINED
echo -n $context >/proc/self/attr/exec
exec redis-trace watch --duration 1s
CONFINED
# It may write to a pipe, and to no file of ours.
{ sh confined 2>&1 && echo "ended with 0" || echo "ended with $?"; } | cat >said
cat said
grep -q '^error: cannot load probes: bpf(2) is refused' said
grep -q "most likely by the security module that confines this process as $context" said
grep -q '^ended with 4$' said
# On Linux 6.1 the capability, on 6.12 the map that it would make.
dmesg | grep 'avc:  denied .*comm="redis-trace"' >denied || true
cat denied
grep -q 'avc:  denied  { \(bpf\|map_create\) }' denied
echo "SELinux denied bpf(2), and redis-trace says so"
