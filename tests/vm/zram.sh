# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: lzo-rle zsmalloc zram
# Before 6.3 pages go to zram with no bio at all: refused there.
. /mnt/tests/vm/lib.sh
need zram zram
[ -b /dev/zram0 ] || cat /sys/class/zram-control/hot_add >/dev/null
echo 24M >/sys/block/zram0/disksize
nodes zram0
if since 6.3; then
  stack zram /dev/zram0 notrim
  echo 1 >/sys/block/zram0/reset
  echo 24M >/sys/block/zram0/disksize
  expect zram "reset: exit 6" 6 '' blxtrack drain /dev/zram0
else
  expect zram "refused: rw_page" 5 'rw_page' blxtrack start /dev/zram0
fi
