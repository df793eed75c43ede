# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: veth sch_netem tcp_diag gcm ctr ghash-generic
# kernels: 6.1 6.12 6.1-cloud
# blxtls between two network namespaces: over a wire that loses, delays, repeats, reorders and damages packets, or ends, and
# with the kernel's TLS.
. /mnt/tests/vm/lib.sh
need blxtls veth sch_netem tls
near='ip netns exec near' far='ip netns exec far' listener=
mkdir /tmp/tls && cd /tmp/tls || exit

ip netns add near && ip netns add far && ip link add near type veth peer name far || row blxtls network failed
for side in near far; do
  ip link set $side netns $side
  ip -n $side link set $side up
  blxtls keygen $side.key >$side.id
done
ip -n near addr add 192.0.2.1/24 dev near
ip -n far addr add 192.0.2.2/24 dev far
head -c 16M /dev/urandom >data
mkfifo silent
exec 9<>silent

# netem [WORDS...]: what happens to each packet, both ways.
netem() {
  local side
  for side in near far; do tc -n $side qdisc replace dev $side root netem "$@"; done
}

# listen OPTIONS...: at the far end, as $listener.
listen() {
  $far blxtls --listen 192.0.2.2:7000 --key far.key --peer "$(<near.id)" -v "$@" 2>listener </dev/null &
  listener=$!
  await listening
}

listening() {
  $far ss -Hltn | grep -q :7000
}

hang_up() {
  kill $listener
  wait $listener
}

connect() {
  $near blxtls --key near.key --peer "$(<far.id)" -v "$@" 192.0.2.2:7000 2>words
}

# there_and_back MIB [OPTIONS...]: that much goes to the far end's cat, and comes back as it was.
there_and_back() {
  local codes
  head -c "${1}M" data >part
  connect "${@:2}" <part | cmp - part
  codes=("${PIPESTATUS[@]}")
  cat words >&2
  [ "${codes[*]}" = '0 0' ]
}

# counted SIDE NAME: of what the kernel counts of TCP.
counted() {
  ip netns exec "$1" awk -v name="$2" '
    /^Tcp:/ && n { for (i = 2; i <= n; i++) if (names[i] == name) print $i }
    /^Tcp:/ && !n { n = split($0, names) }' /proc/net/snmp
}

# struck WORDS... -- NAME: bytes are right over a wire that does this; NAME, a counter, says that it was done.
struck() {
  local counter=${*: -1} before
  set -- "${@:1:$#-2}"
  netem "$@"
  before=$(counted far "$counter")
  expect blxtls "$*: bytes are right both ways" 0 '' there_and_back 1
  [ "$(counted far "$counter")" -gt "$before" ] || row blxtls "$*" "$counter has not moved"
  netem delay 0
}

# ---- who encrypts

by_kernel() {
  cat words listener
  grep -q "sent by the kernel's TLS" words && [ "$(grep -c "sent by the kernel's TLS" listener)" -gt 0 ]
}

by_us() {
  cat words listener
  grep -q 'TLSv1.3' words && ! grep -q kernel words listener
}

# cut: somebody ends the connection, and not in TLS.
cut() {
  local pid code=0
  connect </dev/zero &
  pid=$!
  await test -s got
  $far ss -K sport = :7000 >/dev/null
  wait $pid || code=$?
  cat words
  [ $code = 4 ] || return
  wait $listener || code=$?
  cat listener
  return $code
}

encryption() {
  listen -- cat
  expect blxtls 'without the module tls: bytes are right both ways' 0 '' there_and_back 1
  expect blxtls 'without the module tls: encrypted here' 0 '' by_us
  hang_up
  modprobe -d /mnt/kernel/base tls
  listen -- cat
  expect blxtls 'kernel TLS: bytes are right both ways' 0 '' there_and_back 16
  expect blxtls 'kernel TLS: both sides send by it' 0 '' by_kernel
  hang_up
  listen --no-ktls -- cat
  expect blxtls '--no-ktls: bytes are right both ways' 0 '' there_and_back 1 --no-ktls
  expect blxtls '--no-ktls: encrypted here' 0 '' by_us
  hang_up
  listen --once >got
  expect blxtls 'kernel TLS: a cut is exit 4, on both sides' 4 '' cut
}

# ---- the wire

# lost INPUT SECONDS COMMAND...: all packets, from when the command succeeds.
lost() {
  local pid code=0 begun
  rm -f got pid clean
  connect --keepalive 2 <"$1" &
  pid=$!
  await "${@:3}" || return
  netem loss 100%
  begun=$SECONDS
  wait $pid || code=$?
  cat words listener
  echo "after $((SECONDS - begun)) s"
  [ $code = 4 ] && [ $((SECONDS - begun)) -lt "$2" ] && await ended
}

# ended: the far command was told, and did not take what had come for all.
ended() {
  [ ! -e clean ] && ! kill -0 "$(<pid)"
}

# full: the far command reads nothing, and the near side is told that there is no room
full() {
  $near ss -Hto | grep -q persist
}

wire() {
  local side
  # what is struck is a packet, not a heap of them
  for side in near far; do ip -n $side link set $side gso_max_segs 1; done
  listen -- cat
  struck delay 50ms -- OutSegs
  struck loss 5% -- RetransSegs
  struck delay 20ms reorder 75% 50% -- OutSegs
  struck duplicate 20% -- OutSegs
  struck corrupt 5% -- InCsumErrors
  struck delay 5ms 2ms loss 2% duplicate 5% corrupt 0.1% -- RetransSegs
  hang_up
  # shellcheck disable=SC2016 # for the inner shell
  listen --keepalive 2 -- sh -c 'echo $$ >pid; cat >got; touch clean'
  expect blxtls 'all packets lost: exit 4, and the command is ended' 0 '' lost /dev/zero 15 test -s got
  netem delay 0
  expect blxtls 'all packets lost, nothing to send: the same' 0 '' lost silent 15 test -s pid
  netem delay 0
  hang_up
  # shellcheck disable=SC2016 # for the inner shell
  listen --keepalive 2 -- sh -c 'echo $$ >pid; exec sleep 1000'
  expect blxtls 'all packets lost while the command is busy: the same' 0 '' lost /dev/zero 60 full
  netem delay 0
  hang_up
}

encryption
# takes time, and was seen to be the same on the others
! since 6.12 || wire
cd /
ip netns del near
ip netns del far
rm -rf /tmp/tls
