# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk ext4
# One, called by a link such as udev makes; a read-only one, and one whose writes fail in a place.
. /mnt/tests/vm/lib.sh
members 1
mkdir -p /dev/disk/by-id
ln -sf "../../${m1##*/}" /dev/disk/by-id/virtio-m1
stack virtio-blk /dev/disk/by-id/virtio-m1
blxtrack stop --force "$m1"
blockdev --setro "$m1"
expect virtio-blk "read-only: tracked" 0 '' blxtrack start "$m1"
blockdev --setrw "$m1"
failed virtio-blk "$(disk broken)" $((8192 * 512))
