#!/usr/bin/env bats
# blxtrack killed at its system calls, one after the other: whatever was written before, during and after is in what is
# handed out later, or that is exit 6.
#
# Each command is struck at every call that changes a file (what an open has made, the call after it finds), and at some of
# all others, drawn by SEED; ALL=1: at every call there is. A test prints at how many it was. A command more is a test with a
# setup_, victim_ and after_ function.

load lib

FILES=write,pwrite64,writev,sendfile,copy_file_range,ftruncate,fallocate,rename,renameat,renameat2
FILES+=,link,linkat,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mount,umount2
BLOCKS=2048 # of the device, of 4096 bytes each
REPLICA=01234567-89ab-4cde-8f01-23456789abcd
HELD=0123456789abcdef0011223344556677

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export BLX_STATE_DIR=$BATS_TEST_TMPDIR/kept
  INJECT=${BLX_BUILD:-$TOP/build}/tools/inject
  loop_new 8M
  FIRST=0
}

teardown() {
  blxtrack stop --all --force 2>/dev/null || true
  loops_done
}

# ---- writes, lists and acks

# put BLOCK...: write to them.
put() {
  local block
  for block; do
    dd if=/dev/urandom of="$DEV" bs=4096 seek="$block" count=1 oflag=direct conv=notrunc status=none
  done
}

# key NAME LIST: from its header.
key() {
  sed -n "s/^# $1: //p" "$2"
}

# ack LIST KIND [extra words]
ack() {
  local list=$1 kind=$2 epoch token
  shift 2
  read -r epoch token <<<"$(key epoch "$list")"
  printf 'blx-ack 1 %s lineage=%s device=%s consumer=%s epoch=%s token=%s%s\n' "$kind" "$(key lineage "$list")" \
    "$(key device "$list")" "$(key consumer "$list")" "$epoch" "$token" "${*:+ $*}"
}

# covered LIST...: together they have all blocks of $WANT.
covered() {
  local missing
  missing=$(cat "$@" | awk -v want="$WANT" '
    !/^#/ { for (b = int($1 / 4096); b * 4096 < $1 + $2; b++) got[b] = 1 }
    END { n = split(want, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in got)) printf "%s ", w[i] }')
  [ -z "$missing" ] || fail "$AT: written and not listed: $missing"
}

# What a consumer that lacked nothing is handed out now has it all, and not more than a kill explains. Acks it.
drained() {
  local lists=("$@")
  blxtrack drain -c t "$DEV" >next 2>err || fail "$AT: the next drain is $?: $(cat err)"
  covered next "${lists[@]}"
  [ "$(awk '!/^#/ { n += $2 } END { print int(n / 4096) }' next)" -lt 200 ] || fail "$AT: nearly everything is listed"
  ack next 'done' | blxtrack commit -c t "$DEV" || fail "$AT: the next commit is $?"
}

tracked() {
  blxtrack start "$DEV" 2>/dev/null
  blxtrack consumer add --now t "$DEV"
  blxtrack consumer remove default "$DEV"
}

# ---- striking

# strike FLAGS N COMMAND: at its call N; there is a write before, one after, and eight meanwhile. Sets STRUCK: it has such a
# call. (Never a condition: nothing in it could fail then.)
strike() {
  local flags=$1 n=$2 command=$3 writer code=0
  AT="$command at call $n ($flags, SEED=$SEED)"
  FIRST=$(((FIRST + 16) % BLOCKS))
  WANT="$FIRST $((FIRST + 11)) $(seq -s ' ' $((FIRST + 2)) $((FIRST + 9)))"
  "setup_$command"
  put $FIRST
  rm -f report
  put $(seq $((FIRST + 2)) $((FIRST + 9))) &
  writer=$!
  # shellcheck disable=SC2086 # flags are words
  "victim_$command" timeout 60 "$INJECT" $flags -n "$n" -f kill -o report -- || code=$?
  wait "$writer"
  put $((FIRST + 11))
  [ -s report ] || fail "$AT: it did not end"
  grep -q ^passed report || [ $code = 137 ] || fail "$AT: exit $code"
  "after_$command"
  STRUCK=$(sed -n 's/^struck.*/yes/p' report)
}

