#!/bin/sh
# Locks the kernel of a test machine down, from which there is no way back: redis-trace says what stands in its way, and neither
# runs blind nor calls it a bug. The last of a machine's scripts.
#   cargo xtask vm --script tests/machines/lockdown.sh
set -eu
cd /tmp
echo confidentiality >/sys/kernel/security/lockdown
redis-trace watch --duration 1s 2>said && status=0 || status=$?
cat said
test "$status" = 3
grep -q '^error: cannot .* probes: the kernel is locked down (confidentiality)' said
grep -q 'lockdown=confidentiality' said
if grep -q ^watching said; then exit 1; fi
redis-trace check >checked 2>&1 && status=0 || status=$?
cat checked
test "$status" = 1
grep -q 'locked down (confidentiality)' checked
echo "the kernel was locked down, and redis-trace says so"
