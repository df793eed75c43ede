# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod crc32c_generic dm-thin-pool
# A thin volume, then its pool's data device, which changes under the volume.
. /mnt/tests/vm/lib.sh
need dm-thin dm-thin-pool
members 3
dm data "0 $(sectors "$m1") linear $m1 0"
dm pool "0 $(sectors "$m1") thin-pool $m2 /dev/mapper/data 128 0"
dmsetup message pool 0 "create_thin 0"
dm thin "0 $(sectors "$m1") thin /dev/mapper/pool 0"
begin "dm-thin data" /dev/mapper/data
begin dm-thin /dev/mapper/thin && extents dm-thin /dev/mapper/thin
stress dm-thin /dev/mapper/thin
replicated "dm-thin data" /dev/mapper/data
