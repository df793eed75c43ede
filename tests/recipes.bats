# SPDX-License-Identifier: BSD-2-Clause
# docs/recovery.md: each case is caused, and its lines are run as they are printed.

load lib
# shellcheck source=demo/sshd.sh
. "$TOP/demo/sshd.sh"

PAGE=$TOP/docs/recovery.md

setup_file() {
  sshd_start "$BATS_FILE_TMPDIR/ssh" "$PATH"
  export SSHD_PID
  # Lines say `ssh $HOST`; this ssh knows who that is.
  mkdir "$BATS_FILE_TMPDIR/bin"
  printf '#!/bin/sh\nexec /usr/bin/ssh -F %s/ssh/config "$@"\n' "$BATS_FILE_TMPDIR" >"$BATS_FILE_TMPDIR/bin/ssh"
  chmod +x "$BATS_FILE_TMPDIR/bin/ssh"
}

teardown_file() {
  sshd_stop
}

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  PATH=$BATS_FILE_TMPDIR/bin:$PATH
  loop_new 16M
  export DISK=$DEV HOST=backup REPLICA=$PWD/replica.img
  dd if=/dev/urandom of="$DISK" bs=1M count=4 oflag=direct status=none
  blxtrack start "$DISK" 2>/dev/null
  line
}

teardown() {
  blxtrack stop --force "${PRIMARY:-$DISK}" 2>/dev/null || true
  blxtrack stop --force "$DISK" 2>/dev/null || true
  umount mnt 2>/dev/null || true
  loops_done
}

# recipe NAME: the block of that name, as printed.
recipe() {
  awk -v name="recovery:$1" '/^```/ { on = $2 == name; next } on' "$PAGE" >"recipe-$1"
  [ -s "recipe-$1" ] || fail "docs/recovery.md has no recovery:$1"
  cat "recipe-$1"
}

# cook NAME: run it, and stop at the first line that fails.
cook() {
  sh -ec "$(recipe "$1")"
}

# The line that cron runs.
line() {
  blxtrack run "$DISK" -- sh -c 'blxread | blxpack | ssh $HOST blxapply --ack $REPLICA'
}

write_at() { # BLOCK [DEVICE]
  dd if=/dev/urandom of="${2:-$DISK}" bs=4096 seek="$1" count=1 oflag=direct conv=notrunc status=none
}

# stops STATUS WORDS: the line ends so, more than once, and changes nothing; the page has the words.
stops() {
  write_at 100
  run line
  [ "$status" = "$1" ] || fail "exit $status: $output"
  has "$2"
  run line
  [ "$status" = "$1" ] || fail "exit $status: $output"
  grep -qF "$2" "$PAGE" || fail "the page does not have: $2"
}

# The replica is the disk, and the line goes on.
mended() {
  cmp <(dd if="$DISK" bs=1M iflag=direct status=none) "$REPLICA"
  write_at 200
  line
  cmp <(dd if="$DISK" bs=1M iflag=direct status=none) "$REPLICA"
}

# As after a boot: the kernel side and its state are gone, and writes went unseen.
reboot() {
  blxtrack stop --force "$DISK"
  write_at 300
}

