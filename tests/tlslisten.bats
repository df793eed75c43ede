#!/usr/bin/env bats
# blxtls, the listener: who starts it, how many it serves, as whom, and what it leaves in its log.

load lib
load tls

setup_file() {
  hosts_up
  printf 'near %s\nother %s\n' "$NEAR_ID" "$OTHER_ID" >"$K/two"
  printf 'near %s\nnear %s\n' "$NEAR_ID" "$OTHER_ID" >"$K/same"
}

# as_other [OPTIONS...]: `connect` with the other key.
as_other() {
  near timeout -k 1 60 blxtls --key "$K/other.key" --peer "$FAR_ID" "$@" "$FAR4:$PORT"
}

# held [KEY]: a session that lasts until its input, descriptor 8, is closed; the far command has begun.
held() {
  local begun
  begun=$(wc -l <begun)
  [ -p in ] || mkfifo in
  exec 8<>in
  background near blxtls --key "$K/${1:-near}.key" --peer "$FAR_ID" "$FAR4:$PORT" <in >out 2>held.err 8>&-
  await more_begun "$begun"
}

more_begun() {
  [ "$(wc -l <begun)" -gt "$1" ]
}

# ---- how many

@test "one connection of a peer, unless told" {
  : >begun
  listener --allow "$K/two" -- sh -c 'echo >>begun; cat'
  held
  run -7 connect </dev/null
  has "busy"
  run -0 as_other </dev/null # of another is none
  kill -9 "$JOB"
  logged "cut: "
  run -0 connect </dev/null
  [ "$(wc -l <begun)" = 3 ]
}

@test "a peer with two keys is one peer" {
  : >begun
  listener --allow "$K/same" -- sh -c 'echo >>begun; cat'
  held
  run -7 as_other </dev/null
  has "busy"
}

@test "--per-peer allows for more, --max for no more than so many in all" {
  : >begun
  listener --allow "$K/two" --per-peer 2 --max 3 -- sh -c 'echo >>begun; cat'
  held
  held
  run -7 connect </dev/null
  has "busy"
  held other
  run -7 as_other </dev/null
  has "busy"
  [ "$(wc -l <begun)" = 3 ]
  logged "near: busy: "
  logged "other: busy: "
  kill -9 "$JOB"
  logged "cut: "
  run -0 as_other </dev/null
}

@test "who is refused as busy hears that, whatever he is sending" {
  : >begun
  served -- sh -c 'echo >>begun; cat'
  held
  for _ in {1..20}; do
    run -7 near timeout 20 blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero
  done
}

@test "--once serves one that is let in, and ends with its status" {
  served --once -- sh -c 'exit 5'
  run -5 as_other </dev/null
  has "$OTHER_ID"
  near timeout 20 openssl s_client -connect "$FAR4:$PORT" </dev/null >/dev/null 2>&1 || true
  run -5 connect </dev/null
  await gone "$LISTENER"
  wait "$LISTENER" || status=$?
  [ "$status" = 5 ]
}

@test "--once without a command is a pipe" {
  head -c 8M /dev/urandom >there
  head -c 8M /dev/urandom >back
  background far blxtls --listen ":$PORT" --once --key "$K/far.key" --peer "$NEAR_ID" <back >got 2>>log
  await listens
  run -0 as_other </dev/null || run -5 as_other </dev/null
  connect <there >out
  cmp there got
  cmp back out
  status=0
  wait "$JOB" || status=$?
  [ "$status" = 0 ]
  # and a cut is a cut
  background far blxtls --listen ":$PORT" --once --key "$K/far.key" --peer "$NEAR_ID" </dev/zero >got 2>>log
  listening=$JOB
  await listens
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero >out 2>err
  await test -s got
  kill -9 "$JOB"
  wait "$listening" || status=$?
  [ "$status" = 4 ]
  # an output that fails is said on both sides
  background far blxtls --listen ":$PORT" --once --key "$K/far.key" --peer "$NEAR_ID" </dev/null >/dev/full 2>>log
  listening=$JOB
  await listens
  run -3 connect <there
  has "the other side failed"
  wait "$listening" || status=$?
  [ "$status" = 3 ]
}

