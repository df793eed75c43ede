# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk loop dm-mod
# A loop device on a file, on a bio-based device; a new offset or backing file is another content.
. /mnt/tests/vm/lib.sh
members 1
truncate -s 24M /tmp/file
loop=$(losetup -f --show /tmp/file)
stack "loop on a file" "$loop"
blxtrack stop --force "$loop"
losetup -d "$loop"
dm below "0 $(sectors "$m1") linear $m1 0"
loop=$(losetup -f --show --direct-io=on /dev/mapper/below)
stack "loop on dm" "$loop" notrim
blxtrack stop --force "$loop"
losetup -d "$loop"
loop=$(losetup -f --show /tmp/file)
begin loop "$loop"
losetup -d "$loop"
losetup -o 1048576 "$loop" /tmp/file
expect loop "new offset: exit 6" 6 '' blxtrack drain "$loop"
losetup -d "$loop"
