# SPDX-License-Identifier: BSD-2-Clause
# The lines of README.md's cookbook, run as they are printed.

load lib
# shellcheck source=demo/sshd.sh
. "$TOP/demo/sshd.sh"

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  mkdir bin mnt
  # Lines say `ssh $HOST`; this ssh knows who that is.
  printf '#!/bin/sh\nexec /usr/bin/ssh -F %s/ssh/config "$@"\n' "$PWD" >bin/ssh
  chmod +x bin/ssh
  PATH=$PWD/bin:$PATH
  loop_new 64M
  export DISK=$DEV HOST=backup
  export REPLICA=$PWD/replica.img SECOND=$PWD/second.img FILE=$PWD/kept.blx BAD=$PWD/bad
  PORT=$(free_port)
  export PORT
  mkfs.ext4 -q "$DISK"
  mount "$DISK" mnt
}

teardown() {
  sshd_stop
  [ -z "${listener:-}" ] || kill "$listener" 2>/dev/null || true
  umount mnt 2>/dev/null || true
  blxtrack stop --force "$DISK" 2>/dev/null || true
  for disk in ${NEWDISK:-} ${VOLUMES:-}; do blxtrack stop --force "$disk" 2>/dev/null || true; done
  loops_done
}

free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do
    [ -n "$(ss -Hltn "sport = :$port")" ] || break
  done
  echo "$port"
}

# recipe NAME: the block of that name, as printed.
recipe() {
  awk -v name="cookbook:$1" '/^```/ { on = $2 == name; next } on' "$TOP/README.md" >"recipe-$1"
  [ -s "recipe-$1" ] || fail "README.md has no cookbook:$1"
  cat "recipe-$1"
}

# cook NAME: run it.
cook() {
  sh -c "$(recipe "$1")"
}

# cron NAME: run it as cron does: the five fields and the user taken off, no environment but what a crontab sets.
cron() {
  local line
  line=$(recipe "$1")
  [[ $line == '* * * * * root '* ]] || fail "no crontab line: $line"
  env -i PATH="$PATH" DISK="$DISK" HOST="$HOST" REPLICA="$REPLICA" KEY="${KEY:-}" PEER="${PEER:-}" PORT="$PORT" /bin/sh -c "${line#'* * * * * root '}"
}

change() {
  head -c 300000 /dev/urandom >"mnt/$1"
  sync -f mnt
}

# the same without a file system
change_device() {
  head -c 300000 /dev/urandom | dd of="$DISK" bs=4096 seek=1000 iflag=fullblock oflag=direct conv=sync status=none
}

# settled IMAGE: with the file system quiet and one more run of the given command, IMAGE is the disk.
settled() {
  local image=$1
  shift
  umount mnt
  "$@"
  cmp "$DISK" "$image"
}

listening() {
  [ -n "$(ss -Hltn "sport = :$PORT")" ]
}

@test "every line of the cookbook is run by a test" {
  for name in $(sed -n 's/^```[a-z_]* cookbook://p' "$TOP/README.md"); do
    grep -qE "(cook|cron|recipe|netcat|over) ($name|${name%-receive}|${name%-send})\b" "$BATS_TEST_FILENAME" ||
      fail "cookbook:$name is not run"
  done
}

@test "start, and the pipe through ssh" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cook pipe
  change one
  cook pipe
  settled replica.img cook pipe
}

@test "cron with run" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cron cron-run
  change one
  run -0 cron cron-run
  [ -z "$output" ] || fail "cron would mail: $output"
  settled replica.img cron cron-run
}

@test "cron with run: the receiver's failure is the line's status" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cron cron-run
  change one
  sync -f mnt
  head -c 4096 /dev/urandom | dd of=replica.img conv=notrunc status=none # as if somebody had mounted it
  run -5 cron cron-run
}

@test "cron with flock" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cron cron-flock
  change one
  settled replica.img cron cron-flock
}

@test "cron with flock: a second run ends with 7" {
  exec 7>/run/blx-vda.lock
  flock 7
  run -7 cron cron-flock
}

@test "the monitor is content after a run" {
  cook start
  blxtrack run "$DISK" -- sh -c 'blxread | blxapply --ack $REPLICA'
  run -0 cook monitor
}

@test "a forced command, and a key that can do nothing else" {
  options=$(recipe ssh-forced-key)
  [[ $options == *' --ack /srv/vda.img"'* ]]
  sshd_start "$PWD/ssh" "$PATH" "${options/\/srv\/vda.img/$REPLICA}"
  cook start
  cook ssh-forced
  change one
  settled replica.img cook ssh-forced
  run ssh backup touch "$PWD/broken-out" </dev/null
  [ ! -e broken-out ]
}

@test "several volumes at one point in time, through one forced command" {
  options=$(recipe several-key)
  [[ $options == *' --into /srv/db1"'* ]]
  mkdir db1
  sshd_start "$PWD/ssh" "$PATH" "${options/\/srv\/db1/$PWD/db1}"
  VOLUMES=
  for text in data log; do
    loop_new 8M
    VOLUMES+=" $DEV"
    echo "$text" >"$DEV"
  done
  export VOLUMES
  cook several-start
  cook several-run
  for disk in $VOLUMES; do
    echo more | dd of="$disk" bs=4096 seek=9 conv=sync oflag=direct status=none
  done
  cook several-run
  for disk in $VOLUMES; do cmp "$disk" "db1/${disk##*/}"; done
  line=$(recipe several-recover)
  sh -c "${line/\/srv\/db1/$PWD/db1}"
}

