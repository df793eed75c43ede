# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod dm-delay
# kernels: 6.12
# A start suspends a device-mapper device for a moment: killed at any call, it leaves none suspended.
. /mnt/tests/vm/lib.sh
need dm-delay dm-delay
members 1
n=$(sectors "$m1")
dev=/dev/mapper/victim
dm victim "0 $n delay $m1 0 0 $m1 0 200"

is_suspended() {
  [ "$(dmsetup info -c --noheadings -o suspended victim)" = Suspended ]
}

active() {
  ! is_suspended
}

write() {
  timeout 20 dd if=/dev/zero of=$dev bs=4096 count=1 oflag=direct conv=notrunc 2>/dev/null
}

# the third call to device-mapper suspends, the fourth resumes
for call in 3 4; do
  write &
  writer=$!
  strace -o /tmp/calls -P /dev/mapper/control -e trace=ioctl -e inject=ioctl:signal=KILL:when=$call blxtrack start $dev >/dev/null 2>&1
  grep -q SUSPEND /tmp/calls && [ "$(grep -c '^ioctl' /tmp/calls)" = $call ] || row dm-start "killed at call $call" "$(tail -n 2 /tmp/calls)"
  await active && write || row dm-start "killed at call $call" "$(dmsetup info victim | grep State)"
  wait $writer || row dm-start "killed at call $call" "a write failed"
done
row dm-start "killed while it is suspended" ok

# only CAPABILITIES COMMAND...: as root with no other
only() {
  local caps=$1
  shift
  setpriv --bounding-set "-all,$caps" --inh-caps=-all sh -c 'ulimit -l 64; exec "$@"' sh "$@"
}
expect dm-start "without CAP_IPC_LOCK" 3 CAP_IPC_LOCK only +sys_admin blxtrack start $dev
expect dm-start "with it" 0 '' only +sys_admin,+ipc_lock blxtrack start $dev
