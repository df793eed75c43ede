# SPDX-License-Identifier: BSD-2-Clause
# make demo shows what it says, and leaves nothing behind.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export TMPDIR=$PWD BLX_BIN=${BLX_BIN:-$TOP/build/bin}
}

nothing_left() {
  run -1 sh -c "losetup -l -n -O BACK-FILE | grep -F '$PWD'"
  run -1 grep -F "$PWD" /proc/mounts
  [ -z "$(find . -name 'blx-demo.*')" ] || fail "$(find . -name 'blx-demo.*')"
  run -1 sh -c "blxtrack status | grep -F '$PWD'"
}

@test "the demo ends with an equal replica" {
  ROUNDS=2 run -0 "$TOP/demo/demo.sh"
  has "cmp: 1073741824 bytes, all equal"
  has "integrity ok"
  has "In the end the replica was the disk, byte for byte"
  nothing_left
}

@test "the demo cleans up when it is interrupted" {
  for signal in INT TERM; do
    env --default-signal=INT setsid "$TOP/demo/demo.sh" >out 2>&1 </dev/null &
    demo=$!
    await grep -q '^ *[0-9]* .* MiB' out
    kill -"$signal" -- "-$demo"
    status=0
    wait "$demo" || status=$?
    case $signal in
      INT) [ "$status" = 130 ] || fail "exit $status: $(<out)" ;;
      TERM) [ "$status" = 143 ] || fail "exit $status: $(<out)" ;;
    esac
    nothing_left
  done
}
