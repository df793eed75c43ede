#!/usr/bin/env bats
# blxtrack: what it lists is what was written, and it says so when it cannot know.

load lib

RECORD=$BATS_TEST_DIRNAME/tools/record.py

setup() {
  LOG=$BATS_TEST_TMPDIR/log
  LIST=$BATS_TEST_TMPDIR/list
  : >"$LOG"
}

teardown() {
  local dev
  if [ -f "$BATS_TEST_TMPDIR/tracked" ]; then
    while read -r dev; do
      blxtrack stop --force "$dev" 2>/dev/null || true
    done <"$BATS_TEST_TMPDIR/tracked"
  fi
  if [ -f "$BATS_TEST_TMPDIR/parts" ]; then
    while read -r dev; do delpart "${dev% *}" "${dev#* }" || true; done <"$BATS_TEST_TMPDIR/parts"
  fi
  loops_done
}

# track DEV [start options]: start it, and stop it at the end of the test.
track() {
  local dev=$1
  shift
  printf '%s\n' "$dev" >>"$BATS_TEST_TMPDIR/tracked"
  blxtrack start "$@" "$dev" 2>/dev/null
}

# tracked_loop SIZE [start options]: a new loop device, tracked, whose consumer `t` lacks nothing yet.
tracked_loop() {
  local size=$1
  shift
  loop_new "$size"
  track "$DEV" "$@"
  blxtrack consumer add --now t "$DEV"
}

# value KEY: from the header of $LIST.
value() {
  sed -n "s/^# $1: //p" "$LIST"
}

# ack KIND [extra words]: the ack of $LIST.
ack() {
  local kind=$1 epoch token
  shift
  read -r epoch token <<<"$(value epoch)"
  printf 'blx-ack 1 %s lineage=%s device=%s consumer=%s epoch=%s token=%s%s\n' "$kind" \
    "${LINEAGE:-$(value lineage)}" "${NUMBER:-$(value device)}" "${CONSUMER:-$(value consumer)}" \
    "$epoch" "${TOKEN:-$token}" "${*:+ $*}"
}

listed() {
  grep -v '^#' "$LIST" || true
}

@test "no command, an unknown one and no device are usage errors" {
  run -2 blxtrack
  has "which command?"
  run -2 blxtrack frobnicate
  has "blxtrack: frobnicate: no such command"
  run -2 blxtrack start
  has "start: which device?"
  run -2 blxtrack drain
  run -2 blxtrack commit
  run -2 blxtrack run /dev/null
  run -2 blxtrack stop
  run -2 blxtrack consumer frob /dev/null
  run -2 blxtrack status --json --prometheus
  run -2 blxtrack status --check --warn 2h --crit 1h
  run -2 blxtrack drain --bogus /dev/null
  [ "${#lines[@]}" = 2 ]
  [ "${lines[0]}" = "blxtrack: unrecognized option '--bogus'" ]
  [ "${lines[1]}" = "Try 'blxtrack drain --help'." ]
}

@test "every command has help on standard output" {
  run -0 blxtrack --help
  has "usage: blxtrack COMMAND"
  run -0 blxtrack --version
  has "blxtrack (blx)"
  for command in start stop drain commit run consumer resync follow status upgrade; do
    run -0 blxtrack "$command" --help
    has "usage: blxtrack $command"
  done
}

@test "a full standard output is an error" {
  tracked_loop 8M
  run -3 bash -c "blxtrack drain '$DEV' >/dev/full"
  has "No space left on device"
  run -3 bash -c "blxtrack status >/dev/full"
}

@test "what is no block device or not there is refused" {
  run -5 blxtrack start "$BATS_TEST_TMPDIR/nothing"
  has "No such file or directory"
  run -5 blxtrack start /dev/null
  has "/dev/null"
  run -5 blxtrack start "$LOG"
}

@test "an unbound loop device is refused: it has no size" {
  loop_new 8M
  losetup -d "$DEV"
  run -5 blxtrack start "$DEV"
  has "cannot be tracked: it has no size"
}

@test "a device that is not tracked is exit 5, and the message says what to run" {
  loop_new 8M
  run -5 blxtrack drain "$DEV"
  has "is not tracked: run 'blxtrack start' first"
  run -5 blxtrack commit "$DEV" </dev/null
  run -5 blxtrack stop "$DEV"
}

@test "an ordinary user is told to be root" {
  loop_new 8M
  cp "$(command -v blxtrack)" "$BATS_TEST_TMPDIR/blxtrack"
  chmod 755 "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/blxtrack"
  path=$BATS_TEST_TMPDIR
  while [ "$path" != / ]; do
    chmod o+x "$path"
    path=$(dirname "$path")
  done
  run -3 setpriv --reuid 65534 --clear-groups "$BATS_TEST_TMPDIR/blxtrack" start "$DEV"
  has "run as root"
}

