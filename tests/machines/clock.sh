#!/bin/sh
# Suspends a test machine and steps its clock by years, both ways, while redis-trace watches: each refusal is told with the time
# that was then, none is lost, and their order stays that of the boot clock, which goes on in a suspend.
#   cargo xtask vm --script tests/machines/clock.sh
set -eu
cd /tmp
cat >steps <<'STEPS'
now=$(date +%s)
nc 127.0.0.1 1
echo +5 >/sys/class/rtc/rtc0/wakealarm
echo mem >/sys/power/state
nc 127.0.0.1 1
date -s '2031-05-06 07:08:09' >/dev/null
nc 127.0.0.1 1
date -s '2021-01-02 03:04:05' >/dev/null
nc 127.0.0.1 1
date -s "@$now" >/dev/null
nc 127.0.0.1 1
STEPS
year=$(date -u +%Y)
# Its command was refused: 1.
redis-trace watch -o json --no-aggregate --port 1 --cmd 'sh steps' >lines && exit 3 || test $? = 1
cat lines
# The last word counts.
grep -v '"partial":true' lines >told
refusals=$(grep -c '"schema":"redis-trace.refusal/1"' told)
test "$refusals" = 5
years=$(sed -n 's/.*"redis-trace.refusal\/1","time":"\([0-9]*\)-.*/\1/p' told | tr '\n' ' ')
test "$years" = "$year $year 2031 2021 $year "
sed -n 's/.*"redis-trace.refusal\/1".*"boottime_ns":\([0-9]*\),.*/\1/p' told >order
sort -n order | cmp - order
dmesg | grep -q 'PM: suspend exit'
# The alarm and the kernel's measure of a sleep, both of the RTC, are matters of whole seconds: of five, two may be missing.
slept=$(($(sed -n 2p order) - $(sed -n 1p order)))
test "$slept" -ge 3000000000
# The wall clock went on meanwhile, and by as much.
seconds() { date -u -d "$(sed -n "$1s/.*refusal\/1\",\"time\":\"\([0-9-]*\)T\([0-9:]*\).*/\1 \2/p" told)" +%s; }
apart=$(($(seconds 2) - $(seconds 1) - slept / 1000000000))
test "$apart" = 0 -o "$apart" = 1
grep -q '"lost":{"ring":0,"queue":0,"output":0}' told
echo "the machine slept, its clock was stepped, and each refusal has its time"
