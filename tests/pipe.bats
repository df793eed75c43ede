#!/usr/bin/env bats
# The whole pipe on real file systems that are being written to: the replica ends byte-identical.

load lib

CHURN=$BATS_TEST_DIRNAME/tools/churn.py

setup() {
  T=$BATS_TEST_TMPDIR
  IMG=$T/replica.img
  mkdir "$T/mnt"
}

teardown() {
  touch "$T/stop"
  if [ -n "${WORK:-}" ]; then wait "$WORK" 2>/dev/null || true; fi
  if [ -f "$T/sshd.pid" ]; then kill "$(cat "$T/sshd.pid")" 2>/dev/null || true; fi
  if mountpoint -q "$T/mnt"; then umount "$T/mnt"; fi
  if mountpoint -q "$T/side"; then umount "$T/side"; fi
  [ -z "${DISK:-}" ] || blxtrack stop --force "$DISK" 2>/dev/null || true
  loops_done
}

# disk SIZE FS: a disk with a mounted file system that discards, and a workload on it.
disk() {
  loop_new "$1"
  DISK=$DEV
  "mkfs.$2" -q "$DISK"
  mount -o discard "$DISK" "$T/mnt"
  blxtrack start "$DISK" 2>/dev/null
  "$CHURN" "$T/mnt/work" "$T/stop" 42 &
  WORK=$!
}

# The workload ends, the file system goes.
quiet() {
  touch "$T/stop"
  wait "$WORK"
  WORK=
  umount "$T/mnt"
}

same() {
  cmp "$DISK" "$IMG"
}

# The pipe as the documentation has it; the last stage's exit code is the verdict.
plain_pipe() {
  blxtrack drain "$DISK" | blxread | blxpack | blxapply --ack "$IMG" | blxtrack commit "$DISK"
}

run_pipe() {
  blxtrack run "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $IMG"
}

# first_and_increments FS COMMAND: first copy, 20 increments under load, quiet, one more, equal.
first_and_increments() {
  disk 512M "$1"
  for _ in $(seq 21); do
    "$2"
  done
  quiet
  "$2"
  same
}

# A private sshd on loopback: `ssh_backup CMD` runs CMD there.
sshd_up() {
  mkdir -p "$T/ssh" /run/sshd
  ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/host"
  ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/user"
  cp "$T/ssh/user.pub" "$T/ssh/authorized_keys"
  port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
  cat >"$T/ssh/sshd_config" <<C
Port $port
ListenAddress 127.0.0.1
HostKey $T/ssh/host
AuthorizedKeysFile $T/ssh/authorized_keys
PidFile $T/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
SetEnv PATH=$PATH
C
  cat >"$T/ssh/config" <<C
Host backup
  HostName 127.0.0.1
  Port $port
  User root
  IdentityFile $T/ssh/user
  IdentitiesOnly yes
  UserKnownHostsFile $T/ssh/known
  StrictHostKeyChecking accept-new
  LogLevel ERROR
C
  /usr/sbin/sshd -f "$T/ssh/sshd_config" -E "$T/ssh/log"
  for _ in $(seq 100); do
    [ -s "$T/sshd.pid" ] && return 0
    sleep 0.05
  done
  fail "sshd: $(cat "$T/ssh/log")"
}

ssh_backup() {
  timeout 120 ssh -F "$T/ssh/config" backup "$@"
}

ssh_pipe() {
  blxtrack drain "$DISK" | blxread | blxpack | ssh_backup blxapply --ack "$IMG" | blxtrack commit "$DISK"
}

@test "ext4 under load: first copy and 20 increments with run, then equal" {
  first_and_increments ext4 run_pipe
}

@test "xfs under load: first copy and 20 increments through the plain pipe, then equal" {
  first_and_increments xfs plain_pipe
}

@test "btrfs under load: first copy and 20 increments through real ssh, then equal" {
  sshd_up
  first_and_increments btrfs ssh_pipe
}

@test "an image on btrfs is cloned and swapped in whole, then equal" {
  truncate -s 1G "$T/side.img"
  mkfs.btrfs -q "$T/side.img"
  mkdir "$T/side"
  side=$(losetup --find --show "$T/side.img")
  printf '%s\n' "$side" >>"$T/loops"
  mount "$side" "$T/side"
  IMG=$T/side/replica.img
  disk 256M ext4
  run_pipe
  before=$(stat -c %i "$IMG")
  for _ in 1 2 3; do run_pipe; done
  [ "$(stat -c %i "$IMG")" != "$before" ]
  quiet
  run_pipe
  same
}