@test "--once without a command closes its output when the near side has ended, and goes on sending" {
  mkfifo in out
  # shellcheck disable=SC2016
  background far sh -c 'exec "$@" <in >out 2>>log' sh blxtls --listen ":$PORT" --once --key "$K/far.key" --peer "$NEAR_ID"
  exec 8>in 9<out
  await listens
  background near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" < <(echo hello) >back 2>err
  timeout 20 cat <&9 >got # which has an end
  [ "$(<got)" = hello ]
  echo reply >&8
  exec 8>&-
  status=0
  wait "$JOB" || status=$?
  [ "$status" = 0 ]
  [ "$(<back)" = reply ]
}

# ---- who starts it

@test "--inetd serves its standard input, and its words go elsewhere than to the wire" {
  started "$TOOLS/activate.py" inetd "0.0.0.0:$PORT" blxtls --inetd --key "$K/far.key" --allow "$K/peers" -- \
    sh -c 'cat; echo words >&2; exit 5'
  echo hello >hello
  run -5 --separate-stderr connect <hello
  [ "$output" = hello ]
  run -5 as_other </dev/null
  has "$OTHER_ID"
  away
  # what cannot even begin says nothing there
  for args in "--key none.key" "--key $K/far.key --none"; do
    # shellcheck disable=SC2086
    started "$TOOLS/activate.py" inetd "0.0.0.0:$PORT" blxtls --inetd $args --allow "$K/peers" -- cat
    near timeout 20 python3 -c '
import socket, sys
got, sock = b"", socket.create_connection((sys.argv[1], int(sys.argv[2])))
while part := sock.recv(4096):
    got += part
sys.exit(len(got) != 0)' "$FAR4" "$PORT"
    run -3 connect </dev/null
    away
  done
}

@test "--inetd logs to syslog" {
  # shellcheck disable=SC2016
  unshare --mount --propagation private sh -ec '
    mount -t tmpfs dev /dev
    mknod -m 666 /dev/null c 1 3
    mknod -m 666 /dev/urandom c 1 9
    exec "$@"' sh python3 -c '
import os, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
log.settimeout(20)
print("here", flush=True)
while True:
    print(log.recv(4096).decode(), flush=True)' >syslog 3>&- &
  reader=$!
  echo $reader >>pids
  await grep -q here syslog
  background far nsenter --mount="/proc/$reader/ns/mnt" "$TOOLS/activate.py" inetd "0.0.0.0:$PORT" \
    "$(command -v blxtls)" --inetd --key "$K/far.key" --allow "$K/peers" -- cat 2>>log
  await listens
  run -0 connect </dev/null
  run -5 as_other </dev/null
  await grep -q "blxtls.*$NEAR4:[0-9]* near: done: 0 bytes in, 0 out" syslog
  await grep -q "blxtls.*$NEAR4:[0-9]*: refused: $OTHER_ID" syslog
  run -1 grep blxtls log
}

@test "--listen systemd serves all the sockets it is given" {
  started "$TOOLS/activate.py" listen "0.0.0.0:$PORT,[::1]:7001,[$FAR6]:7002" blxtls --listen systemd --key "$K/far.key" \
    --allow "$K/peers" -- sh -c 'env | grep LISTEN_; echo hello'
  run -0 connect </dev/null
  [ "$output" = hello ]
  run -0 near blxtls --key "$K/near.key" --peer "$FAR_ID" "[$FAR6]:7002" </dev/null
  [ "$output" = hello ]
  run -0 far blxtls --key "$K/near.key" --peer "$FAR_ID" "[::1]:7001" </dev/null
  [ "$output" = hello ]
}

