# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: sd_mod virtio_scsi
. /mnt/tests/vm/lib.sh
dev=$(disk twin)
blkdiscard -z -f "$dev"
stack scsi "$dev"
