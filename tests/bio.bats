#!/usr/bin/env bats
# Bio-based devices, on zram: where completions know no position, what is in flight is carried over each flip.

load lib

RECORD=$BATS_TEST_DIRNAME/tools/record.py

setup() {
  T=$BATS_TEST_TMPDIR
  LOG=$T/log
  LIST=$T/list
  : >"$LOG"
  if bpftool btf dump file /sys/kernel/btf/vmlinux format raw | grep -q "'rw_page'"; then
    skip "zram writes pages without a bio on this kernel"
  fi
  if [ ! -e /sys/class/zram-control/hot_add ]; then modprobe zram || skip "no zram"; fi
  ID=$(cat /sys/class/zram-control/hot_add)
  DEV=/dev/zram$ID
}

teardown() {
  [ -n "${ID:-}" ] || return 0
  touch "$T/stop"
  if [ -n "${WORK:-}" ]; then wait "$WORK" 2>/dev/null || true; fi
  if mountpoint -q "$T/mnt"; then umount "$T/mnt"; fi
  blxtrack stop --force "$DEV" 2>/dev/null || true
  echo "$ID" >/sys/class/zram-control/hot_remove
}

# tracked SIZE: give the device a size and track it; its consumer `t` lacks nothing yet.
tracked() {
  echo "$1" >"/sys/block/zram$ID/disksize"
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
}

listed() {
  grep -v '^#' "$LIST" || true
}

# flights VERB...: look at the table of bios in flight, or change it.
flights() {
  python3 - "$@" <<'P'
import ctypes, os, struct, sys
libc, N, BPF, path = ctypes.CDLL(None, use_errno=True), 1 << 17, 321, b'/sys/fs/bpf/blx/4/map-bios'
def bpf(cmd, fmt, *words):
    attr = ctypes.create_string_buffer(struct.pack(fmt, *words), 128)
    r = libc.syscall(BPF, cmd, attr, 128)
    if r < 0: sys.exit(os.strerror(ctypes.get_errno()))
    return r
name = ctypes.create_string_buffer(path)
fd = bpf(7, 'QII', ctypes.addressof(name), 0, 0)
key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(24)
def each(cmd, i):
    key.raw = struct.pack('I', i)
    bpf(cmd, 'IIQQQ', fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
if sys.argv[1] == 'count':
    def used(i):
        each(1, i)
        return value.raw[:8] != bytes(8)
    print(sum(used(i) for i in range(N)))
elif sys.argv[1] == 'fill':
    for i in range(N):
        value.raw = struct.pack('QQII', i + 1, 0, 8, 1023)
        each(2, i)
else: # put SECTOR SECTORS SLOT
    value.raw = struct.pack('QQII', 77 if int(sys.argv[3]) else 0, *map(int, sys.argv[2:5]))
    each(2, 77)
P
}

slot() {
  sed -n 's/^slot: //p' "/run/blx/$(cat "/sys/block/zram$ID/dev")/state"
}

@test "what is listed is what was written" {
  tracked 64M
  "$RECORD" write "$DEV" "$LOG" 300 5
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((64 << 20))
}

@test "status says that it is tracked by bio, and what the proof is worth" {
  tracked 16M
  run -0 blxtrack status "$DEV"
  has "by bio, from submission to completion; coverage: all instances of the programs counted the same events"
  run -0 blxtrack status --json "$DEV"
  has '"way":"bio","proof":"runs"'
}

@test "nothing stays in flight when all is written" {
  tracked 16M
  "$RECORD" write "$DEV" "$LOG" 300 6
  run -0 flights count
  [ "$output" = 0 ]
}

@test "a write in flight at a flip is listed once more after each, until it completes" {
  tracked 16M
  flights put 2056 16 "$(slot)"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ -z "$(listed)" ]
  for _ in 1 2; do
    blxtrack drain -c t "$DEV" >"$LIST"
    [ "$(listed)" = "1052672 8192" ]
    read -r epoch token <<<"$(sed -n 's/^# epoch: //p' "$LIST")"
    printf 'blx-ack 1 done lineage=%s device=%s consumer=t epoch=%s token=%s\n' "$(sed -n 's/^# lineage: //p' "$LIST")" \
      "$(sed -n 's/^# device: //p' "$LIST")" "$epoch" "$token" | blxtrack commit -c t "$DEV"
  done
}