@test "blocks are a power of two from 512 to 1M and not below the disk's" {
  loop_new 8M
  for block in 0 511 513 2M x -1; do
    run -2 blxtrack start -b "$block" "$DEV"
    has "a block is a power of two"
  done
  loop_new 8M --sector-size 4096
  run -2 blxtrack start -b 512 "$DEV"
  has "its logical blocks have 4096 bytes"
}

@test "start says what memory it takes and does nothing the second time" {
  loop_new 1G
  printf '%s\n' "$DEV" >>"$BATS_TEST_TMPDIR/tracked"
  run -0 blxtrack start "$DEV"
  has "1073741824 bytes in blocks of 4096: 65 KiB of kernel memory"
  run -0 blxtrack start "$DEV"
  [ -z "$output" ]
  run -5 blxtrack start -b 64K "$DEV"
  has "is tracked in blocks of 4096 bytes: stop it first"
}

@test "a new device's default consumer lacks all of it" {
  loop_new 8M
  track "$DEV"
  blxtrack drain "$DEV" >"$LIST"
  [ "$(listed)" = "0 8388608" ]
  [ "$(value base)" = none ]
  [ "$(value cursor)" = 0 ]
}

@test "extents are exactly the blocks that random writes, discards and zeroings touched" {
  for block in 512 4096 65536 1M; do
    tracked_loop 256M -b "$block"
    : >"$LOG"
    "$RECORD" write "$DEV" "$LOG" 400 "${block%M}"
    blxtrack drain -c t "$DEV" >"$LIST"
    "$RECORD" compare "$LIST" "$LOG" "$(numfmt --from=iec "$block")" $((256 << 20))
  done
}

@test "the last sector of a disk whose size is no multiple of the block is listed to the end" {
  loop_new $((8 << 20))
  losetup -d "$DEV"
  sed -i '$d' "$BATS_TEST_TMPDIR/loops"
  truncate -s $(((8 << 20) + 1536)) "$FILE"
  DEV=$(losetup --find --show "$FILE")
  printf '%s\n' "$DEV" >>"$BATS_TEST_TMPDIR/loops"
  track "$DEV"
  blxtrack consumer add --now t "$DEV"
  "$RECORD" one "$DEV" "$LOG" $(((8 << 20) + 1024)) 512
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "8388608 1536" ]
}

@test "a block that is written and set back is listed" {
  tracked_loop 8M
  dd if="$DEV" of="$BATS_TEST_TMPDIR/was" bs=4k count=1 status=none
  "$RECORD" one "$DEV" "$LOG" 0 4096
  dd if="$BATS_TEST_TMPDIR/was" of="$DEV" bs=4k count=1 oflag=direct conv=notrunc status=none
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "0 4096" ]
}

@test "reads and flushes are not listed" {
  tracked_loop 8M
  dd if="$DEV" of=/dev/null bs=1M iflag=direct status=none
  sync "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ -z "$(listed)" ]
}

@test "a device with a minor number over 255 is tracked under its own number" {
  loop_new 8M
  losetup -d "$DEV"
  sed -i '$d' "$BATS_TEST_TMPDIR/loops"
  # the first that nobody has
  for minor in $(seq 1300 1400); do
    DEV=/dev/loop$minor
    [ -e "$DEV" ] || mknod "$DEV" b 7 "$minor"
    ! losetup "$DEV" "$FILE" 2>/dev/null || break
  done
  echo "$DEV" >>"$BATS_TEST_TMPDIR/loops"
  track "$DEV"
  blxtrack consumer add --now t "$DEV"
  "$RECORD" write "$DEV" "$LOG" 20 7
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(value device)" = "7:$minor" ]
  "$RECORD" compare "$LIST" "$LOG" 4096 $((8 << 20))
}

@test "a partition with an odd start, a second one and their disk are tracked at once, each in its own range" {
  loop_new 64M
  for part in "1 63 40001" "2 65536 65536"; do
    # shellcheck disable=SC2086
    delpart "$DEV" "${part%% *}" 2>/dev/null || true # a loop device keeps them beyond its detach
    addpart "$DEV" $part
    echo "$DEV ${part%% *}" >>"$BATS_TEST_TMPDIR/parts"
  done
  for i in 1 2; do
    number=$(cat "/sys/block/${DEV##*/}/${DEV##*/}p$i/dev")
    [ -b "${DEV}p$i" ] || mknod "${DEV}p$i" b "${number%:*}" "${number#*:}"
    track "${DEV}p$i"
    blxtrack consumer add --now t "${DEV}p$i"
  done
  track "$DEV" -b 512
  blxtrack consumer add --now t "$DEV"
  "$RECORD" write "$DEV" "$LOG" 200 3
  blxtrack drain -c t "${DEV}p1" >"$LIST"
  [ "$(value start)" = $((63 * 512)) ]
  "$RECORD" compare "$LIST" "$LOG" 4096 $((40001 * 512)) $((63 * 512))
  blxtrack drain -c t "${DEV}p2" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((32 << 20)) $((32 << 20))
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 512 $((64 << 20))
  # through the partition's own node too
  "$RECORD" one "${DEV}p1" "$LOG.p" 512 512
  blxtrack drain -c t "${DEV}p1" >"$LIST"
  run -0 grep -qx "0 4096" "$LIST"
  # one goes, the others stay
  blxtrack stop --force "${DEV}p1"
  "$RECORD" one "$DEV" "$LOG" $((33 << 20)) 4096
  blxtrack drain -c t "${DEV}p2" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((32 << 20)) $((32 << 20))
}

