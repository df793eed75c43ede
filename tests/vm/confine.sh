# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk
# kernels: 6.1 5.10
# blxapply and blxls confine themselves as far as the kernel can: all of it on 6.1, without Landlock on 5.10.
. /mnt/tests/vm/lib.sh
members 1
img=/tmp/confined/img stream=/mnt/tests/data/small.stream
mkdir -p ${img%/*}
# An ordinary whole stream, of an ordinary disk: nothing on 5.10 tracks one.
blxread -a --whole "$m1" >/tmp/whole 2>$err || row confine stream "$(words)"
code=3 words='--confine must: no Landlock in this kernel'
if since 5.19; then
  code=0 words=
fi
expect confine 'blxls, all of it' $code "$words" blxls --confine must --check $stream
expect confine 'blxls, what can be' 0 '' blxls --check $stream
expect confine 'blxapply, all of it' $code "$words" sh -c "blxapply --confine must --restore $img </tmp/whole"
expect confine 'blxapply, what can be' 0 '' sh -c "blxapply --restore $img </tmp/whole && cmp $img $m1"
rm -rf ${img%/*} /tmp/whole
