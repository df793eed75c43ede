# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk bcache
. /mnt/tests/vm/lib.sh
need bcache bcache
command -v make-bcache >/dev/null || { row bcache make "- no bcache-tools"; exit; }
members 2
make-bcache -B "$m1" -C "$m2" -w 512 -b 128k >$err 2>&1 || row bcache make "$(words)"
echo "$m1" >/sys/fs/bcache/register 2>/dev/null
echo "$m2" >/sys/fs/bcache/register 2>/dev/null
await test -e /sys/block/bcache0
nodes bcache0
stack bcache /dev/bcache0
blxtrack stop --force /dev/bcache0
echo 1 >/sys/block/bcache0/bcache/stop
for set in /sys/fs/bcache/*-*; do echo 1 >"$set/stop"; done
await test ! -e /sys/block/bcache0
