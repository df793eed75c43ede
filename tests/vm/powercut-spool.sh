# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-log-writes loop ext4
# kernels: 6.12
# The power fails while an increment goes into an image by a spool.
. /mnt/tests/vm/powercut.bash
cut "an image, by a spool" image 8 1 mkfs.ext4 -q
