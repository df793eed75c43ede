#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2016,SC2154,SC2164,SC2238
# blxapply: what it takes, what it refuses, and what is left after a crash.

load lib
load apply

# ---- the plain course

@test "a whole stream creates the image and acks it" {
  run -0 apply "$V/s1" --ack "$IMG"
  [ "$output" = "$(done_ack 1)" ] || fail "$output"
  same "$V/v1" "$IMG"
}

@test "an increment is applied onto its base and acked" {
  replica
  run -0 apply "$V/s2" --ack "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  same "$V/v2" "$IMG"
  run -0 apply "$V/s3" --ack "$IMG"
  same "$V/v3" "$IMG"
}

@test "without --ack success is silent" {
  run -0 apply "$V/s1" "$IMG"
  [ -z "$output" ] || fail "$output"
}

@test "several epochs in one stream are applied and acked one by one" {
  { head_of 1 && tr / '\n' <<<"$WHOLE/commit"; } >script
  { head_of 2 && tr / '\n' <<<"$TWO/commit/end"; } >>script
  mkstream "$V/v2" <script >both
  run -0 apply both --ack "$IMG"
  [ "${lines[0]}" = "$(done_ack 1)" ] || fail "$output"
  [ "${lines[1]}" = "$(done_ack 2)" ] || fail "$output"
  same "$V/v2" "$IMG"
}

@test "a replica that is further on than the base takes the stream" {
  replica
  apply "$V/s2" "$IMG"
  run -0 apply "$V/s13" --ack "$IMG"
  [ "$output" = "$(done_ack 3)" ] || fail "$output"
  same "$V/v3" "$IMG"
}

@test "an epoch that is there already is acked only once its state is durable" {
  replica
  run -3 --separate-stderr strace -qq -o /dev/null -e trace=fsync -e inject=fsync:error=EIO \
    blxapply --ack "$IMG" <"$V/s1"
  [[ $output != *done* ]] || fail "$output"
  run -3 strace -qq -o /dev/null -e trace=fsync -e inject=fsync:error=EIO blxapply --status --ack "$IMG"
}

@test "a stream applied twice is acked again and changes nothing" {
  replica
  apply "$V/s2" "$IMG"
  before=$(stat -c '%i %s %y %z' "$IMG"; cat "$IMG.blx/state")
  run -0 apply "$V/s2" --ack "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  [ "$before" = "$(stat -c '%i %s %y %z' "$IMG"; cat "$IMG.blx/state")" ] || fail "something changed"
}

@test "zero ranges become holes" {
  replica
  [ "$(du -k "$IMG" | cut -f1)" -le 900 ] || fail "no hole after the first copy"
  apply "$V/s2" "$IMG"
  [ "$(du -k "$IMG" | cut -f1)" -le 844 ] || fail "no hole after the increment: $(du -k "$IMG")"
}

@test "an empty epoch certifies its base as consistent, the next change ends that" {
  replica
  stream 2 "$V/v1" '' >empty
  apply empty "$IMG"
  run -0 blxapply --status "$IMG"
  has "consistent: yes"
  has "epoch:      2"
  apply "$V/s3" "$IMG"
  run -0 blxapply --status "$IMG"
  has "consistent: unknown"
}

@test "an image keeps its owner and mode" {
  replica
  chmod 640 "$IMG"
  chown 12:34 "$IMG"
  # The state knows the ctime: chmod and chown are changes, too.
  run -5 apply "$V/s2" "$IMG"
  has "ctime differs"
  blxapply --allow init "$IMG"
  apply "$V/s1" "$IMG"
  apply "$V/s2" "$IMG"
  [ "$(stat -c '%a %u:%g' "$IMG")" = "640 12:34" ] || fail "$(stat -c '%a %u:%g' "$IMG")"
}

@test "a link to the image leads to the same replica" {
  replica
  ln -s img link
  run -0 apply "$V/s2" link
  same "$V/v2" "$IMG"
  [ ! -e link.blx ] || fail "the link has a state of its own"
}