# strike_all FLAGS COMMAND: at each call; adds to n.
strike_all() {
  while :; do
    strike "$1" $((n + 1)) "$2"
    [ "$STRUCK" ] || break
    n=$((n + 1))
  done
}

# everywhere COMMAND SAMPLE: at all calls that change a file, and at so many of all.
everywhere() {
  local command=$1 sample=$2 n=0 total
  RANDOM=${SEED:=$RANDOM}
  if [ -z "${ALL:-}" ]; then
    strike_all "-e $FILES" "$command"
  fi
  strike -a 0 "$command"
  total=$(sed 's/passed //' report)
  if [ -n "${ALL:-}" ]; then
    strike_all -a "$command"
    echo "# $command: struck at all of $n calls" >&3
  else
    echo "# $command: struck at $n calls that change files, and at $sample of $total (SEED=$SEED)" >&3
    for ((; sample > 0; sample--)); do
      strike -a $(((RANDOM * 32768 + RANDOM) % total + 1)) "$command"
    done
  fi
  [ $n -gt 0 ]
}

# ---- the commands

setup_drain() { :; }
victim_drain() { "$@" blxtrack drain -c t "$DEV" >first 2>/dev/null; }
after_drain() { drained; }

# For one that never acks deltas are kept; there are so many that each drain merges some.
@test "drain, and merging" {
  tracked
  blxtrack consumer add never "$DEV"
  for _ in $(seq 64); do blxtrack drain -c t "$DEV" >/dev/null; done
  everywhere drain 40
}

# What is acked is listed, and then something else is written.
setup_commit() {
  put $((FIRST + 13))
  blxtrack drain -c t "$DEV" >list
  before=$(key base list) acked=$(key epoch list)
}
victim_commit() { ack list 'done' | "$@" blxtrack commit -c t "$DEV" 2>/dev/null; }
after_commit() {
  local now
  blxtrack drain -c t "$DEV" >again
  now=$(key base again)
  [ "$now" = "$before" ] || [ "$now" = "$acked" ] || fail "$AT: the position is $now"
  [ "$now" = "$acked" ] || WANT+=" $((FIRST + 13))"
  drained
}

@test "commit" {
  tracked
  everywhere commit 30
}

# An ack with a range that could not be read: it is listed, until it is acked. So was another before it.
unread() {
  ack "$1" unread "offset=$(($2 * 4096)) length=4096"
  ack "$1" 'done' unread=1
}
setup_unread() {
  put $((FIRST + 14))
  blxtrack drain -c t "$DEV" >list
  unread list $((FIRST + 14)) | blxtrack commit -c t "$DEV"
  setup_commit
}
victim_unread() { unread list $((FIRST + 13)) | "$@" blxtrack commit -c t "$DEV" 2>/dev/null; }
after_unread() {
  blxtrack drain -c t "$DEV" >again || fail "$AT: the next drain is $?"
  [ "$(key base again)" != "$before" ] || WANT+=" $((FIRST + 14))"
  WANT+=" $((FIRST + 13))"
  drained
}

@test "commit of acks with ranges that could not be read" {
  tracked
  everywhere unread 20
}

