#!/bin/sh
# Suspends a test machine and steps its clock by years, both ways, while redis-trace watches: each refusal is told with the time
# that was then, none is lost, and their order stays that of the boot clock, which goes on in a suspend.
#   cargo xtask vm --script tests/machines/clock.sh
set -eu
cd /tmp
cat >steps <<'STEPS'
# Since the boot in hundredths of a second, and since the epoch in seconds.
clocks() { echo $(cut -d ' ' -f 1 /proc/uptime | tr -d .) $(date +%s); }
refused() {
	before=$(clocks)
	nc 127.0.0.1 1
	echo $before $(clocks) >>bounds
}
now=$(date +%s)
refused
echo +5 >/sys/class/rtc/rtc0/wakealarm
echo mem >/sys/power/state
refused
date -s '2031-05-06 07:08:09' >/dev/null
refused
date -s '2021-01-02 03:04:05' >/dev/null
refused
date -s "@$now" >/dev/null
refused
STEPS
# Its command was refused: 1.
redis-trace watch -o json --no-aggregate --port 1 --cmd 'sh steps' >lines && exit 3 || test $? = 1
cat lines
# The last word counts.
grep -v '"partial":true' lines >told
# Each between what the kernel's own clocks said before it and after it: so in their order, and with the sleep.
sed -n 's/.*refusal\/1","time":"\([0-9-]*\)T\([0-9:]*\).*"boottime_ns":\([0-9]*\)[0-9]\{7\},.*/\3 \1 \2/p' told >times
test "$(grep -c . times)" = 5 -a "$(grep -c . bounds)" = 5
exec 5<bounds
while read -r boot day hour && read -r booted began ended_boot ended <&5; do
	seconds=$(date -u -d "$day $hour" +%s)
	echo "refused at $boot and $seconds: after $booted and $began, before $ended_boot and $ended"
	test "$booted" -le "$boot" -a "$boot" -le "$ended_boot" -a "$began" -le "$seconds" -a "$seconds" -le "$ended"
done <times
exec 5<&-
test "$(cat /sys/power/suspend_stats/success)" = 1
grep -q '"lost":{"ring":0,"queue":0,"output":0}' told
echo "the machine slept, its clock was stepped, and each refusal has its time"
