# SPDX-License-Identifier: BSD-2-Clause
# blxused: what it leaves out of its list is not needed, and what it cannot know it refuses.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  mkdir mnt
}

teardown() {
  local at
  touch stop
  if [ -n "${WORK:-}" ]; then wait "$WORK" 2>/dev/null || true; fi
  if [ -n "${TRACKED:-}" ]; then blxtrack stop --force "$TRACKED" 2>/dev/null || true; fi
  for at in one/inner "a b" copy.d mnt; do
    if [ -d "$at" ]; then umount "$at" 2>/dev/null || true; fi
  done
  loops_done
}

# A tree of files, with holes, some gone again.
fill() {
  local i
  for i in {1..60}; do
    head -c $((i * 3001)) /dev/urandom >"$1/file$i"
  done
  mkdir "$1/dir"
  cp "$1"/file1* "$1/dir"
  truncate -s 20M "$1/dir/sparse"
  printf here | dd of="$1/dir/sparse" bs=1 seek=10M conv=notrunc status=none
  sync -f "$1"
  rm "$1"/file*[13579]
}

# made MKFS [OPTIONS]: $DEV of $SIZE, where nothing reads as zero, with a file system, mounted at mnt and filled. What it
# has freed may be freed a moment after sync(2), in the background: so it is mounted anew.
SIZE=64M
made() {
  loop_new "$SIZE"
  tr '\0' '\252' </dev/zero | head -c "$SIZE" >"$FILE"
  "$@" "$DEV" >/dev/null
  mount "$DEV" mnt
  fill mnt
  umount mnt
  mount "$DEV" mnt
}

# copied LIST: `copy` holds only what LIST names of $DEV, whose file system is not mounted.
copied() {
  rm -f copy
  truncate -s "$SIZE" copy
  blxread -a "$DEV" <"$1" >stream
  python3 "$TOP/tests/replay.py" copy <stream
  [ "$(awk '/^# end/ { print $4 }' "$1")" -lt $(($(stat -c %s copy) * 2 / 3)) ] || fail "it names too much: $(tail -n 1 "$1")"
}

# NOUUID: an option of mount, for xfs, which does not like two of one.
# whole FSCK...: what was copied is a clean file system with the same files.
whole() {
  mkdir -p copy.d
  "$@" copy >words 2>&1 || fail "$(<words)"
  mount -o "loop$NOUUID" copy copy.d
  mount -o ro "$DEV" mnt
  diff -r mnt copy.d
  umount copy.d mnt
}

# both FSCK...: mounted and not, the list is the same, and says enough.
both() {
  blxused "$DEV" >mounted
  umount mnt
  blxused "$DEV" >list
  copied mounted
  whole "$@"
  copied list
  whole "$@"
}

@test "ext4: what is listed, mounted or not, is all that is needed" {
  made mkfs.ext4 -q -E nodiscard
  both e2fsck -fn
  diff <(grep -v '^# time' mounted) <(grep -v '^# time' list)
}

@test "ext4 of 1 KiB blocks, of clusters, and ext2" {
  for how in "mkfs.ext4 -b 1024" "mkfs.ext4 -O bigalloc -C 65536" "mkfs.ext2"; do
    # shellcheck disable=SC2086
    made $how -q -F -E nodiscard
    both e2fsck -fn
  done
}

@test "xfs: what is listed, mounted or not, is all that is needed" {
  SIZE=320M NOUUID=,nouuid
  made mkfs.xfs -q -f -K
  both xfs_repair -n -f
  made mkfs.xfs -q -f -K -m rmapbt=1,reflink=1
  cp --reflink=always mnt/file60 mnt/shared
  both xfs_repair -n -f
}

@test "the list is anonymous, of the whole device, and a list" {
  made mkfs.ext4 -q -E nodiscard
  blxused "$DEV" >list
  diff <(head -n 4 list | sed 's/time: .*/time/') - <<END
# blx-extents 1
# name: ${DEV##*/}
# size: $((64 << 20))
# time
END
  blxread -a "$DEV" <list | blxls | diff <(grep -v '^# name' list) <(grep -v '^# name' -)
}

@test "what lies before and behind the file system counts as used" {
  loop_new 64M
  mkfs.ext4 -q -E nodiscard -b 1024 "$DEV" 32M
  blxused "$DEV" >list
  grep -qE '^0 ' list
  awk '!/^#/ { at = $1; n = $2 } END { exit !(at <= 33554432 && at + n == 67108864) }' list
  mount "$DEV" mnt
  blxused mnt | diff <(grep -v '^# time' list) <(grep -v '^# time' -)
}

