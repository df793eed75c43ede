# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod crc32c_generic raid1 dm-raid
. /mnt/tests/vm/lib.sh
need dm-raid dm-raid raid1
members 2
dm raid1 "0 32768 raid raid1 3 0 region_size 1024 2 - $m1 - $m2"
await in_sync raid1
stack dm-raid1 /dev/mapper/raid1 notrim