# As one that acks what it has got; what it has got counts.
setup_run() {
  rm -f got pids
  cat >receiver <<'R'
echo $$ >>pids
cat >"$1.part"
mv "$1.part" "$1"
get() { sed -n "s/^# $1: //p" "$2"; }
set -- "$1" $(get epoch "$1")
echo "blx-ack 1 done lineage=$(get lineage "$1") device=$(get device "$1") consumer=$(get consumer "$1") epoch=$2 token=$3"
R
}
victim_run() { "$@" blxtrack run -c t "$DEV" -- sh receiver got 2>/dev/null; }
ended() {
  local pid
  while read -r pid; do
    ! kill -0 "$pid" 2>/dev/null || return 1
  done <pids
}
another_run() {
  local code=0
  rm -f second
  timeout 30 blxtrack run -c t "$DEV" -- sh receiver second 2>err || code=$?
  [ $code = 0 ] || [ $code = 7 ] || echo "exit $code" >>wrong
  [ $code = 0 ]
}
after_run() {
  [ ! -f pids ] || await ended || fail "$AT: its command is still there"
  rm -f wrong
  await another_run
  [ ! -f wrong ] || fail "$AT: the next run: $(cat wrong err)"
  # what was given to a command that did not ack counts for nothing: it is in the second list, too, or was acked
  touch got
  covered got second
  drained got second
  [ -z "$(find /run/blx -name 'lists.*')" ] || fail "$AT: lists are left"
}

@test "run: its command ends, and the next one runs" {
  tracked
  everywhere run 20
}

setup_add() { blxtrack consumer remove x "$DEV" 2>/dev/null || true; }
victim_add() { "$@" blxtrack consumer add --now x "$DEV" 2>/dev/null; }
after_add() {
  local code=0
  blxtrack consumer add --now x "$DEV" 2>/dev/null || code=$?
  [ $code = 0 ] || [ $code = 2 ] || fail "$AT: the next add is $code"
  drained
  put $((FIRST + 12))
  WANT=$((FIRST + 12))
  blxtrack drain -c x "$DEV" >x
  covered x
  blxtrack consumer remove x "$DEV"
}

@test "consumer add --now" {
  tracked
  everywhere add 12
}

setup_reset() { blxtrack consumer add --now x "$DEV" 2>/dev/null || true; }
victim_reset() { "$@" blxtrack consumer reset x "$DEV" 2>/dev/null; }
after_reset() {
  drained
  blxtrack drain -c x "$DEV" >x
  covered x
  blxtrack consumer remove x "$DEV"
}

@test "consumer reset" {
  tracked
  everywhere reset 15
}

setup_remove() { blxtrack consumer add --now x "$DEV" 2>/dev/null || true; }
victim_remove() { "$@" blxtrack consumer remove x "$DEV" 2>/dev/null; }
after_remove() {
  local code=0
  drained
  blxtrack drain -c x "$DEV" >x 2>/dev/null || code=$?
  case $code in
  0) covered x ;;
  2) ;;
  *) fail "$AT: the next drain of it is $code" ;;
  esac
}

@test "consumer remove" {
  tracked
  everywhere remove 15
}

# A comparison that found one block to differ, of a replica that is at the base.
setup_resync() {
  local state
  state=/run/blx/$(cat "/sys/block/${DEV##*/}/dev")/state
  blxtrack consumer reset t "$DEV"
  {
    printf '# blx-extents 1\n# size: %s\n# resync: %s %s\n' $((BLOCKS * 4096)) $REPLICA $HELD
    printf '# since: %s %s\n' "$(sed -n 's/^lineage: //p' "$state")" "$(sed -n 's/^epoch: //p' "$state")"
    printf '%s 4096\n# end: 1 4096\n' $(((FIRST + 13) * 4096))
  } >found
}
victim_resync() { "$@" blxtrack resync -c t "$DEV" <found 2>/dev/null; }
after_resync() {
  WANT+=" $((FIRST + 13))"
  blxtrack drain -c t "$DEV" >again
  covered again
  # it is done again where it was not
  [ "$(sed '/^#/d' again)" != "0 $((BLOCKS * 4096))" ] || blxtrack resync -c t "$DEV" <found
  drained
  # of what it leaves nothing stays
  [ -z "$(find /run/blx -name 'extra.*')" ] || fail "$AT: $(find /run/blx -name 'extra.*')"
}

@test "resync" {
  tracked
  everywhere resync 15
}

