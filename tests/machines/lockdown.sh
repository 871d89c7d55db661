# Locks the kernel of a test machine down, from which there is no way back: redis-trace says what stands in its way, and neither
# runs blind nor calls it a bug. The last of a machine's scripts.
#   cargo xtask vm --script tests/machines/lockdown.sh
set -eu
cd /tmp
grep -q confidentiality /sys/kernel/security/lockdown
echo confidentiality >/sys/kernel/security/lockdown
redis-trace watch --duration 1s >/dev/null 2>said && exit 3 || status=$?
cat said
test "$status" = 3
grep -q 'locked down (confidentiality)' said
grep -q 'lockdown=confidentiality' said
redis-trace check >checked 2>&1 && exit 3 || test $? = 3 -o $? = 1
cat checked
grep -q 'locked down (confidentiality)' checked
echo "the kernel was locked down, and redis-trace says so"
