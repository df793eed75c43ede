#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2016,SC2154,SC2164,SC2238
# The receiver's side of a recovery: a target made a replica as it is, resyncs, copies kept, promotion.

load lib
load apply

NEW=00000000-0000-4000-8000-000000000001 # the lineage after the tracking was lost

# token_of TARGET: what the replica is at.
token_of() {
  blxapply --status --json "$1" | sed -n 's/.*"token":"\([^"]*\)","epoch.*/\1/p'
}

# resync_of TARGET N SOURCE RANGES [key=value...]: a resync stream that rests on what the replica is at.
resync_of() {
  local held target=$1 n=$2 source=$3 ranges=$4
  shift 4
  held=$(token_of "$target")
  stream "$n" "$source" "$ranges" lineage=$NEW device=7:9 base="$held" chain="$held $n" resync="$(id_of "$target")" "$@"
}

# allowed: the permission is there.
allowed() {
  [ "$(cat "${1:-$IMG}.blx/allow")" = resync ] || fail "no permission to resync"
}

not_allowed() {
  [ ! -e "${1:-$IMG}.blx/allow" ] || fail "the permission is still there"
}

# ---- a replica as it is

@test "what was no replica becomes one, and a resync of it makes it one of the source" {
  cp "$V/v1" "$IMG"
  run -0 blxapply --allow resync "$IMG"
  [ "$output" = "blxapply: $IMG: adopted as a replica as it is (it was no replica)" ] || fail "$output"
  same "$V/v1" "$IMG"
  run -1 blxapply --status "$IMG"
  has "state:      adopted: it waits for a resync"
  has "lineage:    00000000-0000-0000-0000-000000000000"
  run -1 blxapply --recover "$IMG"
  has "adopted: it waits for a resync"
  run -1 blxapply --status --ack "$IMG"
  resync_of "$IMG" 9 "$V/v2" "$TWO" >resync
  run -0 apply resync --ack "$IMG"
  has "done lineage=$NEW device=7:9"
  same "$V/v2" "$IMG"
  not_allowed
  run -0 blxapply --status "$IMG"
  has "state:      complete"
  stream 10 "$V/v3" "$THREE" lineage=$NEW device=7:9 >next
  run -0 apply next "$IMG"
  same "$V/v3" "$IMG"
}

@test "an adopted image takes no stream but a resync" {
  replica
  touch -d '1 hour ago' "$IMG"
  blxapply --allow resync "$IMG"
  run -5 apply "$V/s2" "$IMG"
  has "adopted: only a resync of it fits"
  same "$V/v1" "$IMG"
  allowed
}

# adopted_for WORDS: --allow resync says why, and the replica keeps its id, but not its token.
adopted_for() {
  local id token
  id=$(sed -n 's/^id: //p' "$IMG.blx/state")
  token=$(sed -n 's/^floor: [0-9]* //p' "$IMG.blx/state")
  run -0 blxapply --allow resync "$IMG"
  has "adopted as a replica as it is ($1"
  [ "$(id_of "$IMG")" = "$id" ] || fail "another id"
  [ "$(token_of "$IMG")" != "$token" ] || fail "the same token"
  resync_of "$IMG" 9 "$V/v2" "data 0 1048576" >resync
  run -0 apply resync "$IMG"
  same "$V/v2" "$IMG"
}

@test "a changed replica is adopted under its id" {
  replica
  into "$IMG" 8192 4096
  adopted_for "the image was changed"
}

@test "an incomplete replica is adopted under its id" {
  { head_of 1 base=none chain=1 && printf 'data 0 524288\nabort 3 cable\n'; } | mkstream "$V/v1" >half
  run -3 apply half "$IMG"
  adopted_for "it was incomplete"
}

@test "a promoted replica is adopted under its id" {
  replica
  blxapply --promote "$IMG"
  adopted_for "it was promoted"
}

@test "a replica whose state is damaged is adopted under a new id" {
  replica
  head -c 300 "$IMG.blx/state" >cut
  cp cut "$IMG.blx/state"
  run -0 blxapply --allow resync "$IMG"
  has "adopted as a replica as it is (state of the replica: damaged or cut)"
  resync_of "$IMG" 9 "$V/v2" "$TWO" >resync
  run -0 apply resync "$IMG"
  same "$V/v2" "$IMG"
}

