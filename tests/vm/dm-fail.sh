# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-flakey
# Writes that fail count: the medium may have changed.
. /mnt/tests/vm/lib.sh
members 1
n=$(sectors "$m1")
dm error "0 8192 linear $m1 0
8192 8192 error
16384 $((n - 16384)) linear $m1 16384"
failed dm-error /dev/mapper/error $((9000 * 512))
unmade error
need dm-flakey dm-flakey
dm flakey "0 $n flakey $m1 0 60 0"
stack dm-flakey /dev/mapper/flakey
unmade flakey
dm flakey "0 $n flakey $m1 0 0 1 1 error_writes"
failed dm-flakey /dev/mapper/flakey $((9000 * 512))
