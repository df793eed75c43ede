# SPDX-License-Identifier: BSD-2-Clause
# Enemies: who makes the stream, who shares the machine, and what the programs give up in advance.

load lib
load apply

# ---- a stream from an enemy

# Address space of what reads it, KiB: the programs take less than 64 MiB, libraries and all.
CAP=98304

# attack STREAM WORDS COMMAND...: COMMAND gets that stream, in little memory, and says WORDS in time.
# Sets STATUS.
attack() {
  local stream=$1 words=$2
  shift 2
  STATUS=0
  enemy "$stream" 2>/dev/null | (ulimit -v $CAP && exec timeout -k 1 "${SECONDS_EACH:-20}" "$@") >out 2>err ||
    STATUS=$?
  [[ $(<err) == *"$words"* ]] || fail "$stream: $*: exit $STATUS: $(head -c 300 err)"
}

# name, exit status of blxapply and of blxls, words of blxapply
ATTACKS='size_all_ones 4 4 size is beyond
size_half 4 4 size is beyond
offset_wraps 4 4 beyond the device
length_wraps 4 4 beyond the device
beyond 4 4 beyond the device
backwards 4 4 lacks bytes
claims_head 4 4 payload is too long
claims_data 4 4 payload is too long
claims_pack 4 4 payload is too long
claims_optional 4 4 payload is too long
pack_huge 4 4 PACK with a wrong length
bomb_longer 4 4 Destination buffer is too small
bomb_honest 4 4 its zstd frame says another length
bomb_window 4 4 its zstd frame says another length
pack_in_pack 4 4 neither DATA nor ZERO
chain_of_millions 4 4 bad value: # chain
chain_of_one_token 4 0 lacks bytes
unknown_lines 4 0 lacks bytes
one_long_line 4 4 too long, cut, or with a NUL
nul_in_head 4 4 too long, cut, or with a NUL
endless_heads 4 4 HEAD inside of an epoch
endless_garbage 4 4 not a blx stream
words 4 4 ABORT with control characters'

@test "no stream of an enemy gets memory, time, or a byte outside of its image" {
  local name apply ls words
  mkdir there
  echo canary >there/canary
  while read -r name apply ls words; do
    mkdir there/in
    attack "$name" "$words" blxapply --ack there/in/img
    [ "$STATUS" = "$apply" ] || fail "$name: blxapply: exit $STATUS: $(<err)"
    grep -q ' failed ' out || fail "$name: $(<out)"
    [ "$(ls -A there)" = $'canary\nin' ] || fail "$name: $(ls -A there)"
    [ -z "$(find there/in ! -path there/in ! -path 'there/in/img' ! -path 'there/in/img.blx*')" ] || fail "$name"
    rm -r there/in
    attack "$name" "" blxls
    [ "$STATUS" = "$ls" ] || fail "$name: blxls: exit $STATUS: $(<err)"
    attack "$name" "" blxpack -d
    [ "$STATUS" -le 4 ] || fail "$name: blxpack: exit $STATUS: $(<err)"
  done <<<"$ATTACKS"
  # and every one that there is was tried, but for those below
  [ "$(enemy | grep -vxE 'endless_(zeroes|bad|optional)|ordinary' | sort)" = "$(cut -d' ' -f1 <<<"$ATTACKS" | sort)" ]
}

@test "streams without an end take no more memory while they last" {
  local program
  for program in "blxapply there/img" blxls "blxls --json" "blxls --check --ack"; do
    rm -rf there
    mkdir there
    # shellcheck disable=SC2086
    SECONDS_EACH=0.5 attack endless_zeroes "" $program
    [ "$STATUS" = 124 ] || fail "$program: exit $STATUS: $(<err)"
    rm -rf there
    mkdir there
    # shellcheck disable=SC2086
    SECONDS_EACH=0.5 attack endless_optional "" $program
    [ "$STATUS" = 124 ] || fail "$program: exit $STATUS: $(<err)"
  done
}

@test "ranges that could not be read are counted, not collected for ever" {
  attack endless_bad "more than 1048576 ranges that could not be read" blxapply --ack img
  [ "$STATUS" = 4 ]
  attack endless_bad "more than 1048576 ranges that could not be read" blxls --check --ack
  [ "$STATUS" = 4 ]
}

@test "a label is a name in the directory, or no name" {
  local label
  mkdir -p there/in
  for label in ../x ../../x a/b /etc/x . .. .hidden -rf a.blx 'a b' "$(printf 'a%.0s' {1..65})"; do
    enemy ordinary "$label" >stream
    run -4 --separate-stderr blxapply --ack --into there/in <stream || [ "$status" = 5 ] || fail "$label: $status"
    [[ $output == *" failed "* ]] || fail "$label: $output"
    [ "$(ls -A there)" = in ] && [ -z "$(ls -A there/in)" ] || fail "$label: $(find there)"
  done
  enemy ordinary good >stream
  run -0 blxapply --into there/in <stream
  [ "$(ls -A there/in)" = $'good\ngood.blx' ]
}