@test "a mount point, a bind mount, a link: all lead there" {
  made mkfs.ext4 -q -E nodiscard
  blxused "$DEV" | grep -v '^# time' >want
  ln -s "$DEV" link
  mkdir -p one/inner "a b"
  mount --bind mnt/dir one/inner
  blxused link | grep -v '^# time' | diff want -
  blxused mnt | grep -v '^# time' | diff want -
  blxused one/inner | grep -v '^# time' | diff want -
  umount mnt one/inner
  mount "$DEV" "a b"
  blxused "$DEV" | grep -v '^# time' | diff want -
}

@test "a device that is mounted only over something that hides it is not taken for free" {
  made mkfs.ext4 -q -E nodiscard
  mount -t tmpfs tmpfs mnt
  run -5 blxused "$DEV"
  has "$DEV: in use, but not mounted here"
  umount mnt
  blxused "$DEV" >list
}

@test "a file system mounted in another namespace is refused" {
  made mkfs.ext4 -q -E nodiscard
  umount mnt
  mkfifo go
  unshare --mount --propagation private sh -c "mount '$DEV' mnt && touch mounted && read -r line <go" 3>&- &
  await [ -e mounted ]
  run -5 blxused "$DEV"
  has "$DEV: in use, but not mounted here"
  echo >go
  wait $!
}

@test "of xfs with its log elsewhere, only the data device is listed" {
  loop_new 80M
  log=$DEV
  SIZE=320M
  loop_new $SIZE
  mkfs.xfs -q -f -K -l logdev="$log",size=64M "$DEV"
  mount -o logdev="$log" "$DEV" mnt
  fill mnt
  blxused mnt >list
  grep -qx "# name: ${DEV##*/}" list
  run -5 blxused "$log"
  umount mnt
  copied list
  xfs_repair -n -f -l "$log" copy
  run -5 blxused "$DEV"
  has "$DEV: xfs_logprint does not find its log clean"
}

@test "a log or journal that must be replayed is refused" {
  SIZE=320M
  for how in ext4 xfs; do
    made "mkfs.$how" -q
    echo late >mnt/late
    xfs_io -x -c "shutdown -f" mnt
    umount mnt
    run -5 --separate-stderr blxused "$DEV"
    [ -z "$output" ] || fail "$output"
    [[ $stderr == *"mount it once"* ]] || fail "$stderr"
  done
}

@test "others are refused, and nothing is printed" {
  loop_new 160M
  run -5 --separate-stderr blxused "$DEV"
  [ -z "$output" ]
  [ "$stderr" = "blxused: $DEV: holds neither ext4 nor xfs; others do not say what they use" ]
  mkfs.btrfs -q "$DEV"
  run -5 blxused "$DEV"
  has "holds neither ext4 nor xfs"
  mount "$DEV" mnt
  run -5 --separate-stderr blxused mnt
  [ -z "$output" ]
  [ "$stderr" = "blxused: mnt: neither ext4 nor xfs; others do not say what they use" ]
  umount mnt
  mkdir one
  run -5 blxused one
  has "one: not a mount point"
  run -5 blxused "$FILE"
  has "$FILE: not a block device"
  run -5 blxused nosuch
  has "nosuch: No such file or directory"
  run -5 blxused /proc
  has "/proc: neither ext4 nor xfs"
}

@test "a disk of which only a partition is mounted is refused, and the partition is not" {
  loop_new 64M --partscan
  addpart "$DEV" 1 2048 100000
  await [ -b "${DEV}p1" ]
  mkfs.ext4 -q -E nodiscard "${DEV}p1"
  mount "${DEV}p1" mnt
  run -5 blxused "$DEV"
  blxused "${DEV}p1" | grep -qx "# size: $(blockdev --getsize64 "${DEV}p1")"
}

@test "tools that fail or are not there are told, and the list has no end" {
  loop_new 64M
  mkfs.ext4 -q -E nodiscard "$DEV"
  mkdir bin
  printf '#!/bin/sh\n/usr/sbin/dumpe2fs "$@" | sed /^Group.5/q; exit 1\n' >bin/dumpe2fs
  chmod +x bin/dumpe2fs
  PATH=$PWD/bin:$PATH run -5 --separate-stderr blxused "$DEV"
  [[ $stderr == "blxused: $DEV: dumpe2fs failed with status 1"* ]] || fail "$stderr"
  [[ $output != *"# end"* ]]
}

