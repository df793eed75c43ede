# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod crc32c_generic crc32c dm-bufio dm-integrity
. /mnt/tests/vm/lib.sh
need dm-integrity dm-integrity
members 1
dm integrity "0 1 integrity $m1 0 - J 1 internal_hash:crc32c"
n=$(dmsetup status integrity | awk '{ print $5 }')
dmsetup remove integrity
dm integrity "0 $n integrity $m1 0 - J 1 internal_hash:crc32c"
dd if=/dev/zero of=/dev/mapper/integrity bs=1M oflag=direct status=none 2>/dev/null
stack dm-integrity /dev/mapper/integrity
