#!/usr/bin/env bats
# blxtrack when somebody else's hands were at its pins and its files: the truth, or exit 6; never a shorter list.

load lib

RECORD=$BATS_TEST_DIRNAME/tools/record.py

setup() {
  LOG=$BATS_TEST_TMPDIR/log
  LIST=$BATS_TEST_TMPDIR/list
  STATE=$BATS_TEST_TMPDIR/state
  : >"$LOG"
}

teardown() {
  mount -o remount,rw,size=50% /run/blx 2>/dev/null || true
  if [ -n "${DEV:-}" ]; then
    blxtrack stop --force "$DEV" 2>/dev/null || blxtrack stop --all --force 2>/dev/null || true
  fi
  loops_done
}

# tracked_loop SIZE: a new loop device, tracked, whose consumer `t` lacks nothing yet; sets NUMBER and KEPT, where its
# state is, and PINS.
tracked_loop() {
  loop_new "$1"
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
  NUMBER=$(cat "/sys/block/${DEV##*/}/dev")
  KEPT=/run/blx/$NUMBER
  PINS=$(dirname "$(find /sys/fs/bpf/blx -name map-devices)")
}

write() {
  "$RECORD" one "$DEV" "$LOG" "$1" "${2:-4096}"
}

drain() {
  blxtrack drain -c t "$DEV" >"$LIST" 2>"$BATS_TEST_TMPDIR/err"
}

# ack KIND [extra words]: the ack of $LIST.
ack() {
  local kind=$1 epoch token
  shift
  value() { sed -n "s/^# $1: //p" "$LIST"; }
  read -r epoch token <<<"$(value epoch)"
  printf 'blx-ack 1 %s lineage=%s device=%s consumer=%s epoch=%s token=%s%s\n' "$kind" "$(value lineage)" \
    "$(value device)" "$(value consumer)" "$epoch" "$token" "${*:+ $*}"
}

# A consumer with all it can have: deltas, a partial ack, ranges to come again; and what it lacks then, in $WANT.
full_state() {
  tracked_loop 64M
  write 0
  drain
  { ack unread 'offset=0 length=4096'; ack upto 'offset=1048576 unread=1'; } | blxtrack commit -c t "$DEV" 2>/dev/null || true
  write 33554432 8192
  drain
  write 4096
  write 50331648
  drain
  WANT=$BATS_TEST_TMPDIR/want
  grep -v '^#' "$LIST" >"$WANT"
  rm -rf "$STATE"
  cp -a --sparse=always "$KEPT" "$STATE"
  cp /run/blx/host "$STATE.host"
}

# As it was, and nothing else.
put_back() {
  rm -rf "${KEPT:?}"
  cp -a --sparse=always "$STATE" "$KEPT"
  cp "$STATE.host" /run/blx/host
}

# told WHAT: the drain of a state with WHAT done to it says 6, or lists everything.
told() {
  local code=0 look=0
  blxtrack drain -n -c t "$DEV" >"$LIST" 2>/dev/null || look=$?
  [ $look != 0 ] || grep -v '^#' "$LIST" | cmp -s - "$WANT" || fail "$1: a preview that is wrong"
  drain || code=$?
  case $code in
  0)
    grep -v '^#' "$LIST" >"$LIST.bare" || true
    diff "$WANT" "$LIST.bare" >&2 || fail "$1: a list that is wrong"
    whole=$((whole + 1))
    ;;
  6)
    [ ! -s "$LIST" ] || fail "$1: exit 6, and a list"
    grep -qE 'damaged|gone|incomplete|lost' "$BATS_TEST_TMPDIR/err" || fail "$1: $(cat "$BATS_TEST_TMPDIR/err")"
    said=$((said + 1))
    ;;
  "${2:-6}") said=$((said + 1)) ;;
  *) fail "$1: exit $code: $(cat "$BATS_TEST_TMPDIR/err")" ;;
  esac
}

# Names of the files of the state, and of the host's record.
files() {
  (cd "$STATE" && ls) | grep -v '^run\.'
  echo ../host
}

