# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk nvme dm-mod md-mod raid1
# Disk and partition at once; starts that are no multiple of the block; on request-based and bio-based disks.
. /mnt/tests/vm/lib.sh

# parts NAME DISK P: P is what stands between a disk's name and a partition's number.
parts() {
  local name=$1 disk=$2 p=$3 log=/tmp/log.parts
  rm -f $log
  addpart "$disk" 1 2049 20000
  addpart "$disk" 2 22049 20001
  nodes "$(basename "$disk")"
  begin "$name" "$disk" && begin "$name" "$disk${p}1" && begin "$name" "$disk${p}2" || return
  for d in "$disk" "$disk${p}1" "$disk${p}2"; do
    blxtrack consumer add --now p "$d" 2>$err
  done
  python3 $tools/record.py write "$disk" $log 60 3 $(((22049 + 22000) * 512)) 2>$err
  python3 $tools/record.py write "$disk${p}1" /tmp/log.p1 60 4 2>$err
  awk '{ print $1 + 2049 * 512, $2 }' /tmp/log.p1 >>$log
  rm -f /tmp/log.p1
  if listed p "$disk" $log && listed p "$disk${p}1" $log $((2049 * 512)) && listed p "$disk${p}2" $log $((22049 * 512)); then
    row "$name" "disk and partitions" ok
  else
    row "$name" "disk and partitions" "$(words)"
  fi
  replicated "$name" "$disk${p}2"
  for d in "$disk" "$disk${p}1" "$disk${p}2"; do
    blxtrack stop --force "$d" 2>$err
  done
  delpart "$disk" 1
  delpart "$disk" 2
}
members 2
parts "virtio-blk partitions" "$m1" ''
parts "nvme partitions" "$(disk small)" p
members 2
mdadm -q --create /dev/md7 --run -e 1.2 --assume-clean --level=1 --bitmap=none --raid-devices=2 "$m1" "$m2" </dev/null 2>$err
parts "md raid1 partitions" /dev/md7 p
mdadm -q --stop /dev/md7
