#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2016,SC2154,SC2164,SC2238
# Digests beside a replica: kept current in every way, and what blxsum --scrub finds by them.

load lib
load apply

# right [UNKNOWN] [TARGET]: the digests are those of the image, and current; at most so many are unknown (none).
right() {
  local target=${2:-$IMG} dir
  dir=${3:-$target.blx}
  run digests "$target" "$dir/digests" "$(sed -n 's/^floor: [0-9]* //p' "$dir/state")"
  [ "$status" = 0 ] || fail "$output"
  [ "$output" -le "${1:-0}" ] || fail "$output are unknown"
}

# fs_on TYPE SIZE: a file system on a loop device of its own, whose number it keeps, on mnt.
fs_on() {
  loop_new "$2"
  "mkfs.$1" -q "$DEV"
  mkdir -p mnt
  mount "$DEV" mnt
  FS_DEV=$DEV FS_FILE=$FILE IMG=$PWD/mnt/img
}

# flip OFFSET: a bit of the image, below its file system: its times stay as they were.
flip() {
  dd if="$IMG" of=piece bs=512 skip=$(($1 / 512)) count=1 status=none
  umount mnt
  flip_byte "$FS_FILE" $(($1 % 512)) piece
  blockdev --flushbufs "$FS_DEV"
  mount "$FS_DEV" mnt
}

