# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-snapshot
# What happens to the table of a tracked device-mapper device: growth, snapshots and names keep the history; another
# table is exit 6, also one that was changed back before anybody looked.
. /mnt/tests/vm/lib.sh
members 2
dev=/dev/mapper/volume

# table LINES: exchange it, as LVM does.
table() {
  dmsetup suspend volume && echo "$1" | dmsetup reload volume && dmsetup resume volume || row dm-table reload "$1"
}

# fresh: track it anew, with a consumer that lacks nothing.
fresh() {
  blxtrack stop --force $dev 2>/dev/null
  begin dm-table $dev && blxtrack consumer add --now t $dev
}

# lists CHECK TEXT: a drain lists exactly that.
lists() {
  if blxtrack drain -c t $dev >/tmp/list 2>$err && [ "$(grep -v '^#' /tmp/list | tr '\n' ' ')" = "$2" ]; then
    row dm-table "$1" ok
  else
    row dm-table "$1" "$(grep -v '^#' /tmp/list | tr '\n' ' ') $(words)"
  fi
}

write() {
  dd if=/dev/zero of=$dev bs=4096 seek="$1" count=1 oflag=direct conv=notrunc 2>/dev/null
}

dm volume "0 8192 linear $m1 0"
fresh
write 3
table "0 16384 linear $m1 0"
write 2047
lists growth "12288 4096 4194304 4194304 "
table "0 16384 linear $m1 0
16384 8192 linear $m2 0"
lists "growth by a second target" "12288 4096 4194304 8388608 "

dmsetup rename volume renamed
dmsetup rename renamed volume
lists "rename" "12288 4096 4194304 8388608 "

fresh
dm below "0 16384 linear $m1 0
16384 8192 linear $m2 0"
dm cow "0 16384 linear $m2 16384"
write 5
table "0 24576 snapshot-origin /dev/mapper/below"
lists "a snapshot is taken" "20480 4096 "
table "0 16384 linear $m1 0
16384 8192 linear $m2 0"
write 6
lists "a snapshot is removed" "20480 8192 "

table "0 24576 snapshot-merge /dev/mapper/below /dev/mapper/cow P 16"
expect dm-table "a snapshot is merged" 6 'device-mapper table changed' blxtrack drain -c t $dev
table "0 16384 linear $m1 0
16384 8192 linear $m2 0"

fresh
table "0 24576 error"
table "0 16384 linear $m1 0
16384 8192 linear $m2 0"
expect dm-table "changed and changed back" 6 'exchanged 2 times' blxtrack drain -c t $dev

fresh
table "0 16384 linear $m1 0
16384 8192 linear $m2 8"
expect dm-table "another table" 6 'device-mapper table changed' blxtrack drain -c t $dev

dmsetup suspend volume
expect dm-table "suspended" 5 'suspended: resume it first' blxtrack start $dev
dmsetup resume volume
