#!/usr/bin/env bats
# blxtls against the wire: cuts at each byte, bits flipped, messages that are wrong, crowds at the door, other programs.

load lib
load tls

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  : >log
  mkdir inputs
}

# ---- cuts

# prey SIZE: a listener whose command leaves what it reads in inputs, and sends SIZE bytes.
prey() {
  head -c "$1" /dev/urandom >reply
  # shellcheck disable=SC2016
  served --per-peer 32 --connect-timeout 3 --timeout "${IDLE:-20}" -- \
    sh -c '{ cat && echo CLEAN; } >"inputs/${BLX_PEER_ADDRESS##*:}.$$" && cat reply'
}

# struck WAY HOW AT [OPTIONS...]: a session of prey with each of these strikes; prints what came of it.
struck() {
  local way=$1 how=$2 at=$3
  shift 3
  near timeout 300 "$TOOLS/tlscut.py" --to "$FAR4:$PORT" --way "$way" --how "$how" --at "$at" --inputs inputs \
    --reply reply --listener "$LISTENER" "$@" -- blxtls --key "$K/near.key" --peer "$FAR_ID" --connect-timeout 3 \
    --timeout "${IDLE:-20}" {} || fail "$way $how: $(tail -5 log)"
}

# whole WAY [OPTIONS...]: how many bytes go that way, by a session that nothing strikes.
whole() {
  struck "$1" fin 1000000000 "${@:2}" | sed -n 's/^tried 1, ended well: 1,.* passed at most \([0-9]*\).*/\1/p'
}

# draw COUNT BELOW: so many numbers, with commas.
draw() {
  shuf -i "0-$(($2 - 1))" -n "$1" | paste -sd,
}

# Each byte is cut in one way; ALL=1: in each way.
ways_to_cut() {
  [ "${ALL:-}" = 1 ] && echo fin half rst || echo mix
}

@test "cut at any byte of what the near side sends, nobody takes it for the end" {
  prey 100
  n=$(whole out)
  for how in $(ways_to_cut); do
    run -0 struck out "$how" "0-$((n - 1))"
    echo "# $how: $output" >&3
    # but for its own end (34 bytes) and close_notify (24): it has heard by then that all had arrived
    [[ $output =~ "the first at none," ]] ||
      { [[ $output =~ "the first at "([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge $((n - 58)) ]; }
  done
}

@test "cut at any byte of what the far side sends, nobody takes it for the end" {
  prey 100
  n=$(whole in)
  for how in $(ways_to_cut); do
    run -0 struck in "$how" "0-$((n - 1))"
    echo "# $how: $output" >&3
    [[ $output == *"ended well: 0,"* ]]
  done
}

@test "cut anywhere in megabytes, nobody takes it for the end" {
  prey 4M
  for way in out in; do
    n=$(whole $way --size 4000000)
    run -0 struck $way mix "$(draw 15 "$n")" --size 4000000
    [[ $output == *"tried 15, ended well: 0,"* ]] || fail "$output"
  done
}

@test "a bit flipped anywhere is not let through" {
  IDLE=1
  prey 3000
  for way in out in; do
    n=$(whole $way --size 3000)
    run -0 struck $way flip "$(draw 30 "$n")" --size 3000 --jobs 8
    echo "# $output" >&3
  done
}

# ---- messages

@test "messages that are wrong are a cut connection to the far side, and its command gets no end of them" {
  # shellcheck disable=SC2016
  served --per-peer 4 -- sh -c 'cat >"inputs/${BLX_PEER_ADDRESS##*:}"; touch "inputs/${BLX_PEER_ADDRESS##*:}.ended"'
  near timeout 60 "$TOOLS/tlspeer.py" client "$K/near.key" "$FAR4" "$PORT" >seen
  [ "$(cut -d' ' -f1 seen)" = "$("$TOOLS/tlspeer.py")" ]
  while read -r case port words; do
    await grep -q "^blxtls: $NEAR4:$port " log || fail "$case: no line"
    said=$(grep "^blxtls: $NEAR4:$port " log)
    case $case in
    good*) [[ $said == *" near: done: "* && $words == *" 1/0 close_notify" ]] || fail "$case: $words: $said" ;;
    *) [[ $said == *" near: cut: "* || $said == *" near: not "* ]] || fail "$case: $words: $said" ;;
    esac
    ended=no
    [ ! -e "inputs/$port.ended" ] || ended=yes
    # wrong before the end of the data, or without one; with it; only after it
    case $case in
    type_* | reserved | data_empty | data_too_long | data_4g | no_more_long | cut_in_* | no_end_of_data | *_before_* | busy)
      [[ $ended = no && $words != *close_notify* ]] || fail "$case: $words, and its command saw an end: $ended"
      ;;
    data_after_end_of_data | end_of_data_twice) ;;
    *) [ $ended = yes ] || fail "$case: its command was not left to finish" ;;
    esac
  done <seen
}

