#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031
# blxtrack upgrade: what the previous release tracks, built from its own source, is taken over without a hole.
# Environment: STEP, of the system calls at which it is killed only every STEP-th (277); FROM, the first (1).

load lib

RECORD=$BATS_TEST_DIRNAME/tools/record.py
PREVIOUS=${BLX_BUILD:-$TOP/build}/previous/blxtrack

setup() {
  T=$BATS_TEST_TMPDIR
  LOG=$T/log
  LIST=$T/list
  : >"$LOG"
  PATH=${BLX_BUILD:-$TOP/build}/tools:$PATH
}

teardown() {
  [ -z "${MOUNTED:-}" ] || fsfreeze -u "$MOUNTED" 2>/dev/null || true
  [ -z "${WORK:-}" ] || { kill "$WORK" && wait "$WORK"; } 2>/dev/null || true
  blxtrack stop --all --force
  if [ -n "${MOUNTED:-}" ]; then
    [ -z "${INNER:-}" ] || losetup -d "$INNER" || true
    umount "$MOUNTED" || true
  fi
  [ -z "${ZRAM:-}" ] || echo "$ZRAM" >/sys/class/zram-control/hot_remove
  loops_done
}

# previously COMMAND...: by the previous release.
previously() {
  "$PREVIOUS" "$@" 2>"$T/previously" || fail "$1: exit $?: $(cat "$T/previously")"
}

# zram_new SIZE: sets DEV.
zram_new() {
  if bpftool btf dump file /sys/kernel/btf/vmlinux format raw | grep -q "'rw_page'"; then
    skip "zram writes pages without a bio on this kernel"
  fi
  [ -e /sys/class/zram-control/hot_add ] || modprobe zram || skip "no zram"
  ZRAM=$(cat /sys/class/zram-control/hot_add)
  echo "$1" >"/sys/block/zram$ZRAM/disksize"
  DEV=/dev/zram$ZRAM
}

# tracked SIZE: a loop device that the previous release tracks, whose consumer `t` lacks nothing yet.
tracked() {
  loop_new "$1"
  previously start "$DEV"
  previously consumer add --now t "$DEV"
}

write_at() {
  "$RECORD" one "$DEV" "$LOG" $(($1 * 4096)) 4096
}

# covered: what the consumer `t` is given is what was written.
covered() {
  blxtrack drain -c t "$DEV" >"$LIST"
  "$RECORD" compare "$LIST" "$LOG" 4096 "$(blockdev --getsize64 "$DEV")"
}

# state KEY: of the device, as it is now.
state() {
  sed -n "s/^$1: //p" "/run/blx/$(stat -Lc '%Hr:%Lr' "$DEV")/state"
}

# logged N: so many writes at least.
logged() {
  [ "$(wc -l <"$LOG")" -ge "$1" ]
}

# under_load: DEV is tracked and has a replica; it is taken over in the middle of writes.
under_load() {
  local lineage epoch
  blxtrack stop --all --force
  "$RECORD" write "$DEV" "$T/before" 50 3
  previously start "$DEV"
  previously consumer add --now t "$DEV"
  "$PREVIOUS" run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  "$RECORD" one "$DEV" "$LOG" 4096 4096
  previously drain -c t "$DEV" >/dev/null
  lineage=$(state lineage) epoch=$(state epoch)
  "$RECORD" once "$DEV" "$LOG" 5 0.001 &
  WORK=$!
  await logged 101
  run -0 blxtrack upgrade
  [ -z "$output" ] || fail "$output"
  kill -0 $WORK || fail "the load was over before the upgrade"
  wait $WORK
  WORK=
  covered
  [ "$(state lineage)" = "$lineage" ]
  [ "$(state epoch)" -gt "$epoch" ]
  # the replica's consumer goes on where it was
  blxtrack drain -n "$DEV" >"$T/preview"
  grep -q '^# end:' "$T/preview"
  blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  cmp "$DEV" "$T/img"
  "$RECORD" write "$DEV" "$LOG" 50 6
  covered
  blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  cmp "$DEV" "$T/img"
  run -0 blxtrack status "$DEV"
  has ": tracking"
  [ "$(ls /sys/fs/bpf/blx)" = 4 ]
}