# ---- bad input

@test "a stream cut anywhere leaves the previous epoch, byte for byte" {
  replica
  local n total
  total=$(stat -c %s "$V/s2")
  for ((n = 0; n < total - 64; n += 199)); do # END has 64 bytes
    head -c "$n" "$V/s2" >cut
    run -4 apply cut "$IMG"
    same "$V/v1" "$IMG"
  done
  head -c $((total - 1)) "$V/s2" >cut
  run -4 apply cut "$IMG"
  # All but END: the epoch was committed.
  same "$V/v2" "$IMG"
}

@test "empty input is an error, with a failed ack that names no epoch" {
  run -4 --separate-stderr apply /dev/null --ack "$IMG"
  [[ $output == "blx-ack 1 failed code=4 why="* ]] || fail "$output"
  [ ! -e "$IMG.blx" ] || fail "a state directory was left"
}

@test "the sender's abort becomes the exit code and the ack, and nothing is applied" {
  replica
  { head_of 2 && printf 'data 4096 8192\nabort 6 tracking lost\n'; } | mkstream "$V/v2" >aborted
  run -6 --separate-stderr apply aborted --ack "$IMG"
  [[ $stderr == *"tracking lost"* ]] || fail "$stderr"
  [[ $output == "blx-ack 1 failed lineage="*" code=6 why="*"tracking lost"* ]] || fail "$output"
  same "$V/v1" "$IMG"
}

@test "bytes after the end are an error" {
  { cat "$V/s1"; echo; } >more
  run -4 apply more "$IMG"
  has "bytes follow the end"
}

@test "--restore: bytes after the end are an error" {
  { cat "$V/s1"; echo; } >more
  run -4 apply more --restore new
  has "bytes follow the end"
  same "$V/v1" new
}

@test "a whole stream with a gap is an error and the image stays incomplete" {
  stream 1 "$V/v1" "data 0 4096/data 8192 1040384" >gap
  run -4 apply gap "$IMG"
  has "lacks bytes 4096 to 8192"
  run -1 blxapply --status "$IMG"
  has "incomplete"
}

@test "silence for longer than --timeout ends in exit 3" {
  mkfifo pipe
  exec 9<>pipe
  run -3 --separate-stderr timeout 20 blxapply --ack --timeout 1 "$IMG" <pipe
  exec 9>&-
  [[ $output == "blx-ack 1 failed code=3 why="* ]] || fail "$output"
  [[ $stderr == *"no input for 1 s" ]] || fail "$stderr"
}

# ---- first copy, in place, limited lists

# A first copy that broke off after its first half.
half() {
  { head_of 1 base=none chain=1 && printf 'data 0 524288\nabort 3 cable\n'; } | mkstream "$V/v1" >half
  run -3 apply half --ack "$IMG"
}

REST="data 4096 8192/zero 65536 65536/zero 524288 8192/data 532480 8192/zero 540672 114688/data 655360 393216"

@test "a cut first copy acks how far it came and goes on there" {
  half
  has "blx-ack 1 upto lineage=$LINEAGE device=7:300 consumer=default epoch=1 token=$(tok 1) offset=524288"
  stream 2 "$V/v2" "$REST" base=none chain="1 2" cursor=524288 partial=1,524288 >rest
  run -0 apply rest --ack "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  same "$V/v2" "$IMG"
}

@test "a resumed copy that is cut before it catches up acks nothing and keeps what was there" {
  half
  { head_of 2 base=none chain="1 2" cursor=524288 partial=1,524288 && printf 'data 4096 8192\nabort 3 cable\n'; } |
    mkstream "$V/v2" >cut
  run -3 apply cut --ack "$IMG"
  [[ $output != *upto* ]] || fail "$output"
  run -1 blxapply --status "$IMG"
  has "partial:    epoch 1, token $(tok 1), up to 524288"
  stream 3 "$V/v2" "$REST" base=none chain="1 2 3" cursor=524288 partial=1,524288 >rest
  run -0 apply rest "$IMG"
  same "$V/v2" "$IMG"
}