@test "more writes in flight than can be noted are exit 6" {
  tracked 16M
  flights fill
  "$RECORD" one "$DEV" "$LOG" 0 4096
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"more than 131072 writes were in flight at once"* ]]
}

@test "notes of a device that was stopped are not the next one's" {
  tracked 16M
  flights put 0 8 "$(slot)"
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null # keeps the programs in the kernel
  LOOP=$DEV DEV=/dev/zram$ID
  blxtrack stop --force "$DEV"
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
  for _ in 1 2; do blxtrack drain -c t "$DEV" >"$LIST"; done
  blxtrack stop --force "$LOOP"
  loops_done
  [ -z "$(listed)" ]
}

@test "a reset is exit 6, also when more was written after it than before" {
  tracked 16M
  "$RECORD" one "$DEV" "$LOG" 0 65536
  blxtrack drain -c t "$DEV" >"$LIST"
  echo 1 >"/sys/block/zram$ID/reset"
  echo 16M >"/sys/block/zram$ID/disksize"
  "$RECORD" one "$DEV" "$LOG" 1048576 1048576
  run -6 blxtrack drain -c t "$DEV"
  has "it was reset"
}

@test "a reset to another size is exit 6" {
  tracked 16M
  echo 1 >"/sys/block/zram$ID/reset"
  echo 8M >"/sys/block/zram$ID/disksize"
  run -6 blxtrack drain -c t "$DEV"
  has "it shrank"
}

@test "a detached program is exit 6 for the devices that need it, and for no other" {
  tracked 16M
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null
  LOOP=$DEV DEV=/dev/zram$ID
  rm /sys/fs/bpf/blx/4/link-remap_2
  run -6 blxtrack drain -c t "$DEV"
  has "a tracking program was detached"
  run -0 blxtrack drain "$LOOP"
  blxtrack stop --force "$LOOP" 2>/dev/null
  loops_done
}

@test "a start that was killed after loading programs harms no other device" {
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
  "$RECORD" one "$DEV" "$LOG" 0 4096
  LOOP=$DEV DEV=/dev/zram$ID
  echo 16M >"/sys/block/zram$ID/disksize"
  for delay in 0.00 0.02 0.04 0.06 0.08 0.1 0.12 0.15 0.2 0.3; do
    blxtrack start "$DEV" 2>/dev/null &
    victim=$!
    sleep $delay
    kill -9 $victim 2>/dev/null || true
    wait $victim || true
  done
  run -0 blxtrack start "$DEV"
  run -0 --separate-stderr blxtrack drain -c t "$LOOP"
  [[ $output == *$'\n0 4096\n'* ]]
  blxtrack stop --force "$LOOP" 2>/dev/null
  loops_done
}

@test "the pipe from ext4 under load, with kills of blxtrack, ends equal" {
  echo 256M >"/sys/block/zram$ID/disksize"
  mkfs.ext4 -q "$DEV"
  mkdir "$T/mnt"
  mount -o discard "$DEV" "$T/mnt"
  blxtrack start "$DEV" 2>/dev/null
  "$BATS_TEST_DIRNAME/tools/churn.py" "$T/mnt/work" "$T/stop" 7 &
  WORK=$!
  for i in $(seq 25); do
    blxtrack run "$DEV" -- sh -c "blxread | blxpack | blxapply --ack $T/img" &
    run=$!
    if [ $((i % 3)) = 0 ]; then
      sleep "0.0$((i % 10))"
      kill -9 $run || true
    fi
    wait $run || [ $((i % 3)) = 0 ]
  done
  touch "$T/stop"
  wait "$WORK"
  WORK=
  umount "$T/mnt"
  await blxtrack run "$DEV" -- sh -c "blxread | blxpack | blxapply --ack $T/img"
  cmp "$DEV" "$T/img"
}
