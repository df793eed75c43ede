# SPDX-License-Identifier: BSD-2-Clause
# Bad sectors through the whole pipe: they stay pending, and the rest goes through.

load lib

# A disk of 4 MiB with three bad blocks, at 1503232, 2093056 and 2097152: a loop device on a file of a btrfs, below which
# the bytes no longer agree with their checksums. `want` is what it held.
setup() {
  local at
  cd "$BATS_TEST_TMPDIR" || return
  truncate -s 128M pool
  mkfs.btrfs -q pool 2>/dev/null
  mkdir mnt
  mount -o loop pool mnt
  head -c 4M /dev/urandom >want
  for at in 1503232 2093056 2097152; do
    printf 'bad sector at %s' $at | dd of=want bs=4096 seek=$((at / 4096)) conv=notrunc status=none
  done
  cp --reflink=never want mnt/image
  umount mnt
  for at in $(grep -abo 'bad sector at' pool | cut -d: -f1); do
    printf X | dd of=pool bs=1 seek="$at" conv=notrunc status=none
  done
  mount -o loop pool mnt
  DEV=$(losetup --find --show --direct-io=on mnt/image)
  blxtrack start "$DEV" 2>/dev/null
}

teardown() {
  blxtrack stop --force "$DEV" 2>/dev/null || true
  losetup -d "$DEV" || true
  umount mnt || true
}

BAD=$'1503232 4096\n2093056 8192'

listed() {
  blxtrack drain "$DEV" >list
  sed '/^#/d' list
}

pipe() {
  blxtrack run "$DEV" -- sh -c 'blxread --skip-bad bad | blxpack | blxapply --ack replica.img'
}

# The replica is the disk but for the bad blocks, which hold what is given: zero or want.
rest_is_there() {
  local r
  cp want expected
  for r in "1503232 4096" "2093056 8192"; do
    [ "$1" = want ] || dd if=/dev/zero of=expected bs=4096 seek=$((${r% *} / 4096)) count=$((${r#* } / 4096)) conv=notrunc status=none
  done
  cmp expected replica.img
}

mend() { # write the bad blocks anew
  local r
  for r in "1503232 4096" "2093056 8192"; do
    dd if=want of="$DEV" bs=4096 skip=$((${r% *} / 4096)) seek=$((${r% *} / 4096)) count=$((${r#* } / 4096)) \
      oflag=direct conv=notrunc status=none
  done
}

@test "a first copy goes through, its bad sectors stay pending, and come once they can be read" {
  run -3 blxtrack run "$DEV" -- sh -c 'blxread | blxapply --ack replica.img'
  has 'Input/output error'
  run -0 pipe
  has 'replica.img: 12288 bytes in 2 ranges could not be read at the source'
  [ "$(grep -v '^#' bad)" = "$BAD" ]
  rest_is_there zero
  run -0 listed
  [ "$output" = "$BAD" ]
  run -1 blxapply --status replica.img
  has 'state:      partial'
  has 'unread:     2 ranges could not be read at the source, and are older'
  run -1 blxapply --status --json replica.img
  has '"state":"partial"'
  has '"unread":2,'
  run -0 blxtrack status "$DEV"
  has 'of them 12288 unread or to come again'
  run -0 pipe # still bad
  run -0 listed
  [ "$output" = "$BAD" ]
  mend
  run -0 pipe
  [ -z "$output" ]
  rest_is_there want
  run -0 listed
  [ -z "$output" ]
  run -0 blxapply --status replica.img
  has 'state:      complete'
  [ -z "$(ls replica.img.blx/unread.* 2>/dev/null)" ]
  [ -z "$(grep -v '^#' bad)" ]
}

@test "an increment with a bad sector, by spool, by clone and in place" {
  local way image options
  for way in spool clone in-place; do
    image=$way.img options=
    [ $way != clone ] || image=mnt/clone.img
    [ $way != in-place ] || options=--in-place
    blxtrack consumer reset default "$DEV"
    blxtrack run "$DEV" -- sh -c 'blxread --skip-bad bad | blxapply --ack $0' $image 2>/dev/null
    printf new | dd of="$DEV" bs=4096 seek=9 conv=sync oflag=direct conv=notrunc status=none
    blxtrack drain "$DEV" | blxread --skip-bad bad >stream 2>/dev/null
    blxls --check --ack stream >acks 2>/dev/null
    [ "$(wc -l <acks)" = 3 ]
    grep -q 'unread .* offset=1503232 length=4096$' acks
    run -0 --separate-stderr blxapply --ack $options $image <stream
    [ "$output" = "$(<acks)" ]
    run -0 --separate-stderr blxapply --ack $options $image <stream # said again
    [ "$output" = "$(<acks)" ]
    run -1 --separate-stderr blxapply --status --ack $image
    [ "$output" = "$(<acks)" ]
    blxtrack commit "$DEV" <acks
    run -0 listed
    [ "$output" = "$BAD" ]
    cp want expected
    dd if="$DEV" of=expected bs=4096 skip=9 seek=9 count=1 conv=notrunc status=none
    cp expected want
    cp $image replica.img
    rest_is_there zero
  done
  mend
  blxtrack run "$DEV" -- sh -c 'blxread | blxapply --ack in-place.img'
  run -0 listed
  [ -z "$output" ]
  cmp "$DEV" in-place.img
}

@test "the ranges of an ack that must be said again are not lost" {
  pipe 2>/dev/null
  rm replica.img.blx/unread.*
  run -3 blxapply --status --ack replica.img
  has '/unread.'
  has 'No such file or directory'
}

@test "a restore tells what could not be read, and zeroes it" {
  blxread -a --whole --skip-bad bad "$DEV" >stream 2>/dev/null
  head -c 4M /dev/urandom >restored
  run -1 blxapply --restore restored <stream
  has 'restored, but 12288 bytes in 2 ranges could not be read at the source: zeroes stand there'
  mv restored replica.img
  rest_is_there zero
}

@test "a first copy in pieces, and one that is cut, lose no bad sector" {
  local i
  for i in 1 2 3 4 5 6; do
    blxtrack run --max 1M "$DEV" -- sh -c 'blxread --skip-bad bad | blxapply --ack replica.img' 2>/dev/null || true
  done
  rest_is_there zero
  run -0 listed
  [ "$output" = "$BAD" ]
  rm -rf replica.img*
  blxtrack consumer reset default "$DEV"
  # Cut behind the first bad sector; what came is kept, and acked as far.
  run blxtrack run "$DEV" -- sh -c 'blxread --skip-bad bad | head -c 1900000 | blxapply --ack replica.img'
  [ "$status" = 4 ]
  run -0 listed
  [[ $output == '1503232 4096'$'\n'* ]] || fail "$output"
  run -0 pipe
  rest_is_there zero
  run -0 listed
  [ "$output" = "$BAD" ]
}
