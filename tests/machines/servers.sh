#!/bin/sh
# What another server than Debian's own says no to is told as that one's is. Each kernel has one of three: Redis 6.0, Redis 8.0
# and Valkey 8.1.
#   cargo xtask vm --script tests/machines/servers.sh
set -eu
case $(uname -r) in
5.* | 6.18.*) server=bullseye/redis-server ;;
6.1.* | 7.*) server=trixie/valkey-server ;;
*) server=trixie/redis-server ;;
esac
redis-trace demo -o json --server /servers/$server \
	--only RT5001 --only RT6001 --only RT6002 --only RT6005 --only RT6006 --only "values and errors"
