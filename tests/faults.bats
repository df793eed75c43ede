#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2034,SC2154,SC2164
# Every system call of blxapply that changes something fails, is cut short, or is its last. Whatever comes next, the
# replica is at the old epoch or at the new one, its state says so, and `done` was said of the new one only.
# Environment: STEP, only every STEP-th place (1).

load lib
load apply

FAULTS='kill after short ENOSPC EIO EINTR'
NEW=00000000-0000-4000-8000-000000000001 # another lineage

# In memory, where an fsync takes no time.
setup() {
  mount -t tmpfs tmpfs "$BATS_TEST_TMPDIR"
  begin_test
}

teardown() {
  end_test
  umount "$BATS_TEST_TMPDIR"
}

inject() {
  ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 command inject "$@"
}

# fail WORDS...: with where it was.
fail() {
  printf '%s at place %s%s: %s\nexit %s\n%s\n' "${FAULT:-}" "${N:-}" "${STRUCK:+, $STRUCK}" "$*" "${CODE:-}" "$ACKS$ERR" >&2
  return 1
}

# did STREAM COMMAND...: CODE, and what it said in ACKS and ERR.
did() {
  local in=$1
  shift
  CODE=0
  "$@" <"$in" >acks 2>err || CODE=$?
  read -rd '' ACKS <acks || true
  read -rd '' ERR <err || true
}

# strike STREAM [options]: run blxapply with FAULT at its place N. STRUCK: the call that was hit, '' if there are not so
# many places.
strike() {
  local in=$1 word
  shift
  did "$in" inject -o report -n "$N" -f "$FAULT" -- blxapply "$@"
  read -r word _ STRUCK <report
  [ "$word" = struck ] || STRUCK=
  LOST=
  ! lost || LOST=yes
  # It cannot fail.
  [ "$STRUCK" != exit_group ] || killed || STRUCK=
}

killed() {
  [ "$FAULT" = kill ] || [ "$FAULT" = after ]
}

# told: it ended as its fault has it, with words and an ack of that.
told() {
  ended
  case $CODE in
    0) [[ $ACKS == *' done '* ]] || fail "not acked" ;;
    3) [[ $STRUCK == write || $ACKS == *' failed '*'code=3 why='* ]] || fail "no failed ack" ;;
  esac
  [[ $STRUCK != f*sync || $ACKS != *' done '* ]] || killed || lost || fail "fsync failed, and it was acked"
}

# lost: it was said that the digests are.
lost() {
  [[ $ERR == *'what its digests knew is lost: '* ]]
}

# ended: as its fault has it, and with words if need be; that an fsync failed is an error.
ended() {
  case $CODE in
    0) ;;
    3) [[ $ERR == *'blxapply: '*': '* ]] || fail "not a word of why" ;;
    137) killed || fail "died" ;;
    *) fail "an exit of another kind" ;;
  esac
  [[ $STRUCK == f*sync ]] && ! killed || return 0
  [ $CODE = 3 ] || lost || fail "fsync failed, and it went on"
  [[ $ERR =~ 'No space left'|'Input/output error'|'Interrupted system call' ]] || fail "another reason"
}

# holds N: by its state and byte for byte the target is at epoch N, complete.
holds() {
  [ -n "${SAID:-}" ] || SAID=$(blxapply --status --ack "$T" 2>&1) || fail "--status: exit $?: $SAID"
  [ "$SAID" = "${DONE[$1]}" ] || fail "its state, where epoch $1 is wanted: $SAID"
  SAID=
  cmp -n $SIZE "$V/v$1" "$T" || fail "its bytes are not those of epoch $1"
}

# old_or_new: it is at epoch 1 or 2, exactly, and after a first copy at 1.
old_or_new() {
  SAID=$(blxapply --status --ack "$T" 2>&1) || fail "--status: exit $?: $SAID"
  if [ "$SAID" = "${DONE[2]}" ]; then holds 2; else holds 1; fi
}

# truthful: before anything is mended the state says no more than what is so; what was acked is there.
truthful() {
  local code=0
  BEFORE=$(blxapply --status "$T" 2>&1) || code=$?
  if [[ $CODE = 0 || $ACKS == *' done '* ]]; then
    holds "${TO:-2}"
  elif [ $code = 0 ]; then
    old_or_new
  else
    [ $code = 1 ] || fail "--status: exit $code: $BEFORE"
  fi
}