@test "a sparse disk of 5 TiB is tracked exactly, up to its last block" {
  tracked_loop 5T -b 64K
  size=$((5 << 40))
  for offset in 0 $((1 << 32)) $(((1 << 41) - 512)) $(((1 << 42) + 512)) $((size - 512)); do
    "$RECORD" one "$DEV" "$LOG" "$offset" 512
  done
  "$RECORD" one "$DEV" "$LOG" $((3 << 40)) $((1 << 30)) discard
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 65536 "$size"
}

@test "a drain moves nothing: the next lists the same and more" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" one "$DEV" "$LOG" 1048576 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((8 << 20))
}

@test "-n shows what a drain would list, moves nothing, and cannot be acked" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  number=$(cat "/sys/block/${DEV##*/}/dev")
  before=$(ls "/run/blx/$number")
  blxtrack drain -n -c t "$DEV" >"$LIST"
  [ "$(listed)" = "4096 4096" ]
  [ -z "$(value lineage)" ]
  [ "$before" = "$(ls "/run/blx/$number")" ]
}

@test "an ack of done moves the position, and only what was written since is listed" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  "$RECORD" one "$DEV" "$LOG" 1048576 4096
  blxtrack drain -c t "$DEV" >"$LIST.2"
  run -0 grep -v '^#' "$LIST.2"
  [ "$output" = "1048576 4096" ]
}

@test "what is written between the drain and its ack is in the next list" {
  tracked_loop 8M
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  ack done | blxtrack commit -c t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "4096 4096" ]
}

@test "a late or repeated ack changes nothing and is no error" {
  tracked_loop 8M
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done >"$LIST.ack"
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  run -0 blxtrack commit -c t "$DEV" <"$LIST.ack"
  blxtrack drain -c t "$DEV" >"$LIST.2"
  run -0 grep -qx "4096 4096" "$LIST.2"
  base=$(sed -n 's/# base: //p' "$LIST.2")
  [ "$base" = "$(value epoch)" ]
}

@test "an ack of another lineage, device, consumer or token is exit 5 and moves nothing" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  LINEAGE=00000000-0000-4000-8000-000000000000 ack done >"$LIST.ack"
  run -5 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "ack of lineage 00000000-0000-4000-8000-000000000000"
  NUMBER=7:999 ack done >"$LIST.ack"
  run -5 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "ack for device 7:999"
  CONSUMER=other ack done >"$LIST.ack"
  run -5 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "ack for consumer other, not t"
  TOKEN=00000000000000000000000000000000 ack done >"$LIST.ack"
  run -5 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "with a token that was never issued"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "4096 4096" ]
}

@test "a failed ack is the pipeline's verdict, with its code and words" {
  tracked_loop 8M
  blxtrack drain -c t "$DEV" >"$LIST"
  ack failed code=5 why=the image was swapped >"$LIST.ack"
  run -5 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "the receiver: the image was swapped"
}

@test "a pipe that ends without an ack is exit 3" {
  tracked_loop 8M
  run -3 blxtrack commit -c t "$DEV" </dev/null
  has "the pipe ended without an ack that the epoch is applied"
  blxtrack drain -c t "$DEV" >"$LIST"
  ack upto offset=4096 >"$LIST.ack"
  run -3 blxtrack commit -c t "$DEV" <"$LIST.ack"
}

@test "a login banner among the acks is quoted, exit 4, and the acks after it count" {
  tracked_loop 8M
  blxtrack drain -c t "$DEV" >"$LIST"
  { echo "Welcome to backup!"; ack done; } >"$LIST.ack"
  run -4 blxtrack commit -c t "$DEV" <"$LIST.ack"
  has "acks, line 1"
  has "Welcome to backup!"
  read -r epoch _ <<<"$(value epoch)"
  run -0 blxtrack consumer list "$DEV"
  has "t $epoch "
}

@test "commit gives up after --timeout" {
  tracked_loop 8M
  run -3 bash -c "sleep 60 | timeout 20 blxtrack commit -c t --timeout 1 '$DEV' & wait \$!"
  pkill -P $$ -x sleep 2>/dev/null || true
  has "acks"
}

