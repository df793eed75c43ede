# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: sd_mod virtio_scsi dm-mod dm-round-robin dm-multipath
# Request-based: each write completes twice. A path below it is refused.
. /mnt/tests/vm/lib.sh
need dm-multipath dm-multipath dm-round-robin
mapfile -t path < <(disks_with twin)
blkdiscard -z -f "${path[0]}"
echo "0 $(sectors "${path[0]}") multipath 0 0 1 1 round-robin 0 2 1 ${path[0]} 1 ${path[1]} 1" |
  dmsetup create multipath --uuid mpath-twin
dmsetup mknodes
stack dm-multipath /dev/mapper/multipath
expect "a path of a multipath" "refused: a path" 5 'a path of a multipath device: track the device above it' \
  blxtrack start "${path[0]}"