# goes_on [options]: the stream again goes in, in so many WRITES, and so does the next one.
goes_on() {
  did "$V/s2" inject -o report -n 0 -f kill -e pwrite64,fallocate,ioctl -- blxapply --ack "$@" "$T"
  [ "$CODE $ACKS" = "0 ${DONE[2]}" ] || fail "the next run"
  read -r _ WRITES <report
  holds 2
  did "$V/s3" blxapply "$@" "$T"
  [ $CODE = 0 ] || fail "epoch 3"
  holds 3
  tidy
  [ -z "${DIGESTS:-}" ] || known
}

# known: the digests are right, and after a kill nothing that they knew is lost but of a block that is written in part;
# else that was said.
known() {
  local unknown=256
  if [ -e "$T.blx/digests" ]; then
    unknown=$(digests "$T" "$T.blx/digests" "${TOKEN[3]}" 2>&1) || fail "digests: $unknown"
  fi
  [ "$unknown" -le 1 ] || ! killed || fail "$unknown blocks of which nothing is known"
  [ "$unknown" -le 1 ] || [ -n "$LOST" ] || fail "$unknown blocks of which nothing is known, and not a word"
}

# tidy: nothing is left over.
tidy() {
  local left
  if [ -f "$T" ]; then left=$(cd "$T.blx" && echo *); else left=$(cd "$BLX_STATE_DIR"/* && echo *); fi
  left+=" $(echo spool/*)"
  [ -z "${DIGESTS:-}" ] || left=${left#digests }
  [ "$left" = "lock state spool/*" ] || fail "left: $left"
}

# everywhere COMMAND...: it makes a replica, strikes and judges, at every place for every fault.
everywhere() {
  local places=0
  mkdir -p spool
  TOKEN=(x "$(tok 1)" "$(tok 2)" "$(tok 3)")
  trap - DEBUG # of bats, at each command
  DONE=(x "$(done_ack 1)" "$(done_ack 2)" "$(done_ack 3)")
  for FAULT in $FAULTS; do
    for ((N = 1; ; N += ${STEP:-1})); do
      "$@"
      [ -n "$STRUCK" ] || break
      places=$((places + 1))
    done
  done
  echo "# $places places: $BATS_TEST_DESCRIPTION" >&3
  [ $((places * ${STEP:-1})) -ge 30 ]
}

# ---- an increment, all of it or nothing

# fresh: a replica at epoch 1, and nothing else.
fresh() {
  if [ -b "$T" ]; then
    rm -rf "$BLX_STATE_DIR"
    blxapply --allow init "$T"
  else
    rm -rf "$T" "$T.blx"
  fi
  apply "$V/s1" ${DIGESTS:-} "$T"
}

# recovered [options]: struck, recovered, and gone on with.
recovered() {
  fresh
  strike "$V/s2" --ack "$@" "$T"
  told
  truthful
  did /dev/null blxapply --recover "$T"
  case $CODE in
    0) old_or_new ;;
    1) [ -n "${IN_PLACE:-}" ] || fail "--recover" ;;
    *) fail "--recover" ;;
  esac
  goes_on "$@"
}

# repeated [options]: struck, and the next run goes on. What an fsync failed for is written again; not what had been
# synced before: a clone, or all of it.
repeated() {
  fresh
  strike "$V/s2" --ack "$@" "$T"
  told
  truthful
  goes_on "$@"
  if [[ $STRUCK == f*sync ]] && ! killed && [[ $BEFORE == *"token:      ${TOKEN[1]}"* && ! ( -n ${CLONES:-} && $BEFORE == *pending* ) ]]; then
    [ "$WRITES" -ge 4 ] || fail "fsync failed, and only $WRITES writes followed"
  fi
}

# increment [options]: every place is once recovered and once repeated, of kills each one.
increment() {
  if killed; then
    recovered "$@"
    [ -z "$STRUCK" ] || repeated "$@"
  elif ((N % 2)); then
    recovered "$@"
  else
    repeated "$@"
  fi
}

@test "an increment into an image, by a spool beside it" {
  small_fs 8M
  T=$PWD/mnt/img
  everywhere increment
}

@test "an increment into an image, by a spool elsewhere" {
  small_fs 8M
  T=$PWD/mnt/img
  everywhere increment --spool spool
}

@test "an increment into an image, by a clone" {
  cloning_fs btrfs
  T=$PWD/mnt/img CLONES=yes
  everywhere increment
}

@test "an increment into a block device" {
  loop_new 2M
  T=$DEV
  everywhere increment
}

@test "an increment in place: incomplete meanwhile" {
  small_fs 8M
  T=$PWD/mnt/img IN_PLACE=yes
  everywhere increment --in-place
}

@test "an increment into a block device in place: incomplete meanwhile" {
  loop_new 2M
  T=$DEV IN_PLACE=yes
  everywhere increment --in-place
}

# The digests beside it are right, or dropped with words; no epoch fails because of them.

@test "with digests: an increment by a spool" {
  small_fs 8M
  T=$PWD/mnt/img DIGESTS=--digests FAULTS='kill EIO'
  everywhere increment
}

@test "with digests: an increment by a clone" {
  cloning_fs btrfs
  T=$PWD/mnt/img DIGESTS=--digests CLONES=yes FAULTS='kill EIO'
  everywhere increment
}

@test "with digests: an increment in place" {
  small_fs 8M
  T=$PWD/mnt/img DIGESTS=--digests IN_PLACE=yes FAULTS='kill EIO'
  everywhere increment --in-place
}

# ---- other streams

# first_copy: struck, then sent again, which needs no permission, and followed by an increment.
first_copy() {
  if [ -b "$T" ]; then
    rm -rf "$BLX_STATE_DIR"
    blxapply --allow init "$T"
  else
    rm -rf "$T" "$T.blx"
  fi
  strike "$V/s1" --ack "$T"
  [ -n "$STRUCK" ] || return 0
  told
  # There may be nothing yet that could have a state.
  if [ "$CODE" = 0 ] || [ -e "$T.blx/state" ]; then truthful; fi
  did "$V/s1" blxapply --ack "$T"
  [ "$CODE $ACKS" = "0 ${DONE[1]}" ] || fail "the next run"
  holds 1
  goes_on
}

@test "a first copy into an image" {
  small_fs 8M
  T=$PWD/mnt/img TO=1
  everywhere first_copy
}

@test "a first copy into a block device" {
  loop_new 2M
  T=$DEV TO=1
  everywhere first_copy
}

# resync [options]: of an image that was no replica, struck; then the next resync of the source goes on by the same
# permission, and uses it up.
resync() {
  local ours
  rm -rf "$T" "$T.blx"
  cp "$V/v1" "$T"
  blxapply --allow resync "$T" 2>/dev/null
  ours=$(sed -n "s/^id: /s,REPLICA,/p; s/^floor: 0 /s,${TOKEN[1]},/p" "$T.blx/state" | sed 's/$/,/')
  sed "$ours" r1.script | mkstream "$V/v2" >r1
  sed "$ours" r2.script | mkstream "$V/v3" >r2
  strike r1 --ack "$@" "$T"
  [ -n "$STRUCK" ] || return 0
  told
  if ((N % 2)); then did /dev/null blxapply --recover "$T"; fi
  did r2 blxapply --ack "$@" "$T"
  [ "$CODE" = 0 ] || fail "the next resync"
  [[ $ACKS == "blx-ack 1 done lineage=$NEW device=7:9 "*"epoch=10 token=$TEN" ]] || fail "its acks"
  cmp "$V/v3" "$T" || fail "its bytes are not those of epoch 3"
  tidy
}

# resyncs [options]
resyncs() {
  TEN=$(tok 10)
  { head_of 9 lineage=$NEW device=7:9 base=1 chain='1 9' resync=REPLICA && tr / '\n' <<<"$TWO/commit/end"; } | sed 's/^# base: 1/# base: 0/' >r1.script
  { head_of 10 lineage=$NEW device=7:9 base=1 chain='1 9 10' resync=REPLICA && tr / '\n' <<<"$ONE_TO_THREE/commit/end"; } | sed 's/^# base: 1/# base: 0/' >r2.script
  FAULTS='kill after EIO'
  everywhere resync "$@"
}

@test "a resync by a spool" {
  small_fs 8M
  T=$PWD/mnt/img
  resyncs
}

@test "a resync by a clone" {
  cloning_fs btrfs
  T=$PWD/mnt/img
  resyncs
}

@test "a resync in place" {
  small_fs 8M
  T=$PWD/mnt/img
  resyncs --in-place
}

# restore: what is said to be restored is.
restore() {
  rm -f "$T"
  strike "$V/s1" --restore "$T"
  [ -n "$STRUCK" ] || return 0
  ended
  if [ $CODE = 0 ]; then cmp "$V/v1" "$T" || fail "not what was to be restored"; fi
  did "$V/s1" blxapply --restore "$T"
  [ $CODE = 0 ] || fail "again"
  cmp "$V/v1" "$T" || fail "not what was to be restored"
}

@test "a restore" {
  small_fs 8M
  T=$PWD/mnt/img
  everywhere restore
}

# next_syncs CALL N STREAM: after a run that is killed right after its Nth CALL, the next one fsyncs the image's directory.
next_syncs() {
  inject -n "$2" -e "$1" -f after -- blxapply "$T" <"$V/$3" || [ $? = 137 ]
  strace -qq -y -o trace -e trace=fsync blxapply "$T" <"$V/$3"
  grep -q "^fsync([0-9]*<${T%/*}>) *= 0" trace || fail "$(cat trace)"
}

@test "that an image has its name is durable, even if the run that gave it was killed" {
  cloning_fs btrfs
  T=$PWD/mnt/img
  next_syncs renameat2 1 s1
  next_syncs renameat 2 s2
  same "$V/v2" "$T"
}

# ---- a person's word

# adopt: struck, there is no permission without the state, nor without the copy; the same command goes on.
adopt() {
  rm -rf "$T"* kept*
  cp "$V/v1" "$T"
  strike /dev/null --allow resync --keep=kept "$T"
  [ -n "$STRUCK" ] || return 0
  ended
  if [ $CODE = 0 ] || [ -e "$T.blx/allow" ]; then adopted; fi
  # A copy is whole, and only a kill leaves one without the permission.
  [ ! -e kept ] || cmp "$V/v1" kept || fail "the copy"
  if [ $CODE = 3 ] && [[ $ERR == *'no copy was made'* ]]; then [ ! -e kept ] || fail "one was"; fi
  rm -f kept
  did /dev/null blxapply --allow resync --keep=kept "$T"
  [ $CODE = 0 ] || fail "again"
  adopted
  [ "$(echo kept*)" = kept ] || fail "left: $(echo kept*)"
}

adopted() {
  [[ $(blxapply --status "$T" || true) == *'state:      adopted'* ]] || fail "not adopted"
  cmp "$V/v1" "$T" || fail "changed"
  cmp "$V/v1" kept || fail "no copy"
  [ "$(cat "$T.blx/allow")" = resync ] || fail "no permission"
}

@test "a permission to resync what is no replica, with a copy" {
  small_fs 8M
  T=$PWD/mnt/img
  everywhere adopt
}

# allow_init: the permission is there or not.
allow_init() {
  rm -rf "$T.blx"
  strike /dev/null --allow init "$T"
  [ -n "$STRUCK" ] || return 0
  ended
  [ $CODE != 0 ] || [ "$(cat "$T.blx/allow")" = init ] || fail "no permission"
  [ ! -e "$T.blx/allow" ] || [ "$(cat "$T.blx/allow")" = init ] || fail "half a permission"
  did /dev/null blxapply --allow init "$T"
  [ $CODE = 0 ] || fail "again"
}

@test "a permission to overwrite" {
  small_fs 8M
  T=$PWD/mnt/img
  cp "$V/v2" "$T"
  everywhere allow_init
  apply "$V/s1" "$T"
  same "$V/v1" "$T"
}

# promote: the replica is one or is none any more, and the same command goes on.
promote() {
  fresh
  strike /dev/null --promote "$T"
  [ -n "$STRUCK" ] || return 0
  ended
  [[ $CODE != 0 || $(blxapply --status "$T" || true) == *'state:      promoted'* ]] || fail "not promoted"
  did /dev/null blxapply --promote "$T"
  [ $CODE = 0 ] || fail "again"
  [[ $(blxapply --status "$T" || true) == *'state:      promoted'* ]] || fail "not promoted"
  cmp "$V/v1" "$T" || fail "changed"
}

@test "a promotion" {
  small_fs 8M
  T=$PWD/mnt/img
  everywhere promote
}
