# shellcheck shell=bash
# What the suites of blxtls share: two hosts, which are network namespaces with a wire between them, their keys, and a
# listener on the far one.

NEAR4=192.0.2.1 FAR4=192.0.2.2 NEAR6=2001:db8::1 FAR6=2001:db8::2
PORT=7000
TOOLS=$TOP/tests/tools

# ---- around each suite and test, unless it has its own

setup_file() {
  hosts_up
}

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  : >log
}

teardown() {
  away
  nothing_secret
}

teardown_file() {
  hosts_down
}

# ---- hosts

# Both, and keys in $K: near.key, far.key, other.key; NEAR_ID, FAR_ID, OTHER_ID are their fingerprints.
hosts_up() {
  local name
  export K=$BATS_FILE_TMPDIR NEAR_PID FAR_PID NEAR_ID FAR_ID OTHER_ID
  NEAR_PID=$(host_new)
  FAR_PID=$(host_new)
  near ip link add wire type veth peer name wire netns "$FAR_PID"
  host_wire "$NEAR_PID" $NEAR4 $NEAR6
  host_wire "$FAR_PID" $FAR4 $FAR6
  NEAR_ID=$(blxtls keygen --name near "$K/near.key")
  FAR_ID=$(blxtls keygen --name far "$K/far.key")
  OTHER_ID=$(blxtls keygen "$K/other.key")
  printf 'near %s\n' "$NEAR_ID" >"$K/peers"
}

host_new() {
  local ours
  ours=$(readlink /proc/self/ns/net)
  unshare --net sleep 3600 >/dev/null 2>&1 3>&- &
  # shellcheck disable=SC2016 # for the inner shell
  await sh -c '[ "$(readlink "/proc/$1/ns/net")" != "$2" ]' sh $! "$ours"
  echo $!
}

host_wire() {
  nsenter --net="/proc/$1/ns/net" sh -ec '
    ip link set lo up
    ip address add "$1/24" dev wire
    ip address add "$2/64" dev wire nodad
    ip link set wire up' sh "$2" "$3"
}

hosts_down() {
  kill "$NEAR_PID" "$FAR_PID" 2>/dev/null || true
}

# near|far COMMAND...: on that host.
near() {
  nsenter --net="/proc/$NEAR_PID/ns/net" "$@"
}

far() {
  nsenter --net="/proc/$FAR_PID/ns/net" "$@"
}

# background near|far COMMAND...: the same as a job that `away` ends; sets JOB, the command's own number. Descriptors 7 to 9,
# where tests hold pipes, are not the command's.
background() {
  local host=NEAR_PID
  [ "$1" = near ] || host=FAR_PID
  shift
  nsenter --net="/proc/${!host}/ns/net" "$@" <&0 3>&- 7>&- 8>&- 9>&- &
  JOB=$!
  printf '%s\n' "$JOB" >>pids
}

# given near|far COMMAND...: as `background`, with the file in as its input, which then stays open until descriptor 8 is
# closed; its output goes to out.
given() {
  rm -f feed
  mkfifo feed
  exec 8<>feed
  cat in >&8
  background "$@" <feed >out 2>other.err
}

# ---- sessions

# started COMMAND...: on the far host, until it listens; its words go to the file log. Sets LISTENER.
started() {
  background far "$@" </dev/null >listener.out 2>>log
  LISTENER=$JOB
  await listens || fail "no listener: $(<log)"
}

listens() {
  far ss -Hltn "sport = :$PORT" | grep -q .
}

# listener [OPTIONS...]: a blxtls --listen there.
listener() {
  started blxtls --listen ":$PORT" --key "$K/far.key" "$@"
}

# served [OPTIONS...]: the same, for the peers in $K/peers.
served() {
  listener --allow "$K/peers" "$@"
}

# connect [OPTIONS...]: the near side of a session with it. timeout(1) keeps the standard output open.
connect() {
  near timeout -k 1 60 blxtls --key "$K/near.key" --peer "$FAR_ID" "$@" "$FAR4:$PORT"
}