@test "a device that is larger than the source is adopted" {
  loop_new 2M
  dd if="$V/v1" of="$DEV" bs=1M oflag=direct status=none
  run -0 blxapply --allow resync "$DEV"
  has "it was no replica"
  run -1 blxapply --status "$DEV"
  has "size:       2097152"
  resync_of "$DEV" 9 "$V/v2" "$TWO" >resync
  run -0 apply resync "$DEV"
  cmp -n $SIZE "$V/v2" "$DEV"
  run -0 blxapply --status "$DEV"
  has "size:       $SIZE"
}

@test "permission for a replica that is well changes nothing else and is silent" {
  replica
  before=$(cat "$IMG.blx/state")
  run -0 blxapply --allow resync "$IMG"
  [ -z "$output" ] || fail "$output"
  [ "$before" = "$(cat "$IMG.blx/state")" ] || fail "the state changed"
  allowed
}

@test "what is in use, busy or not there is not adopted" {
  local dev
  run -5 blxapply --allow resync "$IMG"
  has "does not exist"
  cp "$V/v1" "$IMG"
  dev=$(losetup --find --show "$IMG")
  printf '%s\n' "$dev" >>loops
  run -5 blxapply --allow resync "$IMG"
  has "in use: it is attached to $dev"
  run -5 blxapply --status "$IMG"
  loop_new 2M
  mkfs.ext4 -q "$DEV"
  mkdir mnt
  mount "$DEV" mnt
  run -5 blxapply --allow resync "$DEV"
  has "in use: mounted"
  replica other
  run -7 flock other.blx/lock blxapply --allow resync other
  has "busy"
  not_allowed other
}

# ---- --keep

@test "--keep makes a copy beside the image, named by its epoch, and never over another" {
  replica
  chmod 640 "$IMG"
  blxapply --allow init "$IMG"
  apply "$V/s1" "$IMG"
  run -0 blxapply --allow resync --keep "$IMG"
  [ -z "$output" ] || fail "$output"
  same "$V/v1" "$IMG.kept-1"
  [ "$(stat -c %a "$IMG.kept-1")" = 640 ] || fail "mode $(stat -c %a "$IMG.kept-1")"
  allowed
  rm "$IMG.blx/allow"
  echo mine >"$IMG.kept-1"
  run -5 blxapply --allow resync --keep "$IMG"
  has "$IMG.kept-1: exists; to name another for the copy: --keep=FILE; no copy was made and nothing is permitted"
  [ "$(cat "$IMG.kept-1")" = mine ] || fail "overwritten"
  not_allowed
  run -0 blxapply --allow resync --keep=other "$IMG"
  same "$V/v1" other
}

@test "--keep of what was no replica is named by the time" {
  cp "$V/v1" "$IMG"
  run -0 blxapply --allow resync --keep "$IMG"
  same "$V/v1" "$IMG".kept-20??-??-??T??:??:??Z
}

@test "--keep where files are cloned shares the blocks, and elsewhere keeps the holes" {
  cloning_fs xfs
  IMG=$PWD/mnt/img
  replica
  blxapply --allow resync --keep "$IMG"
  same "$V/v1" "$IMG.kept-1"
  sync -f "$IMG"
  run -0 filefrag -v "$IMG.kept-1"
  has "shared"
  truncate -s 64M sparse
  into sparse 33554432 100000
  blxapply --allow resync --keep sparse
  same sparse sparse.kept-*
  [ "$(du -k sparse.kept-* | cut -f1)" -le 512 ] || fail "$(du -k sparse.kept-*)"
}

@test "--keep without room is refused in words, and nothing is permitted or left" {
  small_fs 1536k
  IMG=$PWD/mnt/img
  cp "$V/v1" "$IMG"
  run -3 blxapply --allow resync --keep "$IMG"
  has "No space left on device; no copy was made and nothing is permitted"
  [ "$(ls mnt)" = img ] || fail "$(ls mnt)"
  loop_new 8M
  into "$DEV" 0 4194304
  run -3 blxapply --allow resync --keep=mnt/copy "$DEV"
  has "mnt/copy: write at "
  has "No space left on device"
  [ "$(ls mnt)" = img ] || fail "$(ls mnt)"
}

@test "--keep of a device needs a name" {
  loop_new 8M
  into "$DEV" 4194304 100000
  run -2 blxapply --allow resync --keep "$DEV"
  has "--keep=FILE"
  run -0 blxapply --allow resync --keep=copy "$DEV"
  same "$DEV" copy
  [ "$(du -k copy | cut -f1)" -le 1024 ] || fail "$(du -k copy)"
}

