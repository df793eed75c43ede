# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: nd_e820 nd_pmem
# Memory that the machine calls persistent (memmap= on its command line): files on it are mapped and written with no bio.
. /mnt/tests/vm/lib.sh
need DAX nd_pmem nd_e820
await test -b /dev/pmem0
if [ ! -b /dev/pmem0 ]; then
  row DAX make "- no pmem here"
elif [ "$(cat /sys/block/pmem0/queue/dax)" = 1 ]; then
  expect DAX "refused: DAX" 5 'a DAX device' blxtrack start /dev/pmem0
else
  row DAX make "- pmem without DAX"
fi