@test "a file of the state that is cut, emptied or removed is exit 6, or nothing that is lacked" {
  local file size at said=0 whole=0 gone
  full_state
  [ -n "$(ls "$STATE"/extra.t.*)" ]
  for file in $(files); do
    size=$(stat -c %s "$KEPT/$file")
    for at in 0 1 $((size / 3)) 63 64 4095 4096 8191 $((size - 9)) $((size - 1)); do
      [ "$at" -lt "$size" ] && [ "$at" -ge 0 ] || continue
      truncate -s "$at" "$KEPT/$file"
      told "$file cut at $at of $size"
      put_back
    done
    rm "$KEPT/$file"
    # of a device or consumer without a record nothing is known
    case $file in state) gone=5 ;; consumer.t) gone=2 ;; *) gone=6 ;; esac
    told "$file removed" $gone
    put_back
  done
  echo "# $said told, $whole whole" >&3
  [ $said -gt 40 ]
}

@test "a bit that flipped in a file of the state is exit 6, or nothing that is lacked" {
  local file size bit said=0 whole=0 random
  full_state
  RANDOM=${SEED:=$RANDOM}
  echo "# SEED=$SEED" >&3
  for file in $(files); do
    # all that are set in a bitmap, and some others
    mapfile -t random < <(python3 - "$KEPT/$file" $((${STEP:+1} + 0)) $RANDOM <<'P'
import random, sys
data, every = open(sys.argv[1], 'rb').read(), int(sys.argv[2])
rng = random.Random(int(sys.argv[3]))
binary = data[:4] == b'BLXD'
bits = [8 * i + b for i, c in enumerate(data) if c or not binary for b in range(8)]
if not every:
    bits = rng.sample(bits, 5) + [8 * rng.randrange(len(data))]
if binary:
    bits += [8 * i + b for i, c in enumerate(data[:6144]) if i >= 4096 for b in range(8) if c >> b & 1]
print(*bits, sep='\n')
P
    )
    for bit in "${random[@]}"; do
      python3 -c 'import sys
f, bit = open(sys.argv[1], "r+b"), int(sys.argv[2])
f.seek(bit // 8); b = f.read(1)[0] ^ 1 << bit % 8
f.seek(bit // 8); f.write(bytes([b]))' "$KEPT/$file" "$bit"
      told "$file, bit $bit"
      put_back
    done
  done
  echo "# $said told, $whole whole" >&3
  [ $said -gt 30 ]
}

@test "a damaged record is mended by the line that the words name" {
  tracked_loop 8M
  write 0
  drain
  sed -i s/cursor/CURSOR/ "$KEPT/consumer.t"
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"consumer.t: damaged; run 'blxtrack consumer reset t /dev/${DEV##*/}' for a full copy"* ]]
  run -6 blxtrack drain "$DEV" # what t lacks is not known, so nothing can be dropped
  blxtrack consumer reset t "$DEV"
  drain
  [ "$(grep -v '^#' "$LIST")" = "0 8388608" ]
  blxtrack drain "$DEV" >/dev/null
  echo >>"$KEPT/state"
  run -6 blxtrack drain -c t "$DEV"
  has "device $NUMBER: tracking state state: damaged; run 'blxtrack stop --all --force' and start again"
  run -6 blxtrack start "$DEV"
  blxtrack stop --all --force
  run -0 blxtrack start "$DEV"
  blxtrack drain "$DEV" >"$LIST"
  [ "$(grep -v '^#' "$LIST")" = "0 8388608" ]
}

@test "a consumer whose deltas are damaged is lost until a resync or a reset, the others are not" {
  tracked_loop 8M
  write 0
  drain
  write 4096
  blxtrack consumer add --now u "$DEV"
  rm "$KEPT/delta.2"
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"a delta after epoch 1 is gone"*"the history that consumer t had is lost"* ]]
  write 8192
  blxtrack drain -c u "$DEV" >"$LIST"
  [ "$(grep -v '^#' "$LIST")" = "8192 4096" ]
  run -6 blxtrack drain -c t "$DEV"
  has "consumer t had is lost"
  run -6 blxtrack commit -c t "$DEV" </dev/null
  blxtrack consumer reset t "$DEV"
  drain
  [ "$(grep -v '^#' "$LIST")" = "0 8388608" ]
}

