# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-snapshot
# The origin, and a snapshot that is written to; a merge changes the origin without a write.
. /mnt/tests/vm/lib.sh
need dm-snapshot dm-snapshot
members 2
n=32768
dm base "0 $n linear $m1 0"
dm origin "0 $n snapshot-origin /dev/mapper/base"
dm snapshot "0 $n snapshot /dev/mapper/base $m2 P 16"
stack "dm-snapshot origin" /dev/mapper/origin
stack dm-snapshot /dev/mapper/snapshot
dmsetup suspend origin
dmsetup remove snapshot
echo "0 $n snapshot-merge /dev/mapper/base $m2 P 16" | dmsetup reload origin
dmsetup resume origin
expect "dm-snapshot origin" "merge: exit 6" 6 '' blxtrack drain /dev/mapper/origin
