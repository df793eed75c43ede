# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: brd,rd_nr=1,rd_size=32768
# Before 6.3 pages go to RAM disks with no bio at all: refused there.
. /mnt/tests/vm/lib.sh
need brd brd
if since 6.3; then
  stack brd /dev/ram0 notrim
else
  expect brd "refused: rw_page" 5 'rw_page' blxtrack start /dev/ram0
fi
