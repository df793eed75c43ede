#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2154,SC2164
# Everything that can be wrong with a stream or a target: blxapply's exit status, and what it says of it.

load lib
load apply

# unfit CODE WORDS COMMAND...: it ends with CODE, says WORDS, and changes nothing of the image img.
unfit() {
  local code=$1 words=$2 before
  shift 2
  before=$(md5sum <"$IMG")
  run "-$code" "$@"
  has "$words"
  [ "$before" = "$(md5sum <"$IMG")" ] || fail "the image changed"
}

# ---- the stream: base, lineage, device, size, kind

@test "a stream with a base that the replica does not hold is refused" {
  replica
  refused "$V/s3" "wrong base"
}

@test "a late stream is refused" {
  replica
  apply "$V/s2" "$IMG"
  apply "$V/s3" "$IMG"
  refused "$V/s2" "wrong base"
}

@test "a stream of another lineage is refused" {
  replica
  stream 2 "$V/v2" "$TWO" lineage=00000000-0000-4000-8000-000000000001 >other
  refused other "wrong lineage: the replica is of $LINEAGE"
}

@test "the same device under another number is taken, and its number kept" {
  replica
  stream 2 "$V/v2" "$TWO" device=7:301 >other
  apply other "$IMG"
  run -0 blxapply --status --json "$IMG"
  has '7:301'
}

@test "a stream of a smaller device is refused" {
  replica
  stream 2 "$V/v2" "data 4096 8192" size=524288 >other
  refused other "wrong size"
}

@test "an increment without a replica is refused and leaves no trace" {
  run -5 apply "$V/s2" "$IMG"
  has "holds only changes"
  [ ! -e "$IMG" ] || fail "an image was made"
  [ ! -e "$IMG.blx" ] || fail "a state directory was left"
}

@test "an anonymous stream is refused" {
  printf '# blx-extents 1\n# size: 4096\nzero 0 4096\ncommit\nend\n' | mkstream "$V/v1" >anon
  run -5 apply anon "$IMG"
  has "anonymous"
  [ ! -e "$IMG.blx" ] || fail "a state directory was left"
}

@test "an image that exists without a state needs permission, and the words say how" {
  cp "$V/v2" "$IMG"
  refused "$V/s1" "exists and is no replica; for what differs: 'blxtrack resync'; to overwrite it: blxapply --allow init $IMG"
  run -0 blxapply --allow init "$IMG"
  [ -z "$output" ] || fail "$output"
  run -0 apply "$V/s1" "$IMG"
  same "$V/v1" "$IMG"
}

@test "a permission is used up by the stream that uses it" {
  cp "$V/v2" "$IMG"
  blxapply --allow init "$IMG"
  apply "$V/s1" "$IMG"
  rm "$IMG.blx/state"
  refused "$V/s1" "--allow init"
}

@test "the permission to overwrite does not let an increment in" {
  cp "$V/v1" "$IMG"
  blxapply --allow init "$IMG"
  refused "$V/s2" "exists and is no replica"
  [ -e "$IMG.blx/allow" ] || fail "the permission was used up by a stream of another kind"
}

@test "the refusal of an increment says how to get a full copy" {
  local reset="'blxtrack consumer reset default DEVICE' on the source"
  run -5 apply "$V/s2" "$IMG"
  [[ $output == *"holds only changes; for a full copy: $reset" ]] || fail "$output"
  replica
  stream 2 "$V/v2" "data 4096 8192" size=524288 >other
  refused other "; for a full copy: $reset and 'blxapply --allow init $IMG' here"
  blxapply --allow init "$IMG"
  refused other "; the permission to init waits for a full copy: $reset"
}

@test "the remedy in a refusal is never cut" {
  local long
  long=$PWD/$(printf 'x%.0s' {1..60})
  replica "$long"
  stream 2 "$V/v2" "data 4096 8192" size=524288 >other
  run -5 apply other "$long"
  has "and 'blxapply --allow init TARGET' here"
}

