#!/bin/bash
# SIZE MiB (2048) of random bytes through each kind of encrypted pipe, over loopback, in turns: speed, and the CPU time of
# all processes at both ends. Keys (Ed25519, both sides are verified), protocol (TLS 1.3) and cipher (AES-256-GCM) are the
# same. Then how fast blxtls is, by the others: medians of the rounds' ratios. Exit 1 if that is below 0.9 for
# socat or openssl. Environment: ROUNDS (5), SIZE, WAYS, BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
# shellcheck source=demo/sshd.sh
. "$here/../demo/sshd.sh"
rounds=${ROUNDS:-5}
size=${SIZE:-2048}
ways=${WAYS:-blxtls socat socat_64k openssl ssh}

# What every far end's command is: it counts.
sink() {
  dd bs=128K of=/dev/null 2>"$DIR/count"
}

feed() {
  cat "$DIR/data"
}

keys() {
  local side
  for side in near far; do
    blxtls keygen --name localhost "$DIR/$side.pem" >"$DIR/$side.id"
    openssl x509 -in "$DIR/$side.pem" -out "$DIR/$side.crt"
  done
  cat >"$DIR/openssl.cnf" <<END
openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = all
[all]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_256_GCM_SHA384
END
  export OPENSSL_CONF=$DIR/openssl.cnf
}

far_blxtls() {
  blxtls --listen "127.0.0.1:$port" --once --key "$DIR/far.pem" --peer "$(<"$DIR/near.id")" </dev/null | sink
}

near_blxtls() {
  feed | blxtls --key "$DIR/near.pem" --peer "$(<"$DIR/far.id")" "127.0.0.1:$port"
}

# far_socat [OPTIONS...]
far_socat() {
  socat "$@" -u "OPENSSL-LISTEN:$port,bind=127.0.0.1,reuseaddr,cert=$DIR/far.pem,cafile=$DIR/near.crt,verify=1" - | sink
}

near_socat() {
  feed | socat "$@" -u - "OPENSSL:127.0.0.1:$port,cert=$DIR/near.pem,cafile=$DIR/far.crt,verify=1,commonname=localhost"
}

far_socat_64k() {
  far_socat -b 65536
}

near_socat_64k() {
  near_socat -b 65536
}

# The server wants an input that does not end.
far_openssl() {
  openssl s_server -quiet -accept "127.0.0.1:$port" -naccept 1 -cert "$DIR/far.pem" -key "$DIR/far.pem" \
    -CAfile "$DIR/near.crt" -Verify 1 -verify_return_error <>"$DIR/fifo" 2>"$DIR/words" | sink
}

near_openssl() {
  feed | openssl s_client -quiet -no_ign_eof -nocommands -connect "127.0.0.1:$port" -cert "$DIR/near.pem" \
    -key "$DIR/near.pem" -CAfile "$DIR/far.crt" -verify_return_error >/dev/null 2>"$DIR/words"
}

near_ssh() {
  feed | ssh -F "$DIR/ssh/config" -c aes256-gcm@openssh.com backup "dd bs=128K of=/dev/null 2>'$DIR/count'"
}

listening() {
  [ -n "$(ss -Hltn "sport = :$port")" ]
}

# start_far WAY: with a port of its own; sets far, the process to wait for.
start_far() {
  if [ "$1" = ssh ]; then
    rm -rf "$DIR/ssh"
    sshd_start "$DIR/ssh" "$PATH"
    far=$SSHD_PID
    return
  fi
  while port=$((20000 + RANDOM % 12000)) && listening; do :; done
  "far_$1" &
  far=$!
  until listening; do kill -0 "$far"; done
}

# spent: CPU seconds of all children that have been waited for.
spent() {
  times >"$DIR/times"
  awk 'NR == 2 { split($1, u, /[ms]/); split($2, s, /[ms]/); print 60 * (u[1] + s[1]) + u[2] + s[2] }' "$DIR/times"
}

# measure WAY
measure() {
  local begun before seconds bytes
  rm -f "$DIR/count"
  start_far "$1"
  spent >"$DIR/before"
  begun=$(now)
  "near_$1"
  [ "$1" != ssh ] || kill "$far"
  wait "$far" || [ "$1" = ssh ]
  seconds=$(echo "$(now) - $begun" | bc)
  spent >"$DIR/after"
  bytes=$(sed -n 's/ bytes.*//p' "$DIR/count")
  [ "$bytes" = $((size << 20)) ] || { echo "$1: $bytes bytes came" >&2; exit 1; }
  before=$(<"$DIR/before")
  echo "$size / $seconds" | bc -l >>"$DIR/$1.speed"
  echo "($(<"$DIR/after") - $before) * 1024 / $size" | bc -l >>"$DIR/$1.cpu"
}

# ratio WAY: of the speed of blxtls to its, round by round.
ratio() {
  paste "$DIR/blxtls.speed" "$DIR/$1.speed" | awk '{ print $1 / $2 }' | median
}

far_end() {
  [ -z "${far:-}" ] || pkill -P "$far" || true
  sshd_stop
  bench_end
}

bench_dir /dev/shm
trap far_end EXIT
head -c "${size}M" /dev/urandom >"$DIR/data"
mkfifo "$DIR/fifo"
keys
for ((r = 0; r < rounds; r++)); do
  for way in $ways; do measure "$way"; done
  ways="${ways#* } ${ways%% *}" # each is first once in a while
done
printf '%-10s %8s %12s %20s\n' way MiB/s 'CPU s/GiB' 'blxtls / it'
slow=
for way in $(tr ' ' '\n' <<<"$ways" | sort); do
  part=$(ratio "$way")
  printf '%-10s %8.0f %12.2f %20.2f\n' "$way" "$(median <"$DIR/$way.speed")" "$(median <"$DIR/$way.cpu")" "$part"
  [ "$way" = ssh ] || [ "$(echo "$part >= 0.9" | bc -l)" = 1 ] || slow="$slow $way"
done
[ -z "$slow" ] || { echo "below 0.9 of:$slow" >&2; exit 1; }
