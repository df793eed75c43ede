# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk nvme sd_mod virtio_scsi ext4 xfs
# kernels: 6.1 6.12
# The whole pipe from disks whose driver merges discards that are not neighbours, or has a write cache to be flushed: file
# systems with -o discard under load, increments, then equal.
. /mnt/tests/vm/lib.sh

# pipe NAME DEV FS
pipe() {
  local dev=$2 fs=$3 mnt=/tmp/mnt img=/tmp/img work code=0 i
  mkdir -p $mnt
  rm -rf $img* /tmp/stop
  blkdiscard -f "$dev" 2>$err
  "mkfs.$fs" -q "$dev" 2>$err && mount -o discard "$dev" $mnt && blxtrack start "$dev" 2>$err || code=1
  python3 $tools/churn.py $mnt/work /tmp/stop 7 0.001 &
  work=$!
  for i in $(seq 3); do
    [ $code = 0 ] && { replicate "$dev" $img || code=$?; }
  done
  touch /tmp/stop
  wait $work
  fstrim $mnt
  umount $mnt
  [ $code = 0 ] && { replicate "$dev" $img || code=$?; }
  if [ $code = 0 ] && cmp "$dev" $img >>$err 2>&1; then
    row "$1" "$fs under load" ok
  else
    row "$1" "$fs under load" "exit $code: $(words)"
  fi
  rm -rf $img*
}

pipe nvme "$(disk nvme)" xfs
pipe virtio-blk "$(disk virtio)" ext4
pipe scsi "$(disk scsi)" ext4