# ---- resyncs

@test "a resync of another replica is refused, and both are named" {
  replica
  replica other
  blxapply --allow resync "$IMG"
  resync_of other 9 "$V/v2" "$TWO" >resync
  run -5 apply resync "$IMG"
  has "wrong replica: this is $(id_of "$IMG"), the resync is of $(id_of other)"
  same "$V/v1" "$IMG"
}

@test "a resync of what was changed since says how to go on" {
  replica
  blxapply --allow resync "$IMG"
  resync_of "$IMG" 9 "$V/v2" "$TWO" >resync
  into "$IMG" 0 512
  run -5 apply resync "$IMG"
  has "the image was changed"
  has "; to compare it anew, first: blxapply --allow resync $IMG"
}

# cut_leaves: a resync that is cut before its end leaves the permission, and the whole one goes in.
cut_leaves() {
  local at
  replica
  blxapply --allow resync "$IMG"
  resync_of "$IMG" 9 "$V/v2" "$TWO" >resync
  for at in 0 100 1000 9000 $(($(stat -c %s resync) - 200)); do
    head -c "$at" resync >cut
    run -4 apply cut "$IMG"
    allowed
    same "$V/v1" "$IMG"
  done
  run -0 apply resync "$IMG"
  same "$V/v2" "$IMG"
  not_allowed
}

@test "a resync that is cut leaves the permission: by the spool" {
  cut_leaves
}

@test "a resync that is cut leaves the permission: by a clone" {
  cloning_fs btrfs
  IMG=$PWD/mnt/img
  cut_leaves
}

@test "a resync whose ack was lost is followed by the next without another permission" {
  replica
  held=$(token_of "$IMG") id=$(id_of "$IMG")
  stream 9 "$V/v2" "$TWO" lineage=$NEW base="$held" chain="$held 9" resync="$id" >r1
  stream 10 "$V/v3" "$ONE_TO_THREE" lineage=$NEW base="$held" chain="$held 9 10" resync="$id" >r2
  blxapply --allow resync "$IMG"
  apply r1 "$IMG"
  run -0 apply r1 --ack "$IMG"
  has "done lineage=$NEW"
  run -0 apply r2 --ack "$IMG"
  has "done lineage=$NEW"
  same "$V/v3" "$IMG"
}

@test "an empty resync uses the permission up" {
  replica
  blxapply --allow resync "$IMG"
  resync_of "$IMG" 9 "$V/v1" '' >resync
  run -0 apply resync "$IMG"
  not_allowed
  same "$V/v1" "$IMG"
  run -0 blxapply --status "$IMG"
  has "lineage:    $NEW"
}

@test "a group that fails leaves the permission of its members, one that is decided uses it up" {
  mkdir dir
  replica dir/a
  replica dir/b
  blxapply --allow resync dir/a
  at=0
  for m in a b; do
    held=$(token_of dir/$m) at=$((at + 1))
    { head_of 9 lineage=$NEW base="$held" chain="$held 9" resync="$(id_of dir/$m)" &&
      printf "# label: %s\n# group: %d/2 %s\n" $m "$at" "$(tok 77)" &&
      tr / '\n' <<<"$TWO/commit/end"; } | mkstream "$V/v2"
  done >group
  run -5 blxapply --into dir <group
  has "b: a resync needs permission once"
  same "$V/v1" dir/a
  allowed dir/a
  blxapply --allow resync dir/b
  run -0 blxapply --into dir <group
  same "$V/v2" dir/a
  same "$V/v2" dir/b
  not_allowed dir/a
  not_allowed dir/b
}

# ---- --promote

