# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk
# kernels: 5.10
# A kernel that is too old is refused, and nothing is left behind.
. /mnt/tests/vm/lib.sh
expect virtio-blk "refused: too old" 3 'tracking needs 5.17 or newer' blxtrack start "$(disk virtio)"
expect virtio-blk "refused: nothing left" 1 '' test -e /sys/fs/bpf/blx