@test "TLS: keys, a listener, and cron with run" {
  export HOST=127.0.0.1 KEY=$PWD/there.key PEERS=$PWD/peers REPLICAS=$PWD/replicas
  mkdir -p replicas/source1
  PEER=$(cook tls-keygen)
  printf 'source1 %s\n' "$(KEY=$PWD/here.key cook tls-keygen)" >peers
  sh -c "exec $(recipe tls-listen)" 2>log &
  listener=$!
  await listening
  KEY=$PWD/here.key
  cook start
  cron tls-run
  change one
  run -0 cron tls-run
  [ -z "$output" ] || fail "cron would mail: $output"
  settled "replicas/source1/${DISK##*/}" cron tls-run
  change_device
  : >peers
  run -3 cron tls-run
  has "does not take our key"
  kill "$listener"
  wait "$listener" || true
}

@test "TLS: what differs, and a restore, each served once" {
  export HOST=127.0.0.1 KEY=$PWD/there.key PEERS=$PWD/peers
  PEER=$(cook tls-keygen)
  export PEER
  printf 'source1 %s\n' "$(KEY=$PWD/here.key cook tls-keygen)" >peers
  umount mnt
  cook start
  blxtrack run "$DISK" -- sh -c 'blxread | blxapply --ack $REPLICA'
  blxtrack stop --force "$DISK"
  change_device
  cook start
  blxapply --allow resync "$REPLICA"
  cook tls-serve 2>log &
  await listening
  KEY=$PWD/here.key cook tls-differences
  wait $!
  blxtrack run "$DISK" -- sh -c 'blxread | blxapply --ack $REPLICA'
  cmp "$DISK" "$REPLICA"
  disk=$DISK
  loop_new 80M
  export NEWDISK=$DEV
  cook tls-give 2>>log &
  await listening
  KEY=$PWD/here.key cook tls-restore
  wait $!
  cmp -n 67108864 "$disk" "$NEWDISK"
}

# over NAME: through netcat: cookbook:NAME-receive and cookbook:NAME-send.
over() {
  cook "$1-receive" &
  await listening
  timeout 60 sh -c "$(recipe "$1-send")"
  wait $!
}

netcat() {
  HOST=127.0.0.1
  cook start
  over "$1"
  change one
  over "$1"
  settled replica.img over "$1"
}

@test "netcat: OpenBSD's" {
  netcat nc-openbsd
}

@test "netcat: the traditional one" {
  netcat nc-traditional
}

@test "netcat: ncat" {
  netcat ncat
}

@test "two consumers at their own paces" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cook pipe
  cook consumer-add
  change one
  cook pipe
  change two
  cook consumer-run
  change three
  cook pipe
  umount mnt
  cook consumer-run
  cook pipe
  cmp "$DISK" replica.img
  cmp "$DISK" second.img
}

@test "streams into files, their ack later, and onto the replica in order" {
  cook start
  cook file-write
  cook file-ack
  mv "$FILE" first.blx
  change one
  umount mnt
  cook file-write
  cook file-ack
  mv "$FILE" second.blx
  for stream in first.blx second.blx; do
    cp "$stream" "$FILE"
    cook file-apply
  done
  cmp "$DISK" replica.img
  blxtrack drain -n "$DISK" | grep -qx '# end: 0 0'
}

@test "a stream in a file that was cut is not acked" {
  cook start
  cook file-write
  truncate -s -1 "$FILE"
  run -4 --separate-stderr sh -c 'set -e; blxls --check --ack $FILE >ack'
  [ ! -s ack ]
  run -3 cook file-ack
}

@test "forensics: what a program wrote" {
  cook start
  umount mnt
  cook follow &
  follower=$!
  while kill -0 "$follower" 2>/dev/null; do
    printf evidence | dd of="$DISK" bs=4096 seek=1000 conv=sync oflag=direct status=none
    echo nothing | tee "$DISK" >/dev/null
    sleep 0.5
  done
  wait "$follower"
  [ "$(blxls "$FILE" | grep -v '^#')" = "4096000 4096" ]
  blxread -a --whole "$DISK" | grep -aq nothing
  grep -aq evidence "$FILE"
}

@test "forensics: a consumer that lacks nothing yet" {
  cook start
  cook forensic-begin
  run -0 cook forensic-look
  [[ $output != *DATA* ]] || fail "$output"
  umount mnt
  printf evidence | dd of="$DISK" bs=4096 seek=1000 conv=sync oflag=direct status=none
  run -0 cook forensic-look
  has "DATA   4096000 4096 "
}

@test "what is in use only, bad sectors skipped, and the differences after a boot" {
  sshd_start "$PWD/ssh" "$PATH"
  change one
  cook start
  cook used
  blxapply --status "$REPLICA" | grep -q 'state: *complete'
  change two
  cook skip-bad
  [ "$(grep -vc '^#' bad)" = 0 ]
  umount mnt
  cook skip-bad
  mkdir there
  mount -o loop,ro,noload replica.img there
  mount -o ro "$DISK" mnt
  diff -r mnt there
  umount mnt there
  cook start # nothing to do
  blxtrack stop --force "$DISK"
  printf 'behind our back' | dd of="$DISK" bs=4096 seek=5000 conv=sync oflag=direct status=none
  cook start
  cook differences
  cmp "$DISK" replica.img
}

@test "restore onto a larger disk" {
  sshd_start "$PWD/ssh" "$PATH"
  cook start
  cook pipe
  settled replica.img cook pipe
  disk=$DISK
  loop_new 80M
  export NEWDISK=$DEV
  head -c 80M /dev/urandom >"$NEWDISK"
  cook restore
  cmp -n 67108864 "$disk" "$NEWDISK"
}
