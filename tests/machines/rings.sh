#!/bin/sh
# Calls through io_uring, on both tiers: who makes them is told as whoever makes system calls.
#   cargo xtask vm --script tests/machines/rings.sh
set -eu
cd /tmp
cat >profile <<END
abi <abi/3.0>,
profile ring {
  file,
  signal,
}
END
apparmor_parser --replace --skip-cache --quiet profile

# Which codes have been told of the program: the last word counts.
told() {
	grep -v '"partial":true' lines | grep -o '"code":"RT[0-9]*".*"comm":"ring"' | grep -o 'RT[0-9]*' | sort -u | tr '\n' ' '
}

watched() {
	mkfifo words
	redis-trace watch -o json --no-aggregate --tier $1 >lines 2>words &
	agent=$!
	exec 5<words
	until read -r words <&5 && case $words in watching*) ;; *) false ;; esac; do kill -0 $agent; done
	rm words
	calls
	kill $agent
	wait $agent
	exec 5<&-
	test "$(told)" = "$2" || {
		echo "of calls through io_uring was told: $(told)"
		cat lines
		exit 1
	}
	echo "calls through io_uring were told on $1: $2"
}

# socket and bind through it are no older than Linux 5.19 and 6.11; a socket that is denied has no port.
calls() {
	redis-trace demo-actor apparmor ring exec ring socket | grep -q 'socket -13'
	redis-trace demo-actor landlock bind exec ring bind 79 | grep -q 'bind -13'
	redis-trace demo-actor landlock connect exec ring connect 6379 | grep -q 'connect -13'
	echo | ring accept 6379 | grep -q 'accept -24'
}

case $(uname -r) in
5.*) echo "io_uring's accept is no function of its own here" ;;
6.1.*)
	# Landlock has no say in ports, and there is no bind.
	calls() {
		redis-trace demo-actor apparmor ring exec ring socket | grep -q 'socket -13'
		echo | ring accept 6379 | grep -q 'accept -24'
	}
	watched auto "RT2003 RT3011 "
	watched t2 "RT2003 RT3011 "
	;;
*)
	watched auto "RT2003 RT3010 RT3011 RT3012 "
	watched t2 "RT2003 RT3010 RT3011 RT3012 "
	;;
esac
apparmor_parser --remove --quiet profile