@test "--listen systemd serves a connection it is given, and ends with its status" {
  # shellcheck disable=SC2016
  started "$TOOLS/activate.py" accept "0.0.0.0:$PORT" blxtls --listen systemd --key "$K/far.key" \
    --allow "$K/peers" -- sh -c 'cat; ls /proc/$$/fd; env | grep LISTEN_; exit 5'
  run -5 --separate-stderr connect < <(echo hello)
  [ "$output" = $'hello\n0\n1\n2' ]
  logged "near: exit 5: 6 bytes in, 12 out"
  logged "activate: status 5"
  run -5 as_other </dev/null
  logged "refused: $OTHER_ID"
  logged "activate: status 5" 2
}

@test "--listen systemd without sockets is exit 3, and those for another process are none" {
  run -3 timeout 20 blxtls --listen systemd --key "$K/far.key" --allow "$K/peers" -- cat
  run -3 far timeout 20 "$TOOLS/activate.py" listen "0.0.0.0:$PORT" env LISTEN_PID=1 blxtls --listen systemd \
    --key "$K/far.key" --allow "$K/peers" -- cat
  has "systemd passed no socket on"
}

# ---- as whom

@test "--user gives up root for good, groups and capabilities too" {
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR"
  # shellcheck disable=SC2016
  PORT=700 started setpriv --groups 0,4 blxtls --listen ":700" --user nobody:daemon --key "$K/far.key" --allow "$K/peers" -- \
    sh -c 'id -u; id -g; id -G; grep -E "^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)" /proc/$$/status | tr -d "\t "
      cat "$1" || echo no' sh "$K/far.key"
  run -0 near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:700" </dev/null
  [ "${lines[0]}" = 65534 ]
  [ "${lines[1]}" = "$(id -g daemon)" ] || [ "${lines[1]}" = 1 ]
  [ "${lines[2]}" = 1 ]
  for cap in Inh Prm Eff Amb; do
    has "Cap$cap:0000000000000000"
  done
  [ "${lines[-1]}" = no ]
  grep -E '^(Uid|Gid|Groups):' "/proc/$LISTENER/status" >ids
  run -0 grep -P 'Uid:\t65534\t65534\t65534\t65534' ids
  run -0 grep -P 'Gid:\t1\t1\t1\t1' ids
  # and cannot read the key again
  kill -HUP "$LISTENER"
  logged "SIGHUP: $K/far.key: Permission denied; what was read before stays"
  run -0 near blxtls --key "$K/near.key" --peer "$FAR_ID" "$FAR4:700" </dev/null
}

@test "--user takes a user's own group, or numbers, and refuses who is not" {
  served --user nobody -- sh -c 'id -u; id -g; id -G'
  run -0 connect </dev/null
  [ "$output" = $'65534\n65534\n65534' ]
  away
  served --user 65534:5678 -- sh -c 'id -u; id -g; id -G'
  run -0 connect </dev/null
  [ "$output" = $'65534\n5678\n5678' ]
  away
  for user in none nobody:none :daemon nobody: ''; do
    run timeout 20 blxtls --listen ":$PORT" --user "$user" --key "$K/far.key" --allow "$K/peers" -- true
    [ "$status" = 2 ] || [ "$status" = 3 ] || fail "$user: $status"
  done
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR"
  cp "$K/far.key" mine.key
  chown 65534 mine.key
  run -3 timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups blxtls --listen ":$PORT" --user daemon \
    --key mine.key --allow "$K/peers" -- true
}

# ---- signals

@test "SIGHUP reads the key again, and a bad one leaves the old one" {
  cp "$K/far.key" mine.key
  started blxtls --listen ":$PORT" --key mine.key --allow "$K/peers" -- true
  run -0 connect </dev/null
  cp "$K/other.key" mine.key
  run -0 connect </dev/null
  crowd 20 half # whose handshakes go on as they have begun
  kill -HUP "$LISTENER"
  await takes "$OTHER_ID"
  crowd_leaves
  takes "$OTHER_ID"
  echo nothing >mine.key
  kill -HUP "$LISTENER"
  logged "mine.key: "
  takes "$OTHER_ID"
}

