# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod
. /mnt/tests/vm/lib.sh
members 2
dm striped "0 $(sectors "$m1") striped 2 32 $m1 0 $m2 0"
stack dm-striped /dev/mapper/striped
