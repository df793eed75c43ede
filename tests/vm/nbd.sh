# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: nbd,nbds_max=1,max_part=0
. /mnt/tests/vm/lib.sh
need nbd nbd
python3 $tools/nbd.py /dev/nbd0 24 &
server=$!
await eval '[ "$(cat /sys/block/nbd0/size)" != 0 ]'
stack nbd /dev/nbd0
blxtrack stop --force /dev/nbd0
kill "$server"