@test "two consumers at different paces: both replicas end equal" {
  disk 256M ext4
  blxtrack consumer add remote "$DISK"
  for i in $(seq 12); do
    run_pipe
    if [ $((i % 4)) = 0 ]; then
      blxtrack run -c remote "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $T/remote.img"
    fi
  done
  quiet
  run_pipe
  blxtrack run -c remote "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $T/remote.img"
  same
  cmp "$DISK" "$T/remote.img"
}

@test "pipes of the same consumer that overlap: busy or right, and equal in the end" {
  disk 256M ext4
  run_pipe
  for _ in $(seq 10); do
    plain_pipe 2>/dev/null &
    one=$!
    plain_pipe 2>/dev/null &
    two=$!
    for pid in "$one" "$two"; do
      code=0
      wait "$pid" || code=$?
      [[ $code =~ ^(0|3|5|7)$ ]] || fail "exit $code"
    done
  done
  quiet
  run_pipe
  same
}

@test "--max: a first copy in limited pieces ends complete and equal" {
  disk 128M ext4
  run -0 blxtrack run --max 48M "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $IMG"
  run -1 blxapply --status "$IMG"
  for _ in 1 2 3 4; do
    blxtrack run --max 48M "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $IMG"
  done
  quiet
  run_pipe
  run -0 blxapply --status "$IMG"
  same
}

@test "drain --every keeps one pipe open, epoch after epoch" {
  disk 128M ext4
  { timeout -s KILL 60 blxtrack drain --every 1 "$DISK" | blxread | blxpack | blxapply --ack "$IMG" |
    blxtrack commit "$DISK"; } 2>"$T/err" &
  pipe=$!
  epoch=0
  for _ in $(seq 300); do
    epoch=$(blxapply --status --json "$IMG" 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["epoch"] or 0)' 2>/dev/null || echo 0)
    [ "$epoch" -ge 4 ] && break
    sleep 0.1
  done
  [ "$epoch" -ge 4 ]
  pkill -KILL -x -f "blxtrack drain --every 1 $DISK" || true
  wait "$pipe" || true
  quiet
  run_pipe
  same
}

@test "the wire is cut in the middle: the replica still is the previous epoch, byte for byte" {
  disk 128M ext4
  run_pipe
  for cut in 9 200 5000 70000; do
    cp --sparse=always "$IMG" "$T/before.img"
    sleep 0.3
    sync -f "$T/mnt"
    run bash -o pipefail -c "blxtrack drain '$DISK' | blxread | head -c $cut | blxapply --ack '$IMG' | blxtrack commit '$DISK'"
    [ "$status" = 4 ]
    has "cut at byte $cut"
    cmp "$IMG" "$T/before.img"
  done
  quiet
  run_pipe
  same
}

@test "a first copy cut twice goes on where its last ack was" {
  loop_new 400M
  DISK=$DEV
  dd if=/dev/urandom of="$DISK" bs=1M count=400 oflag=direct status=none
  blxtrack start "$DISK" 2>/dev/null
  at=0
  for cut in 150 150; do
    run bash -o pipefail -c "blxtrack drain '$DISK' | blxread | head -c ${cut}M | blxapply --ack '$IMG' | blxtrack commit '$DISK'"
    [ "$status" = 4 ]
    blxtrack drain "$DISK" >"$T/list"
    now=$(sed -n 's/^# cursor: //p' "$T/list")
    [ "$now" -ge $((at + (64 << 20))) ]
    at=$now
  done
  blxtrack drain "$DISK" | blxread >"$T/rest"
  [ "$(stat -c %s "$T/rest")" -lt $((300 << 20)) ]
  run_pipe
  same
}

