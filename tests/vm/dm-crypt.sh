# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-crypt aes_generic xts cbc essiv
# The content of a discarded range is not defined below a cipher: no discards.
. /mnt/tests/vm/lib.sh
need dm-crypt dm-crypt
members 1
dm crypt "0 32768 crypt aes-xts-plain64 $(printf %064d 7) 0 $m1 0"
stack dm-crypt /dev/mapper/crypt