@test "a loop device is taken over in the middle of writes, and its replica goes on" {
  loop_new 24M
  under_load
}

@test "a zram device is taken over in the middle of writes, and its replica goes on" {
  zram_new 24M
  under_load
}

@test "a write in flight all the while is listed before it lands, and after" {
  loop_new 32M
  mkfs.ext4 -q "$DEV"
  mkdir "$T/mnt"
  mount "$DEV" "$T/mnt"
  MOUNTED=$T/mnt
  truncate -s 8M "$T/mnt/disk"
  DEV=$(losetup --find --show "$T/mnt/disk")
  INNER=$DEV
  previously start "$DEV"
  previously consumer add --now t "$DEV"
  fsfreeze -f "$MOUNTED"
  write_at 77 &
  WORK=$!
  await grep -q '1$' "/sys/block/${DEV#/dev/}/inflight"
  run -0 blxtrack upgrade
  echo "315392 4096" >"$T/expected"
  blxtrack drain -c t "$DEV" | grep -v '^#' | diff - "$T/expected"
  blxtrack consumer add --now late "$DEV"
  grep -q '1$' "/sys/block/${DEV#/dev/}/inflight"
  fsfreeze -u "$MOUNTED"
  wait $WORK
  WORK=
  blxtrack drain -c late "$DEV" | grep -v '^#' | diff - "$T/expected"
}

@test "until then every command says what to run, and nothing is changed; stop --all --force works" {
  tracked 8M
  write_at 7
  cp -a /run/blx "$T/state"
  for command in "start $DEV" "drain $DEV" "commit $DEV" "run $DEV -- true" "consumer list $DEV" "consumer reset t $DEV" \
    status "stop $DEV" "stop --all"; do
    # shellcheck disable=SC2086 # words
    run -3 blxtrack $command </dev/null
    has "tracking was started by another version of blxtrack; 'blxtrack upgrade' takes it over"
  done
  diff -r /run/blx "$T/state"
  blxtrack stop --all --force
  [ ! -e /sys/fs/bpf/blx ]
  [ ! -e /run/blx ]
}

@test "where a newer version tracks every command says so, and upgrade touches nothing" {
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null
  sed -i 's/^layout: .*/layout: 1000/; s/^end .*/finis/' /run/blx/host
  cp -a /run/blx "$T/state"
  for command in upgrade status "drain $DEV" "start $DEV"; do
    # shellcheck disable=SC2086 # words
    run -3 blxtrack $command
    has "tracking was started by a newer version of blxtrack (its layout is 1000"
  done
  diff -r /run/blx "$T/state"
  # one that was killed while it took over
  sed -i 's/^layout: .*/layout: 3/' /run/blx/host
  cp "$T/state/host" /run/blx/host.next
  run -3 blxtrack upgrade
  has "a newer version of blxtrack (its layout is 1000"
}

@test "what is older than any that is known is not taken over" {
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null
  sed -i 's/^layout: .*/layout: 2/' /run/blx/host
  run -3 blxtrack upgrade
  has "too old to be taken over (its layout is 2)"
}

@test "with nothing tracked, or by this version, it does nothing and says nothing" {
  run -0 blxtrack upgrade
  [ -z "$output" ]
  loop_new 8M
  blxtrack start "$DEV" 2>/dev/null
  cp -a /run/blx "$T/state"
  run -0 blxtrack upgrade
  [ -z "$output" ]
  diff -r /run/blx "$T/state"
  run -2 blxtrack upgrade "$DEV"
  run -0 blxtrack upgrade --help
  has "usage: blxtrack upgrade"
}

