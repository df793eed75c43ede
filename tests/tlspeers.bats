#!/usr/bin/env bats
# blxtls, who is at the other end: keys, fingerprints, certificates, the file of those who may.

load lib
load tls

# refused STATUS WORDS OPTIONS...: the near side ends so and says so, and no far command ran.
refused() {
  local status=$1 words=$2
  shift 2
  run -"$status" near timeout -k 1 60 blxtls "$@" "$FAR4:$PORT" </dev/null
  has "$words"
  [ ! -e ran ] || fail "the far command ran: $*"
}

# ---- keys

@test "keygen makes a key of mode 600, whatever the umask, and does not overwrite" {
  umask 0
  id=$(blxtls keygen --name a-host new.key)
  [[ $id =~ ^SHA256:[A-Za-z0-9+/]{43}$ ]]
  [ "$(stat -c %a new.key)" = 600 ]
  [ "$(openssl x509 -in new.key -noout -enddate)" = 'notAfter=Dec 31 23:59:59 9999 GMT' ]
  openssl x509 -in new.key -noout -subject | grep -q a-host
  openssl pkey -in new.key -noout
  cp new.key before
  run -3 blxtls keygen new.key
  has "new.key: File exists"
  cmp new.key before
  ln -s dangling link
  run -3 blxtls keygen link
  [ ! -e dangling ]
  run -3 blxtls keygen none/new.key
  run -3 sh -c 'blxtls keygen full.key >/dev/full'
  has "standard output: No space left on device"
}

@test "a fingerprint is what openssl says" {
  [ "$(blxtls fingerprint "$K/near.key")" = "$NEAR_ID" ]
  [ "$(fingerprint_of "$K/near.key")" = "$NEAR_ID" ]
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=r -keyout rsa.key -out rsa.pem 2>err
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -subj /CN=e -keyout ec.key -out ec.pem 2>err
  run -0 blxtls fingerprint rsa.pem ec.pem
  [ "${#lines[@]}" = 2 ]
  [[ ${lines[0]} == *"$(fingerprint_of rsa.pem)"* && ${lines[1]} == *"$(fingerprint_of ec.pem)"* ]]
  for file in rsa.key /dev/null none; do
    run -3 blxtls fingerprint $file
    has "$file: "
  done
}

@test "keys of other kinds do as well, the certificate in a file of its own" {
  served -- true
  for kind in 'rsa:2048' 'ec -pkeyopt ec_paramgen_curve:P-256'; do
    # shellcheck disable=SC2086
    openssl req -x509 -newkey $kind -nodes -subj /CN=near -keyout it.key -out it.pem 2>ssl.err
    chmod 600 it.key
    printf 'near %s\n' "$(fingerprint_of it.pem)" >"$K/peers.new"
    mv "$K/peers.new" "$K/peers"
    run -0 near blxtls --key it.key --cert it.pem --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
    run -3 near blxtls --key it.key --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
    has "it.key: "
    run -3 near blxtls --key it.key --cert "$K/near.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
    has "it.key: "
  done
  printf 'near %s\n' "$NEAR_ID" >"$K/peers"
}

@test "a key that others may read is refused, on both sides" {
  served -- true
  for mode in 644 604 660 640 620 666 400 600; do
    cp "$K/near.key" mine.key
    chmod $mode mine.key
    case $mode in
    400 | 600 | 640) run -0 near blxtls --key mine.key --peer "$FAR_ID" "$FAR4:$PORT" </dev/null ;;
    *)
      refused 3 "mine.key: " --key mine.key --peer "$FAR_ID"
      run -3 timeout 10 blxtls --listen ":$PORT" --key mine.key --peer "$FAR_ID" -- true
      has "mine.key: "
      ;;
    esac
  done
  # its group, if the owner is not root
  chown 65534:65534 mine.key
  chmod 640 mine.key
  refused 3 "mine.key: " --key mine.key --peer "$FAR_ID"
}

@test "a user's key is his own" {
  served -- true
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR"
  cp "$K/near.key" mine.key
  as_nobody() {
    near setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
  }
  run -3 as_nobody blxtls --key mine.key --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
  has "mine.key: Permission denied"
  chown 65534 mine.key
  run -0 as_nobody blxtls --key mine.key --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
}