# takes ID: the listener has this key.
takes() {
  near timeout 20 blxtls --key "$K/near.key" --peer "$1" "$FAR4:$PORT" </dev/null
}

@test "SIGTERM ends all connections as cut, and their commands" {
  : >begun
  served -- sh -c 'echo >>begun; cat >got; echo eof >>begun'
  held
  kill "$LISTENER"
  status=0
  wait "$JOB" || status=$?
  [ "$status" = 4 ]
  await gone "$LISTENER"
  [ "$(grep -c eof begun)" = 0 ]
  logged "near: stopped by signal 15: "
}

@test "a session whose process is killed is cut, and its peer's place is free again" {
  : >begun
  served -- sh -c 'echo >>begun; cat'
  held
  kill -9 "$(pgrep -P "$LISTENER")"
  status=0
  wait "$JOB" || status=$?
  [ "$status" = 4 ]
  logged "near: the process that served it was killed by signal 9"
  run -0 connect </dev/null
}

@test "a connection that is idle is asked whether it is there, unless told" {
  : >begun
  served --keepalive 0 --per-peer 2 -- sh -c 'echo >>begun; cat'
  held
  await timed near keepalive
  run -1 timed far keepalive
  away
  : >begun
  served -- sh -c 'echo >>begun; cat'
  held
  await timed far keepalive
}

# timed near|far WORD: the connection there has such a timer.
timed() {
  "$1" ss -Htno state established "( sport = :$PORT or dport = :$PORT )" | grep -q "timer:($2,"
}

# ---- patience

@test "each connection leaves one line, who is refused, and who says nothing or nonsense, too" {
  served --connect-timeout 1 -- cat
  run -0 connect < <(echo hello)
  run -5 as_other </dev/null
  near python3 - "$FAR4" "$PORT" <<'EOF'
import socket, sys
socks = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(3)]
socks[0].send(b"GET / HTTP/1.0\r\n\r\n")
socks[1].close()
for sock in socks[0], socks[2]:
    while sock.recv(4096):
        pass
EOF
  # shellcheck disable=SC2016
  await sh -c '[ "$(wc -l <log)" = 5 ]' || fail "$(<log)"
  [ "$(grep -cE "^blxtls: $NEAR4:[0-9]+ near: done: 6 bytes in, 6 out, [0-9]+\.[0-9] s$" log)" = 1 ] || fail "$(<log)"
  [ "$(grep -cE "^blxtls: $NEAR4:[0-9]+: [[:print:]]+$" log)" = 4 ] || fail "$(<log)"
  run -0 connect </dev/null
}

@test "--connect-timeout ends the wait for one that does not answer, and for one that does not speak" {
  run -3 connect --connect-timeout 1 </dev/null # nobody listens: at once
  has "Connection refused"
  near ip neighbour add 192.0.2.98 lladdr 02:00:00:00:00:01 dev wire
  run -3 near timeout 20 blxtls --key "$K/near.key" --peer "$FAR_ID" --connect-timeout 1 192.0.2.98:$PORT </dev/null
  has "192.0.2.98"
  started "$TOOLS/activate.py" inetd "0.0.0.0:$PORT" sleep 60
  run -3 connect --connect-timeout 1 </dev/null
  has "$FAR4"
}

@test "--timeout gives up a connection on which nothing goes" {
  served --timeout 1 -- sh -c 'cat >got; echo eof >>events'
  mkfifo in
  exec 8<>in
  status=0
  connect <in 2>err || status=$?
  [ "$status" = 4 ]
  [ ! -e events ]
  logged "near: cut"
  away
  : >log
  served -- sh -c 'cat >got; echo eof >>events'
  status=0
  connect --timeout 1 <in 2>err || status=$?
  [ "$status" = 4 ]
  grep -q "nothing went either way" err
  logged "near: cut"
  [ ! -e events ]
}