@test "what a sender says comes to no terminal with control characters" {
  { head_of 1 && printf '%s\n' 'abort 3 words' ; } | mkstream "$V/v1" >stream
  for program in "blxapply img" blxls "blxls -v" "blxls --json"; do
    # shellcheck disable=SC2086
    enemy words | $program >out 2>&1 || true
    run -1 grep -q $'\x1b' out
  done
}

@test "a group's record that names what is outside of its directory is damaged" {
  mkdir in
  apply "$V/s1" in/img
  cp -r in out
  printf 'blx-group 1\n../out/img %s\n' "$(tok 1)" >in/.blx-group
  run -5 blxapply --recover --into in
  has ".blx-group: damaged"
}

# ---- other users of the machine

# as_nobody COMMAND...
as_nobody() {
  setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

@test "what is made is readable by its owner alone" {
  umask 0
  apply "$V/s1" --digests "$IMG"
  apply "$V/s2" --spool "$PWD" "$IMG"
  for file in "$IMG" "$IMG".blx/*; do
    [ "$(stat -c %a "$file")" = 600 ] || fail "$file: $(stat -c %a "$file")"
  done
  [ "$(stat -c %a "$IMG.blx")" = 700 ]
  loop_new 1M
  blxapply --allow init "$DEV"
  [ "$(stat -c %a "$BLX_STATE_DIR")" = 700 ]
}

# shared: a directory where everybody may make files, as /tmp.
shared() {
  mkdir -m 1777 shared
  chmod 755 "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
}

@test "a state directory that is a link, or another user's, is not believed" {
  shared
  apply "$V/s1" good
  ln -s ../good.blx shared/linked.blx
  run -3 apply "$V/s1" shared/linked
  has "linked.blx: "
  [ ! -e shared/linked ]
  as_nobody mkdir -m 755 shared/planted.blx
  run -5 apply "$V/s1" shared/planted
  has "planted.blx: belongs to another user (65534): not believed"
  [ ! -e shared/planted ]
  run -5 blxapply --status shared/planted
  has "not believed"
  mkdir shared/open.blx
  chmod 777 shared/open.blx
  run -5 apply "$V/s1" shared/open
  has "everybody may write to it: not believed"
}

@test "root works on the replica of another user" {
  shared
  mkdir his
  chown 65534 his
  as_nobody blxapply his/img <"$V/s1"
  run -0 blxapply --status his/img
  apply "$V/s2" his/img
  same "$V/v2" his/img
}

@test "a spool where all files are the directory's owner's, as over a network, is the replica's" {
  replica
  mkdir squashed
  apply "$V/s2" --spool squashed "$IMG"
  KILLED=0
  inject -e pwrite64 -n 1 -f kill -- blxapply --spool squashed "$IMG" <"$V/s3" || KILLED=$?
  [ "$KILLED" = 137 ] && [ -n "$(find squashed -name '*.spool')" ]
  chown -R 65534 squashed
  blxapply --recover "$IMG"
  same "$V/v3" "$IMG"
}

@test "a spool that another user has put in the way stops the epoch, and is neither written nor read" {
  local id spool
  replica
  mkdir -m 1777 shared
  chmod 755 "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
  id=$(id_of "$IMG")
  spool=shared/blx-$id.spool
  # a link to what root alone may write
  echo precious >precious
  as_nobody ln -s "$PWD/precious" "$spool"
  apply "$V/s2" --spool shared "$IMG"
  [ "$(<precious)" = precious ]
  same "$V/v2" "$IMG"
  # in the place of one that was to be put in place
  KILLED=0
  inject -e pwrite64 -n 1 -f kill -- blxapply --spool shared "$IMG" <"$V/s3" || KILLED=$?
  [ "$KILLED" = 137 ] && [ -f "$spool" ]
  mv "$spool" kept
  as_nobody sh -c "echo forged >$spool"
  run -5 blxapply --recover "$IMG"
  has "not the spool of this replica: another user's"
  rm "$spool"
  mv kept "$spool"
  blxapply --recover "$IMG"
  same "$V/v3" "$IMG"
}

@test "with --into neither an image nor its state may be a link" {
  mkdir in out
  apply "$V/s1" out/img
  ln -s ../out/img in/a
  enemy ordinary a >stream
  run -5 blxapply --into in <stream
  has "a link, not an image"
  mkdir out/b.blx
  ln -s ../out/b.blx in/b.blx
  enemy ordinary b >stream
  run -3 blxapply --into in <stream
  same "$V/v1" out/img
  [ -z "$(ls -A out/b.blx)" ] && [ ! -e in/b ]
}

@test "a file that another user has put in the way of blxread's is neither cut nor written" {
  shared
  as_nobody sh -c 'echo his >shared/bad.new'
  run -5 --separate-stderr sh -c "blxread -a --whole --skip-bad shared/bad $V/v1 >stream"
  [[ $stderr == *"shared/bad.new: another's file is in the way" ]] || fail "$stderr"
  [ "$(<shared/bad.new)" = his ]
  echo precious >precious
  ln precious shared/linked.new
  run -5 --separate-stderr sh -c "blxread -a --whole --skip-bad shared/linked $V/v1 >stream"
  [ "$(<precious)" = precious ]
  as_nobody sh -c 'echo his >shared/stream.new'
  run -7 --separate-stderr blxread -a --whole -o shared/stream "$V/v1"
  [ "$(<shared/stream.new)" = his ]
}

# ---- confinement

# open_on FIFO COMMAND...: runs, and waits for its input; sets PID.
open_on() {
  local fifo=$1
  shift
  mkfifo "$fifo"
  "$@" <"$fifo" >/dev/null 2>&1 3>&- &
  PID=$!
  exec 4>"$fifo"
}

# confined PID: it has given up all that it will.
confined() {
  grep -q '^Seccomp:.2$' "/proc/$1/status" && grep -q '^NoNewPrivs:.1$' "/proc/$1/status"
}

@test "blxapply and blxls are confined before they read a stream, and have all that they need" {
  open_on one blxapply --confine must "$IMG"
  await confined "$PID"
  cat "$V/s1" >&4
  exec 4>&-
  wait "$PID"
  same "$V/v1" "$IMG"
  open_on two blxls --confine must
  await confined "$PID"
  cat "$V/s1" >&4
  exec 4>&-
  wait "$PID"
}

@test "--confine no gives up nothing, and other words are refused" {
  local calls=seccomp,landlock_create_ruleset,prctl
  strace -qq -o calls -e trace=$calls blxls --confine no --check "$V/s1"
  strace -qq -o calls -e trace=$calls blxapply --confine no "$IMG" <"$V/s1"
  [ ! -s calls ] || fail "$(<calls)"
  strace -qq -o calls -e trace=$calls blxls --check "$V/s1"
  [ -s calls ]
  run -2 blxapply --confine maybe "$IMG" <"$V/s1"
  has "--confine: 'maybe' is none of try, must and no"
  run -2 blxls --confine maybe <"$V/s1"
  has "--confine: 'maybe' is none of try, must and no"
}

@test "a kernel that cannot confine is no hindrance, unless it must" {
  local call
  for call in landlock_create_ruleset landlock_restrict_self seccomp; do
    rm -rf "$IMG" "$IMG.blx"
    strace -qq -o /dev/null -e trace="$call" -e inject="$call":error=ENOSYS blxapply "$IMG" <"$V/s1"
    same "$V/v1" "$IMG"
    run -3 strace -qq -o /dev/null -e trace="$call" -e inject="$call":error=ENOSYS \
      blxapply --confine must "$IMG" <"$V/s2"
    has "blxapply: --confine must: "
    run -0 strace -qq -o /dev/null -e trace="$call" -e inject="$call":error=ENOSYS blxls --check "$V/s1"
  done
}

@test "a spool elsewhere is recovered by a run that is not told where" {
  mkdir images spools
  replica "$PWD/images/img"
  KILLED=0
  inject -e pwrite64 -n 1 -f kill -- blxapply --spool spools images/img <"$V/s2" || KILLED=$?
  [ "$KILLED" = 137 ]
  [ -n "$(ls spools)" ]
  blxapply --confine must --recover images/img
  same "$V/v2" images/img
  [ -z "$(ls spools)" ]
}

@test "a device whose states have no place yet gets one, confined" {
  loop_new 1M
  export BLX_STATE_DIR=$PWD/new/state
  mkdir new
  blxapply --confine must --allow init "$DEV"
  blxapply --confine must "$DEV" <"$V/s1"
  blxapply --confine must "$DEV" <"$V/s2"
  same "$V/v2" "$DEV"
}

@test "clones, copies, digests and groups work confined" {
  cloning_fs btrfs
  for epoch in s1 s2; do
    blxapply --confine must --digests mnt/img <"$V/$epoch"
  done
  same "$V/v2" mnt/img
  mkdir kept
  blxapply --confine must --allow resync --keep=kept/copy mnt/img
  same "$V/v2" kept/copy
  run -0 blxapply --confine must --status mnt/img
  blxapply --confine must --promote mnt/img
  blxapply --confine must --restore new <"$V/s1"
  same "$V/v1" new
}
