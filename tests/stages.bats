# SPDX-License-Identifier: BSD-2-Clause
# A resync that is killed at any stage goes on with the same commands, and the replica is never lost on the way.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  loop_new 16M
  dd if=/dev/urandom of="$DEV" bs=1M count=4 oflag=direct status=none
  blxtrack start "$DEV" 2>/dev/null
  ordinary
  # Tracking is lost, and a write with it.
  blxtrack stop --force "$DEV"
  write_at 100
  write_at 900
  blxtrack start "$DEV" 2>/dev/null
  write_at 1800
  cp replica.img before
}

teardown() {
  blxtrack stop --force "$DEV" 2>/dev/null || true
  umount mnt 2>/dev/null || true
  loops_done
}

write_at() {
  dd if=/dev/urandom of="$DEV" bs=4096 seek="$1" count=1 oflag=direct conv=notrunc status=none
}

ordinary() { # blxapply's options
  blxtrack run "$DEV" -- sh -c 'blxread | blxpack | blxapply --ack "$@"' sh "$@" replica.img
}

compare() { # what wraps the client, or with SERVE the server
  ${CLIENT:-} blxsum --tree "$DEV" -- ${SERVER:-} blxsum --serve replica.img
}

# The three lines, as docs/recovery.md has them.
resync() {
  blxapply --allow resync replica.img || return
  compare | blxtrack resync "$DEV" || return
  ordinary
}

killed() { # SYSCALL N
  echo "strace -f -qq -o /dev/null -e inject=$1:signal=KILL:when=$2"
}

# The replica is what it was, or what the disk is.
old_or_new() {
  cmp -s replica.img before || same
}

same() {
  cmp <(dd if="$DEV" bs=1M iflag=direct status=none) replica.img
}

# went N: the loop has tried more than N places.
went() {
  echo "# $n places" >&3
  [ "$n" -gt "$1" ]
}

# compare_killed SIDE: the comparison's CLIENT or SERVER is killed at one system call after another.
compare_killed() {
  local n=0 ok=no
  while [ $ok = no ]; do
    n=$((n + 1))
    if (printf -v "$1" %s "$(killed write,io_uring_enter,read $((3 * n)))" && compare >found 2>/dev/null); then
      ok=yes
    else
      run -4 blxtrack resync "$DEV" <found
    fi
    cmp replica.img before
  done
  went 5
  resync
  same
}

@test "the comparison is killed at the source" {
  compare_killed CLIENT
}

@test "the comparison is killed at the replica" {
  compare_killed SERVER
}

@test "the list is cut on its way into blxtrack resync" {
  local n
  compare >found
  for ((n = 0; n < $(stat -c %s found); n += 7)); do
    run -4 blxtrack resync "$DEV" < <(head -c $n found)
  done
  went 100
  resync
  same
}

# apply_killed [OPTIONS]: blxapply is killed at one system call after another.
apply_killed() {
  local ok=no
  n=0
  blxapply --allow resync replica.img
  compare | blxtrack resync "$DEV"
  while [ $ok = no ]; do
    n=$((n + 1))
    blxtrack drain "$DEV" | blxread >stream
    # shellcheck disable=SC2046
    if $(killed "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,openat,ftruncate,fallocate,ioctl" $((${STEP:-3} * n))) \
      blxapply --ack "$@" replica.img <stream >acks 2>/dev/null; then
      ok=yes
    fi
    [ -n "$IN_PLACE" ] || old_or_new || fail "place $n: neither old nor new"
  done
  # The same line goes on, without permission being given again.
  ordinary "$@"
  same
  blxtrack drain -n "$DEV" | grep -qx '# end: 0 0'
}

@test "the resync is killed while it is applied: by spool" {
  IN_PLACE='' apply_killed
  went 10
}

@test "the resync is killed while it is applied: by clone" {
  truncate -s 400M pool
  mkfs.xfs -q pool
  mkdir mnt
  mount -o loop pool mnt
  mv before replica.img* mnt
  cd mnt || return
  blxapply --allow resync replica.img 2>/dev/null # it was moved
  IN_PLACE='' apply_killed
  went 10
  cd ..
}

@test "the resync is killed while it is applied: in place" {
  IN_PLACE=yes apply_killed --in-place
  went 10
}

@test "blxread is killed, the wire is cut, the ack is lost" {
  resync_begin() {
    blxapply --allow resync replica.img
    compare | blxtrack resync "$DEV"
  }
  resync_begin
  run blxtrack run "$DEV" -- sh -c 'blxread | head -c 1000 | blxapply --ack replica.img'
  [ "$status" = 4 ]
  cmp replica.img before
  run blxtrack run "$DEV" -- sh -c "$(killed write,io_uring_enter 2) blxread | blxapply --ack replica.img"
  [ "$status" != 0 ]
  cmp replica.img before
  blxtrack drain "$DEV" | blxread | blxapply --ack replica.img >lost
  grep -q ' done ' lost
  write_at 5
  resync_status=$(blxtrack status "$DEV")
  [[ $resync_status == *'consumer default: resync'* ]]
  ordinary
  same
}

@test "all three lines again at any point do no harm" {
  resync
  same
  resync
  same
  write_at 7
  resync
  same
}

@test "the comparison of a part does not take the place of the whole" {
  echo "$((100 * 4096)) 4096" >part
  blxsum --tree --only part "$DEV" -- blxsum --serve replica.img >found
  grep -qx '409600 4096' found
  run -5 blxtrack resync "$DEV" <found
  has 'the list does not say which replica it was compared with'
  resync
  same
  # For a consumer whose position is known it says what to list again.
  blxtrack resync "$DEV" <found
  [ "$(blxtrack drain "$DEV" | sed '/^#/d')" = '409600 4096' ]
}

@test "what the source has grown by is sent whole, in use or not" {
  mkfs.ext4 -qF "$DEV"
  resync
  blxtrack stop --force "$DEV"
  truncate -s 32M "$FILE"
  losetup -c "$DEV"
  resize2fs "$DEV" >/dev/null 2>&1
  blxtrack start "$DEV" 2>/dev/null
  blxapply --allow resync replica.img
  blxsum --used --tree "$DEV" -- blxsum --serve replica.img >found
  grep -qx '16777216 16777216' found
  blxtrack resync "$DEV" <found
  ordinary
  e2fsck -fn replica.img
}