# ---- addresses

@test "IPv4, IPv6 and names, and only those that are wanted" {
  # shellcheck disable=SC2016
  served -- sh -c 'echo "$BLX_PEER_ADDRESS"'
  ours=(blxtls --key "$K/near.key" --peer "$FAR_ID")
  run -0 near "${ours[@]}" "[$FAR6]:$PORT" </dev/null
  [[ $output == "[$NEAR6]:"* ]]
  run -0 near "${ours[@]}" "$FAR4:$PORT" </dev/null
  [[ $output == "$NEAR4:"* ]]
  run -0 far "${ours[@]}" "localhost:$PORT" </dev/null
  [[ $output == "[::1]:"* || $output == "127.0.0.1:"* ]]
  run -0 far "${ours[@]}" -4 "localhost:$PORT" </dev/null
  [[ $output == "127.0.0.1:"* ]]
  run -3 near "${ours[@]}" -6 "$FAR4:$PORT" </dev/null
  run -3 near "${ours[@]}" -4 "[$FAR6]:$PORT" </dev/null
  run -3 near "${ours[@]}" "none.invalid:$PORT" </dev/null
  has "none.invalid"
  # a name of which the first addresses do not answer
  printf '%s\n' "2001:db8::99 far.example" "$FAR6 far.example" "192.0.2.1 four.example" "$FAR4 four.example" >hosts
  near ip -6 route add unreachable 2001:db8::99
  for args in "-6 far.example" "-4 four.example" "-v far.example"; do
    # shellcheck disable=SC2016
    run -0 near unshare --mount --propagation private sh -ec 'mount --bind hosts /etc/hosts; exec timeout 20 "$@"' sh \
      "${ours[@]}" ${args% *} "${args##* }:$PORT" </dev/null
  done
  near ip -6 route del unreachable 2001:db8::99
}

@test "--bind says from which address" {
  served -- sh -c 'echo "$BLX_PEER_ADDRESS"'
  near ip address add 192.0.2.9/24 dev wire
  run -0 connect --bind 192.0.2.9 </dev/null
  near ip address del 192.0.2.9/24 dev wire
  [[ $output == 192.0.2.9:* ]] || fail "$output"
  run -3 connect --bind 192.0.2.200 </dev/null
  has "connect to $FAR4:$PORT from 192.0.2.200: Cannot assign requested address"
  run -3 connect --bind ::1 </dev/null
  has "from ::1"
}

@test "a listener keeps to its addresses" {
  listens_at() {
    far ss -Hltn | awk '{ print $4 }' | sort | tr '\n' ' '
  }
  started blxtls --listen "$FAR4:$PORT" --listen "[::1]:7001" --key "$K/far.key" --allow "$K/peers" -- true
  [ "$(listens_at)" = "$FAR4:$PORT [::1]:7001 " ] || fail "$(listens_at)"
  away
  served -4 -- true
  [ "$(listens_at)" = "0.0.0.0:$PORT " ] || fail "$(listens_at)"
  away
  served -6 -- true
  [ "$(listens_at)" = "[::]:$PORT " ] || fail "$(listens_at)"
  run -3 connect </dev/null
  run -3 far timeout 20 blxtls --listen ":$PORT" --key "$K/far.key" --allow "$K/peers" -- true
  has "Address already in use"
  run -3 far timeout 20 blxtls --listen "192.0.2.77:$PORT" --key "$K/far.key" --allow "$K/peers" -- true
  has "192.0.2.77"
  # again at once, though connections of before linger
  run -0 near blxtls --key "$K/near.key" --peer "$FAR_ID" "[$FAR6]:$PORT" </dev/null
  away
  served -- true
}
