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
# state is.
tracked_loop() {
  loop_new "$1"
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
  NUMBER=$(cat "/sys/block/${DEV##*/}/dev")
  KEPT=/run/blx/$NUMBER
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
    bits = rng.sample(bits, 8) + [8 * rng.randrange(len(data))]
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
  [ $said -gt 40 ]
}