@test "each pin that is removed is exit 6 and a new lineage, or changes nothing" {
  local pin said=0 needless=0 code
  tracked_loop 8M
  for pin in "$PINS"/*; do
    pin=${pin##*/}
    rm "$PINS/$pin"
    write 4096
    code=0
    drain || code=$?
    if [ $code = 0 ]; then
      [ "$(grep -v '^#' "$LIST")" = "4096 4096" ] || fail "$pin removed: $(cat "$LIST")"
      needless=$((needless + 1))
    else
      [ $code = 6 ] && [ ! -s "$LIST" ] || fail "$pin removed: exit $code"
      grep -qE 'detached|kernel side is gone' "$BATS_TEST_TMPDIR/err" || fail "$pin: $(cat "$BATS_TEST_TMPDIR/err")"
      run -0 blxtrack start "$DEV"
      run -6 blxtrack drain -c t "$DEV"
      has "the history that consumer t had is lost"
      said=$((said + 1))
    fi
    [ -e "$PINS/$pin" ] || { blxtrack stop --all --force && blxtrack start "$DEV" 2>/dev/null; }
    blxtrack consumer remove t "$DEV" 2>/dev/null || true
    blxtrack consumer add --now t "$DEV"
  done
  echo "# $said told, $needless needless" >&3
  [ $said -ge 11 ]
}

@test "programs that are replaced by others are exit 6" {
  local other
  tracked_loop 8M
  write 0
  for other in link-complete_1 link-issue; do
    mv "$PINS/link-complete_0" "$PINS/aside"
    mv "$PINS/$other" "$PINS/link-complete_0"
    mv "$PINS/aside" "$PINS/$other"
    run -6 --separate-stderr blxtrack drain -c t "$DEV"
    [ -z "$output" ]
    [[ $stderr == *"the tracking programs were replaced"* ]]
    blxtrack stop --all --force
    blxtrack start "$DEV" 2>/dev/null
    blxtrack consumer add --now t "$DEV"
  done
}

# By the number of the command in the kernel: bpftool has no word for it before 6.x.
@test "a link that is detached behind its pin is exit 6, where the kernel lets it be detached" {
  tracked_loop 8M
  write 0
  detached=$(python3 - "$PINS/link-complete_0" <<'P'
import ctypes, os, struct, sys
libc, SYS_bpf = ctypes.CDLL(None, use_errno=True), {'x86_64': 321}.get(os.uname().machine, 280)
def bpf(cmd, attr):
    return libc.syscall(SYS_bpf, cmd, ctypes.c_char_p(attr.ljust(128, b'\0')), 128)
path = ctypes.create_string_buffer(sys.argv[1].encode())
fd = bpf(7, struct.pack('QII', ctypes.addressof(path), 0, 0))
assert fd >= 0
print('no' if bpf(34, struct.pack('I', fd)) else 'yes', os.strerror(ctypes.get_errno()))
P
  )
  if [[ $detached == yes* ]]; then
    run -6 blxtrack drain -c t "$DEV"
  else
    [ "$detached" = 'no Operation not supported' ]
    drain
    [ "$(grep -v '^#' "$LIST")" = "0 4096" ]
  fi
}

@test "pins and maps of another version are left alone: 3, and nothing is lost" {
  tracked_loop 8M
  write 0
  cp /run/blx/host "$STATE.host"
  sed -i 's/^layout: .*/layout: 999/' /run/blx/host
  reseal /run/blx/host
  for command in "drain -c t" start "stop --force" status "consumer list"; do
    run -3 blxtrack $command "$DEV"
    has "tracking was started by a newer version of blxtrack (its layout is 999"
  done
  run -3 blxtrack commit -c t "$DEV" </dev/null
  has "a newer version"
  cp "$STATE.host" /run/blx/host
  write 8192
  drain
  [ "$(grep -v '^#' "$LIST")" = $'0 4096\n8192 4096' ]
}

