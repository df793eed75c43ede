#!/usr/bin/env bats
# blxtls, sessions: what goes in comes out, each direction ends by itself, and the verdict is that of the far command.

load lib
load tls

setup_file() {
  hosts_up
  head -c 64M /dev/urandom >"$K/there"
  head -c 64M /dev/urandom >"$K/back"
}

# The near side of a session as a job, with its input at descriptor 8 and its output at 9.
piped() {
  mkfifo in out
  # shellcheck disable=SC2016
  background near sh -c 'exec "$@" <in >out 2>err' sh blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT"
  exec 8>in 9<out
}

# ---- bytes

@test "64 MiB each way at once come out as they went in" {
  # shellcheck disable=SC2016
  served --per-peer 2 -- sh -c 'cat "$K/back" & cat >got; wait'
  connect <"$K/there" >out
  cmp got "$K/there"
  cmp out "$K/back"
  connect --no-ktls <"$K/there" >out
  cmp got "$K/there"
  cmp out "$K/back"
  logged "done: 67108864 bytes in, 67108864 out" 2
}

@test "each byte comes at once, not when there are many" {
  served -- cat
  piped
  for byte in a b c; do
    printf %s $byte >&8
    read -r -N 1 -t 20 -u 9 got
    [ "$got" = $byte ]
  done
  exec 8>&-
  [ "$(cat <&9)" = "" ]
  await gone "$JOB"
  logged "done: 3 bytes in, 3 out"
}

@test "nothing is something to send, too" {
  served -- sh -c 'cat >got; echo reply'
  run -0 --separate-stderr connect </dev/null
  [ "$output" = reply ]
  [ "$stderr" = "" ]
  [ -e got ] && [ ! -s got ]
}

@test "what the far command says after its input has ended comes back" {
  served -- sh -c 'cat >got; cat "$K/back"'
  connect <"$K/there" >out
  cmp got "$K/there"
  cmp out "$K/back"
}

@test "a far command that has closed its output reads on" {
  served -- sh -c 'exec >&-; cat >got'
  piped
  timeout 20 cat <&9 >nothing # which has an end
  [ ! -s nothing ]
  cat "$K/there" >&8
  exec 8>&-
  await cmp got "$K/there"
  logged "done: 67108864 bytes in, 0 out"
}

@test "a far command that reads nothing says all it has to say" {
  served -- sh -c 'exec <&-; cat "$K/back"'
  connect <"$K/there" >out
  cmp out "$K/back"
}

@test "a far command that ends ends the near side, whatever is left of its input" {
  served -- sh -c 'head -c 10 >got; echo enough; exit "$(cat status)"'
  for status in 0 1 5; do
    echo $status >status
    run -$status --separate-stderr connect </dev/zero
    [ "$output" = enough ]
    mkfifo in && exec 8<>in # one that says ten bytes and then nothing
    head -c 10 /dev/zero >&8
    run -$status --separate-stderr connect <in
    [ "$output" = enough ]
    exec 8>&-
    rm in
  done
}

@test "a closed input, a closed output and a full one are exit 3" {
  served --per-peer 9 -- sh -c 'cat; echo reply'
  local close
  for close in '<&-:standard input: read: Bad file descriptor' '>&-:standard output' \
    '>/dev/full:standard output: No space left on device'; do
    # shellcheck disable=SC2016
    run -3 near sh -c 'exec timeout 20 sh -c "exec \"\$@\" $0" sh "$@" </dev/null' "${close%%:*}" blxtls \
      --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT"
    has "${close#*:}"
  done
}

@test "a reader that goes away is exit 3, and ends the far command" {
  served -- sh -c 'yes; echo ended >>events'
  mkfifo in
  exec 8<>in # one that does not end
  { connect <in 2>err && status=0 || status=$?; echo $status >status; } | head -c 1 >/dev/null
  [ "$(<status)" = 3 ]
  grep -q "standard output: Broken pipe" err
  await gone_children "$LISTENER"
  [ ! -e events ]
}

@test "a reader that has all it wants may go while nothing more comes" {
  served -- sh -c 'read -r x; echo reply; cat >got'
  piped
  echo question >&8
  read -r -t 20 -u 9 reply
  exec 9<&-
  printf 'more' >&8
  await grep -q more got
  exec 8>&-
  status=0
  wait "$JOB" || status=$?
  [ "$reply $status" = "reply 0" ] || fail "$reply $status: $(<err)"
}

@test "a reader that takes its time does not make it a cut" {
  served --once -- head -c 1500000 "$K/back"
  piped
  exec 8>&-
  sleep 11 # more than a listener waits for others than blxtls
  timeout 20 cat <&9 >got
  cmp got <(head -c 1500000 "$K/back")
  status=0
  wait "$LISTENER" || status=$?
  [ "$status" = 0 ]
  logged "done: 0 bytes in, 1500000 out"
}