@test "every stage killed at random moments under load, 200 rounds, then one clean run: equal" {
  disk 128M ext4
  run_pipe
  stages=(blxtrack blxread blxpack blxapply commit)
  for round in $(seq 200); do
    # each stage tells its pid, so that none but ours is killed
    rm -f "$T"/pid.*
    {
      sh -c "echo \$\$ >'$T/pid.blxtrack'; exec blxtrack drain '$DISK'" |
        sh -c "echo \$\$ >'$T/pid.blxread'; exec blxread" |
        sh -c "echo \$\$ >'$T/pid.blxpack'; exec blxpack" |
        sh -c "echo \$\$ >'$T/pid.blxapply'; exec blxapply --ack '$IMG'" |
        sh -c "echo \$\$ >'$T/pid.commit'; exec blxtrack commit '$DISK'"
    } 2>/dev/null &
    pipe=$!
    sleep "0.$(printf %03d $((RANDOM % 160)))"
    victim=${stages[RANDOM % 5]}
    if [ -s "$T/pid.$victim" ]; then
      kill -9 "$(cat "$T/pid.$victim")" 2>/dev/null || true
    fi
    code=0
    wait "$pipe" || code=$?
    [[ $code =~ ^(0|3|4|5|7|137)$ ]] || fail "round $round: $victim killed, exit $code"
  done
  quiet
  run_pipe
  same
}

@test "a stream that comes late or twice changes nothing" {
  disk 128M ext4
  run_pipe
  sync -f "$T/mnt"
  blxtrack drain "$DISK" | blxread >"$T/one"
  blxapply --ack "$IMG" <"$T/one" >"$T/one.ack"
  blxtrack commit "$DISK" <"$T/one.ack"
  sum=$(sha256sum <"$IMG")
  run -0 bash -c "blxapply --ack '$IMG' <'$T/one' | blxtrack commit '$DISK'"
  [ "$sum" = "$(sha256sum <"$IMG")" ]
  sleep 0.2
  run_pipe
  sum=$(sha256sum <"$IMG")
  run -5 blxapply --ack "$IMG" <"$T/one"
  [ "$sum" = "$(sha256sum <"$IMG")" ]
  quiet
  run_pipe
  same
}

# The replica's own file system, on a loop device that can be set back as a whole.
side_up() {
  side=$(losetup --find --show "$T/side.img")
  printf '%s\n' "$side" >>"$T/loops"
  mount "$side" "$T/side"
}

side_down() {
  umount "$T/side"
  losetup -d "$side"
}

@test "a replica set back with its state to an older copy is exit 5 and stays as it is" {
  truncate -s 300M "$T/side.img"
  mkfs.ext4 -q "$T/side.img"
  mkdir "$T/side"
  side_up
  IMG=$T/side/replica.img
  disk 128M ext4
  run_pipe
  side_down
  cp --sparse=always "$T/side.img" "$T/old.img"
  side_up
  run_pipe
  run_pipe
  side_down
  mv "$T/side.img" "$T/new.img"
  mv "$T/old.img" "$T/side.img"
  side_up
  sum=$(sha256sum <"$IMG")
  run -5 run_pipe
  [ "$sum" = "$(sha256sum <"$IMG")" ]
  side_down
  mv "$T/new.img" "$T/side.img"
  side_up
  quiet
  run_pipe
  same
}

@test "an image that alone was swapped for an older copy is exit 5 and stays as it is" {
  disk 128M ext4
  run_pipe
  cp -a --sparse=always "$IMG" "$T/old.img"
  run_pipe
  mv "$T/old.img" "$IMG"
  sum=$(sha256sum <"$IMG")
  run -5 run_pipe
  has "was replaced"
  [ "$sum" = "$(sha256sum <"$IMG")" ]
}

@test "an image that was mounted meanwhile is exit 5" {
  disk 128M ext4
  run_pipe
  quiet
  run_pipe
  mkdir "$T/side"
  mount -o loop "$IMG" "$T/side"
  run -5 run_pipe
  echo changed >"$T/side/by-hand"
  umount "$T/side"
  run -5 run_pipe
  has "changed"
}

@test "another disk's stream is exit 5 and changes nothing" {
  disk 128M ext4
  run_pipe
  loop_new 128M
  blxtrack start "$DEV" 2>/dev/null
  sum=$(sha256sum <"$IMG")
  run -5 blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack $IMG"
  blxtrack stop --force "$DEV"
  [ "$sum" = "$(sha256sum <"$IMG")" ]
}

@test "a block device as replica: allowed once, then equal" {
  disk 64M ext4
  loop_new 80M
  target=$DEV
  export BLX_STATE_DIR=$T/state
  run -5 blxtrack run "$DISK" -- sh -c "blxread | blxapply --ack $target"
  has "--allow init"
  blxapply --allow init "$target"
  for _ in 1 2 3; do
    blxtrack run "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $target"
  done
  quiet
  blxtrack run "$DISK" -- sh -c "blxread | blxpack | blxapply --ack $target"
  cmp -n $((64 << 20)) "$DISK" "$target"
}