@test "a key with a passphrase is refused, and nobody is asked for it" {
  openssl pkey -in "$K/near.key" -aes256 -passout pass:secret -out locked.key
  chmod 600 locked.key
  openssl x509 -in "$K/near.key" -out near.pem
  run -3 timeout 20 script -qec "blxtls --key locked.key --cert near.pem --peer $FAR_ID $FAR4:$PORT" typescript </dev/null
  has "locked.key: "
  [[ $output != *"pass phrase:"* ]]
}

@test "what is no key is exit 3, with its name" {
  mkdir dir.key
  : >empty.key
  head -c 4096 /dev/urandom >random.key
  sed 's/^M/N/' "$K/near.key" >wrong.key
  chmod 600 ./*.key
  mkfifo -m 600 fifo.key
  for file in dir.key empty.key random.key wrong.key fifo.key none.key; do
    run -3 timeout 20 blxtls --key $file --peer "$FAR_ID" "$FAR4:$PORT" </dev/null
    has "$file: " || fail "$file: $output"
  done
}

# ---- known by their keys

@test "a far side that is another is refused before a byte has gone, and both fingerprints are said" {
  listener --peer "$NEAR_ID" -- sh -c 'touch ran; cat >got'
  run -5 near blxtls --key "$K/near.key" --peer "$OTHER_ID" "$FAR4:$PORT" </dev/null
  has "$OTHER_ID"
  has "$FAR_ID"
  logged "the other side does not take our key $FAR_ID"
  [ ! -e ran ]
}

@test "a near side that is unknown is refused, and both ends say its fingerprint" {
  served -- touch ran
  refused 5 "$OTHER_ID" --key "$K/other.key" --peer "$FAR_ID"
  logged "$NEAR4:"
  logged "refused: $OTHER_ID is not in $K/peers"
  away
  : >log
  listener --peer "$NEAR_ID" -- touch ran
  refused 5 "$OTHER_ID" --key "$K/other.key" --peer "$FAR_ID"
  logged "refused: "
  grep -q "$OTHER_ID.*" log && grep -q "$NEAR_ID" log || fail "$(<log)"
}

@test "who is not taken hears that, whatever he is sending" {
  served -- touch ran
  for _ in {1..20}; do
    run -5 near timeout 20 blxtls --key "$K/other.key" --peer "$FAR_ID" "$FAR4:$PORT" </dev/zero
  done
  logged "refused: " 20
  [ ! -e ran ]
}

@test "one of several will do" {
  listener --peer "$OTHER_ID" --peer "$NEAR_ID" -- true
  run -0 connect --peer "$OTHER_ID" </dev/null
  run -5 near blxtls --key "$K/near.key" --peer "$OTHER_ID" --peer "$NEAR_ID" "$FAR4:$PORT" </dev/null
  has "$FAR_ID"
}

@test "who shows no certificate is refused" {
  served -- touch ran
  near timeout 20 openssl s_client -connect "$FAR4:$PORT" -quiet </dev/null >out 2>ssl.err || true
  logged "$NEAR4:"
  logged "the other side shows no certificate"
  [ ! -e ran ]
}

@test "certificates that are over, or have not begun, are refused, on both sides" {
  authority any
  FROM=20200101000000Z TILL=20210101000000Z issued any over
  FROM=20980101000000Z TILL=20990101000000Z issued any early
  for which in over early; do
    id=$(fingerprint_of "$K/ca/$which.pem")
    words='expired'
    [ $which = over ] || words='not yet valid'
    printf 'near %s\n' "$id" >peers
    chmod 644 peers
    listener --allow peers -- touch ran
    refused 5 "" --key "$K/ca/$which.both" --peer "$FAR_ID"
    grep -q "refused: .*$words" log || fail "$(<log)"
    away
    background far blxtls --listen ":$PORT" --key "$K/ca/$which.both" --peer "$NEAR_ID" -- touch ran 2>>log
    await listens
    refused 5 "$words" --key "$K/near.key" --peer "$id"
    away
  done
}

@test "TLS 1.2 is refused, on both sides" {
  served -- touch ran
  run -1 near timeout 20 openssl s_client -tls1_2 -cert "$K/near.key" -key "$K/near.key" -connect "$FAR4:$PORT" </dev/null
  logged "it does not speak TLS 1.3"
  away
  : >log
  : >in
  given far openssl s_server -tls1_2 -accept "$PORT" -cert "$K/far.key" -key "$K/far.key"
  await listens
  refused 3 "TLS" --key "$K/near.key" --peer "$FAR_ID"
}

# ---- the file of those who may

@test "the peer's name is in the words of the command, and in its environment" {
  printf '# those who may\n\n  far-away:1_x.y\t%s  \nnear %s\n' "$OTHER_ID" "$NEAR_ID" >peers
  # shellcheck disable=SC2016
  listener --allow peers -- sh -c 'printf "%%s|" "$@" "$BLX_PEER" "$BLX_PEER_ADDRESS"' sh %p a%pb%p %% 100%% %%p '$(id)'
  run -0 connect </dev/null
  [[ $output =~ ^near\|anearbnear\|%\|100%\|%p\|'$(id)|near|'$NEAR4:[0-9]+\|$ ]] || fail "$output"
  run -0 near blxtls --key "$K/other.key" --peer "$FAR_ID" "[$FAR6]:$PORT" </dev/null
  [[ $output =~ ^'far-away:1_x.y|afar-away:1_x.ybfar-away:1_x.y|%|100%|%p|$(id)|far-away:1_x.y|['$NEAR6']:'[0-9]+\|$ ]] ||
    fail "$output"
}

@test "without a name the ID is in the environment" {
  # shellcheck disable=SC2016
  listener --peer "$NEAR_ID" -- sh -c 'echo "$BLX_PEER"'
  run -0 connect </dev/null
  [ "$output" = "$NEAR_ID" ]
}

@test "the file is read at every connection" {
  : >peers
  listener --allow peers -- true
  refused 5 "$NEAR_ID" --key "$K/near.key" --peer "$FAR_ID"
  printf 'near %s\n' "$NEAR_ID" >peers
  run -0 connect </dev/null
  printf 'other %s\n' "$OTHER_ID" >peers
  refused 5 "$NEAR_ID" --key "$K/near.key" --peer "$FAR_ID"
  rm peers
  refused 5 "" --key "$K/near.key" --peer "$FAR_ID"
  logged "peers: No such file or directory"
  printf 'near %s\n' "$NEAR_ID" >peers
  run -0 connect </dev/null
}

@test "a file that is damaged lets nobody in, and the line is said" {
  long=$(printf 'a%.0s' {1..65})
  : >peers
  listener --allow peers -- touch ran
  while IFS= read -r line; do
    printf '# first\nnear %s\n%b\n' "$NEAR_ID" "$line" >peers
    : >log
    refused 5 "" --key "$K/near.key" --peer "$FAR_ID"
    logged "peers: line 3: "
    [ "$(wc -l <log)" = 1 ]
    run -0 awk '/[\001-\011\013-\037\177]/ { exit 1 }' log
  done <<EOF_
other
other SHA256:
other ${OTHER_ID%?}
other ${OTHER_ID}A
other ${OTHER_ID/SHA256/sha256}
other ${OTHER_ID} more
other $NEAR_ID
$OTHER_ID
../x $OTHER_ID
.x $OTHER_ID
. $OTHER_ID
.. $OTHER_ID
-x $OTHER_ID
a/b $OTHER_ID
/etc/x $OTHER_ID
a%b $OTHER_ID
\\\\033[31mx $OTHER_ID
$long $OTHER_ID
\\\\303\\\\244 $OTHER_ID
a;b $OTHER_ID
EOF_
  printf 'near %s\n\0\n' "$NEAR_ID" >peers
  : >log
  refused 5 "" --key "$K/near.key" --peer "$FAR_ID"
  logged "peers: "
  # and the longest that there may be
  printf '%s %s\n' "${long#a}" "$NEAR_ID" >peers
  run -0 connect </dev/null
}

@test "a file that others may write to lets nobody in" {
  printf 'near %s\n' "$NEAR_ID" >peers
  listener --allow peers -- touch ran
  for mode in 646 664 666; do
    chmod $mode peers
    : >log
    refused 5 "" --key "$K/near.key" --peer "$FAR_ID"
    logged "peers: others may write"
  done
  chmod 644 peers
  chown 65534 peers
  refused 5 "" --key "$K/near.key" --peer "$FAR_ID"
  chown 0 peers
  run -0 connect </dev/null
}

# ---- known by names that an authority vouches for

pki() {
  [ ! -e "$K/ca/done" ] || return 0
  authority root
  authority mid root
  authority rogue
  issued root near 'subjectAltName = DNS:near.example, URI:spiffe://example/near' 'extendedKeyUsage = clientAuth'
  issued root far "subjectAltName = DNS:far.example, IP:$FAR4, IP:$FAR6" 'extendedKeyUsage = serverAuth'
  issued mid below "subjectAltName = IP:$FAR4, DNS:*.wild.example"
  cat "$K/ca/mid.pem" >>"$K/ca/below.both"
  issued mid alone "subjectAltName = IP:$FAR4"
  issued rogue forged "subjectAltName = IP:$FAR4, DNS:near.example"
  issued root named "subjectAltName = DNS:else.example"
  issued root cn.example # its common name only
  FROM=20200101000000Z TILL=20210101000000Z issued root old "subjectAltName = IP:$FAR4, DNS:near.example"
  touch "$K/ca/done"
}

# far_as NAME: a listener with that certificate, which takes near.example.
far_as() {
  away
  : >log
  started blxtls --listen ":$PORT" --key "$K/ca/$1.both" --ca "$K/ca/root.pem" --peer DNS:near.example -- sh -c 'echo let in'
}

@test "with authorities, names are what counts" {
  local ids words status id
  pki
  far_as far
  near_as=(near timeout 20 blxtls --key "$K/ca/near.both" --ca "$K/ca/root.pem")
  run -0 "${near_as[@]}" "$FAR4:$PORT" </dev/null # the address that it connects to
  [ "$output" = "let in" ]
  run -0 "${near_as[@]}" "[$FAR6]:$PORT" </dev/null
  while read -r status id; do
    run "-$status" "${near_as[@]}" --peer "$id" "$FAR4:$PORT" </dev/null
    [ "$status" = 0 ] || has "$id"
  done <<EOF_
0 DNS:far.example
0 DNS:FAR.example
0 IP:$FAR4
0 IP:$FAR6
0 $(fingerprint_of "$K/ca/far.pem")
5 DNS:far
5 DNS:example
5 DNS:far.example.org
5 IP:$NEAR4
5 URI:spiffe://example/far
5 $(fingerprint_of "$K/ca/near.pem")
EOF_
  far_as below
  run -0 "${near_as[@]}" "$FAR4:$PORT" </dev/null # through an intermediate authority
  run -0 "${near_as[@]}" --peer DNS:a.wild.example "$FAR4:$PORT" </dev/null
  run -5 "${near_as[@]}" --peer DNS:a.b.wild.example "$FAR4:$PORT" </dev/null
  run -5 "${near_as[@]}" --peer DNS:wild.example "$FAR4:$PORT" </dev/null
  far_as cn.example
  run -5 "${near_as[@]}" --peer DNS:cn.example "$FAR4:$PORT" </dev/null
  for wrong in alone forged near named old; do # without its issuer; another's; not for servers; other names; too old
    far_as $wrong
    run -5 "${near_as[@]}" "$FAR4:$PORT" </dev/null
    has "SHA256:" || fail "$wrong: $output"
  done
}

@test "a near side is judged by its authority and its names as well" {
  local wrong
  pki
  away
  started blxtls --listen ":$PORT" --key "$K/ca/far.both" --ca "$K/ca/root.pem" --peer URI:spiffe://example/near \
    --peer DNS:near.example -- sh -c 'touch ran; echo "$BLX_PEER"'
  for wrong in forged far named old; do
    refused 5 "" --key "$K/ca/$wrong.both" --ca "$K/ca/root.pem"
  done
  refused 5 "" --key "$K/near.key" --ca "$K/ca/root.pem"
  logged "refused: " 5
  run -0 near blxtls --key "$K/ca/near.both" --ca "$K/ca/root.pem" "$FAR4:$PORT" </dev/null
  [[ $output == URI:spiffe://example/near || $output == DNS:near.example ]]
}

@test "a list of peers may have names, if there is an authority" {
  pki
  printf 'near DNS:near.example\nnear URI:spiffe://example/near\nother DNS:other.example\n' >peers
  started blxtls --listen ":$PORT" --key "$K/ca/far.both" --ca "$K/ca/root.pem" --allow peers -- sh -c 'echo "$BLX_PEER"'
  run -0 near blxtls --key "$K/ca/near.both" --ca "$K/ca/root.pem" "$FAR4:$PORT" </dev/null
  [ "$output" = near ]
}

@test "who fits two names of the list is refused" {
  pki
  printf 'near DNS:near.example\nother URI:spiffe://example/near\n' >peers
  started blxtls --listen ":$PORT" --key "$K/ca/far.both" --ca "$K/ca/root.pem" --allow peers -- touch ran
  refused 5 "" --key "$K/ca/near.both" --ca "$K/ca/root.pem"
  logged "refused: it is both near (DNS:near.example) and other (URI:spiffe://example/near)"
}

@test "a name in the file is not believed without an authority" {
  pki
  # anybody can make a certificate with that name
  openssl req -x509 -newkey ed25519 -nodes -subj /CN=x -addext subjectAltName=DNS:near.example,URI:spiffe://example/near \
    -keyout forged.key -out forged.pem 2>ssl.err
  cat forged.pem >>forged.key
  for id in DNS:near.example URI:spiffe://example/near; do
    printf 'near %s\n' "$NEAR_ID" >peers
    listener --allow peers -- touch ran
    printf 'near %s\nx %s\n' "$NEAR_ID" "$id" >peers
    refused 5 "" --key forged.key --peer "$FAR_ID"
    logged "peers: '$id': a name is believed with --ca only"
    away
    : >log
    run -3 far timeout 20 blxtls --listen ":$PORT" --key "$K/far.key" --allow peers -- true
    has "a name is believed with --ca only"
  done
}

@test "what is revoked is refused, and so is all when the list is out of date or lacks" {
  local near_as
  pki
  issued root gone "subjectAltName = IP:$FAR4"
  openssl ca -config "$K/ca/root.cnf" -cert "$K/ca/root.pem" -keyfile "$K/ca/root.key" -revoke "$K/ca/gone.pem" 2>ca.err
  revocations root root.crl
  revocations root old.crl -crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z
  revocations rogue rogue.crl
  revocations mid mid.crl
  near_as=(near timeout 20 blxtls --key "$K/ca/near.both" --ca "$K/ca/root.pem")
  far_as far
  run -0 "${near_as[@]}" --crl root.crl "$FAR4:$PORT" </dev/null
  run -5 "${near_as[@]}" --crl old.crl "$FAR4:$PORT" </dev/null
  has "CRL"
  run -5 "${near_as[@]}" --crl rogue.crl "$FAR4:$PORT" </dev/null
  run -3 "${near_as[@]}" --crl "$K/peers" "$FAR4:$PORT" </dev/null
  has "$K/peers"
  far_as gone
  run -0 "${near_as[@]}" "$FAR4:$PORT" </dev/null
  run -5 "${near_as[@]}" --crl root.crl "$FAR4:$PORT" </dev/null
  has "revoked"
  far_as below
  run -5 "${near_as[@]}" --crl root.crl "$FAR4:$PORT" </dev/null # the intermediate's is missing
  cat root.crl mid.crl >both.crl
  run -0 "${near_as[@]}" --crl both.crl "$FAR4:$PORT" </dev/null
  # and an intermediate that is revoked itself
  openssl ca -config "$K/ca/root.cnf" -cert "$K/ca/root.pem" -keyfile "$K/ca/root.key" -revoke "$K/ca/mid.pem" 2>ca.err
  revocations root root2.crl
  cat root2.crl mid.crl >both.crl
  run -5 "${near_as[@]}" --crl both.crl "$FAR4:$PORT" </dev/null
  has "revoked"
  # and a listener's
  away
  started blxtls --listen ":$PORT" --key "$K/ca/far.both" --ca "$K/ca/root.pem" --crl root.crl --peer "IP:$FAR4" -- touch ran
  refused 5 "" --key "$K/ca/gone.both" --ca "$K/ca/root.pem"
  grep -q revoked log
}