# flip_byte FILE OFFSET [PIECE]: OFFSET within what is as the file PIECE, wherever that is.
flip_byte() {
  python3 - "$@" <<'END'
import mmap, sys
with open(sys.argv[1], 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
    piece = open(sys.argv[3], 'rb').read() if len(sys.argv) > 3 else b''
    at = m.find(piece)
    assert at >= 0
    while at >= 0:
        m[at + int(sys.argv[2])] ^= 16
        at = m.find(piece, at + 512) if piece else -1
END
}

# on_ext4: a replica with digests at epoch 1 in a file system of its own.
on_ext4() {
  fs_on ext4 32M
  apply "$V/s1" --digests "$IMG"
}

# ---- digests are kept

@test "--digests keeps digests from the first copy on, and without the option, too" {
  run -0 apply "$V/s1" --digests "$IMG"
  [ -z "$output" ] || fail "$output"
  right
  apply "$V/s2" "$IMG"
  same "$V/v2" "$IMG"
  right
  apply "$V/s3" --in-place "$IMG"
  right
  run -0 blxapply --status "$IMG"
  has "digests:    kept"
  stream 4 "$V/v3" '' >empty
  apply empty "$IMG"
  right
  apply empty "$IMG"
  right
  stream 5 "$V/v3" "$THREE" >s5
  apply s5 --no-digests "$IMG"
  [ ! -e "$IMG.blx/digests" ] || fail "still there"
}

@test "where files are cloned the digests are, too" {
  cloning_fs btrfs
  IMG=$PWD/mnt/img
  apply "$V/s1" --digests "$IMG"
  right
  apply "$V/s2" "$IMG"
  same "$V/v2" "$IMG"
  right
  [ "$(echo mnt/img.blx/*)" = "mnt/img.blx/digests mnt/img.blx/lock mnt/img.blx/state" ] || fail "$(ls mnt/img.blx)"
  head -c 9000 "$V/s3" >cut
  run -4 apply cut "$IMG"
  right
  apply "$V/s3" "$IMG"
  right
}

@test "begun on a replica that is there, what is written is known, and a scrub learns the rest" {
  replica
  apply "$V/s2" --digests "$IMG"
  right 256
  [ "$output" -gt 200 ] || fail "only $output unknown"
  run -0 blxsum --scrub "$IMG"
  [ -z "$output" ] || fail "$output"
  right
  apply "$V/s3" "$IMG"
  right
}

@test "a device has digests, also when it is larger than the source" {
  loop_new 2M
  blxapply --allow init "$DEV"
  apply "$V/s1" --digests "$DEV"
  right 0 "$DEV" "$BLX_STATE_DIR"/loop-*
  apply "$V/s2" "$DEV"
  right 0 "$DEV" "$BLX_STATE_DIR"/loop-*
  run -0 blxsum --scrub "$DEV"
  run -0 blxapply --status "$DEV"
  has "state:      complete"
}

@test "a source that has grown, at an odd size too" {
  local odd=$((SIZE + 1536))
  apply "$V/s1" --digests "$IMG"
  cp "$V/v2" big
  into big $SIZE 1536
  stream 2 big "$TWO/data $SIZE 1536" size=$odd cursor=$SIZE >s
  apply s "$IMG"
  same big "$IMG"
  right
  into big $odd 9000
  stream 3 big "data $odd 9000" size=$((odd + 9000)) cursor=$odd >s
  apply s "$IMG"
  same big "$IMG"
  right 1
  run -0 blxsum --scrub "$IMG"
  right
}

@test "digests that are not of the state are dropped, and it is said" {
  apply "$V/s1" --digests "$IMG"
  cp "$IMG.blx/digests" old
  apply "$V/s2" "$IMG"
  cp old "$IMG.blx/digests"
  run -5 blxsum --scrub "$IMG"
  has "its digests are not of this epoch"
  run -0 apply "$V/s3" "$IMG"
  has "what its digests knew is lost: they are not of the state"
  right 256
  echo no >"$IMG.blx/digests"
  stream 4 "$V/v3" "$THREE" >s4
  run -0 apply s4 "$IMG"
  has "what its digests knew is lost: digests: damaged"
  right 256
}

@test "digests for which there is no room stop no epoch" {
  small_fs 8M
  IMG=$PWD/mnt/img
  truncate -s 4G big
  stream 1 big "zero 0 4294967296" size=4294967296 >b1 # its digests take 8M
  run -0 apply b1 --digests "$IMG"
  has "what its digests knew is lost: No space left on device"
  run -0 blxapply --status "$IMG"
  cp --sparse=always big big2
  into big2 4096 8192
  stream 2 big2 "data 4096 8192" size=4294967296 >b2
  run -0 apply b2 "$IMG"
  [ -z "$output" ] || fail "$output"
  cmp -n 1048576 big2 "$IMG"
}

@test "an adopted replica's digests know nothing, one that was overwritten has its own" {
  apply "$V/s1" --digests "$IMG"
  into "$IMG" 8192 100
  blxapply --allow resync "$IMG"
  right 256
  [ "$output" = 256 ] || fail "$output"
  blxapply --allow init "$IMG"
  apply "$V/s1" "$IMG"
  right
}

# power_fails FSTYPE SIZE [options]: the machine stops at each fsync and rename of an increment: what the file system had
# not written is gone. The digests are right afterwards, and none is lost but of a block that was written in part.
power_fails() {
  local nth calls deaths=0 type=$1
  loop_new "$2"
  shift 2
  mkdir mnt
  IMG=$PWD/mnt/img
  for calls in fsync rename,renameat,renameat2; do
    for ((nth = 1; nth < 30; nth++)); do
      "mkfs.$type" -q "$DEV" 2>/dev/null || "mkfs.$type" -q -f "$DEV"
      mount "$DEV" mnt
      apply "$V/s1" --digests "$IMG"
      kill_at "$calls" "$nth" "$V/s2" "$@" "$IMG"
      cp --sparse=always "$FILE" stopped
      umount mnt
      [ "$KILLED" != 0 ] || break
      deaths=$((deaths + 1))
      cp --sparse=always stopped "$FILE"
      blockdev --flushbufs "$DEV"
      mount "$DEV" mnt
      other_boot
      run -0 apply "$V/s2" "$IMG"
      same_boot
      [ -z "$output" ] || fail "$calls $nth: $output"
      same "$V/v2" "$IMG"
      right 1
      umount mnt
    done
  done
  [ "$deaths" -gt 8 ] || fail "only $deaths places to stop"
}

@test "the power fails at any fsync or rename: by the spool" {
  power_fails ext4 16M
}

@test "the power fails at any fsync or rename: by a clone" {
  power_fails xfs 320M
}

@test "the power fails at any fsync or rename: in place" {
  power_fails ext4 16M --in-place
}

@test "a first copy that is killed and one that is cut: right in the end" {
  local nth
  for nth in 1 2 3 4 5; do
    rm -rf "$IMG" "$IMG.blx"
    kill_at pwrite64 "$nth" "$V/s1" --digests "$IMG"
    apply "$V/s1" --digests "$IMG"
    right
  done
  rm -rf "$IMG" "$IMG.blx"
  { head_of 1 base=none chain=1 && printf 'data 0 524288\nabort 3 cable\n'; } | mkstream "$V/v1" >half
  run -3 apply half --digests "$IMG"
  run -5 blxsum --scrub "$IMG"
  has "incomplete: there is nothing to check yet"
  stream 2 "$V/v2" "data 4096 8192/zero 65536 65536/zero 524288 8192/data 532480 8192/zero 540672 114688/data 655360 393216" \
    base=none chain="1 2" cursor=524288 partial=1,524288 >rest
  run -0 apply rest "$IMG"
  [ -z "$output" ] || fail "$output"
  right
}

# group N SOURCE RANGES [key=value...]: the streams of epoch N of the images a and b, of one group.
group() {
  local n=$1 source=$2 ranges=$3 at=0 m
  shift 3
  for m in a b; do
    at=$((at + 1))
    { head_of "$n" "$@" && printf '# label: %s\n# group: %d/2 %s\n' $m $at "$(tok "7$n")" &&
      tr / '\n' <<<"$ranges/commit/end"; } | mkstream "$source"
  done
}

@test "of a group that is killed anywhere each member has its own digests, by clones and by spools" {
  local nth m fs deaths=0
  group 1 "$V/v1" "$WHOLE" >g1
  group 2 "$V/v2" "$TWO" >g2
  for fs in xfs ext4; do
    fs_on $fs 320M
    for ((nth = 1; nth < 60; nth++)); do
      rm -rf mnt/dir
      mkdir mnt/dir
      blxapply --digests --into mnt/dir <g1
      kill_at rename,renameat,renameat2 $nth g2 --into mnt/dir
      [ "$KILLED" != 0 ] || break
      deaths=$((deaths + 1))
      run -0 blxapply --into mnt/dir <g2
      [ -z "$output" ] || fail "$nth: $output"
      for m in a b; do
        same "$V/v2" mnt/dir/$m
        right 1 mnt/dir/$m
      done
    done
    umount mnt
  done
  [ "$deaths" -gt 10 ] || fail "only $deaths places to die"
}

# ---- a scrub

@test "a flipped bit is found, named by its offset and listed, and nothing else is" {
  on_ext4
  run -0 blxsum --scrub "$IMG"
  [ -z "$output" ] || fail "$output"
  flip 700000
  run -0 blxapply --status "$IMG"
  has "state:      complete"
  run -1 --separate-stderr blxsum --scrub "$IMG"
  [ "$stderr" = "blxsum: $IMG: 4096 bytes at 696320 are not what was written" ] || fail "$stderr"
  [[ $output != *resync* ]] || fail "$output"
  has "# size: $SIZE"
  has "696320 4096"
  has "# end: 1 4096"
  # Again: it was not taken for what should be there.
  run -1 --separate-stderr blxsum --scrub "$IMG"
  has "696320 4096"
}

@test "a bit that is flipped on a device is found" {
  loop_new 2M
  blxapply --allow init "$DEV"
  apply "$V/s1" --digests "$DEV"
  flip_byte "$FILE" 4096
  flip_byte "$FILE" 1048575
  flip_byte "$FILE" 1048576 # beyond the replica
  run -1 --separate-stderr blxsum --scrub "$DEV"
  has "4096 4096"
  has "1044480 4096"
  has "# end: 2 8192"
}

@test "no later write hides what has rotted: beside it, in a part of its block, in any way" {
  local how
  for how in "" --in-place; do
    on_ext4
    flip 1044481 # its block is written in part by the second epoch
    flip 16384   # its neighbour, too
    # shellcheck disable=SC2086
    run -0 apply "$V/s2" $how "$IMG"
    [ -z "$output" ] || fail "$output"
    run -1 --separate-stderr blxsum --scrub "$IMG"
    has $'\n16384 4096\n1044480 4096\n# end: 2 8192'
    umount mnt
  done
}

@test "what has rotted is not hidden by the stream that goes on after one that was cut" {
  on_ext4
  { head_of 2 && printf 'data 4096 8192\nabort 3 cable\n'; } | mkstream "$V/v2" >cut
  run -3 apply cut --in-place "$IMG"
  flip 1044481
  run -0 apply "$V/s2" --in-place "$IMG"
  run -1 --separate-stderr blxsum --scrub "$IMG"
  has $'\n1044480 4096\n# end: 1 4096'
}

@test "what has rotted is not hidden by a spool that is applied again" {
  local nth found=0
  for ((nth = 1; nth < 30; nth++)); do
    on_ext4
    kill_at pwrite64 "$nth" "$V/s2" "$IMG"
    if [ "$KILLED" != 0 ] && [[ $(blxapply --status "$IMG" || true) == *pending* ]]; then
      found=$((found + 1))
      flip 1044481
      run -0 blxapply --recover "$IMG"
      run -1 --separate-stderr blxsum --scrub "$IMG"
      has $'\n1044480 4096\n# end: 1 4096'
    fi
    umount mnt
    [ "$KILLED" != 0 ] || break
  done
  [ $found -ge 4 ] || fail "only $found places"
}

@test "by a clone a later write does not hide what has rotted either" {
  fs_on xfs 320M
  apply "$V/s1" --digests "$IMG"
  flip 1044481
  apply "$V/s2" "$IMG"
  run -1 --separate-stderr blxsum --scrub "$IMG"
  has $'\n1044480 4096\n# end: 1 4096'
}

@test "a rotten block that is written anew is well" {
  on_ext4
  flip 8192
  run -1 blxsum --scrub "$IMG"
  apply "$V/s2" "$IMG"
  run -0 blxsum --scrub "$IMG"
  [ -z "$output" ] || fail "$output"
}

@test "a block that cannot be read has rotted" {
  fs_on btrfs 320M # it keeps checksums of its own
  apply "$V/s1" --digests "$IMG"
  flip 8192
  run -1 dd if="$IMG" of=/dev/null bs=4096 iflag=direct
  has "Input/output error"
  run -1 --separate-stderr blxsum --scrub "$IMG"
  has $'\n8192 4096\n# end: 1 4096'
}

@test "a budget is spent on the next slice, round and round, and a flipped bit is found within one round" {
  local n found=''
  on_ext4
  flip 700000
  for n in 1 2 3 4; do
    if blxsum --scrub --budget 300K "$IMG" 2>err >list; then [ ! -s list ]; else
      [ $? = 1 ]
      found+=$n
      grep -qx '696320 4096' list || fail "$(cat list)"
    fi
  done
  [ "$found" = 3 ] || fail "found in $found"
  [ "$(cat "$IMG.blx/scrub")" = $'blx-scrub 1\nposition: 180224' ] || fail "$(cat "$IMG.blx/scrub")"
  # A whole round from the middle finds what is before it, too.
  flip 4096
  run -1 --separate-stderr blxsum --scrub "$IMG"
  has $'\n4096 4096\n696320 4096\n# end: 2 8192'
}

# slow_scrub IMAGE: what it reads and what it learns is old by the time that it looks at it.
slow_scrub() {
  strace -qq -o /dev/null -e trace=pread64,pwrite64,flock -e inject=pread64:delay_exit=4000 \
    -e inject=flock,pwrite64:delay_enter=8000 \
    blxsum --scrub "$1"
}

# scrub_while_applied IMAGE [options]: epochs with whole and with odd blocks, digests ended and begun meanwhile.
scrub_while_applied() {
  local image=$1 n at option scrub
  shift
  cp "$V/v1" v
  : >rounds
  apply "$V/s1" --digests "$image"
  (
    while [ ! -e stop ]; do
      run slow_scrub "$image"
      [ "$status" != 5 ] || [[ $output != *"incomplete: "* && $output != *"no digests are kept"* ]] || continue
      echo "$status $output" >>rounds
    done
  ) &
  scrub=$!
  for ((n = 2; n < 30 || $(wc -l <rounds) < 5; n++)); do
    at=$((RANDOM % 250 * 4096))
    into v $at 8192
    into v $((at + 12288)) 512
    stream $n v "data $at 8192/data $((at + 12288)) 512" >s
    option=--digests
    [ $((n % 6)) != 0 ] || option=--no-digests
    blxapply $option "$@" "$image" <s || fail "epoch $n"
    sleep 0.02
  done
  : >stop
  wait "$scrub"
  run grep -v '^0 $' rounds
  [ "$status" = 1 ] || fail "$output"
  same v "$image"
  right 256 "$image"
  run -0 blxsum --scrub "$image"
  right 0 "$image"
}

@test "a scrub while epochs are applied by the spool raises no alarm, learns nothing wrong and stops nothing" {
  scrub_while_applied "$IMG"
}

@test "a scrub while epochs are applied by clones raises no alarm, learns nothing wrong and stops nothing" {
  cloning_fs xfs
  scrub_while_applied "$PWD/mnt/img"
}

@test "a scrub while epochs are applied in place raises no alarm, learns nothing wrong and stops nothing" {
  scrub_while_applied "$IMG" --in-place
}

@test "a scrub waits while an epoch is being put in place, and says that one was left by a crash" {
  small_fs 8M
  IMG=$PWD/mnt/img
  apply "$V/s1" --digests "$IMG"
  kill_at pwrite64 2 "$V/s2" "$IMG"
  [ "$KILLED" = 137 ] || fail "not killed"
  run -5 blxsum --scrub "$IMG"
  has "an epoch is pending; to finish it: blxapply --recover"
  blxapply --recover "$IMG"
  run -0 blxsum --scrub "$IMG"
}

@test "a scrub refuses what it cannot check" {
  run -3 blxsum --scrub nothing/at/all
  run -5 blxsum --scrub "$V/v1"
  has "no replica here"
  replica
  run -5 blxsum --scrub "$IMG"
  has "no digests are kept beside it; to begin: blxapply --digests"
  apply "$V/s2" --digests "$IMG"
  into "$IMG" 0 100
  run -5 blxsum --scrub "$IMG"
  has "the image was changed"
  blxapply --promote "$IMG"
  run -5 blxsum --scrub "$IMG"
  has "was promoted"
  run -2 blxsum --budget 1M "$IMG"
  has "--budget: only with --scrub"
  run -2 blxapply --digests --no-digests "$IMG" </dev/null
  has "exclude each other"
  run -2 blxapply --digests --status "$IMG"
  has "for applying only"
}

@test "a full standard output is an error of a scrub that found something" {
  on_ext4
  flip 8192
  run -3 bash -c 'blxsum --scrub "$1" >/dev/full' - "$IMG"
  has "standard output"
}

# ---- healing

@test "what a scrub lists is healed from the primary through the ordinary pipe, while it is written" {
  fs_on ext4 64M
  loop_new 16M
  TRACKED=$DEV
  into "$DEV" 0 16777216
  blxtrack start "$DEV" 2>/dev/null
  ordinary() { blxtrack run "$DEV" -- sh -c 'blxread | blxpack | blxapply --ack --digests "$0"' "$IMG"; }
  ordinary
  same "$DEV" "$IMG"
  flip 4202496
  run -1 blxsum --scrub "$IMG"
  blxsum --scrub "$IMG" 2>/dev/null >rotten.list || [ $? = 1 ]
  into "$DEV" 8192 4096
  blxtrack resync "$DEV" <rotten.list
  ordinary
  same "$DEV" "$IMG"
  run -0 blxsum --scrub "$IMG"
  # The same, compared with the primary first.
  flip 8650752
  flip 40961
  run -1 --separate-stderr blxsum --scrub "$IMG"
  printf '%s\n' "$output" >rotten.list
  into "$DEV" 12288 4096 # changed meanwhile
  blxsum --tree --only rotten.list "$DEV" -- blxsum --serve "$IMG" >differs
  grep -qx '8650752 4096' differs || fail "$(cat differs)"
  grep -qx '40960 4096' differs || fail "$(cat differs)"
  ordinary # the replica moves on
  blxtrack resync "$DEV" <rotten.list
  into "$DEV" 16384 4096
  ordinary
  same "$DEV" "$IMG"
  run -0 blxsum --scrub "$IMG"
  [ -z "$output" ] || fail "$output"
  right
}