@test "positions, merged deltas, and what is to come again are kept" {
  tracked 8M
  previously consumer add first "$DEV"
  for i in $(seq 70); do
    [ $((i % 10)) != 0 ] || write_at $((i * 13))
    previously drain -c t "$DEV" >/dev/null
  done
  "$PREVIOUS" run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  # an ack on its way belongs to the list of the previous release
  write_at 2000
  previously drain -c first --max 1M "$DEV" >"$LIST"
  blxread <"$LIST" | blxapply --ack "$T/other" >"$T/acks"
  previously consumer list "$DEV" >"$T/consumers"
  for consumer in t default first; do previously drain -n -c $consumer "$DEV" | sed '/^# time/d' >"$T/list.$consumer"; done
  blxtrack upgrade
  blxtrack consumer list "$DEV" | diff - "$T/consumers"
  for consumer in t default first; do blxtrack drain -n -c $consumer "$DEV" | sed '/^# time/d' | diff - "$T/list.$consumer"; done
  covered
  blxtrack commit -c first "$DEV" <"$T/acks"
  blxtrack run -c first "$DEV" -- sh -c "blxread | blxapply --ack $T/other"
  cmp "$DEV" "$T/other"
  blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  cmp "$DEV" "$T/img"
}

@test "a history that was lost stays lost, and that of another device is kept" {
  tracked 8M
  number=$(stat -Lc '%Hr:%Lr' "$DEV")
  lost=$DEV
  tracked 8M
  write_at 9
  losetup -d "$lost"
  run -0 blxtrack upgrade
  run -6 blxtrack drain "$number"
  has "tracking is incomplete"
  covered
  # programs that somebody detached before
  blxtrack stop --all --force
  previously start "$DEV"
  rm /sys/fs/bpf/blx/link-complete_2
  run -0 blxtrack upgrade
  run -6 blxtrack drain "$DEV"
  has "a tracking program was detached"
  blxtrack start "$DEV" 2>/dev/null
  blxtrack drain "$DEV" >"$LIST" || [ $? = 6 ]
  blxtrack consumer reset default "$DEV"
  blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $T/img"
  cmp "$DEV" "$T/img"
}

@test "the previous release touches nothing of what was taken over" {
  tracked 8M
  write_at 9
  blxtrack upgrade
  loop_new 8M
  for command in "start $DEV" "stop --all --force" status; do
    # shellcheck disable=SC2086 # words
    if "$PREVIOUS" $command >"$T/out" 2>&1; then fail "$command: $(cat "$T/out")"; fi
  done
  DEV=$(head -n 1 "$T/loops")
  covered
}

# killed N [options]: upgrade with a kill at its Nth system call. REPORT: what became of it.
killed() {
  local n=$1 code=0
  shift
  inject "$@" -o "$T/report" -n "$n" -f kill -- blxtrack upgrade 2>"$T/err" || code=$?
  REPORT=$(cat "$T/report")
  [[ $REPORT == passed* ]] || [ $code = 137 ] || fail "place $n: exit $code: $(cat "$T/err")"
}

@test "killed at any system call, the next upgrade finishes, and every write is covered" {
  local n=${FROM:-1} places=0 at=0
  loop_new 8M
  while :; do
    if [ ! -e /run/blx/host ] || grep -qx 'layout: 4' /run/blx/host; then
      # taken over: what was written is covered; and begin again with the previous release
      [ ! -e /run/blx/host ] || covered || fail "after place $n"
      blxtrack stop --all --force
      previously start "$DEV"
      previously consumer add --now t "$DEV"
      : >"$LOG"
    fi
    write_at $((at++ % 2048))
    killed $n -a
    write_at $((at++ % 2048))
    [[ $REPORT == struck* ]] || break
    places=$((places + 1)) n=$((n + ${STEP:-277}))
    # every so often to the end; else the next kill finds what this one left
    if [ $((places % 4)) = 0 ] || [ -e /run/blx/host.next ]; then
      run -0 blxtrack upgrade
      write_at $((at++ % 2048))
    fi
  done
  covered
  echo "# $places of ${REPORT#passed } places" >&3
  [ "$places" -ge 10 ]
}