# replicate: an epoch; told on standard output: bytes of data, of zeroes.
replicate() {
  blxtrack run "$DEV" -- sh -c "blxread --used | tee stream | blxpack | blxapply --ack $PWD/copy"
  blxls --json stream | python3 -c 'import json, sys
o = json.load(sys.stdin)
print(o["data"], o["zero"])'
}

# less_free LIST: the list without the single blocks that xfs_db says are free; blxused counts those as used.
less_free() {
  local blocks
  blocks=$(xfs_db -r -c 'sb 0' -c 'print agblocks' "$DEV" 2>/dev/null | sed -n 's/agblocks = //p')
  [ -n "$blocks" ] || { cat "$1"; return; }
  xfs_db -r -c 'sb 0' -c 'freesp -d' "$DEV" | awk -v n="$blocks" '
    NF == 3 && $3 == 1 && $1 ~ /^[0-9]+$/ { print ($1 * n + $2) * 4096 }' >free
  awk '
    FNR == NR { free[$1]; next }
    /^#/ { next }
    { from = $1; end = $1 + $2
      for (at = int(from / 4096) * 4096; at < end; at += 4096)
        if (at in free) { if (at > from) print from, at - from; from = at + 4096 }
      if (from < end) print from, end - from }' free "$1"
}

# A first copy with --used under load, epochs under load, a last one: the same file system, and equal where it is used.
first_copy_under_load() {
  made "$@"
  TRACKED=$DEV
  blxtrack start "$DEV" 2>/dev/null
  "$BATS_TEST_DIRNAME/tools/churn.py" mnt/work stop 42 3>&- &
  WORK=$!
  sleep 1
  read -r data zero <<<"$(replicate)"
  [ "$zero" -gt $(($(blockdev --getsize64 "$DEV") / 4)) ] || fail "only $zero bytes were left out"
  [ "$data" -gt 1000000 ] || fail "only $data bytes were sent"
  for _ in {1..8}; do
    sleep 0.3
    replicate
  done
  touch stop
  wait "$WORK"
  WORK=
  umount mnt
  replicate
  blxused "$DEV" >list
  less_free list >in-use
  [ -s in-use ]
  # All of the copy but for what is not in use is what the device holds.
  cp copy equal
  blxread -a --plain "$DEV" <in-use | python3 "$BATS_TEST_DIRNAME/replay.py" equal
  cmp copy equal
  run -1 cmp -s "$DEV" copy # or the test shows nothing
}

@test "ext4 under load: blxread --used, epochs, and the replica is the file system" {
  SIZE=320M
  first_copy_under_load mkfs.ext4 -q -E nodiscard
  whole e2fsck -fn
}

@test "xfs under load: blxread --used, epochs, and the replica is the file system" {
  SIZE=400M NOUUID=,nouuid
  first_copy_under_load mkfs.xfs -q -f -K
  whole xfs_repair -n -f
}

@test "of a tracked device the list says since when" {
  loop_new 64M
  mkfs.ext4 -q -E nodiscard "$DEV"
  blxtrack start "$DEV"
  blxtrack drain "$DEV" >drained
  blxused "$DEV" >list
  blxtrack stop --force "$DEV"
  since=$(sed -n 's/^# since: //p' list)
  [ "$since" = "$(sed -n 's/^# lineage: //p' drained) $(sed -n 's/^# epoch: \([0-9]*\) .*/\1/p' drained)" ] || fail "$since"
}

@test "a full disk and a closed pipe are errors" {
  loop_new 64M
  mkfs.ext4 -q -E nodiscard "$DEV"
  run -3 bash -c "blxused $DEV >/dev/full"
  has "standard output: No space left on device"
  run -3 bash -c "set -o pipefail; { sleep 0.2; blxused $DEV; } | true"
}

@test "wrong command lines exit 2 and say why; help and version are there" {
  run -2 blxused
  has "one mount point or device is expected"
  run -2 blxused one two
  run -2 blxused ''
  run -2 blxused --nonsense
  run -0 blxused --help
  has "usage: blxused MOUNTPOINT | DEV"
  run -0 blxused --version
  has "blxused (blx)"
}