@test "a long first copy acks as it goes" {
  truncate -s 200M big
  stream 1 big "data 0 4096/zero 4096 104857600/zero 104861696 104853504" size=209715200 >s
  run -0 apply s --ack "$IMG"
  has "offset=104861696"
  has "blx-ack 1 done"
  cmp big "$IMG"
}

@test "a stream that assumes more than a cut first copy holds is refused" {
  half
  stream 2 "$V/v2" "data 655360 393216" base=none chain="1 2" cursor=655360 partial=1,655360 >rest
  refused rest "from byte 524288 on"
}

@test "a cut first copy takes the whole again, without permission" {
  half
  stream 2 "$V/v2" "data 0 65536/zero 65536 65536/data 131072 917504" base=none chain="1 2" >whole
  run -0 apply whole "$IMG"
  same "$V/v2" "$IMG"
}

@test "a cut first copy does not take a stream from before it" {
  half
  stream 9 "$V/v1" "$WHOLE" base=none chain=9 >other
  refused other "newest epoch"
}

@test "limited lists fill the image piece by piece" {
  stream 1 "$V/v1" "data 0 524288" base=none chain=1 limit=524288 >p1
  run -0 apply p1 --ack "$IMG"
  has "blx-ack 1 upto lineage="
  has "offset=524288 last"
  run -1 blxapply --status "$IMG"
  has "up to 524288"
  stream 2 "$V/v2" "$REST" base=none chain="1 2" cursor=524288 partial=1,524288 >p2
  run -0 apply p2 --ack "$IMG"
  same "$V/v2" "$IMG"
}

@test "a limited list that does not catch up is answered with what the replica has" {
  half
  stream 2 "$V/v2" "data 0 4096" base=none chain="1 2" limit=4096 >p2
  run -0 apply p2 --ack "$IMG"
  has "epoch=1 token=$(tok 1) offset=524288 last"
}

@test "in place: a cut increment leaves an incomplete image that the next stream completes" {
  replica
  { head_of 2 && printf 'data 4096 8192\nabort 3 cable\n'; } | mkstream "$V/v2" >cut
  run -3 apply cut --in-place --ack "$IMG"
  has "upto"
  run -1 blxapply --status "$IMG"
  has "incomplete"
  refused "$V/s3" "from byte 12288 on"
  run -0 apply "$V/s13" --ack "$IMG"
  [ "$output" = "$(done_ack 3)" ] || fail "$output"
  same "$V/v3" "$IMG"
}

@test "in place: an image that was changed after a cut is refused" {
  replica
  { head_of 2 && printf 'data 4096 8192\nabort 3 cable\n'; } | mkstream "$V/v2" >cut
  run -3 apply cut --in-place "$IMG"
  touch -d '1 hour ago' "$IMG"
  refused "$V/s13" "mtime differs"
}

# ---- growth

@test "a source that has grown makes the image grow" {
  replica
  cp "$V/v2" big
  into big $SIZE 65536
  stream 2 big "$TWO/data $SIZE 65536" size=$((SIZE + 65536)) cursor=$SIZE >grown
  run -0 apply grown --ack "$IMG"
  same big "$IMG"
}

@test "a stream of a grown source without the new part is refused and changes nothing" {
  replica
  stream 2 "$V/v2" "$TWO" size=$((SIZE + 65536)) >grown
  run -4 apply grown "$IMG"
  has "lacks bytes 1048576 to 1114112"
  same "$V/v1" "$IMG"
}

# ---- resync

@test "a resync needs permission once, and takes the replica over to the new lineage" {
  local new=00000000-0000-4000-8000-000000000001
  replica
  stream 9 "$V/v2" "$TWO" lineage=$new device=7:9 base=1 chain="1 9" resync="$(id_of "$IMG")" >resync
  refused resync "a resync needs permission once; to give it: blxapply --allow resync $IMG"
  blxapply --allow resync "$IMG"
  run -0 apply resync --ack "$IMG"
  has "done lineage=$new device=7:9"
  same "$V/v2" "$IMG"
  [ ! -e "$IMG.blx/allow" ] || fail "the permission is still there"
}