# Of a device that was not tracked before: all of it, or 6 where the start that was killed had made the consumer.
all_lacked() {
  local code=0
  blxtrack drain "$DEV" >all 2>err || code=$?
  if [ $code = 6 ]; then
    [ ! -s all ] && grep -q "the history that consumer default had is lost" err || fail "$AT: 6: $(cat err)"
    blxtrack consumer reset default "$DEV"
    blxtrack drain "$DEV" >all
  elif [ $code != 0 ]; then
    fail "$AT: the drain after start is $code: $(cat err)"
  fi
  [ "$(sed '/^#/d' all)" = "0 $((BLOCKS * 4096))" ] || fail "$AT: not all is lacked: $(cat all)"
}

# The first of the host: programs and all.
setup_first() { blxtrack stop --all --force 2>/dev/null || true; }
victim_first() { "$@" blxtrack start "$DEV" 2>/dev/null; }
after_first() {
  blxtrack start "$DEV" 2>err || fail "$AT: the next start is $?: $(cat err)"
  all_lacked
  blxtrack consumer add --now t "$DEV"
  put $FIRST
  WANT=$FIRST drained
}

@test "start, the first of the host" {
  everywhere first 15
}

# another COMMAND...: with the second device in place of the first.
another() {
  local DEV=$OTHER
  "$@"
}
setup_second() { another blxtrack stop --force "$OTHER" 2>/dev/null || true; }
victim_second() { "$@" blxtrack start "$OTHER" 2>/dev/null; }
after_second() {
  drained
  blxtrack start "$OTHER" 2>err || fail "$AT: the next start is $?: $(cat err)"
  another all_lacked
}
two() {
  OTHER=$DEV
  loop_new 8M
  tracked
}

@test "start of one more device" {
  two
  everywhere second 10
}

setup_again() { :; }
victim_again() { "$@" blxtrack start "$DEV" 2>/dev/null; }
after_again() { drained; }

@test "start of a device that is tracked" {
  tracked
  everywhere again 20
}

# Either it is tracked as before, or under a new lineage that says so.
setup_stop() {
  [ -d "/run/blx/$(cat "/sys/block/${DEV##*/}/dev")" ] || tracked
  blxtrack drain -c t "$DEV" >list
  lineage=$(key lineage list)
  ack list 'done' | blxtrack commit -c t "$DEV"
}
victim_stop() { "$@" blxtrack stop --force "$DEV" 2>/dev/null; }
after_stop() {
  local code=0
  blxtrack drain -c t "$DEV" >next 2>err || code=$?
  case $code in
  0) covered next ;;
  2 | 5 | 6) [ ! -s next ] || fail "$AT: exit $code, and a list" ;;
  *) fail "$AT: the next drain is $code: $(cat err)" ;;
  esac
  blxtrack start "$DEV" 2>err || fail "$AT: the next start is $?: $(cat err)"
  code=0
  blxtrack drain -c t "$DEV" >next 2>err || code=$?
  case $code in
  0)
    [ "$(key lineage next)" = "$lineage" ] || fail "$AT: another lineage, and a list"
    covered next
    return
    ;;
  6) grep -q "the history that consumer t had is lost" err || fail "$AT: $(cat err)" ;;
  2) grep -q "has no consumer 't'" err || fail "$AT: $(cat err)" ;;
  *) fail "$AT: the drain after start is $code: $(cat err)" ;;
  esac
  # without any it was started anew, and there is one that lacks all
  if [ $code = 2 ]; then
    blxtrack drain "$DEV" >next || fail "$AT: the drain of the first consumer is $?"
    [ "$(sed '/^#/d' next)" = "0 $((BLOCKS * 4096))" ] || fail "$AT: not all is lacked: $(cat next)"
  fi
  blxtrack stop --force "$DEV"
}

@test "stop of the last device" {
  everywhere stop 10
}

setup_stop_one() { blxtrack start "$OTHER" 2>/dev/null; }
victim_stop_one() { "$@" blxtrack stop --force "$OTHER" 2>/dev/null; }
after_stop_one() { drained; }

@test "stop of one of two devices" {
  two
  everywhere stop_one 10
}