@test "a promoted replica takes no stream any more, even unchanged" {
  local words
  replica
  run -0 blxapply --promote "$IMG"
  [ -z "$output" ] || fail "$output"
  words="was promoted on 20??-??-??T??:??:??Z: it is no replica any more; to make it one again: blxapply --allow resync $IMG"
  for s in s1 s2 s13; do
    run -5 --separate-stderr apply "$V/$s" --ack "$IMG"
    # shellcheck disable=SC2053
    [[ $stderr == "blxapply: $IMG: "$words ]] || fail "$stderr"
    [[ $output == *" failed "*"code=5"* ]] || fail "$output"
  done
  resync_of "$IMG" 9 "$V/v2" "$TWO" >resync
  run -5 apply resync "$IMG"
  # shellcheck disable=SC2053
  [[ $output == "blxapply: $IMG: "$words ]] || fail "$output"
  { head_of 2 && printf '# label: img\n' && tr / '\n' <<<"$TWO/commit/end"; } | mkstream "$V/v2" >labelled
  run -5 blxapply --into . <labelled
  has "was promoted on"
  same "$V/v1" "$IMG"
  run -5 blxapply --status "$IMG"
  has "state:      promoted: 20"
  run -5 blxapply --status --json "$IMG"
  has '"state":"promoted","promoted":"20'
  has '"complete":false'
  run -5 blxapply --status --ack "$IMG"
  has "was promoted: it is no replica any more"
  run -5 blxapply --recover "$IMG"
  has "was promoted: it is no replica any more"
}

@test "a permission given to the replica does not outlive its promotion" {
  replica
  blxapply --allow init "$IMG"
  blxapply --promote "$IMG"
  into "$IMG" 0 512
  run -5 apply "$V/s1" "$IMG"
  has "was promoted on"
  blxapply --allow init "$IMG" # now it is meant
  run -0 apply "$V/s1" "$IMG"
}

@test "a permission is used up by a stream that is applied already, too" {
  blxapply "$IMG" <"$V/s1"
  blxapply --allow init "$IMG"
  run -0 apply "$V/s1" "$IMG"
  [ ! -e "$IMG.blx/allow" ]
}

@test "--promote of an adopted one that was not resynced is refused" {
  replica
  into "$IMG" 0 512
  blxapply --allow resync "$IMG"
  run -1 blxapply --promote "$IMG"
  has "adopted, and not yet resynced: nobody knows what it holds"
}

@test "--promote twice is once" {
  replica
  blxapply --promote "$IMG"
  before=$(cat "$IMG.blx/state")
  into "$IMG" 0 512
  run -0 blxapply --promote "$IMG"
  [ -z "$output" ] || fail "$output"
  [ "$before" = "$(cat "$IMG.blx/state")" ] || fail "the state changed"
}

@test "--promote finishes what is pending" {
  small_fs 8M
  replica mnt/img
  kill_at pwrite64 2 "$V/s2" mnt/img
  [ "$KILLED" = 137 ] || fail "not killed"
  run -0 blxapply --promote mnt/img
  same "$V/v2" mnt/img
}

@test "--promote of a replica that is used already is recorded" {
  replica
  into "$IMG" 0 512
  run -0 blxapply --promote "$IMG"
  run -5 apply "$V/s2" "$IMG"
  has "was promoted on"
}

@test "--promote of an incomplete replica, of none, and of one that is gone is refused" {
  { head_of 1 base=none chain=1 && printf 'data 0 524288\nabort 3 cable\n'; } | mkstream "$V/v1" >half
  run -3 apply half "$IMG"
  run -1 blxapply --promote "$IMG"
  has "incomplete: the first copy was not finished"
  run -5 blxapply --promote "$V/v1"
  has "no replica here"
  [ ! -e "$V/v1.blx" ] || fail "a state directory was made"
  replica other
  rm other
  run -5 blxapply --promote other
  has "the image is gone"
}

@test "a person's word to overwrite a promoted replica counts" {
  replica
  blxapply --promote "$IMG"
  blxapply --allow init "$IMG"
  run -5 apply "$V/s2" "$IMG"
  has "was promoted on"
  run -0 apply "$V/s1" "$IMG"
  run -0 blxapply --status "$IMG"
  has "state:      complete"
}

@test "a promoted device takes no stream" {
  loop_new 1M
  blxapply --allow init "$DEV"
  apply "$V/s1" "$DEV"
  blxapply --promote "$DEV"
  run -5 apply "$V/s2" "$DEV"
  has "was promoted on"
}

@test "the new options refuse what makes no sense" {
  run -2 blxapply --keep "$IMG" </dev/null
  has "--keep goes with --allow resync only"
  run -2 blxapply --allow init --keep "$IMG"
  has "--keep goes with --allow resync only"
  run -2 blxapply --promote --status "$IMG"
  has "exclude each other"
  run -2 blxapply --promote --into .
  has "--into is for applying and for --recover"
}