@test "an output that fails after the input has ended ends the far command all the same" {
  served -- sh -c 'cat >/dev/null; echo some; sleep 1; echo more'
  # shellcheck disable=SC2016
  run -3 near sh -c 'exec timeout 20 "$@" </dev/null >/dev/full' sh blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT"
  await gone_children "$LISTENER"
}

@test "a near side that is killed while both ways are full leaves nothing behind" {
  served -- cat
  mkfifo out
  exec 9<>out # nobody reads it
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero >out 2>err
  await full "$JOB"
  kill -9 "$JOB"
  await gone_children "$LISTENER"
  exec 9<&-
  run -0 connect </dev/null
}

# full PID: it has been reading, and does no more.
full() {
  local before
  before=$(read_by "$1")
  [ "$before" -gt 100000 ] && sleep 0.3 && [ "$(read_by "$1")" = "$before" ]
}

read_by() {
  sed -n 's/^rchar: //p' "/proc/$1/io"
}

@test "a far command that is busy for longer than --keepalive gets all" {
  served --keepalive 1 -- sh -c 'sleep 5; cat >got'
  connect --keepalive 1 <"$K/there"
  cmp got "$K/there"
}

@test "a listener that inherits that SIGCHLD is ignored hears of its commands' ends" {
  started env --ignore-signal=CHLD blxtls --listen ":$PORT" --key "$K/far.key" --allow "$K/peers" -- sh -c 'cat; exit 5'
  run -5 connect </dev/null
  run -5 connect </dev/null
  logged "exit 5: 0 bytes in" 2
}

# ---- the verdict

@test "the far command's status is the near side's, and what is not of blx is 3" {
  # shellcheck disable=SC2016
  served -- sh -c 'read -r n; exit "$n"'
  for n in 0 1 2 3 4 5 6 7; do
    run -$n connect <<<$n
    [ $n = 0 ] || has "$n"
  done
  for n in 8 9 126 127 255; do
    run -3 connect <<<$n
    has "$n"
  done
  logged "done: "
  for n in 1 2 3 4 5 6 7 8 9 126 127 255; do
    logged "near: exit $n: "
  done
  [ "$(wc -l <log)" = 13 ] || fail "$(<log)"
}

@test "a far command that is killed, or is none, is exit 3" {
  # shellcheck disable=SC2016
  served -- sh -c 'kill -9 $$'
  run -3 connect </dev/null
  has "killed"
  away
  : >log
  served -- ./none
  run -3 connect </dev/null
  has "exit 127"
  logged "./none: No such file or directory"
}

@test "the words of the far command stay there" {
  served -- sh -c 'echo words >&2'
  run -0 connect </dev/null
  [ "$output" = "" ]
  logged words
}

# ---- connections that are cut

@test "a near side that is killed ends the far command and its children before their input ends" {
  # shellcheck disable=SC2016
  served -- sh -c '
    trap "echo parent >>events; exit" TERM
    (trap "echo child >>events; exit" TERM; touch ready; while :; do sleep 0.1; done) &
    setsid sh -c "trap \"echo orphan >>events; exit\" TERM; touch away; while :; do sleep 0.1; done" &
    cat >got; echo eof >>events; wait'
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero 2>err
  await test -e ready -a -e away -a -s got
  kill -9 "$JOB"
  logged "near: cut"
  await gone_children "$LISTENER"
  [ "$(sort events)" = $'child\norphan\nparent' ] || fail "$(<events)"
}

@test "a near side that is told to end ends the far command the same way" {
  served -- sh -c 'cat >got; echo eof >events'
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero 2>err
  await test -s got
  kill "$JOB"
  logged "near: cut"
  [ ! -e events ]
}

@test "a far command whose input had ended properly may finish though the connection is cut" {
  served -- sh -c 'cat >got; touch ended; until [ -e go ]; do sleep 0.1; done; touch finished'
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" <"$K/there" 2>err
  await test -e ended
  cmp got "$K/there"
  kill -9 "$JOB"
  await gone "$JOB"
  touch go
  await test -e finished
  logged "near: cut"
}

@test "a far command that would write for ever ends with the connection, though its input had ended" {
  served -- sh -c 'cat >/dev/null; yes'
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/null >/dev/null 2>err
  await talking "$LISTENER"
  kill -9 "$JOB"
  await gone_children "$LISTENER"
  logged "near: cut"
}

# talking PID: a process that it made has written something.
talking() {
  local child
  child=$(ps -o pid= --ppid "$1" | tr -d ' ')
  [ -n "$child" ] && [ "$(sed -n 's/^wchar: //p' "/proc/$child/io")" -gt 1000000 ]
}