@test "a refusal leaves a state directory that was there" {
  replica
  rm "$IMG.blx/state"
  echo leftover >"$IMG.blx/spool"
  refused "$V/s2" "exists and is no replica"
  [ "$(cat "$IMG.blx/spool")" = leftover ] || fail "$(ls "$IMG.blx")"
  rm "$IMG.blx"/*
  refused "$V/s2" "exists and is no replica"
  [ -d "$IMG.blx" ] || fail "the directory was removed"
}

@test "permission lifts another lineage, and the larger old image is cut" {
  replica
  stream 7 "$V/v2" "data 0 524288" lineage=00000000-0000-4000-8000-000000000001 size=524288 base=none chain=7 >other
  refused other "wrong lineage"
  blxapply --allow init "$IMG"
  run -0 apply other "$IMG"
  cmp -n 524288 "$V/v2" "$IMG"
  [ "$(stat -c %s "$IMG")" = 524288 ] || fail "size $(stat -c %s "$IMG")"
}

@test "an image that was written to is refused" {
  replica
  touch -d '1 hour ago' "$IMG"
  refused "$V/s2" "mtime differs"
}

@test "an image that was replaced is refused" {
  replica
  cp -p "$IMG" copy
  mv copy "$IMG"
  refused "$V/s2" "the image was replaced"
}

@test "an image that was made longer is refused" {
  replica
  truncate -s +4096 "$IMG"
  refused "$V/s2" "size differs"
}

@test "an image that is gone: an increment is refused, a whole stream makes a new one" {
  replica
  rm "$IMG"
  run -5 apply "$V/s2" "$IMG"
  has "the image is gone"
  run -0 apply "$V/s1" "$IMG"
  same "$V/v1" "$IMG"
  run -0 apply "$V/s2" "$IMG"
  same "$V/v2" "$IMG"
}

@test "a damaged state is refused" {
  replica
  head -c 300 "$IMG.blx/state" >cut
  cp cut "$IMG.blx/state"
  refused "$V/s2" "state of the replica: damaged or cut"
}

@test "an image that is attached to a loop device is refused, mounted meanwhile too" {
  replica
  local dev
  dev=$(losetup --find --show "$IMG")
  printf '%s\n' "$dev" >>loops
  refused "$V/s2" "in use: it is attached to $dev"
  into "$dev" 4096 512
  sync -f "$IMG"
  losetup -d "$dev"
  refused "$V/s2" "mtime differs"
}

@test "an image that is attached read-only or mounted is refused in every way, first copy and restore too" {
  local dev
  replica
  dev=$(losetup --read-only --find --show "$IMG")
  printf '%s\n' "$dev" >>loops
  refused "$V/s2" "in use: it is attached to $dev"
  run -5 apply "$V/s2" --in-place "$IMG"
  has "in use: it is attached to $dev"
  blxapply --allow init "$IMG"
  run -5 apply "$V/s1" "$IMG"
  has "in use: it is attached to $dev"
  rm -r "$IMG.blx"
  run -5 apply "$V/s1" --restore "$IMG"
  has "in use: it is attached to $dev"
  same "$V/v1" "$IMG"
}

@test "by a clone, an image that is attached read-only is refused, too" {
  cloning_fs btrfs
  IMG=$PWD/mnt/img
  replica
  local dev
  dev=$(losetup --read-only --find --show "$IMG")
  printf '%s\n' "$dev" >>loops
  refused "$V/s2" "in use: it is attached to $dev"
  losetup -d "$dev"
}

# readonly_target COMMAND...: exit 3 with the word, and nothing made.
readonly_target() {
  run -3 "$@"
  has "read-only"
}

@test "a read-only image or directory is found before anything is made" {
  small_fs 8M
  cp "$V/v1" mnt/img
  mount -o remount,ro mnt
  readonly_target apply "$V/s1" mnt/img
  readonly_target apply "$V/s1" mnt/new
  readonly_target apply "$V/s1" --restore mnt/img
  readonly_target apply "$V/s1" --restore mnt/new
  readonly_target blxapply --allow init mnt/img
  [ "$(ls mnt)" = img ] || fail "$(ls mnt)"
}

@test "a read-only device is found before anything is made" {
  loop_new 2M --read-only
  readonly_target apply "$V/s1" "$DEV"
  readonly_target apply "$V/s1" --restore "$DEV"
  readonly_target blxapply --allow init "$DEV"
  [ ! -e "$BLX_STATE_DIR" ] || fail "$(ls -R "$BLX_STATE_DIR")"
}

@test "a refusal by a device leaves no state directory behind" {
  loop_new 2M
  run -5 apply "$V/s1" "$DEV"
  has "is no replica"
  [ ! -e "$BLX_STATE_DIR" ] || fail "$(ls -R "$BLX_STATE_DIR")"
}

@test "a tracked device, its disk and its partitions take no stream of it, other devices do" {
  loop_new 4M --partscan
  local disk=$DEV
  addpart "$disk" 1 2048 2048
  addpart "$disk" 2 4096 2048
  await test -b "${disk}p2"
  blxtrack start "${disk}p1" 2>/dev/null
  TRACKED=${disk}p1
  blxtrack drain "$TRACKED" | blxread >s
  local target
  for target in "${disk}p1" "$disk"; do
    blxapply --allow init "$target"
    run -5 apply s "$target"
    has "$target: is the stream's own source (/dev/${disk#/dev/}p1, tracked on this machine)"
    rm -r "$BLX_STATE_DIR"
    run -5 apply s --restore "$target"
    has "the stream's own source"
  done
  blxapply --allow init "${disk}p2"
  run -0 apply s "${disk}p2"
  cmp "${disk}p1" "${disk}p2"
  # The same numbers, but of another machine: that one's lineage is not tracked here.
  blxtrack stop --force "$TRACKED"
  run -0 apply s --restore "$TRACKED"
}

@test "an image that another process has locked is refused" {
  replica
  run -5 flock "$IMG" blxapply "$IMG" <"$V/s2"
  has "in use: another process holds a lock"
}

@test "an image that qemu has locked (OFD, shared) is refused" {
  replica
  run -5 python3 -c '
import fcntl, os, struct, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 100, 1, 0))
sys.exit(subprocess.run(["blxapply", sys.argv[1]], stdin=open(sys.argv[2])).returncode)' "$IMG" "$V/s2"
  has "in use: another process holds a lock"
}

@test "a second blxapply is told that the replica is busy" {
  replica
  run -7 --separate-stderr flock "$IMG.blx/lock" blxapply --ack "$IMG" <"$V/s2"
  [[ $stderr == *"busy"* ]] || fail "$stderr"
  [[ $output == "blx-ack 1 failed "*" code=7 why="* ]] || fail "$output"
  same "$V/v1" "$IMG"
}

@test "image and state exchanged together for an older copy are refused" {
  truncate -s 32M fs
  mkfs.ext4 -q fs
  mkdir mnt
  mount -o loop fs mnt
  replica "$PWD/mnt/img"
  umount mnt
  cp fs old
  mount -o loop fs mnt
  apply "$V/s2" mnt/img
  umount mnt
  mv old fs
  mount -o loop fs mnt
  run -5 apply "$V/s3" mnt/img
  has "wrong base"
  same "$V/v1" mnt/img
}

@test "directories and special files are refused" {
  run -5 apply "$V/s1" "$PWD"
  has "a directory"
  mkfifo pipe
  run -5 apply "$V/s1" pipe
  has "a special file"
}

# ---- devices and restores

@test "a block device that is too small is refused" {
  loop_new 512K
  blxapply --allow init "$DEV"
  run -5 apply "$V/s1" "$DEV"
  has "the device has 524288 bytes"
}

@test "a mounted block device is refused" {
  loop_new 2M
  mkfs.ext4 -q "$DEV"
  blxapply --allow init "$DEV"
  mkdir mnt
  mount "$DEV" mnt
  run -5 apply "$V/s1" "$DEV"
  has "in use: mounted"
}

@test "a block device that another program has written to is refused" {
  loop_new 1M
  blxapply --allow init "$DEV"
  apply "$V/s1" "$DEV"
  into "$DEV" 4096 4096
  run -5 apply "$V/s2" "$DEV"
  has "written to by another"
}

@test "--restore refuses a stream that is not whole" {
  run -5 apply "$V/s2" --restore new
  has "needs a whole one"
  [ ! -e new ] || fail "made"
  printf '# blx-extents 1\n# size: %d\nzero 0 4096\ncommit\nend\n' $SIZE | mkstream "$V/v1" >anon
  run -5 apply anon --restore new
  has "lacks bytes 4096 to 1048576"
  has "only in part"
}

@test "--restore refuses a replica" {
  replica
  run -5 apply "$V/s1" --restore "$IMG"
  has "is a replica"
}

@test "--restore refuses a mounted device" {
  loop_new 2M
  mkfs.ext4 -q "$DEV"
  mkdir mnt
  mount "$DEV" mnt
  run -5 apply "$V/s1" --restore "$DEV"
  has "in use: mounted"
}

@test "a permission for what does not exist is refused" {
  run -5 blxapply --allow init "$IMG"
  has "does not exist"
}

# ---- more of the stream

@test "a stream of a device with another serial number" {
  serial() { { head_of "$1" | sed "s/^# epoch/# serial: $2\n&/" && tr / '\n' <<<"$3/commit/end"; } | mkstream "$V/v$1"; }
  serial 1 A "$WHOLE" >sA
  serial 2 B "$TWO" >sB
  apply sA "$IMG"
  refused sB "wrong device serial: the replica is of A, the stream of B; for what differs: 'blxtrack resync'"
}

@test "what is no stream, and a list where a stream should be" {
  replica
  head_of 2 >list
  unfit 4 "at byte 0: not a blx stream" apply /bin/sh "$IMG"
  unfit 4 "at byte 0: not a stream but an extent list (is a blxread missing?)" apply list "$IMG"
}

# ---- the state

@test "a state that was damaged: a bit, all of it, another version" {
  local words="$IMG: state of the replica:"
  replica
  cp "$IMG.blx/state" good
  sed -i 's/^size: 1048576/size: 1048577/' "$IMG.blx/state"
  refused "$V/s2" "$words damaged or cut; for what differs: 'blxtrack resync'"
  : >"$IMG.blx/state"
  refused "$V/s2" "$words not a record of a replica (version 1); for what differs"
  sed '1s/1/2/' good >"$IMG.blx/state"
  refused "$V/s2" "$words not a record of a replica (version 1); for what differs"
  unfit 5 "$words not a record of a replica (version 1)" blxapply --status "$IMG"
  unfit 5 "$words not a record of a replica (version 1)" blxapply --recover "$IMG"
  unfit 5 "$words not a record of a replica (version 1)" blxapply --promote "$IMG"
  cp good "$IMG.blx/state"
  run -0 apply "$V/s2" "$IMG"
}

@test "a state, or its directory, that cannot be one" {
  replica
  mv "$IMG.blx/state" good
  mkdir "$IMG.blx/state"
  unfit 3 "$IMG: state of the replica: read: Is a directory" apply "$V/s2" "$IMG"
  unfit 3 "$IMG: state of the replica: read: Is a directory" blxapply --status "$IMG"
  rmdir "$IMG.blx/state"
  mv good "$IMG.blx/state"
  mkdir "$IMG.blx/state.new" # what is to become the state
  unfit 3 "$IMG: state of the replica: write: Is a directory" apply "$V/s2" "$IMG"
  has "the image is as it was"
  [[ $output != *--in-place* ]] || fail "a remedy for another evil: $output"
  rmdir "$IMG.blx/state.new"
  mv "$IMG.blx" dir
  : >"$IMG.blx"
  unfit 3 "$IMG.blx: Not a directory" apply "$V/s2" "$IMG"
  unfit 3 "$IMG.blx: Not a directory" blxapply --status "$IMG"
}

@test "a permission that is none of those that can be given permits nothing" {
  stream 7 "$V/v2" "data 0 1048576" lineage=00000000-0000-4000-8000-000000000001 base=none chain=7 >other
  replica
  echo everything >"$IMG.blx/allow"
  refused other "wrong lineage"
}

# pending: killed while the spool was written into the image.
pending() {
  small_fs 8M
  IMG=$PWD/mnt/img
  replica
  kill_at pwrite64 2 "$V/s2" "$@" "$IMG"
  [ "$KILLED" = 137 ] || fail "not killed"
}

# lost_spool: the replica is incomplete, it is said, and a stream that reaches back far enough mends it.
lost_spool() {
  run -1 blxapply --recover "$IMG"
  has "$IMG: the spool of an epoch that was being applied is lost: the replica is incomplete until the next epoch"
  has "$IMG: incomplete: an epoch was begun and not finished; the source's next stream goes on"
  refused "$V/s3" "wrong base"
  run -0 apply "$V/s13" "$IMG"
  same "$V/v3" "$IMG"
}

@test "a spool of another epoch is not applied" {
  pending
  cp "$V/s3" "$IMG.blx/spool"
  lost_spool
}

@test "a spool in which a bit has changed is not taken for the epoch" {
  pending
  printf x | dd of="$IMG.blx/spool" bs=1 seek=9000 conv=notrunc status=none
  lost_spool
}

@test "a spool elsewhere that is gone" {
  mkdir elsewhere
  pending --spool elsewhere
  rm -r elsewhere
  lost_spool
}

# ---- names and permissions

@test "a name that cannot be a target's" {
  unnamed() { run "-$1" apply "$V/s1" --ack "$3" && has "$2" && has "blx-ack 1 failed code=$1 why="; }
  ln -s nothing dangling
  unnamed 5 "dangling: a link to nothing" dangling
  unnamed 3 "no/such/img: No such file or directory" no/such/img
  unnamed 2 "the name of the target is empty" ''
  unnamed 2 "the name of the target is too long or has a newline" $'a\nb'
  unnamed 2 "the name of the target is too long or has a newline" "$(printf '%5000s' x)"
}

@test "a directory for the spool, or for many images, that is none" {
  replica
  unfit 3 "--spool: nothing: No such file or directory" apply "$V/s2" --spool nothing "$IMG"
  unfit 3 "--into: nothing: No such file or directory" apply "$V/s2" --into nothing
  : >file
  unfit 3 "spool: create: Not a directory" apply "$V/s2" --spool file "$IMG"
  unfit 3 "file: Not a directory" apply "$V/s2" --into file
}

@test "who may not write is told so, not that it is read-only" {
  local denied="may not be written: Permission denied"
  nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
  cp "$BLX_BIN/blxapply" . # where he may go
  small_fs 8M
  cp blxapply mnt
  IMG=$PWD/mnt/img
  replica
  cd mnt
  [ "$(nobody id -u)" = 65534 ]
  reach "$PWD"
  unfit 3 "$IMG: $denied" nobody ./blxapply img <"$V/s2"
  unfit 3 "$IMG.blx: Permission denied" nobody ./blxapply --recover img
  unfit 3 "$IMG: $denied" nobody ./blxapply --promote img
  unfit 3 "$IMG: $denied" nobody ./blxapply --allow init img
  chmod 666 img
  unfit 3 "$IMG.blx: $denied" nobody ./blxapply img <"$V/s2"
  chmod 755 .
  unfit 3 "$PWD: $denied" nobody ./blxapply new <"$V/s1"
  [ ! -e new.blx ]
}

# reach DIR: everybody may go there.
reach() {
  local dir=$1
  while [ "$dir" != / ]; do
    chmod a+x "$dir" 2>/dev/null || true
    dir=$(dirname "$dir")
  done
}

@test "a tracked device whose record is damaged might be the stream's own source" {
  loop_new 4M
  blxtrack start "$DEV" 2>/dev/null
  TRACKED=$DEV
  blxtrack drain "$DEV" | blxread >s
  cp /run/blx/*/state record
  for state in /run/blx/*/state; do echo damaged >"$state"; done
  blxapply --allow init "$DEV"
  run -5 apply s "$DEV"
  has "$DEV: cannot tell if it is the stream's own source: /run/blx/"
  run -5 apply s --restore "$DEV"
  has "cannot tell if it is the stream's own source"
  cp record "$state"
}

@test "what is no replica cannot be promoted, recovered, permitted or looked at" {
  run -5 blxapply --promote "$IMG"
  has "$IMG: no replica here"
  run -5 blxapply --recover "$IMG"
  has "$IMG: no replica here"
  run -5 blxapply --status "$IMG"
  has "$IMG: no replica here"
  run -5 blxapply --allow resync "$IMG"
  has "$IMG: does not exist"
  [ ! -e "$IMG.blx" ] || fail "a state directory was made"
}