@test "a partial ack: below it only newer changes, beyond it all; done clears it" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 4096
  "$RECORD" one "$DEV" "$LOG" 4194304 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  ack upto offset=1048576 >"$LIST.ack"
  run -3 blxtrack commit -c t "$DEV" <"$LIST.ack"
  "$RECORD" one "$DEV" "$LOG" 8192 4096
  blxtrack drain -c t "$DEV" >"$LIST.2"
  run -0 grep -v '^#' "$LIST.2"
  [ "$output" = $'8192 4096\n4194304 4096' ]
  read -r epoch token <<<"$(value epoch)"
  run -0 grep -qx "# partial: $epoch $token 1048576" "$LIST.2"
  cp "$LIST.2" "$LIST"
  ack done | blxtrack commit -c t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ -z "$(value partial)" ]
  [ -z "$(listed)" ]
}

@test "a first copy goes on from its partial ack" {
  loop_new 8M
  track "$DEV"
  blxtrack drain "$DEV" >"$LIST"
  ack upto offset=4194304 >"$LIST.ack"
  run -3 blxtrack commit "$DEV" <"$LIST.ack"
  "$RECORD" one "$DEV" "$LOG" 12288 4096
  blxtrack drain "$DEV" >"$LIST"
  [ "$(listed)" = $'12288 4096\n4194304 4194304' ]
  [ "$(value base)" = none ]
  [ "$(value cursor)" = 4194304 ]
}

@test "an ack from before a reset changes nothing" {
  loop_new 8M
  track "$DEV"
  blxtrack drain "$DEV" >"$LIST"
  ack done >"$LIST.ack"
  blxtrack consumer reset default "$DEV"
  run -0 blxtrack commit "$DEV" <"$LIST.ack"
  blxtrack drain "$DEV" >"$LIST"
  [ "$(listed)" = "0 8388608" ]
}

@test "--max lists so much and no more, and the next lists the rest" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 1048576
  "$RECORD" one "$DEV" "$LOG" 4194304 1048576
  blxtrack drain -c t --max 1200K "$DEV" >"$LIST"
  limit=$(value limit)
  [ "$(listed)" = $'0 1048576\n4194304 180224' ]
  [ "$limit" = 4374528 ]
  ack upto "offset=$limit" last | blxtrack commit -c t "$DEV"
  blxtrack drain -c t --max 1200K "$DEV" >"$LIST"
  [ "$(listed)" = "4374528 868352" ]
  [ -z "$(value limit)" ]
}

@test "two consumers hold each what the other has acked" {
  tracked_loop 8M
  blxtrack consumer add --now slow "$DEV"
  for i in 1 2 3; do
    "$RECORD" one "$DEV" "$LOG" $((i * 1048576)) 4096
    blxtrack drain -c t "$DEV" >"$LIST"
    [ "$(listed)" = "$((i * 1048576)) 4096" ]
    ack done | blxtrack commit -c t "$DEV"
  done
  blxtrack drain -c slow "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((8 << 20))
}

@test "deltas are merged when many and dropped when all have acked" {
  tracked_loop 8M
  blxtrack consumer remove default "$DEV"
  number=$(cat "/sys/block/${DEV##*/}/dev")
  for i in $(seq 1 100); do
    "$RECORD" one "$DEV" "$LOG" $((i * 8192)) 512
    blxtrack drain -c t "$DEV" >"$LIST"
  done
  run -0 find "/run/blx/$number" -name 'delta.[0-9]*'
  [ "${#lines[@]}" -le 64 ]
  "$RECORD" compare "$LIST" "$LOG" 4096 $((8 << 20))
  # base, then every epoch's token
  [ "$(grep -c "^# chain: " "$LIST")" -ge 101 ]
  ack done | blxtrack commit -c t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  run -0 find "/run/blx/$number" -name 'delta.[0-9]*'
  [ "${#lines[@]}" = 0 ]
}

@test "consumers: unknown is an error, names are checked, remove and list work" {
  tracked_loop 8M
  run -2 blxtrack drain -c nobody "$DEV"
  has "has no consumer 'nobody'"
  run -2 blxtrack consumer add ../x "$DEV"
  run -2 blxtrack consumer add t "$DEV"
  has "has a consumer 't' already"
  run -0 blxtrack consumer list "$DEV"
  has "default 0 never 8388608"
  blxtrack consumer remove t "$DEV"
  run -2 blxtrack consumer reset t "$DEV"
}

@test "stop refuses while a consumer has not acked, and --force forgets" {
  tracked_loop 8M
  run -7 blxtrack stop "$DEV"
  has "consumer default has not acked 8388608 bytes; --force forgets them"
  blxtrack consumer remove default "$DEV"
  "$RECORD" one "$DEV" "$LOG" 0 4096
  run -7 blxtrack stop "$DEV"
  has "consumer t has not acked 4096 bytes"
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  run -0 blxtrack stop "$DEV"
  run -5 blxtrack drain "$DEV"
}

@test "growth keeps the lineage and lists the new range; what is written there later counts" {
  tracked_loop 8M
  lineage=$(blxtrack status --json "$DEV" | python3 -c 'import json,sys; print(json.load(sys.stdin)["devices"][0]["lineage"])')
  truncate -s 16M "$FILE"
  losetup -c "$DEV"
  "$RECORD" one "$DEV" "$LOG" 12582912 4096
  blxtrack drain -n -c t "$DEV" >"$LIST"
  [ "$(listed)" = "8388608 8388608" ]
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "8388608 8388608" ]
  [ "$(value lineage)" = "$lineage" ]
  ack done | blxtrack commit -c t "$DEV"
  "$RECORD" one "$DEV" "$LOG" 16773120 4096
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "16773120 4096" ]
}

