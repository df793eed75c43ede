# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod
# dm-linear on one target; over two, neither of which starts on a block of the disk below.
. /mnt/tests/vm/lib.sh
members 2
dm one "0 $(sectors "$m1") linear $m1 0"
stack dm-linear /dev/mapper/one
unmade one
half=$(($(sectors "$m1") / 2))
dm two "0 $((half - 24)) linear $m1 9
$((half - 24)) $half linear $m2 2049"
stack "dm-linear, two targets" /dev/mapper/two
