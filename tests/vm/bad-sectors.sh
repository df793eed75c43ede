# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod sd_mod ext4
# blxread --skip-bad where the block layer says EIO (dm-error) and where it says ENODATA (a medium error of SCSI); and
# blxused by a dm name.
. /mnt/tests/vm/lib.sh

# skipped NAME DEV "OFFSET LENGTH": just that is left out.
skipped() {
  expect "$1" "bad sector: an error without --skip-bad" 3 "--skip-bad FILE" sh -c "blxread -a -w $2 >/tmp/stream"
  expect "$1" "bad sector: skipped" 0 "1 ranges, ${3#* } bytes" sh -c "blxread -a -w --skip-bad /tmp/bad $2 >/tmp/stream"
  [ "$(grep -v '^#' /tmp/bad)" = "$3" ] && row "$1" "bad sector: listed" ok || row "$1" "bad sector: listed" "$(grep -v '^#' /tmp/bad)"
}

# rest NAME DEV "OFFSET LENGTH": what was read elsewhere is what DEV, all of which can be read, holds.
rest() {
  local size
  size=$(blockdev --getsize64 "$2")
  rm -f /tmp/got
  truncate -s "$size" /tmp/got
  python3 /mnt/tests/replay.py /tmp/got </tmp/stream
  if cmp -n "${3% *}" "$2" /tmp/got >$err 2>&1 &&
    cmp -i $((${3% *} + ${3#* })) "$2" /tmp/got >>$err 2>&1; then
    row "$1" "bad sector: the rest is there" ok
  else
    row "$1" "bad sector: the rest is there" "$(words)"
  fi
}

members 1
n=$(sectors "$m1")
head -c $((n * 512)) /dev/urandom | dd of="$m1" bs=1M iflag=fullblock oflag=direct status=none
dm bad "0 8200 linear $m1 0
8200 3 error
8203 $((n - 8203)) linear $m1 8203"
skipped dm-error /dev/mapper/bad "$((8200 * 512)) 1536"
rest dm-error "$m1" "$((8200 * 512)) 1536"
dmsetup remove bad
dm fs "0 $n linear $m1 0"
if command -v mkfs.ext4 >/dev/null && mkfs.ext4 -q /dev/mapper/fs 2>$err && mkdir -p /tmp/m && mount /dev/mapper/fs /tmp/m; then
  expect "dm name" "blxused, mounted" 0 "# size: $((n * 512))" blxused /dev/mapper/fs
  umount /tmp/m
  expect "dm name" "blxused, not mounted" 0 "# size: $((n * 512))" blxused /dev/mapper/fs
else
  row "dm name" blxused "- no ext4 here"
fi
need "SCSI medium error" scsi_debug
modprobe -d /mnt/kernel/base scsi_debug dev_size_mb=16 opts=2 medium_error_start=4660 medium_error_count=10
found() {
  dev=$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/sd*)
  dev=/dev/${dev##*/}
  [ -b "$dev" ]
}
await found
head -c 16M /dev/urandom | dd of="$dev" bs=1M iflag=fullblock oflag=direct status=none
skipped "SCSI medium error" "$dev" "$((4660 * 512)) 5120"
echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts
rest "SCSI medium error" "$dev" "$((4660 * 512)) 5120"