# crowd COUNT KIND: has come when this returns; it leaves when descriptor 7 is closed.
crowd() {
  rm -f stay
  mkfifo stay
  exec 7<>stay
  background near "$TOOLS/tlscrowd.py" "$FAR4" "$PORT" "$1" "$2" <stay >crowd.out 2>crowd.err 7>&-
  await grep -q here crowd.out || fail "$(<crowd.err)"
}

crowd_leaves() {
  exec 7>&-
  await gone "$JOB"
}

# gone PID: it has ended, or is a zombie of this shell.
gone() {
  ! kill -0 "$1" 2>/dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]
}

# gone_children PID: none is left of them.
gone_children() {
  [ -z "$(ps -o pid= --ppid "$1")" ]
}

# End what the test has started.
away() {
  local pid
  [ -f pids ] || return 0
  while read -r pid; do
    kill "$pid" 2>/dev/null || continue
    await gone "$pid" || kill -9 "$pid"
  done <pids
  rm pids
}

# logged WORDS [COUNT]: the log has so many lines (1) with those words, soon.
logged() {
  await logged_now "$@" || fail "log: $(<log)"
}

logged_now() {
  [ "$(grep -cF -- "$1" log)" = "${2:-1}" ]
}

# No word that a program said in this test has a line of a private key.
nothing_secret() {
  local key
  find "$BATS_FILE_TMPDIR" -name '*.key' -exec sed -n '/BEGIN.*PRIVATE/,/END.*PRIVATE/{/-----/!p}' {} + >secrets
  [ -s secrets ] || return 0
  printf '%s\n' "${output-}" "${stderr-}" >words.err
  if grep -qFf secrets log err ./*.err 2>/dev/null; then
    fail 'a private key is in the words'
  fi
}

# ---- certificates of authorities

# authority NAME [ISSUER]: NAME.key and NAME.pem, self-signed or by ISSUER, in $K/ca.
authority() {
  mkdir -p "$K/ca/$1.new"
  : >"$K/ca/$1.index"
  printf '%s\n' '[ca]' 'default_ca = it' '[it]' "database = $K/ca/$1.index" "new_certs_dir = $K/ca/$1.new" \
    'default_md = sha256' 'policy = any' 'unique_subject = no' 'rand_serial = yes' 'default_crl_days = 30' \
    '[any]' 'commonName = supplied' >"$K/ca/$1.cnf"
  issued "${2:-$1}" "$1" 'basicConstraints = critical,CA:TRUE' 'keyUsage = critical,keyCertSign,cRLSign' \
    'subjectKeyIdentifier = hash'
}

# issued ISSUER NAME [EXTENSION...]: NAME.key, NAME.pem and both in NAME.both; NAME for ISSUER: self-signed. FROM and TILL
# are its time.
issued() {
  local issuer=$1 name=$2 sign=(-cert "$K/ca/$1.pem" -keyfile "$K/ca/$1.key")
  shift 2
  [ "$issuer" != "$name" ] || sign=(-selfsign -keyfile "$K/ca/$name.key")
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$K/ca/$name.key" \
    -out "$K/ca/$name.csr" 2>ca.err || fail "$(<ca.err)"
  printf '%s\n' '[it]' "$@" >"$K/ca/$name.ext"
  openssl ca -batch -notext -config "$K/ca/$issuer.cnf" "${sign[@]}" -in "$K/ca/$name.csr" -out "$K/ca/$name.pem" \
    -extfile "$K/ca/$name.ext" -extensions it -startdate "${FROM:-20200101000000Z}" \
    -enddate "${TILL:-20990101000000Z}" 2>ca.err || fail "$(<ca.err)"
  (umask 077 && cat "$K/ca/$name.key" "$K/ca/$name.pem" >"$K/ca/$name.both")
}

# revocations ISSUER FILE [OPTIONS...]: its list.
revocations() {
  openssl ca -gencrl -config "$K/ca/$1.cnf" -cert "$K/ca/$1.pem" -keyfile "$K/ca/$1.key" -out "$2" "${@:3}" \
    2>ca.err || fail "$(<ca.err)"
}

# fingerprint_of CERTIFICATE: by openssl alone.
fingerprint_of() {
  printf 'SHA256:'
  openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64 |
    tr -d '=\n'
  echo
}