# With STEP=1 at every call; that takes minutes.
@test "a drain that is killed at calls into the kernel while it takes up growth loses nothing" {
  local n=0 size=4 killed=yes
  tracked_loop 4M
  while [ $killed ]; do
    n=$((n + ${STEP:-7})) size=$((size + 1))
    [ $n -lt 500 ] || fail "it never got through"
    "$RECORD" one "$DEV" "$LOG" $(((size % 4) << 20)) 4096
    truncate -s ${size}M "$FILE"
    losetup -c "$DEV"
    "$RECORD" one "$DEV" "$LOG" $(((size - 1 << 20) + 8192)) 4096
    killed=
    strace -o /dev/null -e trace=bpf -e inject=bpf:signal=KILL:when=$n blxtrack drain -c t "$DEV" >"$LIST" || killed=yes
    "$RECORD" one "$DEV" "$LOG" $(((size - 1 << 20) + 65536)) 4096
    blxtrack drain -c t "$DEV" >"$LIST"
    [ "$(value size)" = $((size << 20)) ]
    "$RECORD" one "$DEV" "$LOG" $(((size - 1 << 20) + 131072)) 4096
    blxtrack drain -c t "$DEV" >"$LIST"
    # all that it grew by since its last ack, and what was written below
    [ "$(listed | tail -n 1)" = "4194304 $(((size - 4) << 20))" ]
    for ((i = 5; i <= (size < 7 ? size : 7); i++)); do
      listed | grep -q "^$((i % 4 << 20)) 4096$"
    done
  done
  [ $size -gt 10 ]
}

@test "shrinking is exit 6 and prints nothing, until start and reset" {
  tracked_loop 8M
  truncate -s 4M "$FILE"
  losetup -c "$DEV"
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"it shrank to 4194304 bytes"* ]]
  run -6 blxtrack drain -c t "$DEV"
  run -6 blxtrack status "$DEV"
  has "incomplete"
  has "consumer t: lost"
  [[ $output != *lacks* ]]
  run -2 blxtrack status --check "$DEV"
  has "BLX CRITICAL"
  run -6 blxtrack status --prometheus "$DEV"
  has "blx_tracking_proven{device=\"${DEV##*/}\"} 0"
  has "blx_consumer_lost{device=\"${DEV##*/}\",consumer=\"t\"} 1"
  [[ $output != *"blx_consumer_lacks_bytes{"* ]]
  blxtrack drain -c t "$DEV" >"$LIST" 2>/dev/null || true
  run -6 blxtrack commit -c t "$DEV" </dev/null
  run -0 blxtrack start "$DEV"
  has "tracking begins again under a new lineage"
  run -6 blxtrack drain -c t "$DEV"
  has "blxtrack consumer reset t"
  blxtrack consumer reset t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "0 4194304" ]
}

@test "another disk under the same number is exit 6" {
  tracked_loop 8M
  losetup -d "$DEV"
  losetup "$DEV" "$FILE"
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"another disk has its number now"* ]]
}

@test "a loop device's new backing file is exit 6" {
  tracked_loop 8M
  losetup -d "$DEV"
  sed -i '$d' "$BATS_TEST_TMPDIR/loops"
  blxtrack stop --force "$DEV"
  DEV=$(losetup --find --show --read-only "$FILE")
  echo "$DEV" >>"$BATS_TEST_TMPDIR/loops"
  track "$DEV"
  blxtrack consumer add --now t "$DEV"
  cp "$FILE" "$FILE.2"
  python3 - "$DEV" "$FILE.2" <<'P'
import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x4C06, os.open(sys.argv[2], os.O_RDONLY))  # LOOP_CHANGE_FD
P
  run -6 blxtrack drain -c t "$DEV"
  has "incomplete"
}

@test "a detached program is exit 6, and start begins again" {
  tracked_loop 8M
  rm /sys/fs/bpf/blx/4/link-complete_1
  run -6 blxtrack drain -c t "$DEV"
  has "a tracking program was detached"
  run -0 blxtrack start "$DEV"
  run -6 blxtrack drain -c t "$DEV"
  blxtrack consumer reset t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "0 8388608" ]
}