@test "messages that are wrong are a cut connection to the near side" {
  background far timeout 60 "$TOOLS/tlspeer.py" server "$K/far.key" "$FAR4" "$PORT" >seen 2>peer.err
  await grep -q here seen
  for case in $("$TOOLS/tlspeer.py"); do
    status=0
    connect </dev/null >got 2>err || status=$?
    case $case in
    good*) [ $status = 0 ] ;;
    busy) [ $status = 7 ] ;;
    *) [ $status = 4 ] ;;
    esac || fail "$case: $status: $(<err)"
  done
  await gone "$JOB"
  [ "$(wc -l <seen)" = $(($("$TOOLS/tlspeer.py" | wc -l) + 1)) ]
}

# ---- crowds

# of the listener, in KiB
memory() {
  awk '/^VmRSS:/ { print $2 }' "/proc/$LISTENER/status"
}

@test "a thousand connections that get nowhere stop no other, and cost little" {
  served --connect-timeout 60 -- cat
  before=$(memory)
  for kind in silent half drip garbage; do
    crowd 1000 $kind
    for _ in 1 2 3; do
      run -0 timeout 20 nsenter --net="/proc/$NEAR_PID/ns/net" blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" \
        < <(echo hello)
      [ "$output" = hello ]
    done
    await gone_children "$LISTENER" # those at the door have no process
    grown=$(($(memory) - before))
    echo "# $kind: $grown KiB more" >&3
    [ "$grown" -lt $((100 * 1024)) ]
    crowd_leaves
  done
  # and they leave nothing
  await no_sockets
}

no_sockets() {
  [ "$(find "/proc/$LISTENER/fd" -lname 'socket:*' | wc -l)" -le 2 ]
}

@test "a session has no other connection than its own" {
  # shellcheck disable=SC2016
  served -- sh -c 'ls -l "/proc/$PPID/fd" | grep -c socket:'
  crowd 20 silent
  run -0 connect </dev/null
  [ "$output" = 1 ]
  crowd_leaves
}

@test "of five thousand that are silent the oldest go, and a good one comes in" {
  started prlimit --nofile=8192 blxtls --listen ":$PORT" --key "$K/far.key" --allow "$K/peers" --connect-timeout 60 -- cat
  crowd 5000 silent
  run -0 connect < <(echo hello)
  [ "$output" = hello ]
  [ "$(find "/proc/$LISTENER/fd" -lname 'socket:*' | wc -l)" -le 4110 ]
  logged "dropped: too many connections" 905
  crowd_leaves
}

# ---- other programs