@test "a listener that is killed is a cut connection" {
  served -- sh -c 'cat >got; echo eof >>events'
  connect </dev/zero 2>err 3>&- &
  await test -s got
  kill -9 "$LISTENER"
  status=0
  wait $! || status=$?
  [ "$status" = 4 ]
  grep -q "cut" err
}

# ---- what one sees

@test "-v says with whom, and how it is encrypted" {
  served -v -- true
  run -0 connect -v </dev/null
  has "$FAR_ID"
  has "TLSv1.3, TLS_"
  grep -q "near.*TLSv1.3, TLS_" log || fail "$(<log)"
}

@test "--progress says how much has gone" {
  served -- sh -c 'cat >/dev/null'
  run -0 connect --progress <"$K/there"
  has "64.0M"
}

@test "--rate holds back what each side sends" {
  served --rate 100K -- sh -c 'cat >/dev/null; head -c 150K /dev/zero'
  local begun=${EPOCHREALTIME/./}
  connect --rate 100K < <(head -c 150K /dev/zero) >out
  [ "$(stat -c %s out)" = $((150 * 1024)) ]
  [ $((${EPOCHREALTIME/./} - begun)) -ge 2700000 ] # 1.5 s each way, less a tenth of a second
}

@test "the far command gets three descriptors, no signal that is ignored or blocked, and nothing of systemd's" {
  # shellcheck disable=SC2016
  started "$TOOLS/activate.py" listen "0.0.0.0:$PORT,[::1]:$PORT" blxtls --listen systemd --key "$K/far.key" \
    --allow "$K/peers" -- sh -c 'ls /proc/$$/fd; grep -E "Sig(Blk|Ign)" /proc/self/status; env | grep LISTEN_; :'
  run -0 connect </dev/null
  [ "${#lines[@]} ${lines[*]:0:4}" = $'5 0 1 2 SigBlk:\t0000000000000000' ] || fail "$output"
  # 32 and 33 are the C library's own, and stay as whoever started the tests has them
  local ignored=${lines[4]#SigIgn:?}
  [ $((0x$ignored & ~0x180000000)) = 0 ] || fail "$output"
}

# ---- the command line

@test "what cannot be meant is exit 2" {
  local -a line
  while read -ra line; do
    run -2 blxtls "${line[@]}" </dev/null
    has "blxtls --help" || fail "${line[*]}: $output"
  done <<EOF_
--key $K/near.key --peer $FAR_ID
--key $K/near.key $FAR4:$PORT
--peer $FAR_ID $FAR4:$PORT
--key $K/near.key --peer SHA256:short $FAR4:$PORT
--key $K/near.key --peer ${FAR_ID%?}= $FAR4:$PORT
--key $K/near.key --peer DNS:far $FAR4:$PORT
--key $K/near.key --peer $FAR_ID $FAR4
--key $K/near.key --peer $FAR_ID $FAR4:
--key $K/near.key --peer $FAR_ID $FAR4:65536
--key $K/near.key --peer $FAR_ID :$PORT
--key $K/near.key --peer $FAR_ID $FAR4:$PORT more
--key $K/near.key --peer $FAR_ID $FAR4:$PORT -- true
--key $K/near.key --allow $K/peers $FAR4:$PORT
--key $K/near.key --peer $FAR_ID --once $FAR4:$PORT
--key $K/near.key --peer $FAR_ID --rate 1X $FAR4:$PORT
--key $K/near.key --peer $FAR_ID --timeout -1 $FAR4:$PORT
--key $K/near.key --peer $FAR_ID --connect-timeout x $FAR4:$PORT
--key $K/near.key --peer $FAR_ID --crl $K/peers $FAR4:$PORT
--listen :$PORT --key $K/far.key -- true
--listen :$PORT --allow $K/peers -- true
--listen :$PORT --key $K/far.key --allow $K/peers
--listen :$PORT --key $K/far.key --allow $K/peers --peer $NEAR_ID -- true
--listen :$PORT --key $K/far.key --allow $K/peers --max 0 -- true
--listen :$PORT --key $K/far.key --peer $NEAR_ID -- echo %p
--listen :$PORT --key $K/far.key --allow $K/peers -- echo %x
--listen :$PORT --key $K/far.key --allow $K/peers -- echo 100%
--inetd --listen :$PORT --key $K/far.key --allow $K/peers -- true
--inetd --key $K/far.key --allow $K/peers
--inetd --max 3 --key $K/far.key --allow $K/peers -- true
--inetd --per-peer 3 --key $K/far.key --allow $K/peers -- true
--listen $PORT --key $K/far.key --allow $K/peers -- true
--none
keygen
keygen a b
fingerprint
EOF_
}