# value_le BYTES NUMBER: a little-endian number as bpftool wants it.
value_le() {
  local i
  for ((i = 0; i < $1; i++)); do printf '%d ' $(($2 >> 8 * i & 255)); done
}

# forget PROGRAM...: what these programs counted for $DEV, as if they had not run.
forget() {
  local slot program
  slot=$(sed -n 's/^slot: //p' "/run/blx/$(cat "/sys/block/${DEV##*/}/dev")/state")
  for program; do
    # shellcheck disable=SC2046
    bpftool map update pinned /sys/fs/bpf/blx/4/map-sums key $(value_le 4 $((program * 1024 + slot))) value $(value_le 16 0)
  done
}

@test "writes that the disk's statistics know and no program saw are exit 6" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 65536
  forget 0 1 2 3
  run -6 --separate-stderr blxtrack drain -c t "$DEV"
  [ -z "$output" ]
  [[ $stderr == *"the kernel accounted more writes than the programs saw (128 sectors written"* ]]
  run -6 blxtrack drain -c t "$DEV"
}

@test "writes whose completion no program saw are told, and covered by their submission" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 65536
  forget 0 1 2
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "0 65536" ]
  run -0 blxtrack status "$DEV"
  has "128 sectors were completed unseen"
}

@test "a write that seems to be in flight at a flip is listed once more after it" {
  tracked_loop 8M
  slot=$(sed -n 's/^slot: //p' "/run/blx/$(cat "/sys/block/${DEV##*/}/dev")/state")
  # shellcheck disable=SC2046
  bpftool map update pinned /sys/fs/bpf/blx/4/map-flights key $(value_le 4 77) \
    value $(value_le 8 1) $(value_le 8 2056) $(value_le 4 16) $(value_le 4 "$slot")
  blxtrack drain -c t "$DEV" >"$LIST"
  [ -z "$(listed)" ]
  ack done | blxtrack commit -c t "$DEV"
  # shellcheck disable=SC2046
  bpftool map update pinned /sys/fs/bpf/blx/4/map-flights key $(value_le 4 77) value $(value_le 24 0)
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "1052672 8192" ]
  ack done | blxtrack commit -c t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ -z "$(listed)" ]
}

# drained WANTED: what the next drain lists, acked.
drained() {
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  [ "$(listed)" = "$1" ] || fail "listed: $(listed)"
}

