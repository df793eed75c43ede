# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# The power fails while blxapply is at work: at every flush, with any part of what was not flushed, the journal is
# replayed, --recover runs, and the replica is at the old epoch or the new one; at the new one once that was acked.
# image, state and spool are on one disk, or the state with the target: what dm-log-writes records is their common order.
. /mnt/tests/vm/lib.sh
need powercut dm-log-writes
m1=$(disk m1) m2=$(disk m2)
mnt=/tmp/mnt T=$mnt/img
export BLX_STATE_DIR=$mnt/state
mkdir -p $mnt

# A source of 2 MiB, its first epoch and an increment; acks.1 and acks.2 are what the replica must come to say.
. /mnt/tests/apply.bash
SIZE=2097152
truncate -s $SIZE /tmp/source
src=$(losetup -f --show /tmp/source)
# epoch N OFFSET LENGTH...: of these ranges, as a stream, and what it makes
epoch() {
  local n=$1 number
  shift
  number=$(cat "/sys/block/${src#/dev/}/dev")
  { head_of "$n" device="$number" && printf '%s %s\n' "$@" && printf '# end: %d %d\n' $(($# / 2)) "$(sum "$@")"; } | blxread >"/tmp/s$n" &&
    blxapply --ack /tmp/model <"/tmp/s$n" >"/tmp/acks.$n" && cp /tmp/model "/tmp/v$n"
}
sum() {
  local sum=0
  while [ $# -gt 0 ]; do
    sum=$((sum + $2))
    shift 2
  done
  echo $sum
}
# noise OFFSET LENGTH
noise() {
  dd if=/dev/urandom of="$src" bs=4096 seek=$(($1 / 4096)) count=$(($2 / 4096)) oflag=direct conv=notrunc 2>/dev/null
}
noise 0 524288
noise 1572864 524288
epoch 1 0 $SIZE 2>$err || { row powercut "first epoch" "$(words)"; exit; }
noise 8192 8192
blkdiscard -z -o 65536 -l 65536 "$src"
noise 819200 163840 # a hole until now
noise 2093056 4096
epoch 2 8192 8192 65536 65536 819200 163840 2093056 4096 2>$err || { row powercut "second epoch" "$(words)"; exit; }

# One name and number for the disk, whatever it is on: table TABLE...
disk=/dev/mapper/disk
table() {
  dmsetup reload disk --table "$*" && dmsetup suspend disk && dmsetup resume disk
}

# What is on the disk: of an image a file system; of a device a file system with its state, and the device.
parts() {
  if [ "$kind" = block ]; then
    dmsetup create target --uuid blx-target --table "0 4096 linear $disk 0" && dmsetup mknodes target &&
      dmsetup create state --table "0 $((n - 4096)) linear $disk 4096" && dmsetup mknodes state
  fi
}

# first MKFS...: a replica at the first epoch
first() {
  parts && "$@" $fs && mount $fs $mnt || return
  if [ "$kind" = block ]; then blxapply --allow init $T || return; fi
  blxapply $T </tmp/s1 && umount $mnt
}

# second: the next epoch, recorded
second() {
  table "0 $n log-writes $m1 $m2" && mount $fs $mnt && blxapply --ack $T </tmp/s2 >/tmp/acks &&
    dmsetup message disk 0 mark acked && umount $mnt && table "0 $n linear $copy 0" && cmp /tmp/acks /tmp/acks.2
}

# cut NAME KIND SIZE SUBSETS MKFS...: the power fails during the second epoch.
cut() {
  local name=$1 kind=$2 n=$((2048 * $3)) size=$3 subsets=$4 T=$mnt/img fs=$disk copy type=${5#mkfs.}
  shift 4
  [ "$kind" != block ] || T=/dev/mapper/target fs=/dev/mapper/state
  dm disk "0 $n linear $m1 0"
  dd if=/dev/zero of="$m1" bs=1M count="$size" oflag=direct 2>/dev/null
  first "$@" >$err 2>&1 || { row powercut "$name" "first epoch: $(words)"; return; }
  dd if="$m1" of=/tmp/base bs=1M count="$size" iflag=direct 2>/dev/null
  cp /tmp/base /tmp/disk
  copy=$(losetup -f --show /tmp/disk)
  second >$err 2>&1 || { row powercut "$name" "second epoch: $(words)"; return; }
  if mount --bind /tmp/boot /proc/sys/kernel/random/boot_id &&
    python3 /mnt/tests/vm/powercut.py "$m2" /tmp/base /tmp/disk "$subsets" $fs "$type" $mnt $T >/tmp/out 2>&1; then
    row powercut "$name" ok
  else
    row powercut "$name" "$(tail -n 3 /tmp/out | tr '\n\t' '  ')"
  fi
  umount /proc/sys/kernel/random/boot_id
  sed 's/^/# /' /tmp/out
  [ "$kind" != block ] || dmsetup remove target state
  dmsetup remove disk
  losetup -d "$copy"
}

cat /proc/sys/kernel/random/uuid >/tmp/boot # of the machine that the power comes back to