@test "a resync of an older state of the replica is refused in spite of permission" {
  replica
  stream 9 "$V/v3" "$ONE_TO_THREE" lineage=00000000-0000-4000-8000-000000000001 base=1 chain="1 9" resync="$(id_of "$IMG")" >resync
  apply "$V/s2" "$IMG"
  blxapply --allow resync "$IMG"
  refused resync "wrong base"
}

@test "a resync that was cut in place goes on without another permission" {
  local new=00000000-0000-4000-8000-000000000001
  replica
  { head_of 9 lineage=$new base=1 chain="1 9" resync="$(id_of "$IMG")" && printf 'data 4096 8192\nabort 3 cable\n'; } |
    mkstream "$V/v2" >cut
  blxapply --allow resync "$IMG"
  run -3 apply cut --in-place "$IMG"
  stream 10 "$V/v2" "$TWO" lineage=$new base=1 chain="1 9 10" resync="$(id_of "$IMG")" >again
  run -0 apply again "$IMG"
  same "$V/v2" "$IMG"
}

# ---- spool and clone

@test "a full spool is an error, and the image is untouched" {
  replica
  small_fs 8k
  run -3 --separate-stderr apply "$V/s2" --ack --spool mnt "$IMG"
  [[ $stderr == *"No space left on device"* ]] || fail "$stderr"
  [[ $output == *" failed "*"code=3"* ]] || fail "$output"
  same "$V/v1" "$IMG"
  [ -z "$(ls mnt)" ] || fail "the spool was left: $(ls mnt)"
  run -0 apply "$V/s2" "$IMG"
  same "$V/v2" "$IMG"
}

# A sparse replica of 16M in a file system of 10M on mnt, an increment that fits once but not twice.
tight() {
  IMG=$PWD/mnt/img
  truncate -s 16M big
  stream 1 big "data 0 4096/zero 4096 16773120" size=16777216 >b1
  apply b1 "$IMG"
  cp big big2
  into big2 4194304 7340032
  stream 2 big2 "data 4194304 7340032" size=16777216 >b2
}

@test "a file system that has no room for image and spool leaves the image as it was" {
  small_fs 10M
  tight
  cp "$IMG" before
  run -3 --separate-stderr apply b2 --ack "$IMG"
  [[ $stderr == *"$IMG: reserve room at "*"No space left on device; the image is as it was"*"--in-place"* ]] || fail "$stderr"
  [[ $output == "blx-ack 1 failed lineage="*" code=3 why="* ]] || fail "$output"
  same before "$IMG"
  [ "$(ls mnt/img.blx)" = "$(printf 'lock\nstate')" ] || fail "left: $(ls mnt/img.blx)"
  run -0 blxapply --status "$IMG"
  has "state:      complete"
  # It still sees that another writes to it.
  cp -p "$IMG" keep
  touch -d '1 hour ago' "$IMG"
  refused b2 "mtime differs"
}

@test "on ext4, where a failed reservation keeps what it got, no change is missed afterwards either" {
  truncate -s 14M fs
  mkfs.ext4 -q -m 0 -O ^has_journal fs
  mkdir mnt
  mount -o loop fs mnt
  tight
  cp "$IMG" before
  run -3 apply b2 "$IMG"
  has "No space left on device; the image is as it was"
  same before "$IMG"
  touch -d '1 hour ago' "$IMG"
  refused b2 "mtime differs"
}

@test "after there was no room the same stream goes in with the spool elsewhere" {
  small_fs 10M
  tight
  run -3 apply b2 "$IMG"
  run -0 apply b2 --ack --spool "$PWD" "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  same big2 "$IMG"
}

@test "killed while it reserves room: the image is as it was, and no change is missed afterwards" {
  small_fs 10M
  tight
  cp "$IMG" before
  kill_at fallocate 2 b2 "$IMG"
  [ "$KILLED" = 137 ] || fail "not killed"
  same before "$IMG"
  run -0 blxapply --recover "$IMG"
  touch -d '1 hour ago' "$IMG"
  refused b2 "mtime differs"
}