@test "what seems to be in flight on a disk at rest is left over, and not listed for ever" {
  tracked_loop 8M
  slot=$(sed -n 's/^slot: //p' "/run/blx/$(cat "/sys/block/${DEV##*/}/dev")/state")
  # shellcheck disable=SC2046
  bpftool map update pinned /sys/fs/bpf/blx/4/map-flights key $(value_le 4 77) \
    value $(value_le 8 1) $(value_le 8 2056) $(value_le 4 16) $(value_le 4 "$slot")
  drained ""
  drained "1052672 8192"
  drained "1052672 8192"
  # after a write it is no rest yet
  sleep 3
  "$RECORD" one "$DEV" "$LOG" 0 4096
  drained "$(printf '0 4096\n1052672 8192')"
  drained "1052672 8192"
  sleep 3
  drained "1052672 8192"
  drained ""
  drained ""
  "$RECORD" one "$DEV" "$LOG" 0 4096
  drained "0 4096"
  drained "1052672 8192"
  # with the statistics off nobody knows what is in flight
  echo 0 >"/sys/block/${DEV##*/}/queue/iostats"
  sleep 3
  blxtrack drain -c t "$DEV" >"$LIST"
  ack done | blxtrack commit -c t "$DEV"
  blxtrack drain -c t "$DEV" >"$LIST"
  echo 1 >"/sys/block/${DEV##*/}/queue/iostats"
  [ "$(listed)" = "1052672 8192" ] || fail "listed: $(listed)"
}

@test "nothing stays in flight when all is written" {
  tracked_loop 8M
  "$RECORD" write "$DEV" "$LOG" 200 4
  run -0 python3 - <<'P'
import json, subprocess
entries = json.loads(subprocess.check_output('bpftool -j map dump pinned /sys/fs/bpf/blx/4/map-flights', shell=True))
print(sum(any(int(b, 16) for b in e['value'][:8]) for e in entries))
P
  [ "$output" = 0 ]
}

@test "with the disk's statistics off coverage is said to be unproven" {
  tracked_loop 8M
  echo 0 >"/sys/block/${DEV##*/}/queue/iostats"
  "$RECORD" one "$DEV" "$LOG" 0 4096
  run -0 blxtrack drain -c t "$DEV"
  has "coverage is unproven"
  has "0 4096"
  run -0 blxtrack status "$DEV"
  has "unproven"
  echo 1 >"/sys/block/${DEV##*/}/queue/iostats"
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  run -0 blxtrack drain -c t "$DEV"
  has "0 8192"
}

@test "run: drains to the command, commits from it, one exit code" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 4096
  cat >"$BATS_TEST_TMPDIR/receiver" <<'R'
#!/bin/bash
list=$(cat)
printf '%s\n' "$list" >"$1"
read -r epoch token <<<"$(sed -n 's/^# epoch: //p' <<<"$list")"
get() { sed -n "s/^# $1: //p" <<<"$list"; }
echo "blx-ack 1 ${2:-done} lineage=$(get lineage) device=$(get device) consumer=$(get consumer) epoch=$epoch token=$token${3:+ $3}"
R
  chmod +x "$BATS_TEST_TMPDIR/receiver"
  run -0 blxtrack run -c t "$DEV" -- "$BATS_TEST_TMPDIR/receiver" "$LIST"
  [ -z "$output" ]
  [ "$(listed)" = "0 4096" ]
  run -5 blxtrack run -c t "$DEV" -- "$BATS_TEST_TMPDIR/receiver" "$LIST" failed "code=5 why=no"
  has "the receiver: no"
  [ -z "$(listed)" ]
  run -3 blxtrack run -c t "$DEV" -- cat /dev/null
  has "the pipe ended without an ack"
  run -3 blxtrack run -c t "$DEV" -- sh -c 'cat >/dev/null; kill -9 $$'
  has "was killed by signal 9"
  run -3 blxtrack run -c t "$DEV" -- "$BATS_TEST_TMPDIR/nothing"
  has "No such file or directory"
  run -3 timeout 20 blxtrack run --timeout 1 -c t "$DEV" -- sh -c 'cat >/dev/null; exec sleep 60'
}

@test "a run that is killed takes its command along" {
  tracked_loop 8M
  blxtrack run -c t "$DEV" -- sh -c "echo \$\$ >'$BATS_TEST_TMPDIR/pid'; exec sleep 300" 2>/dev/null &
  run=$!
  for _ in $(seq 100); do
    [ -s "$BATS_TEST_TMPDIR/pid" ] && break
    sleep 0.05
  done
  pid=$(cat "$BATS_TEST_TMPDIR/pid")
  kill -9 "$run"
  wait "$run" || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  run -1 kill -0 "$pid"
}

@test "advice works as it is printed" {
  tracked_loop 8M
  truncate -s 4M "$FILE"
  losetup -c "$DEV"
  run -6 blxtrack drain -c t "$DEV"
  advice=$(grep -o "'blxtrack start [^']*'" <<<"$output")
  eval "${advice//\'/}"
  run -6 blxtrack drain -c t "$DEV"
  advice=$(grep -o "'blxtrack consumer reset [^']*'" <<<"$output")
  eval "${advice//\'/}"
  blxtrack drain -c t "$DEV" >"$LIST"
  [ "$(listed)" = "0 4194304" ]
}

@test "a second run for the same consumer is exit 7 at once, one for another is not" {
  tracked_loop 8M
  mkfifo "$BATS_TEST_TMPDIR/hold"
  blxtrack run -c t "$DEV" -- sh -c "echo up >'$BATS_TEST_TMPDIR/up'; cat '$BATS_TEST_TMPDIR/hold'" 2>/dev/null &
  for _ in $(seq 100); do
    [ -s "$BATS_TEST_TMPDIR/up" ] && break
    sleep 0.05
  done
  run -7 blxtrack run -c t "$DEV" -- true
  has "another run for consumer t is not done yet"
  run -3 blxtrack run "$DEV" -- true
  : >"$BATS_TEST_TMPDIR/hold"
  wait || true
}

@test "drain --every sends the next list after the last one's ack, and ends when its reader has gone" {
  tracked_loop 8M
  mkfifo "$BATS_TEST_TMPDIR/pipe"
  timeout 30 blxtrack drain -c t --every 1 "$DEV" >"$BATS_TEST_TMPDIR/pipe" 2>"$BATS_TEST_TMPDIR/err" &
  drain=$!
  exec 5<"$BATS_TEST_TMPDIR/pipe"
  # shellcheck disable=SC2034
  for round in 1 2 3; do
    : >"$LIST"
    while read -r line <&5; do
      printf '%s\n' "$line" >>"$LIST"
      [[ $line == '# end:'* ]] && break
    done
    "$RECORD" one "$DEV" "$LOG" 0 4096
    ack done | blxtrack commit -c t "$DEV"
  done
  [ "$(listed)" = "0 4096" ]
  exec 5<&-
  code=0
  wait "$drain" || code=$?
  [ "$code" = 3 ]
  run -0 cat "$BATS_TEST_TMPDIR/err"
  has "standard output: Broken pipe"
}

@test "follow prints each write with its place, time and process, and its list feeds awk" {
  loop_new 8M
  out=$BATS_TEST_TMPDIR/follow
  timeout -s INT 30 blxtrack follow "$DEV" >"$out" &
  pid=$!
  for _ in $(seq 100); do
    [ -s "$out" ] && break
    sleep 0.05
  done
  "$RECORD" one "$DEV" "$LOG" 8192 4096
  "$RECORD" one "$DEV" "$LOG" 1048576 65536 discard
  for _ in $(seq 100); do
    [ "$(wc -l <"$out")" -ge 4 ] && break
    sleep 0.05
  done
  kill -INT "$(pgrep -P "$pid")"
  wait "$pid" || true
  run -0 cat "$out"
  [[ ${lines[2]} =~ ^8192\ 4096\ write\ [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z\ [0-9]+\ python3\ ${DEV##*/}$ ]]
  [[ ${lines[3]} =~ ^1048576\ 65536\ discard\  ]]
  has "# end: 2 69632 lost=0"
  run -0 awk '$3 == "write" { print $1, $2 }' "$out"
  [ "$output" = "8192 4096" ]
}

@test "status: text, JSON, Prometheus and a monitor's codes" {
  tracked_loop 8M
  "$RECORD" one "$DEV" "$LOG" 0 4096
  run -0 blxtrack status "$DEV"
  has "tracking"
  has "coverage: proven by the disk's statistics"
  has "consumer t: whole"
  has "lacks 4096 bytes"
  run -0 bash -c "blxtrack status --json '$DEV' | python3 -m json.tool"
  has '"lacks": 4096'
  run -0 blxtrack status --prometheus "$DEV"
  has "blx_consumer_lacks_bytes{device=\"${DEV##*/}\",consumer=\"t\"} 4096"
  run -0 blxtrack status --check --warn 1h --crit 1d "$DEV"
  has "BLX OK"
  number=$(cat "/sys/block/${DEV##*/}/dev")
  sed -i 's/^acked: .*/acked: 1000000000/' "/run/blx/$number/consumer.t"
  reseal "/run/blx/$number/consumer.t"
  run -1 blxtrack status --check --warn 1h --crit 9999999d "$DEV"
  has "BLX WARNING"
  run -2 blxtrack status --check --warn 1h --crit 1d "$DEV"
  has "BLX CRITICAL"
  run -3 blxtrack status --check /dev/nothing
  has "BLX UNKNOWN"
  blxtrack stop --all --force
  run -3 blxtrack status --check
  has "BLX UNKNOWN - nothing is tracked"
}

@test "the last device stopped takes the programs out of the kernel" {
  tracked_loop 8M
  if [ "$(blxtrack status --json | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["devices"]))')" != 1 ]; then
    fail "other devices are tracked on this machine"
  fi
  blxtrack stop --force "$DEV"
  [ ! -e /sys/fs/bpf/blx ]
  [ ! -e /run/blx ]
}

@test "killed drains lose nothing: random kills under load, then everything is listed" {
  tracked_loop 64M
  "$RECORD" write "$DEV" "$LOG" 3000 99 &
  writer=$!
  while kill -0 "$writer" 2>/dev/null; do
    blxtrack drain -c t "$DEV" >/dev/null 2>&1 &
    drain=$!
    sleep "0.0$((RANDOM % 7))"
    kill -9 "$drain" 2>/dev/null || true
    wait "$drain" 2>/dev/null || true
  done
  wait "$writer"
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 $((64 << 20))
}

@test "a device that is gone is stopped by its number, and it is said how" {
  tracked_loop 8M
  number=$(cat "/sys/block/${DEV##*/}/dev")
  run -5 blxtrack stop --force /dev/no-such-device
  has "named by its MAJOR:MINOR"
  truncate -s 4M "$FILE"
  losetup -c "$DEV"
  run -7 blxtrack stop "$number"
  has "--force forgets it"
  run -0 blxtrack stop --force "$number"
}

@test "closed standard descriptors are no room for other files" {
  tracked_loop 8M
  for closed in 0 1 2; do
    (
      eval "exec $closed>&-"
      strace -f -o "$BATS_TEST_TMPDIR/calls" -e trace=openat blxtrack drain -c t -o "$BATS_TEST_TMPDIR/lists" "$DEV"
    )
    grep -q '/dev/null.* = '$closed'$' "$BATS_TEST_TMPDIR/calls"
  done
  run -0 cat "$BATS_TEST_TMPDIR/lists/${DEV##*/}.extents"
  has "# end: 0 0"
}

@test "a label outlives a new lineage" {
  loop_new 8M
  track "$DEV" --label volume
  truncate -s 4M "$FILE"
  losetup -c "$DEV"
  run -6 blxtrack drain "$DEV"
  run -0 blxtrack start "$DEV"
  run -0 blxtrack status --json "$DEV"
  has '"label":"volume"'
}