@test "openssl s_client at the near end" {
  echo hello >in
  client=(openssl s_client -connect "$FAR4:$PORT" -cert "$K/near.key" -key "$K/near.key" -verify_return_error
    -CAfile "$K/far.key")
  served -- sh -c 'head -c 6 >got; echo reply; exit "$(cat status)"'
  echo 0 >status
  run -0 --separate-stderr near timeout 20 "${client[@]}" -quiet <in
  [ "$output" = reply ]
  cmp in got
  logged "near: done: 6 bytes in, 6 out"
  echo 5 >status
  given near "${client[@]}" -quiet
  logged "near: exit 5: 6 bytes in, 6 out"
  await gone "$JOB"
  cmp out <(echo reply)
  away
  rm got
  : >log
  served -- sh -c 'cat >got; echo eof >>events; echo reply'
  given near "${client[@]}" -quiet
  await cmp in got
  kill -9 "$JOB"
  logged "near: cut"
  [ ! -e events ]
  near timeout 20 "${client[@]}" </dev/null >out 2>other.err # sends close_notify when its input ends
  logged "near: done: 0 bytes in, 6 out"
  [ -e events ]
}

# changed N: so many times.
changed() {
  [ "$(grep -c '>>> TLS 1.3, Handshake .*KeyUpdate' out)" = "$1" ]
}

@test "keys may be changed under way, and there is no resumption" {
  served -- sh -c 'head -c 6 >got; head -c 6 >>got; echo reply'
  printf 'K\n' >in # as its first letter: change the key, and ask the other end to
  given near openssl s_client -connect "$FAR4:$PORT" -cert "$K/near.key" -key "$K/near.key" -msg
  await changed 1
  printf 'hello\n' >&8
  await test -s got
  printf 'k\n' >&8
  await changed 2
  printf 'world\n' >&8
  logged "near: done: 12 bytes in, 6 out"
  [ "$(<got)" = $'hello\nworld' ]
  await gone "$JOB"
  grep -q '<<< TLS 1.3, Handshake .*KeyUpdate' out # as it was asked to
  grep -q reply out
  run -1 grep NewSessionTicket out
}

@test "openssl s_server at the far end" {
  printf 'reply\n' >in
  server=(openssl s_server -accept "$PORT" -naccept 1 -quiet -cert "$K/far.key" -key "$K/far.key" -Verify 1
    -verify_return_error -CAfile "$K/near.key")
  given far "${server[@]}"
  await listens
  run -0 --separate-stderr connect < <(echo hello)
  [ "$output" = reply ]
  await gone "$JOB"
  [ "$(<out)" = hello ]
  # killed
  given far "${server[@]}"
  await listens
  mkfifo near.in
  exec 7<>near.in
  connect <near.in >near.out 2>err 3>&- &
  connecting=$!
  await cmp near.out in
  kill -9 "$JOB"
  status=0
  wait $connecting || status=$?
  [ "$status" = 4 ]
  grep -q "cut: " err
  # does not take us
  given far "${server[@]}"
  await listens
  run -5 near timeout 20 blxtls --key "$K/other.key" --peer "$FAR_ID" "$FAR4:$PORT" <near.in
  has "$OTHER_ID"
}

@test "socat at the near end" {
  echo hello >in
  other=(socat -t 20 - "OPENSSL:$FAR4:$PORT,cert=$K/near.key,cafile=$K/far.key,commonname=far")
  served -- sh -c 'cat >got; echo reply'
  run -0 --separate-stderr near timeout 20 "${other[@]}" <in
  [ "$output" = reply ]
  cmp in got
  logged "near: done: 6 bytes in, 6 out"
  given near "${other[@]}"
  rm got
  await cmp in got
  kill -9 "$JOB"
  logged "near: cut"
}

@test "socat at the far end" {
  # shellcheck disable=SC2016
  other=(socat -t 20 "OPENSSL-LISTEN:$PORT,reuseaddr,cert=$K/far.key,cafile=$K/near.key"
    'SYSTEM:cat >got; echo reply')
  started "${other[@]}"
  run -0 --separate-stderr connect < <(echo hello)
  [ "$output" = reply ]
  [ "$(<got)" = hello ]
  rm got
  started "${other[@]}"
  exec 7<>"$(mkfifo near.in && echo near.in)"
  connect <near.in >near.out 2>err 3>&- &
  connecting=$!
  printf x >&7
  await test -s got
  kill -9 "$LISTENER"
  status=0
  wait $connecting || status=$?
  [ "$status" = 4 ]
}