@test "an emptied state while the kernel tracks is exit 6" {
  tracked_loop 8M
  write 0
  rm -rf /run/blx/*
  for command in "drain -c t" "commit -c t" status; do
    run -6 blxtrack $command "$DEV" </dev/null
    has "/run/blx is gone while the kernel still tracks"
  done
  run -2 blxtrack status --check
  blxtrack stop --all --force
  run -0 blxtrack start "$DEV"
  blxtrack drain "$DEV" >"$LIST"
  [ "$(grep -v '^#' "$LIST")" = "0 8388608" ]
}

# What is left of the tmpfs, down to the last page and the last inode.
fill() {
  mount -o "remount,size=$((256 + $(df --output=used -k /run/blx | tail -n 1)))k" /run/blx
  ! dd if=/dev/zero of=/run/blx/filling bs=4096 2>/dev/null || fail "it is not full"
}

@test "a full state: a drain is 3 and loses nothing, an ack is taken and makes room" {
  tracked_loop 64M
  write 0
  drain
  fill
  write 4096
  for _ in 1 2 3; do
    run -3 --separate-stderr blxtrack drain -c t "$DEV"
    [ -z "$output" ]
    [[ $stderr == *"/run/blx: delta.new: "*"No space left on device"* ]]
  done
  blxtrack consumer remove default "$DEV"
  ack 'done' | blxtrack commit -c t "$DEV"
  dd if=/dev/zero of=/run/blx/again bs=4096 2>/dev/null || true
  rm /run/blx/again
  drain
  [ "$(grep -v '^#' "$LIST")" = "4096 4096" ]
  # and again, with as little room: what was set aside is there again
  dd if=/dev/zero of=/run/blx/again bs=4096 2>/dev/null || true
  for offset in 1048576 2097152 3145728; do
    run -3 blxtrack commit -c t "$DEV" < <(ack upto "offset=$offset")
    has "the pipe ended without an ack"
    grep -qx "partial-upto: $offset" "$KEPT/consumer.t"
  done
  run -3 blxtrack consumer add other "$DEV"
  ack 'done' | blxtrack commit -c t "$DEV"
  rm /run/blx/again /run/blx/filling
  drain
  [ -z "$(grep -v '^#' "$LIST")" ]
}

@test "a state that cannot be written is 3 and loses nothing" {
  tracked_loop 8M
  write 0
  drain
  mount -o remount,ro /run/blx
  write 4096
  run -3 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"Read-only file system"* ]]
  run -3 blxtrack commit -c t "$DEV" < <(ack 'done')
  mount -o remount,rw /run/blx
  drain
  [ "$(grep -v '^#' "$LIST")" = "0 8192" ]
}

# many N: drain, and ack what was listed: whole, in part, late, or not at all.
many() {
  local code=0 list=$BATS_TEST_TMPDIR/many.$1 upto
  RANDOM=$1
  blxtrack drain -c t "$DEV" >"$list"
  LIST=$list
  sleep "0.$((RANDOM % 100))"
  case $((RANDOM % 3)) in
  0)
    ack 'done' | blxtrack commit -c t "$DEV"
    cp "$list" "$list.acked"
    ;;
  1)
    upto=$((RANDOM % 2048 * 4096))
    ack upto "offset=$upto" | blxtrack commit -c t "$DEV" 2>"$list.err" || code=$?
    grep -q "the pipe ended without an ack" "$list.err" || fail "upto: $code: $(cat "$list.err")"
    awk -v end=$upto '!/^#/ && $1 < end { print $1, $1 + $2 < end ? $2 : end - $1 }' "$list" >"$list.acked"
    ;;
  esac
}

@test "200 drains and commits at once: what was not acked is listed, and nobody fails" {
  local i pids=()
  tracked_loop 8M
  "$RECORD" write "$DEV" "$LOG" 2000 7 4194304 &
  writer=$!
  for ((i = 0; i < 100; i++)); do
    many $i 2>"$BATS_TEST_TMPDIR/many.$i.said" 3>&- &
    pids+=($!)
  done
  for ((i = 0; i < 100; i++)); do
    wait "${pids[i]}" || fail "number $i: $(cat "$BATS_TEST_TMPDIR/many.$i.said")"
  done
  wait "$writer"
  drain
  cat "$LIST" "$BATS_TEST_TMPDIR"/many.*.acked | grep -v '^#' | sort -u >"$LIST.union"
  "$RECORD" compare "$LIST.union" "$LOG" 4096 $((8 << 20)) 0 atleast
  # and what is listed now is not all that ever was
  [ "$(find "$BATS_TEST_TMPDIR" -name 'many.*.acked' | wc -l)" -gt 10 ]
}