@test "an image without holes has nothing reserved" {
  replica
  run -0 strace -qq -o trace -e trace=fallocate blxapply "$IMG" <"$V/s2"
  grep -q 'KEEP_SIZE, 532480, 8192' trace || fail "nothing was reserved: $(cat trace)"
  run -0 strace -qq -o trace -e trace=fallocate blxapply "$IMG" <"$V/s3"
  [ ! -s trace ] || fail "$(cat trace)"
}

@test "holes are not searched for again at every frame" {
  local ranges='' n
  replica
  for ((n = 0; n < 60; n++)); do ranges+="data $((8192 * n)) 4096/"; done
  stream 2 "$V/v2" "${ranges%/}" >many
  run -0 strace -qq -o trace -e trace=lseek blxapply "$IMG" <many
  [ "$(grep -c SEEK_HOLE trace)" = 1 ] || fail "$(grep -c SEEK_HOLE trace) times"
}

@test "a file system that cannot reserve room is no reason to fail" {
  replica
  run -0 strace -qq -o /dev/null -e trace=fallocate -e inject=fallocate:error=EOPNOTSUPP blxapply "$IMG" <"$V/s2"
  same "$V/v2" "$IMG"
}

@test "a spool that cannot be applied says that the image is half applied, and what to do" {
  replica
  run -3 strace -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=ENOSPC:when=2 blxapply "$IMG" <"$V/s2"
  has "No space left on device; the image is half applied: make room, then blxapply --recover $IMG"
  run -3 strace -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=EIO:when=1 blxapply --recover "$IMG"
  has "Input/output error; the image is half applied: mend that, then blxapply --recover $IMG"
  run -0 blxapply --recover "$IMG"
  same "$V/v2" "$IMG"
}

@test "--spool keeps the spool elsewhere and removes it afterwards" {
  replica
  mkdir spool
  run -0 strace -qq -o trace -e trace=openat blxapply --spool spool "$IMG" <"$V/s2"
  grep -q "spool/blx-.*\.spool" trace || fail "no spool there"
  [ -z "$(ls spool)" ] || fail "left: $(ls spool)"
}

by_clone() {
  replica "$PWD/mnt/img"
  local before
  before=$(stat -c %i mnt/img)
  run -0 apply "$V/s2" --ack mnt/img
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  same "$V/v2" mnt/img
  [ "$before" != "$(stat -c %i mnt/img)" ] || fail "not a clone"
  head -c 9000 "$V/s3" >cut
  run -4 apply cut mnt/img
  same "$V/v2" mnt/img
  [ "$(ls mnt/img.blx)" = "$(printf 'lock\nstate')" ] || fail "left: $(ls mnt/img.blx)"
  run -0 apply "$V/s3" mnt/img
  same "$V/v3" mnt/img
}

@test "on btrfs an epoch goes into a clone" {
  cloning_fs btrfs
  by_clone
}

@test "on xfs an epoch goes into a clone" {
  cloning_fs xfs
  by_clone
}

# ---- crashes

@test "a spool that was lost leaves an incomplete replica that a wider stream repairs" {
  replica
  kill_at pwrite64 2 "$V/s2" "$IMG"
  rm "$IMG.blx/spool"
  run -1 blxapply --recover "$IMG"
  has "incomplete"
  refused "$V/s3" "wrong base"
  run -0 apply "$V/s13" "$IMG"
  same "$V/v3" "$IMG"
}

@test "an ack that cannot be written is an error, after the epoch is durable" {
  replica
  run -3 bash -c 'blxapply --ack "$1" <"$2" >/dev/full' - "$IMG" "$V/s2"
  has "standard output"
  same "$V/v2" "$IMG"
  run -0 blxapply --status --ack "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
}

# ---- block devices

