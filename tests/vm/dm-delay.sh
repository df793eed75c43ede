# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-delay
# Writes that are in flight for long: start waits for them, and a flip while they fly does not lose them.
. /mnt/tests/vm/lib.sh
need dm-delay dm-delay
members 1
n=$(sectors "$m1")
dev=/dev/mapper/short
dm short "0 $n delay $m1 0 0 $m1 0 3000"

# write BLOCK: in the background; pid
write() {
  head -c 4096 /dev/urandom >/tmp/data
  dd if=/tmp/data of=$dev bs=4096 seek="$1" count=1 oflag=direct conv=notrunc 2>/dev/null &
  pid=$!
  # not by inflight: device-mapper leaves out what waits in this target
  await grep -q ' D ' /proc/$pid/stat
}

write 1
begin dm-delay $dev
if dd if=$dev bs=4096 skip=1 count=1 iflag=direct 2>/dev/null | cmp -s - /tmp/data; then
  row dm-delay "start waits for what is in flight" ok
else
  row dm-delay "start waits for what is in flight" "a write had not landed"
fi
wait $pid
unmade short

dev=/dev/mapper/long
dm long "0 $n delay $m1 0 0 $m1 0 8000"
begin dm-delay $dev
: >$err
replicate $dev /tmp/img || row dm-delay "first copy" "$(words)"
write 7
for _ in 1 2; do
  replicate $dev /tmp/img || row dm-delay "in flight" "$(words)"
done
if kill -0 $pid 2>/dev/null; then
  wait $pid
  if cmp -s $dev /tmp/img; then
    row dm-delay "in flight" "the replica had what was not written yet"
  elif replicate $dev /tmp/img && cmp $dev /tmp/img >>$err 2>&1; then
    row dm-delay "in flight over two epochs" ok
  else
    row dm-delay "in flight over two epochs" "$(words)"
  fi
else
  row dm-delay "in flight over two epochs" "it was written too early for the test"
fi
