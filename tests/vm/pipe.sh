# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk nvme sd_mod virtio_scsi ext4 xfs
# The whole pipe from disks whose driver merges discards that are not neighbours: file systems with -o discard under
# load, increments, then equal.
set -u
fails=0

replicate() {
  blxtrack run "$1" -- sh -c "blxread | blxpack | blxapply --ack $2" >/tmp/out 2>&1
}

# pipe NAME DEV FS
pipe() {
  local name=$1 dev=$2 fs=$3 mnt=/tmp/mnt.$1 img=/tmp/img.$1 work code=0
  mkdir "$mnt"
  "mkfs.$fs" -q "$dev" && mount -o discard "$dev" "$mnt" && blxtrack start "$dev" 2>/tmp/out || code=1
  python3 /tmp/payload/tools/churn.py "$mnt/work" "/tmp/stop.$name" 7 0.001 &
  work=$!
  for _ in $(seq 7); do
    [ $code = 0 ] && { replicate "$dev" "$img" || code=$?; }
  done
  touch "/tmp/stop.$name"
  wait "$work"
  fstrim "$mnt"
  umount "$mnt"
  [ $code = 0 ] && { replicate "$dev" "$img" || code=$?; }
  if [ $code = 0 ] && cmp "$dev" "$img" >>/tmp/out 2>&1; then
    printf '%-16s %-24s %s\n' "$name" "pipe from $fs" ok
  else
    printf '%-16s %-24s exit %s: %s\n' "$name" "pipe from $fs" "$code" "$(tail -n 2 /tmp/out | tr '\n' ' ')"
    fails=$((fails + 1))
  fi
  rm -f "$img"
}

pipe nvme /dev/nvme0n1 xfs
pipe virtio /dev/vda ext4
pipe scsi /dev/sda ext4
exit $fails