# Flip one bit of the replica, behind everybody's back: on the disk below its file system.
rot() { # OFFSET; the replica is on the file system of disk `below`, mounted at mnt
  local at
  at=$(filefrag -b1 -e mnt/replica.img | awk -v o="$1" -F '[ .:]+' '
    $2 ~ /^[0-9]+$/ && $3 <= o && o <= $4 { print $5 + o - $3; exit }')
  umount mnt
  printf '\377' | dd of=below bs=1 seek="$at" conv=notrunc status=none
  mount -o loop below mnt
}

# The replica moves to a file system of its own, and is zero at 2 MiB.
on_its_own() {
  truncate -s 64M below
  mkfs.ext4 -q below
  mkdir mnt
  mount -o loop below mnt
  dd if=/dev/zero of="$DISK" bs=4096 seek=512 count=1 oflag=direct conv=notrunc status=none
  printf 'not zero' | dd of="$DISK" bs=4096 seek=512 count=1 conv=sync,notrunc oflag=direct status=none
  export REPLICA=$PWD/mnt/replica.img
  blxtrack consumer reset default "$DISK"
}

@test "every block of the page is run by a test" {
  for name in $(sed -n 's/^```[a-z_]* recovery://p' "$PAGE"); do
    grep -qE "(cook|recipe) ($name)\b" "$BATS_TEST_FILENAME" || fail "recovery:$name is not run"
  done
}

@test "6: writes may have gone unseen" {
  rm /sys/fs/bpf/blx/4/link-*
  stops 6 'tracking is incomplete'
  cook begin-again
  stops 6 'the history that consumer'
  cook differences
  mended
}

@test "6: the state is gone while the kernel still tracks" {
  umount /run/blx
  stops 6 '/run/blx is gone while the kernel still tracks'
  run -6 blxtrack status
  run -2 blxtrack status --check
  has 'BLX CRITICAL - /run/blx is gone'
  cook nothing-is-left
  cook differences
  mended
}

@test "6: the disk shrank: everything" {
  truncate -s 8M "$FILE"
  losetup -c "$DISK"
  stops 6 'tracking is incomplete'
  cook begin-again
  run -4 cook differences
  has 'is shorter (8388608) than what it is compared with (16777216)'
  cook everything
  mended
}

@test "a machine that was set back" {
  cp "$FILE" before
  write_at 5
  line
  dd if=before of="$DISK" bs=1M oflag=direct conv=notrunc status=none # its writes belong to a time that is no more
  cook set-back
  cook differences
  mended
}

@test "5 at the source: booted" {
  reboot
  run -5 line
  has "is not tracked: run 'blxtrack start' first"
  grep -qF "is not tracked: run 'blxtrack start' first" "$PAGE"
  cook begin-again
  cook differences
  mended
}

@test "5 at the source: another disk under the number" {
  blxtrack drain "$DISK" >list
  losetup -d "$DISK"
  truncate -s 16M other
  losetup "$DISK" other
  run -5 blxread <list
  has 'not the device of the list'
  grep -qF 'not the device of the list' "$PAGE"
  stops 6 'tracking is incomplete'
  cook begin-again
  cook differences
  mended
}

@test "5 at the source: a comparison that is not safe to go by" {
  reboot
  blxsum --tree "$DISK" -- blxsum --serve "$REPLICA" >early
  cook begin-again
  run -5 blxtrack resync "$DISK" <early
  has 'the comparison began when the device was not tracked'
  cook differences
  mended
}

@test "5 at the replica: another lineage" {
  reboot
  cook begin-again
  stops 5 'wrong lineage'
  cook differences
  mended
}

@test "5 at the replica: exchanged for an older copy" {
  cp -a replica.img older.img
  cp -a replica.img.blx older.blx
  write_at 6
  line
  # As a backup of the replica's disk that is put back: the same inode, its record and times.
  cat older.img >replica.img
  cp older.blx/state replica.img.blx/state
  stops 5 'the image was changed'
  cook differences
  mended
}

@test "5 at the replica: a stream that comes late" {
  blxtrack drain "$DISK" | blxread >late
  write_at 6
  line
  run -5 blxapply "$REPLICA" <late
  has 'wrong base'
}

@test "5 at the replica: set back to an earlier time, its record too" {
  on_its_own
  line
  umount mnt
  cp below earlier
  mount -o loop below mnt
  write_at 6
  line
  umount mnt
  cp earlier below
  mount -o loop below mnt
  stops 5 'wrong base'
  cook differences
  mended
  umount mnt
}

@test "5 at the replica: changed by somebody else" {
  printf x | dd of="$REPLICA" bs=1 seek=5000 conv=notrunc status=none
  stops 5 'the image was changed'
  cook differences
  mended
}

@test "5 at the replica: copied to a new place" {
  cp replica.img new.img
  export REPLICA=$PWD/new.img
  stops 5 'exists and is no replica'
  cook differences
  mended
}

@test "5 at the replica: its record is damaged" {
  truncate -s -1 replica.img.blx/state
  stops 5 'state of the replica'
  cook differences
  mended
}

@test "5 at the replica: adopted, and the rest not done" {
  printf x | dd of="$REPLICA" bs=1 seek=5000 conv=notrunc status=none
  ssh $HOST blxapply --allow resync "$REPLICA"
  stops 5 'adopted: only a resync of it fits'
  cook differences
  mended
}

@test "5 at the replica: permission not given" {
  reboot
  cook begin-again
  blxsum --tree "$DISK" -- ssh $HOST blxsum --serve "$REPLICA" | blxtrack resync "$DISK"
  stops 5 'a resync needs permission once'
  cook differences
  mended
}

@test "5 at the replica: another one was compared" {
  cp replica.img other.img
  blxapply --allow resync other.img
  reboot
  cook begin-again
  blxsum --tree "$DISK" -- ssh $HOST blxsum --serve "$PWD/other.img" | blxtrack resync "$DISK"
  blxapply --allow resync "$REPLICA"
  stops 5 'wrong replica'
  cook differences
  mended
}

@test "5 at the replica: it is gone" {
  rm replica.img
  stops 5 'the image is gone'
  cook new-copy
  mended
  rm -r replica.img replica.img.blx
  stops 5 'no replica here, and the stream holds only changes'
  cook new-copy
  mended
}

@test "5 at the replica: in use" {
  losetup --find --read-only "$REPLICA"
  stops 5 'in use'
  cook let-go
  line
  mended
}

@test "5 at the replica: promoted by mistake" {
  blxapply --promote "$REPLICA"
  stops 5 'was promoted on'
  cook differences
  mended
}

@test "a copy is kept before the only good one is overwritten" {
  cp replica.img good
  reboot
  cook begin-again
  cook keep
  cook differences
  mended
  cmp good replica.img.kept-*
}

@test "a key that can only be compared with" {
  options=$(recipe key)
  [[ $options == *'"blxsum --serve /srv/vda.img"'* ]]
  command=${options#*\"} command=${command%%\"*}
  reboot
  cook begin-again
  blxapply --allow resync "$REPLICA"
  blxsum --tree "$DISK" -- ${command//\/srv\/vda.img/$REPLICA} | blxtrack resync "$DISK"
  line
  mended
}

@test "is it right? compared at rest, and while the source is written" {
  run -0 cook compare
  run -0 cook verify
  [ "$(grep -vc '^#' <<<"$output")" = 0 ]
  write_at 9
  run -1 cook compare
}

@test "a replica that rots is found out, and healed, from the source's side" {
  on_its_own
  line
  rot 2097200
  run -0 cook heal
  blxtrack drain "$DISK" | grep -qx '2097152 4096'
  line
  cmp <(dd if="$DISK" bs=1M iflag=direct status=none) "$REPLICA"
  umount mnt
}

@test "a replica that rots is found out, and healed, by its own digests" {
  on_its_own
  blxtrack run "$DISK" -- sh -c 'blxread | blxapply --ack --digests $REPLICA'
  run -0 cook scrub
  [ -z "$output" ]
  rot 2097200
  run -1 cook scrub
  has 2097152
  cook scrub-heal
  cmp <(dd if="$DISK" bs=1M iflag=direct status=none) "$REPLICA"
  run -0 cook scrub
  umount mnt
}

@test "failback: the primary dies, the replica is used, the old primary comes back and is the primary again" {
  local old=$DISK script
  # The primary dies with writes that nobody sent.
  reboot
  # cron goes on at the old primary, whatever happens
  blxtrack start "$old" 2>/dev/null
  PRIMARY=$(sh -ec "$(recipe promote)"'; echo $PRIMARY')
  export PRIMARY
  echo "$PRIMARY" >>loops
  run -6 line || run -5 line
  mkfs.ext4 -qF "$PRIMARY"
  mkdir mnt
  mount "$PRIMARY" mnt
  echo 'written on the replica' >mnt/file
  [ "$(DISK=$old line >/dev/null 2>&1; echo $?)" = 5 ]
  # The old primary's disk becomes the replica.
  export NEWDISK=$old
  cook failback
  echo more >mnt/more
  sync -f mnt
  DISK=$old run line
  [ "$status" != 0 ]
  umount mnt
  script=$(recipe switch-back)
  sh -ec "$script"
  sed -i '$d' loops
  # Roles are back.
  [ "$(DISK=$old line >/dev/null 2>&1; echo $?)" = 5 ]
  mount "$old" mnt
  [ "$(cat mnt/file mnt/more)" = $'written on the replica\nmore' ]
  echo 'and on' >>mnt/file
  umount mnt
  cook begin-again
  cook differences
  mended
}