@test "a block device larger than the source takes a first copy by permission, and increments" {
  loop_new 2M
  run -5 apply "$V/s1" "$DEV"
  has "blxapply --allow init $DEV"
  blxapply --allow init "$DEV"
  run -0 apply "$V/s1" --ack "$DEV"
  cmp -n $SIZE "$V/v1" "$DEV"
  run -0 apply "$V/s2" --ack "$DEV"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
  cmp -n $SIZE "$V/v2" "$DEV"
  run -0 blxapply --status "$DEV"
  has "complete"
}

@test "two loop devices into one file are two targets" {
  loop_new 2M
  local first=$DEV
  blxapply --allow init "$first"
  apply "$V/s1" "$first"
  DEV=$(losetup --find --show --offset $SIZE "$FILE")
  printf '%s\n' "$DEV" >>loops
  run -5 apply "$V/s2" "$DEV"
  has "no replica"
  run -5 blxapply --status "$DEV"
}

@test "a device keeps its state under another number" {
  loop_new 1M
  blxapply --allow init "$DEV"
  apply "$V/s1" "$DEV"
  losetup -d "$DEV"
  local other
  losetup -f >/dev/null
  truncate -s 1M between
  other=$(losetup --find --show between)
  DEV=$(losetup --find --show "$FILE")
  printf '%s\n' "$DEV" "$other" >>loops
  run -0 apply "$V/s2" --ack "$DEV"
  cmp "$V/v2" "$DEV"
}

@test "zeroes on a block device replace old data, at unaligned edges too" {
  loop_new 1M
  cp "$V/v1" v
  dd if=/dev/zero of=v bs=1 seek=10241 count=20001 conv=notrunc status=none
  stream 2 v "zero 10241 20001" >zeroes
  blxapply --allow init "$DEV"
  apply "$V/s1" "$DEV"
  run -0 apply zeroes "$DEV"
  cmp v "$DEV"
}

# ---- restore

@test "--restore writes a whole stream and keeps no state" {
  run -0 apply "$V/s1" --restore new
  same "$V/v1" new
  [ ! -e new.blx ] || fail "state kept"
}

@test "--restore writes onto a larger device, and an anonymous stream too" {
  loop_new 2M
  { printf '# blx-extents 1\n# size: %d\n' $SIZE && tr / '\n' <<<"$WHOLE/commit/end"; } | mkstream "$V/v1" >anon
  run -0 apply anon --restore "$DEV"
  cmp -n $SIZE "$V/v1" "$DEV"
}

@test "--restore applies the increments that follow in the same stream" {
  { head_of 1 && tr / '\n' <<<"$WHOLE/commit"; } >script
  { head_of 2 && tr / '\n' <<<"$TWO/commit/end"; } >>script
  mkstream "$V/v2" <script >both
  run -0 apply both --restore new
  same "$V/v2" new
  { head_of 1 && tr / '\n' <<<"$WHOLE/commit"; } >script
  { head_of 3 && tr / '\n' <<<"$TWO/commit/end"; } >>script
  mkstream "$V/v2" <script >gap
  run -5 apply gap --restore new2
  has "wrong base"
}

# ---- status

@test "--status tells what the replica holds" {
  replica
  run -0 blxapply --status "$IMG"
  has "state:      complete"
  has "lineage:    $LINEAGE"
  has "device:     7:300"
  has "token:      $(tok 1)"
  run -0 blxapply --status --json "$IMG"
  has "\"epoch\":1,"
  has "\"complete\":true"
  python3 -m json.tool <<<"$output" >/dev/null
}

@test "--status --ack prints the ack of a complete replica, and of a partial one" {
  replica
  run -0 blxapply --status --ack "$IMG"
  [ "$output" = "$(done_ack 1)" ] || fail "$output"
  rm -r img img.blx
  half
  run -1 blxapply --status --ack "$IMG"
  has "upto"
  has "offset=524288"
}

