#!/bin/sh
# Steps the clock of a test machine by years, both ways, while redis-trace watches: each refusal is told with the time that was
# then, none is lost, and their order stays that of the boot clock.
#   cargo xtask vm --script tests/machines/clock-step.sh
set -eu
cd /tmp
cat >steps <<'STEPS'
now=$(date +%s)
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
redis-trace watch -o json --no-aggregate --port 1 --cmd 'sh steps' >told && exit 3 || test $? = 1
cat told
refusals=$(grep -c '"schema":"redis-trace.refusal/1"' told)
test "$refusals" = 4
years=$(sed -n 's/.*"redis-trace.refusal\/1","time":"\([0-9]*\)-.*/\1/p' told | tr '\n' ' ')
test "$years" = "$year 2031 2021 $year "
sed -n 's/.*"redis-trace.refusal\/1".*"boottime_ns":\([0-9]*\),.*/\1/p' told >order
sort -n order | cmp - order
grep -q '"lost":{"ring":0,"queue":0,"output":0}' told
echo "the clock was stepped, and each refusal has its time"
