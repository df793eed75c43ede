# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk nvme sd_mod virtio_scsi null_blk,gb=1,memory_backed=1,discard=1 loop
# What is listed is what was written, on each kind of request-based disk; the pipe on one of them.
set -u
fails=0
tools=/tmp/payload/tools

row() {
  printf '%-16s %-24s %s\n' "$1" "$2" "$3"
  [ "$3" = ok ] || fails=$((fails + 1))
}

# check NAME DEV: random writes, discards and zeroings are listed exactly.
check() {
  local dev=$2 log list size
  log=/tmp/log.$1
  list=/tmp/list.$1
  if [ ! -b "$dev" ]; then
    row "$1" extents "no $dev"
    return
  fi
  size=$(blockdev --getsize64 "$dev")
  if ! blxtrack start "$dev" 2>/tmp/err || ! blxtrack consumer add --now t "$dev" 2>>/tmp/err; then
    row "$1" start "$(tail -n 1 /tmp/err)"
    return
  fi
  if python3 $tools/record.py write "$dev" "$log" 150 5 2>/tmp/err && blxtrack drain -c t "$dev" >"$list" 2>>/tmp/err &&
    python3 $tools/record.py compare "$list" "$log" 4096 "$size" >>/tmp/err 2>&1; then
    row "$1" extents ok
  else
    row "$1" extents "$(tail -n 2 /tmp/err | tr '\n' ' ')"
  fi
}

uname -r
check virtio /dev/vda
check nvme /dev/nvme0n1
check scsi /dev/sda
check null_blk /dev/nullb0
truncate -s 64M /tmp/file
check loop "$(losetup -f --show /tmp/file)"
exit $fails
