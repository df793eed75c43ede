# SPDX-License-Identifier: BSD-2-Clause
# shellcheck disable=SC2154
# blxsum --live: a pair is verified while its source is written and replication goes on. BLX_LIVE_ROUNDS: how many rounds
# there may not be a false alarm in (100).

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export BLX_STATE_DIR=$BATS_TEST_TMPDIR/states
  loop_new 32M
  REPLICA=$DEV UNDER=$FILE
  blxapply --allow init "$REPLICA"
  loop_new 32M
  head -c 20M /dev/urandom | dd of="$DEV" bs=1M oflag=direct iflag=fullblock status=none
  blxtrack start "$DEV" 2>/dev/null
  replicate
}

teardown() {
  local pid
  for pid in ${PIDS:-}; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  await blxtrack stop --force "$DEV"
  loops_done
}

replicate() {
  blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $REPLICA"
}

# Until killed: replicate, over and over; a pipe that is being stopped may fail.
replicate_on() {
  while :; do
    replicate 2>>replicate.words
    sleep 0.2
  done
}

# write_on: random blocks of the device's first half, until killed.
write_on() {
  exec fio --name=load --filename="$DEV" --rw=randwrite --bsrange=512-64k --ioengine=libaio --iodepth=16 --direct=1 \
    --size=16M --time_based --runtime=3600 --rate_iops=400 --randrepeat=0 --output=/dev/null
}

background() {
  "$@" 3>&- &
  PIDS="${PIDS:-} $!"
}

verify() {
  timeout 20 blxsum --live "$@" "$DEV" -- blxsum --serve "$REPLICA"
}

# rot OFFSET: flip a bit below the replica's device, as a rotting disk would.
rot() {
  local byte
  byte=$(dd if="$UNDER" bs=1 skip="$1" count=1 status=none | od -An -tu1)
  # shellcheck disable=SC2059
  printf "\\$(printf %o $((byte ^ 4)))" | dd of="$UNDER" bs=1 seek="$1" conv=notrunc status=none
}

@test "an equal pair that nobody writes is right" {
  run -0 verify
  [ "${lines[-1]}" = "# end: 0 0" ]
  [[ $output == *"# since: "* && $output != *"# resync: "* ]] || fail "$output"
}

@test "what is written but not replicated yet is no damage, and is told to be unverified" {
  head -c 64K /dev/urandom | dd of="$DEV" bs=64K seek=1M oflag=direct,seek_bytes status=none
  run -0 --separate-stderr verify --rounds 1
  [ "${lines[-1]}" = "# end: 0 0" ]
  [ "$stderr" = "blxsum: $DEV: 65536 bytes were never quiet: they are not verified" ] || fail "$stderr"
}

@test "what was in flux is verified once it is replicated" {
  head -c 64K /dev/urandom | dd of="$DEV" bs=64K seek=1M oflag=direct,seek_bytes status=none
  background replicate_on
  run -0 --separate-stderr verify
  [ "${lines[-1]}" = "# end: 0 0" ]
  [ -z "$stderr" ] || fail "$stderr"
}

@test "a consumer that acks nothing ends it after --timeout" {
  head -c 64K /dev/urandom | dd of="$DEV" bs=64K seek=1M oflag=direct,seek_bytes status=none
  run -3 --separate-stderr verify --timeout 2
  [[ $stderr == *"consumer default acked nothing for 2 s" ]] || fail "$stderr"
}

@test "one flipped bit in a quiet block is found, under load, wherever it is" {
  background write_on
  background replicate_on
  for offset in 16777216 33554431; do
    rot "$offset"
    run -1 --separate-stderr verify
    [ "$(grep -v '^#' <<<"$output")" = "$((offset / 4096 * 4096)) 4096" ] || fail "$offset: $output $stderr"
    rot "$offset"
  done
}

@test "what was found is healed by the next run" {
  rot 25000000
  run -1 --separate-stderr verify
  blxtrack resync "$DEV" <<<"$output"
  replicate
  run -0 verify
  cmp "$UNDER" "$FILE"
}

@test "there is no false alarm in many rounds under load" {
  background write_on
  background replicate_on
  for ((round = 0; round < ${BLX_LIVE_ROUNDS:-100}; round++)); do
    run -0 --separate-stderr verify --rounds 1
  done
}

@test "whatever ends it, no consumer stays behind" {
  blxsum --live --rate 4M "$DEV" -- blxsum --serve "$REPLICA" >/dev/null 2>&1 3>&- &
  pid=$!
  await sh -c "blxtrack consumer list '$DEV' | grep -q ^blxsum-live"
  run -7 verify
  has "another blxsum --live is at work on it"
  kill "$pid"
  wait "$pid" || true
  [[ $(blxtrack consumer list "$DEV") != *blxsum-live* ]]
  run -4 blxsum --live "$DEV" -- false
  [[ $(blxtrack consumer list "$DEV") != *blxsum-live* ]]
}

@test "a consumer that a killed one left is taken over" {
  blxtrack consumer add --now blxsum-live "$DEV"
  run -0 verify
  [[ $(blxtrack consumer list "$DEV") != *blxsum-live* ]]
}

@test "a far end that is not this device's replica is refused" {
  run -5 blxsum --live "$DEV" -- blxsum --serve "$UNDER"
  has "the far end has no replica of it"
  run -2 blxsum --live --consumer another "$DEV" -- blxsum --serve "$REPLICA"
  blxtrack consumer add --now another "$DEV"
  run -5 blxsum --live --consumer another "$DEV" -- blxsum --serve "$REPLICA"
  run -5 blxsum --live "$REPLICA" -- blxsum --serve "$REPLICA"
  has "is not tracked"
}
