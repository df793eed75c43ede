# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-log-writes loop xfs
# kernels: 6.12
# The power fails while an increment goes into an image by a clone.
. /mnt/tests/vm/powercut.bash
cut "an image, by a clone" image 16 1 mkfs.xfs -q -f --unsupported
