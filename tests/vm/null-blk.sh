# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: null_blk,nr_devices=0
# Completions in the submitter, in softirq and by a timer; a zoned one is refused.
. /mnt/tests/vm/lib.sh
need null_blk null_blk
c=/sys/kernel/config/nullb
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config

# null NAME KEY=VALUE...
null() {
  local dir=$c/$1 o
  shift
  mkdir "$dir"
  for o in size=32 memory_backed=1 discard=1 blocksize=512 "$@"; do
    echo "${o#*=}" 2>/dev/null >"$dir/${o%%=*}"
  done
  echo 1 >"$dir/power"
  null=/dev/${dir##*/} # so called since 6.12 or so
  [ -b "$null" ] || null=/dev/nullb$(cat "$dir/index")
}
null t1 irqmode=0
stack "null_blk in place" "$null"
null t2 irqmode=1
stack "null_blk softirq" "$null"
null t3 irqmode=2 completion_nsec=200000
begin "null_blk timer" "$null" && extents "null_blk timer" "$null"
null t4 irqmode=0 queue_mode=0
begin "null_blk bio-based" "$null" && extents "null_blk bio-based" "$null"
null t5 irqmode=0 zoned=1 zone_size=4 discard=0
expect zoned "refused: zoned" 5 'a zoned device' blxtrack start "$null"
for d in /sys/block/t[1-4] /sys/block/nullb[0-9]; do
  [ ! -e "$d" ] || blxtrack stop --force "/dev/${d##*/}" 2>/dev/null
done
rmdir $c/t*