@test "--status --ack of a replica with a pending epoch asks for --recover" {
  replica
  kill_at pwrite64 2 "$V/s2" "$IMG"
  run -3 blxapply --status --ack "$IMG"
  has "blxapply --recover $IMG"
  run -1 blxapply --status "$IMG"
  has "pending"
  run -0 blxapply --recover "$IMG"
  same "$V/v2" "$IMG"
  run -0 blxapply --status --ack "$IMG"
  [ "$output" = "$(done_ack 2)" ] || fail "$output"
}

@test "--recover of an incomplete replica is exit 1 and says why" {
  half
  run -1 blxapply --recover "$IMG"
  has "incomplete: the first copy was not finished"
  rm -r "$IMG" "$IMG.blx"
  replica
  { head_of 2 && printf 'data 4096 8192\nabort 3 cable\n'; } | mkstream "$V/v2" >cut
  run -3 apply cut --in-place "$IMG"
  run -1 blxapply --recover "$IMG"
  has "incomplete: an epoch was begun and not finished"
  apply "$V/s13" "$IMG"
  run -0 blxapply --recover "$IMG"
}

@test "--status of a changed image, and of none, is exit 5" {
  replica
  touch -d '1 hour ago' "$IMG"
  run -5 blxapply --status "$IMG"
  has "changed"
  run -5 blxapply --status "$V/v1"
  has "no replica here"
  run -5 blxapply --status nothing
  has "no replica here"
  run -5 blxapply --recover "$V/v1"
  has "no replica here"
}

@test "--recover of a changed image is exit 5, as --status is" {
  replica
  run -0 blxapply --recover "$IMG"
  mv "$IMG" away
  run -5 blxapply --recover "$IMG"
  has "$IMG: the image is gone"
  mv away "$IMG"
  run -5 blxapply --recover "$IMG"
  has "$IMG: the image was changed: ctime differs"
  touch -d '1 hour ago' "$IMG"
  run -5 blxapply --recover "$IMG"
  has "$IMG: the image was changed: it was written to"
}

# ---- the command line

@test "usage errors exit 2 and say what is wrong" {
  run -2 blxapply
  has "no TARGET"
  run -2 blxapply a b </dev/null
  has "one TARGET only"
  run -2 blxapply --allow everything img
  has "neither init nor resync"
  run -2 blxapply --status --recover img
  has "exclude each other"
  run -2 blxapply --timeout 0 img
  has "no time"
  run -2 blxapply --frobnicate img
  [ "$output" = "blxapply: unrecognized option '--frobnicate'
Try 'blxapply --help'." ] || fail "$output"
  run -2 blxapply --spool
  [ "$output" = "blxapply: option '--spool' requires an argument
Try 'blxapply --help'." ] || fail "$output"
  run -2 blxapply -V
  run -0 blxapply --help
  has "--in-place"
  run -0 blxapply --version
  has "blxapply (blx)"
}

@test "a stream from a terminal is refused" {
  run -2 script -qec "blxapply $IMG" /dev/null </dev/null
  has "not a terminal"
}

@test "on a terminal a refusal at once draws no progress, a first copy does" {
  run -5 script -qec "blxapply $IMG <$V/s2" /dev/null
  has "holds only changes"
  [[ $output != *B/s* ]] || fail "$output"
  run -0 script -qec "blxapply $IMG <$V/s1" /dev/null
  has "/s"
}

@test "a full standard output is an error" {
  replica
  run -3 bash -c 'blxapply --status "$1" >/dev/full' - "$IMG"
  has "standard output"
  run -3 bash -c 'blxapply --help >/dev/full'
}

@test "a file system that is mounted again under another number: the replica is the same" {
  truncate -s 32M fs
  mkfs.ext4 -q fs
  mkdir mnt
  first=$(losetup --find --show fs)
  mount "$first" mnt
  apply "$V/s1" "$PWD/mnt/img"
  umount mnt
  second=$(losetup --find --show fs)
  [ "$first" != "$second" ]
  losetup -d "$first"
  mount "$second" mnt
  run apply "$V/s2" "$PWD/mnt/img"
  umount mnt
  losetup -d "$second"
  [ "$status" = 0 ] || fail "$output"
}
