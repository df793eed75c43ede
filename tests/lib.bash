# shellcheck shell=bash
# What every suite loads: the programs on PATH, loop devices that go away again, and words for failures.
bats_require_minimum_version 1.5.0

TOP=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
PATH=${BLX_BIN:-$TOP/build/bin}:/usr/sbin:/sbin:$PATH
export PATH LC_ALL=C

# fail WORDS...: end the test with words.
fail() {
  printf '%s\n' "$*" >&2
  return 1
}

# has TEXT: the output of the last `run` contains TEXT.
has() {
  [[ $output == *"$1"* ]] || fail "expected '$1' in: $output"
}

# loop_new SIZE [losetup options]: a sparse file of SIZE on a loop device; sets DEV and FILE. loops_done detaches it.
loop_new() {
  local size=$1
  shift
  FILE=$(mktemp -p "$BATS_TEST_TMPDIR" disk.XXXXXX)
  truncate -s "$size" "$FILE"
  # the number that was found may be gone again: other suites make and remove some
  DEV=$(losetup --find --show "$@" "$FILE" || losetup --find --show "$@" "$FILE")
  printf '%s\n' "$DEV" >>"$BATS_TEST_TMPDIR/loops"
}

# Detach the loop devices that this test attached, and no other.
loops_done() {
  local dev
  [ -f "$BATS_TEST_TMPDIR/loops" ] || return 0
  while read -r dev; do
    losetup -d "$dev" 2>/dev/null || true
  done <"$BATS_TEST_TMPDIR/loops"
}

# await COMMAND...: until it succeeds; after 20 seconds of trying, fail.
await() {
  local end=$((SECONDS + 20))
  until "$@" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || fail "waited in vain for: $*" || return
    sleep 0.05
  done
}

# reseal FILE: give one of blxtrack's state files, changed by hand, the check of what it says now.
reseal() {
  sed -i '$d' "$1"
  printf 'end %s\n' "$(xxhsum -H3 <"$1" | grep -oE '[0-9a-f]{16}')" >>"$1"
}

# The leak checker cannot work under ptrace.
strace() {
  ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 command strace "$@"
}
