# SPDX-License-Identifier: BSD-2-Clause
# A history that outlives a reboot: save, start --restore. Here the reboot is what a loop device sees of one: it is gone with
# its statistics, the kernel's side and /run/blx with it, and the boot has another id. tests/vm has real ones.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export BLX_STATE_DIR=$BATS_TEST_TMPDIR/lib
  BOOTS=0
  attach
}

teardown() {
  umount mnt 2>/dev/null || true
  blxtrack stop --all --force 2>/dev/null || true
  no_other
  loop_off "$DEV"
  while umount /proc/sys/kernel/random/boot_id 2>/dev/null; do :; done
  umount /sys/firmware 2>/dev/null || true
}

# control REQUEST NUMBER: of /dev/loop-control; 0x4C80 adds a device, 0x4C81 removes it.
control() {
  python3 -c 'import fcntl, os, sys
fcntl.ioctl(os.open("/dev/loop-control", os.O_RDWR), int(sys.argv[1], 0), int(sys.argv[2]))' "$1" "$2" 2>/dev/null
}

# loop_on FILE FIRST LAST: FILE, made if need be, on a loop device that nobody has written to, of a number from FIRST to LAST
# that nobody else took meanwhile. Sets NUMBER.
loop_on() {
  [ -f "$1" ] || truncate -s 64M "$1"
  for NUMBER in $(seq "$2" "$3"); do
    control 0x4C80 "$NUMBER" || continue
    [ -b "/dev/loop$NUMBER" ] || mknod "/dev/loop$NUMBER" b 7 "$NUMBER"
    ! losetup ${SECTOR:+-b $SECTOR} "/dev/loop$NUMBER" "$1" 2>/dev/null || return 0
  done
  fail "no loop device"
}

# loop_off DEV. Where somebody else has taken the number, it stays.
loop_off() {
  losetup -d "$1" 2>/dev/null || return 0
  for _ in $(seq 20); do
    ! control 0x4C81 "${1#/dev/loop}" || return 0
    sleep 0.05
  done
}

# attach: `disk`, as DEV.
attach() {
  loop_on disk $((300 + RANDOM % 500)) 1300
  DEV=/dev/loop$NUMBER
}

# another: `second`, as SECOND, of a higher number than DEV's: what is done to all is done to DEV first.
another() {
  loop_on second $((${DEV#/dev/loop} + 1)) $((${DEV#/dev/loop} + 300))
  SECOND=/dev/loop$NUMBER
}

no_other() {
  [ -z "${SECOND:-}" ] || loop_off "$SECOND"
  SECOND=
}

# Nothing of the kernel is left; what was in flight is not lost.
power_off() {
  umount mnt 2>/dev/null || true
  umount /run/blx 2>/dev/null || true
  rm -rf /sys/fs/bpf/blx*
  loop_off "$DEV"
}

power_on() {
  BOOTS=$((BOOTS + 1))
  echo "boot-$BOOTS" >boot
  umount /proc/sys/kernel/random/boot_id 2>/dev/null || true
  mount --bind boot /proc/sys/kernel/random/boot_id
  attach
}

restart() {
  power_off
  power_on
}

# write_at BLOCK [COUNT]
write_at() {
  dd if=/dev/urandom of="$DEV" bs=4096 seek="$1" count="${2:-1}" oflag=direct conv=notrunc status=none
}

replicate() { # [consumer]
  # shellcheck disable=SC2016 # for the inner shell
  blxtrack run -c "${1:-default}" "$DEV" -- sh -c 'blxread | blxapply --ack "$0"' "${1:-default}.img"
}

# lists CONSUMER RANGE...: a drain lists exactly these.
lists() {
  local consumer=$1
  shift
  run -0 --separate-stderr blxtrack drain -c "$consumer" "$DEV"
  [ "$(grep -v '^#' <<<"$output")" = "$(printf '%s\n' "$@")" ] || fail "$output"
}

same() {
  cmp disk "${1:-default}.img"
}

started() {
  blxtrack start "$DEV" 2>/dev/null
  replicate
}

# lost WORDS: start --restore says why, and nobody gets a list.
lost() {
  run -0 blxtrack start --restore "${RESTORE:-$DEV}" "${@:2}"
  has "its history is lost: "
  has "$1"
  run -6 blxtrack drain "$DEV"
  has "consumer default"
}

kept() {
  run -0 blxtrack start --restore "$DEV"
  has 'its history goes on after epoch'
}

@test "a clean reboot: each consumer goes on where it was" {
  started
  blxtrack consumer add other "$DEV"
  replicate other
  write_at 100 2
  replicate
  write_at 200
  blxtrack drain "$DEV" >/dev/null
  write_at 300
  blxtrack save "$DEV"
  restart
  kept
  lists default '819200 4096' '1228800 4096'
  lists other '409600 8192' '819200 4096' '1228800 4096'
  write_at 400
  lists default '819200 4096' '1228800 4096' '1638400 4096'
  replicate
  replicate other
  same
  same other
  blxtrack save "$DEV"
  restart
  kept
  lists default
  write_at 1
  lists default '4096 4096'
}

@test "block size, label, first copies and pending blocks outlive it" {
  blxtrack start -b 64K --label vault "$DEV" 2>/dev/null
  blxtrack run --max 1M "$DEV" -- sh -c 'blxread | blxapply --ack default.img'
  blxtrack save "$DEV"
  restart
  kept
  run -0 --separate-stderr blxtrack drain "$DEV"
  has '# label: vault'
  has '# block: 65536'
  has '# partial: 1 '
  has '1048576 66060288'
  replicate
  same
}

@test "another number, another order: the device is known by what it is" {
  started
  write_at 7
  blxtrack save "$DEV"
  power_off
  loop_on elsewhere "${DEV#/dev/loop}" "${DEV#/dev/loop}" # somebody else has it now
  taken=$DEV
  power_on
  kept
  lists default '28672 4096'
  loop_off "$taken"
}

@test "a hard reset: the history is lost, and each consumer is told" {
  started
  blxtrack consumer add other "$DEV"
  blxtrack save "$DEV"
  restart
  kept
  write_at 5
  restart
  lost 'has been used up since: the machine went down without'
  run -6 blxtrack drain -c other "$DEV"
  has 'consumer other'
  # what is needed then
  run -0 blxtrack consumer list "$DEV"
  has 'other 0 never lost'
  blxtrack consumer reset default "$DEV"
  lists default '0 67108864'
  blxtrack save "$DEV"
  restart
  kept
  lists default '0 67108864'
}

@test "a save that nobody restores is given up by a plain start" {
  started
  blxtrack save "$DEV"
  restart
  run -0 blxtrack start "$DEV"
  has 'is given up (--restore was not given)'
  write_at 9
  restart
  lost 'has been used up since'
}

@test "nothing saved: tracking begins" {
  run -0 blxtrack start --restore "$DEV"
  has 'nothing was saved of it'
  [[ $output != *lost* ]]
  lists default '0 67108864'
}

@test "what was written before tracking began ends the history" {
  started
  blxtrack save "$DEV"
  restart
  write_at 3000
  lost 'it has been written to since the machine started (8 sectors)'
}

@test "a partition: what is written beside it does not count" {
  addpart "$DEV" 1 2048 8192
  addpart "$DEV" 2 10240 2048
  nodes "${DEV#/dev/}"
  blxtrack start "${DEV}p1" 2>/dev/null
  blxtrack run "${DEV}p1" -- sh -c 'blxread | blxapply --ack default.img'
  dd if=/dev/urandom of="${DEV}p1" bs=4096 seek=7 count=1 oflag=direct status=none
  blxtrack save "${DEV}p1"
  restart
  addpart "$DEV" 1 2048 8192
  addpart "$DEV" 2 10240 2048
  nodes "${DEV#/dev/}"
  dd if=/dev/urandom of="${DEV}p2" bs=4096 count=1 oflag=direct status=none
  run -0 blxtrack start --restore "${DEV}p1"
  [[ $output != *lost* ]] || fail "$output"
  run -0 --separate-stderr blxtrack drain "${DEV}p1"
  [ "$(grep -v '^#' <<<"$output")" = '28672 4096' ]
}

@test "a partition: what is written to its disk may have gone there" {
  addpart "$DEV" 1 2048 8192
  nodes "${DEV#/dev/}"
  blxtrack start "${DEV}p1" 2>/dev/null
  blxtrack run "${DEV}p1" -- sh -c 'blxread | blxapply --ack default.img'
  blxtrack save "${DEV}p1"
  restart
  addpart "$DEV" 1 2048 8192
  nodes "${DEV#/dev/}"
  write_at 1000 # of the disk: in the partition, and in no sample
  run -0 blxtrack start --restore "${DEV}p1"
  has 'it has been written to since the machine started (8 sectors)'
}

@test "mounted read-only before tracking begins: nothing was written" {
  mkfs.ext4 -q "$DEV"
  started
  blxtrack save "$DEV"
  restart
  mkdir -p mnt
  mount -o ro "$DEV" mnt
  kept
  lists default
}

@test "what is named but not needed is used up, too" {
  started
  blxtrack save -o state "$DEV"
  restart
  blxtrack start "$DEV" 2>/dev/null
  run -0 blxtrack start --restore=state "$DEV"
  write_at 9
  restart
  run -0 blxtrack start --restore=state "$DEV"
  has 'has been used up since'
}

@test "statistics that are off prove nothing" {
  started
  blxtrack save "$DEV"
  restart
  echo 0 >"/sys/block/${DEV#/dev/}/queue/iostats"
  lost 'its statistics are off'
}

@test "a disk that was set back is known" {
  started
  write_at 1000 50
  cp disk before
  write_at 1020
  blxtrack save "$DEV"
  power_off
  cp before disk
  power_on
  lost 'it was written to, or set back'
}

# mounted_elsewhere FS: while nothing tracks it, the file system is mounted, a file is written, and it is unmounted.
mounted_elsewhere() {
  "mkfs.$1" -q "$DEV"
  mkdir -p mnt
  started
  blxtrack save "$DEV"
  power_off
  mount -o loop disk mnt
  echo 1 >mnt/file
  umount mnt
  power_on
  lost 'it was written to, or set back'
}

@test "an ext4 that another system has written to is known" {
  mounted_elsewhere ext4
}

@test "an xfs that another system has written to is known" {
  truncate -s 512M disk
  losetup -c "$DEV"
  mounted_elsewhere xfs
}

@test "a btrfs that another system has written to is known" {
  truncate -s 256M disk
  losetup -c "$DEV"
  mounted_elsewhere btrfs
}

@test "a disk that has grown is another one" {
  started
  blxtrack save "$DEV"
  power_off
  truncate -s 65M disk
  power_on
  lost 'it had 67108864 bytes from 0 on'
}

@test "another machine with a copy of everything" {
  mkdir -p firmware
  mount -t tmpfs tmpfs /sys/firmware
  mkdir -p /sys/firmware/devicetree/base
  echo A1 >/sys/firmware/devicetree/base/serial-number
  started
  blxtrack save "$DEV"
  restart
  echo B2 >/sys/firmware/devicetree/base/serial-number
  lost 'it was saved on another machine'
}

@test "a save without a reboot: /run/blx is gone, the boot is the same" {
  power_off
  power_on
  started
  blxtrack save "$DEV"
  umount /run/blx
  run -0 blxtrack stop --all --force
  blockdev --setrw "$DEV"
  lost 'it was saved in this boot'
}

@test "what is saved is read-only, and takes no acks and gives no lists" {
  started
  write_at 8
  blxtrack drain "$DEV" >list
  blxread <list | blxapply --ack default.img >acks
  blxtrack save "$DEV"
  run -1 write_at 9
  has 'not permitted'
  for line in "drain $DEV" "run $DEV -- true" "consumer add more $DEV" "consumer reset default $DEV" "save $DEV" "stop $DEV"; do
    # shellcheck disable=SC2086
    run -7 blxtrack $line
    has "was saved for a reboot; 'blxtrack start $DEV' takes it back"
  done
  run -7 blxtrack commit "$DEV" <acks
  run -7 blxtrack resync "$DEV" <list
  run -0 blxtrack status "$DEV"
  has ': saved'
}

@test "taken back, it goes on, and what was saved is used up" {
  started
  write_at 8
  blxtrack save "$DEV"
  run -0 blxtrack start "$DEV"
  has 'taken back'
  write_at 9
  lists default '32768 8192'
  replicate
  same
  restart
  lost 'has been used up since'
}

@test "a stop by force uses up what was saved" {
  for how in "--force $DEV" "--all --force"; do
    started
    blxtrack save "$DEV"
    # shellcheck disable=SC2086
    blxtrack stop $how
    write_at 9
    restart
    lost 'has been used up since'
    power_off
    rm -rf default.img* lib
    power_on
  done
}

@test "who has it in use is named: exit 7, and nothing is saved" {
  mkfs.ext4 -q "$DEV"
  started
  mkdir mnt
  mount "$DEV" mnt
  run -7 blxtrack save "$DEV"
  has "${DEV#/dev/} is in use: mounted on $PWD/mnt"
  [ ! -e lib/saved ] || [ -z "$(ls lib/saved)" ]
  mount -o remount,ro mnt
  blxtrack save "$DEV"
  run -0 blxtrack start "$DEV"
  has 'taken back'
  umount mnt
  run -7 python3 - "$DEV" <<'P'
import os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)
sys.exit(subprocess.call(['blxtrack', 'save', sys.argv[1]]))
P
  has 'is in use'
}

@test "no room where it is to be saved: exit 3, and the device goes on" {
  started
  write_at 8
  mkdir mnt
  mount -t tmpfs -o size=16k tmpfs mnt
  run -5 blxtrack save -o mnt/state "$DEV"
  has 'lies in memory, which a reboot forgets'
  umount mnt
  truncate -s 2M small
  mkfs.ext4 -q -O ^has_journal small
  mount -o loop small mnt
  dd if=/dev/zero of=mnt/fill bs=4k status=none || true
  run -3 blxtrack save -o mnt/state "$DEV"
  has 'No space left on device'
  [ ! -e mnt/state ]
  write_at 9
  lists default '32768 8192'
}

# on_itself FILE: the file system of the device holds the file, and is mounted read-only.
on_itself() {
  mkfs.ext4 -q "$DEV"
  mkdir -p mnt
  mount "$DEV" mnt
  fallocate -l "${2:-1M}" mnt/state
  sync -f mnt
  umount mnt
  started
  mount -o ro "$DEV" mnt
}

@test "a file on the device itself: only one that was allocated, and what it lies on is sent again" {
  on_itself
  run -5 blxtrack save -o mnt/new "$DEV"
  has 'allocate it before'
  map=$(blxtrack save --map mnt/state)
  [[ $map =~ ^$DEV@[0-9]+\+[0-9]+$ ]]
  blxtrack save -o mnt/state "$DEV"
  restart
  run -0 blxtrack start --restore="$DEV@${map#*@}" "$DEV"
  [[ $output != *lost* ]]
  offset=${map#*@}
  lists default "${offset/+/ }"
  replicate
  same
  # by the same map, once more and then never again
  blxtrack save -o "$DEV@$offset" "$DEV"
  restart
  run -0 blxtrack start --restore="$DEV@$offset" "$DEV"
  [[ $output != *lost* ]]
  restart
  run -0 blxtrack start --restore="$DEV@$offset" "$DEV"
  has 'has been used up since'
}

@test "a file on the device itself that is too small, or has a hole" {
  on_itself mnt/state 16K
  run -3 blxtrack save -o mnt/state "$DEV"
  has 'has room for '
  has ' bytes only'
  run -0 blxtrack status "$DEV"
  has ': tracking'
  umount mnt
  mount "$DEV" mnt
  truncate -s 1M mnt/hole
  run -5 blxtrack save --map mnt/hole
  has 'hole'
  umount mnt
  write_at 4000
  lists default "$(blxtrack drain -n "$DEV" | grep -v '^#')"
}

# gone: what was saved in `state` is not there, or something else is. Not taken back, and still read-only.
gone() {
  run -3 blxtrack start "$DEV"
  has "$PWD/state: $1; put back what was saved there, or 'blxtrack stop --force $DEV' forgets the history"
  run -1 write_at 3000
  run -0 blxtrack status "$DEV"
  has ': saved'
}

@test "a file that was moved away may come back: exit 3 until it is there again" {
  started
  blxtrack save -o state "$DEV"
  mv state other
  gone 'what was saved there is not there any more'
  echo something else >state
  gone 'the saved state is damaged'
  cp other state
  gone 'the saved state was moved here'
  mv other state
  run -0 blxtrack start "$DEV"
  has 'taken back'
  write_at 3000
  restart
  run -0 blxtrack start --restore=state "$DEV"
  has 'has been used up since'
  run -6 blxtrack drain "$DEV"
}

@test "a stop by force forgets what cannot be taken back, and says so" {
  for how in "--force $DEV" "--all --force"; do
    started
    blxtrack save -o state "$DEV"
    mv state other
    # shellcheck disable=SC2086
    run -0 blxtrack stop $how
    has 'is not there any more'
    has "${DEV#/dev/}: its history is forgotten; what was saved of it must never be restored"
    write_at 3000
    run -0 blxtrack start "$DEV"
    lists default '0 67108864'
    blxtrack stop --force "$DEV"
    rm -rf default.img* other
  done
}

@test "a copy is not what was saved" {
  started
  blxtrack save -o state "$DEV"
  cp state other
  blxtrack start "$DEV" 2>/dev/null
  write_at 3000
  restart
  run -0 blxtrack start --restore=other "$DEV"
  has 'its history is lost: '
  has 'the saved state was moved here'
  run -6 blxtrack drain "$DEV"
}

# map_it: a process maps DEV to write, and has no descriptor of it. Sets mapper.
map_it() {
  python3 - "$DEV" >ready <<'P' 3>&- &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 4096)
os.close(fd)
print('ready', flush=True)
time.sleep(60)
P
  mapper=$!
  await grep -q ready ready
}

@test "who has it open to write, mapped, or a loop device on it: exit 7" {
  started
  exec 9<>"$DEV"
  run -7 blxtrack save "$DEV"
  has "${DEV#/dev/} is in use: process $$ (bash) may write to it"
  exec 9>&-
  map_it
  run -7 blxtrack save "$DEV"
  kill $mapper
  has "process $mapper (python3) may write to it"
  on=$(losetup --find --show "$DEV")
  run blxtrack save "$DEV"
  losetup -d "$on"
  [ "$status" = 7 ] || fail "$status: $output"
  has "$on lies on it"
  exec 9<"$DEV"
  blxtrack save "$DEV"
  exec 9>&-
}

# meanwhile WORDS NTH COMMAND SAVE...: the save is stopped when it has written its record for the NTH time, which is before the
# device is read-only. COMMAND has the device in use from then on: it is exit 7 with these words, and the device goes on.
meanwhile() {
  local code=0
  rm -f trace
  # with -D it is the tracer that is the child
  env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" strace -D -o trace -P stored -e trace=renameat \
    -e "inject=renameat:signal=SIGSTOP:when=$2" "${@:4}" 2>said 3>&- &
  saver=$!
  await grep -q 'stopped by SIGSTOP' trace || { kill -KILL $saver; fail "$(cat trace said)"; }
  "$3"
  kill -CONT $saver
  wait $saver || code=$?
  [ $code = 7 ] || fail "exit $code: $(cat said)"
  grep -qx "blxtrack: ${DEV#/dev/} is in use: $1" said || fail "$(cat said)"
  [ "$(grep -c ^blxtrack: said)" = 1 ] || fail "$(cat said)"
  run -0 blxtrack status "$DEV"
  has ': tracking'
}

@test "who comes while it is made read-only is named, too, and what was saved is used up" {
  mkfs.ext4 -q "$DEV"
  started
  meanwhile 'process .* (python3) may write to it' 1 map_it blxtrack save "$DEV"
  kill $mapper
  mkdir mnt
  mount -o ro "$DEV" mnt
  remount_it() {
    mount -o remount,rw mnt
  }
  meanwhile "mounted on $PWD/mnt" 1 remount_it blxtrack save "$DEV"
  umount mnt
  dd if=/dev/zero of="$DEV" bs=1M seek=8 count=1 oflag=direct conv=notrunc status=none
  meanwhile 'process .* (python3) may write to it' 2 map_it blxtrack save -o "$DEV@8388608+1048576" "$DEV"
  kill $mapper
  write_at 1
  restart
  run -0 blxtrack start --restore="$DEV@8388608+1048576" "$DEV"
  has 'has been used up since'
}

@test "what -o names is not overwritten if it holds something else" {
  started
  run -5 blxtrack save -o "$PWD" "$DEV"
  has 'neither a file nor a block device'
  run -2 blxtrack save -o '' "$DEV"
  run -5 blxtrack save -o "$DEV" "$DEV"
  has 'is the device that is to be saved'
  another
  mkfs.ext4 -q "$SECOND"
  run -5 blxtrack save -o "$SECOND" "$DEV"
  has 'holds something else'
  mkdir mnt
  mount "$SECOND" mnt
  run -7 blxtrack save -o "$SECOND" "$DEV"
  has 'is in use'
  umount mnt
  run -0 blxtrack save --pending "$SECOND" "$DEV"
  has "--pending $SECOND: does not lie on ${DEV#/dev/}"
  run -0 blxtrack start "$DEV"
  run -0 blxtrack status "$DEV"
  has ': tracking'
  wipefs -qa "$SECOND"
  dd if=/dev/zero of="$SECOND" bs=4k count=1 status=none
  blxtrack save -o "$SECOND" "$DEV"
  run -0 blxtrack start "$DEV"
  blxtrack save -o "$SECOND" "$DEV"
  restart
  run -0 blxtrack start --restore="$SECOND" "$DEV"
  [[ $output != *lost* ]] || fail "$output"
}

@test "saved state that was moved is no saved state" {
  on_itself
  offset=$(blxtrack save --map mnt/state | sed 's/.*@//')
  blxtrack save -o mnt/state "$DEV"
  restart
  # the same bytes elsewhere on the disk
  at=$((${offset%+*} + 8388608))
  dd if=disk of=disk bs=4096 skip=$((${offset%+*} / 4096)) seek=$((at / 4096)) count=256 conv=notrunc status=none
  run -0 blxtrack start --restore="$DEV@$at+${offset#*+}" "$DEV"
  has 'the saved state was moved here'
}

@test "a partition of the device holds it" {
  addpart "$DEV" 1 2048 8192
  addpart "$DEV" 2 10240 2048
  nodes "${DEV#/dev/}"
  started
  write_at 300
  blxtrack save -o "${DEV}p2" "$DEV"
  restart
  addpart "$DEV" 2 10240 2048
  nodes "${DEV#/dev/}"
  run -0 blxtrack start --restore="${DEV}p2" "$DEV"
  [[ $output != *lost* ]] || fail "$output"
  lists default '1228800 4096' '5242880 1048576'
}

# nodes NAME: of its partitions, where there is no udev.
nodes() {
  local path number
  for path in /sys/class/block/"$1"p*; do
    read -r number <"$path/dev"
    [ -b "/dev/${path##*/}" ] || mknod "/dev/${path##*/}" b "${number%:*}" "${number#*:}"
  done
}

# gpt: a GPT with an EFI system partition at 1 MiB, 2 MiB long.
gpt() {
  echo 'label: gpt
start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=8192, size=8192' | sfdisk -q --no-reread --no-tell-kernel "$DEV"
}

@test "an EFI system partition, and what --pending names, is sent again; a boot loader's place must be known" {
  gpt
  started
  if [ ! -e /boot/grub/grubenv ] && [ ! -e /boot/grub2/grubenv ]; then
    run -2 blxtrack save "$DEV"
    has 'has a boot loader'
    has -- '--pending'
  fi
  addpart "$DEV" 2 8192 8192
  nodes "${DEV#/dev/}"
  blxtrack save --pending "${DEV}p2" "$DEV"
  restart
  kept
  lists default '1048576 2097152' '4194304 4194304'
}

@test "GRUB's environment is sent again" {
  mkfs.ext4 -q -b 4096 "$DEV"
  mkdir -p mnt
  mount "$DEV" mnt
  mkdir -p mnt/grub
  head -c 1024 /dev/zero | tr '\0' '#' >mnt/grub/grubenv
  sync -f mnt
  at=$(blxtrack save --map mnt/grub/grubenv 2>/dev/null | sed 's/.*@\([0-9]*\)+.*/\1/')
  umount mnt
  started
  mount -o ro "$DEV" mnt
  mkdir -p "$BATS_TEST_TMPDIR/boot-dir"
  mount --bind mnt /boot
  blxtrack save "$DEV" || { umount /boot; false; }
  umount /boot
  restart
  kept
  lists default "$at 4096"
}

@test "the saved state of another device is left alone: exit 5" {
  started
  blxtrack save -o state "$DEV"
  restart
  another
  cp state before
  run -5 blxtrack start --restore=state "$SECOND"
  has 'was saved of another device'
  cmp state before
  run -5 blxtrack drain "$SECOND"
}

@test "saved state that is damaged anywhere is never taken for less" {
  started
  write_at 100
  write_at 2000
  blxtrack save -o state "$DEV"
  size=$(stat -c %s state)
  cp state whole
  n=0
  for at in 0 3 8 9 16 24 33 41 47 4096 4100 4104 4200 $((size / 2)) $((size - 4097)) cut empty; do
    cp whole state
    case $at in
      cut) truncate -s $((size - 4096)) state ;;
      empty) truncate -s 0 state ;;
      *) python3 -c 'import sys
f = open("state", "r+b"); at = int(sys.argv[1]); f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 0x10]))' "$at" ;;
    esac
    restart
    run -0 blxtrack start --restore=state "$DEV"
    has 'its history is lost: '
    run -6 blxtrack drain "$DEV"
    n=$((n + 1))
  done
  [ $n = 17 ]
  cp whole state
  restart
  run -0 blxtrack start --restore=state "$DEV"
  lists default '409600 4096' '8192000 4096'
}

@test "an incomplete history is saved as such: exit 6, and the consumers are told after the reboot" {
  started
  blxtrack consumer add other "$DEV"
  truncate -s 32M disk
  losetup -c "$DEV"
  run -6 blxtrack save "$DEV"
  has 'it shrank'
  restart
  lost 'it was incomplete when it was saved: it shrank'
  run -6 blxtrack drain -c other "$DEV"
}

# covers BLOCK...: the list has them.
covers() {
  local at
  for at; do
    awk -v at=$((at * 4096)) '!/^#/ && $1 <= at && at < $1 + $2 { found = 1 } END { exit !found }' list || fail "$at is not listed"
  done
}

@test "a device whose history is not whole hides nothing of another that is saved with it" {
  another
  started
  blxtrack start "$SECOND" 2>/dev/null
  blxtrack run "$SECOND" -- sh -c 'blxread | blxapply --ack second.img'
  truncate -s 32M disk
  losetup -c "$DEV"
  run -6 blxtrack drain "$DEV"
  dd if=/dev/urandom of="$SECOND" bs=4096 seek=500 count=1 oflag=direct status=none
  run -6 blxtrack save --all
  has 'it shrank'
  power_off
  no_other
  power_on
  another
  run -0 blxtrack start --restore "$SECOND"
  [[ $output != *lost* ]] || fail "$output"
  blxtrack drain "$SECOND" >list
  covers 500

  truncate -s 16M disk
  losetup -c "$DEV"
  blxtrack start "$DEV" 2>/dev/null
  truncate -s 8M disk
  losetup -c "$DEV"
  rm -f /sys/fs/bpf/blx/*/link-complete_? /sys/fs/bpf/blx/*/link-issue
  dd if=/dev/urandom of="$SECOND" bs=4096 seek=700 count=1 oflag=direct status=none
  run -6 blxtrack save --all
  power_off
  no_other
  power_on
  another
  run -0 blxtrack start --restore "$SECOND"
  has 'it was incomplete when it was saved: a tracking program was detached'
  run -6 blxtrack drain "$SECOND"
}

@test "a start that was interrupted is saved as an incomplete history" {
  started
  sed -i 's/^starting: 0/starting: 1/' /run/blx/*:*/state
  reseal /run/blx/*:*/state
  run -6 blxtrack save "$DEV"
  restart
  lost "it was incomplete when it was saved: 'blxtrack start' was interrupted"
}

@test "a partition that is held to write, while another is mounted read-only" {
  addpart "$DEV" 1 2048 32768
  addpart "$DEV" 2 40960 32768
  nodes "${DEV#/dev/}"
  mkfs.ext4 -q "${DEV}p1"
  started
  mkdir mnt
  mount -o ro "${DEV}p1" mnt
  run -7 python3 - "$DEV" <<'P'
import os, subprocess, sys
fd = os.open(sys.argv[1] + 'p2', os.O_RDWR | os.O_EXCL)
sys.exit(subprocess.call(['blxtrack', 'save', sys.argv[1]]))
P
  has "${DEV#/dev/}p2 is in use"
  blxtrack save "$DEV"
  umount mnt
}

@test "taken back where what was saved cannot be reached: exit 3, and it stays read-only" {
  started
  mkdir away
  mount -t tmpfs -o mode=755 tmpfs away
  truncate -s 16M away/image
  mkfs.ext4 -q away/image
  mkdir disk.mnt
  mount -o loop away/image disk.mnt
  (cd disk.mnt && blxtrack save -o state "$DEV")
  umount disk.mnt
  run -3 blxtrack start "$DEV"
  has "$PWD/disk.mnt/state: what was saved there cannot be used up"
  run -1 dd if=/dev/zero of="$DEV" bs=4096 count=1 oflag=direct
  mount -o loop away/image disk.mnt
  run -0 blxtrack start "$DEV"
  has 'taken back'
  write_at 500
  restart
  run -0 blxtrack start --restore=disk.mnt/state "$DEV"
  has 'has been used up since'
  umount disk.mnt away
}

@test "what lies on the device itself and cannot be used up: exit 3, and it is read-only again" {
  started
  blxtrack save -o "$DEV@8388608+1048576" "$DEV"
  run -3 strace -o trace -P "$DEV" -e trace=pwrite64 -e inject=pwrite64:error=EIO blxtrack start "$DEV"
  has 'write at 0: Input/output error'
  run -1 write_at 500
  run -0 blxtrack start "$DEV"
  has 'taken back'
  write_at 500
}

@test "what a killed restore left is not what a later save keeps" {
  started
  write_at 600
  blxtrack save "$DEV"
  restart
  run "${BLX_BUILD:-$TOP/build}/tools/inject" -n 1 -e unlinkat -f kill -o report -- blxtrack start --restore "$DEV"
  grep -q ^struck report
  [ -n "$(find /run/blx -name saved.state)" ]
  blxtrack start "$DEV"
  for i in 1 2 3; do
    write_at "$i"
    replicate
  done
  blxtrack save "$DEV"
  restart
  kept
  write_at 500
  lists default '2048000 4096'
}

@test "a restore that fails uses it up, too: no room for it, or it cannot be read" {
  started
  blxtrack save "$DEV"
  restart
  another
  blxtrack start "$SECOND" 2>/dev/null
  mount -o "remount,size=$((256 + $(df --output=used -k /run/blx | tail -n 1)))k" /run/blx
  dd if=/dev/zero of=/run/blx/fill bs=4k 2>/dev/null || true
  run -3 blxtrack start --restore "$DEV"
  has 'saved state: unpack: No space left on device'
  no_other
  restart
  lost 'has been used up since'
  blxtrack consumer reset default "$DEV"
  blxtrack save -o state "$DEV"
  restart
  # its first page can be read, what is behind it cannot
  run -3 strace -o trace -P state -e trace=pread64 -e inject=pread64:error=EIO:when=2 blxtrack start --restore=state "$DEV"
  has "state: read at 4096: Input/output error"
  restart
  run -0 blxtrack start --restore=state "$DEV"
  has 'has been used up since'
}

# given_up STATUS WORDS COMMAND...: which tracks nothing, so that the next boot must not find what was saved of DEV.
given_up() {
  run "-$1" "${@:3}"
  has "$2"
  has "${DEV#/dev/}: what 'blxtrack save' kept of it is given up, as nothing tracks it"
  write_at 3000
  restart
}

@test "where tracking cannot begin what was saved is given up" {
  local refused=(strace -o trace -e trace=bpf -e inject=bpf:error=EPERM) # by the kernel: any program
  started
  blxtrack save "$DEV"
  restart
  given_up 3 'Operation not permitted' "${refused[@]}" blxtrack start --restore "$DEV"
  lost 'has been used up since'
  blxtrack save -o state "$DEV"
  restart
  given_up 3 'Operation not permitted' "${refused[@]}" blxtrack start --restore=state "$DEV"
  run -0 blxtrack start --restore=state "$DEV"
  has 'has been used up since'
  # neither is what is named beside a device that cannot be tracked, or is not there
  truncate -s 0 second
  another
  for beside in "$SECOND" "$PWD/gone"; do
    blxtrack save "$DEV"
    restart
    given_up 5 "${beside##*/}" blxtrack start --restore "$DEV" "$beside"
    lost 'has been used up since'
  done
}

@test "a wrong command line gives up nothing" {
  started
  blxtrack save "$DEV"
  power_off
  SECTOR=4096 power_on
  run -2 blxtrack start --restore -b 512 "$DEV"
  restart
  kept
}

@test "what is in the usual place is given up when another file is restored" {
  started
  blxtrack consumer add --now other "$DEV"
  blxtrack save "$DEV"
  restart
  run -0 blxtrack start --restore=none "$DEV"
  has 'in the usual place is given up'
  write_at 500
  restart
  lost 'has been used up since'
  run -6 blxtrack drain -c other "$DEV"
}

@test "what was saved of a history that is not whole is taken back, too" {
  started
  truncate -s 32M disk
  losetup -c "$DEV"
  run -6 blxtrack save "$DEV"
  run -0 blxtrack start "$DEV"
  has 'taken back'
  write_at 1
  blxtrack consumer reset default "$DEV"
}

@test "a write that only seems to be in flight is no reason to save nothing" {
  started
  # as one is left whose completion no program saw: two sectors at block 257
  # shellcheck disable=SC2046
  bpftool map update pinned /sys/fs/bpf/blx/4/map-flights key 77 0 0 0 value 1 0 0 0 0 0 0 0 8 8 0 0 0 0 0 0 2 0 0 0 \
    $(python3 -c 'import sys; print(*int(sys.argv[1]).to_bytes(4, "little"))' "$(sed -n 's/^slot: //p' /run/blx/*:*/state)")
  write_at 600
  blxtrack save "$DEV"
  restart
  kept
  lists default '1052672 4096' '2457600 4096'
}

# inject N COMMAND...: killed at its Nth system call that changes something. False: it has not so many.
inject() {
  local n=$1
  shift
  "${BLX_BUILD:-$TOP/build}/tools/inject" -n "$n" -f kill -o report -- "$@" >/dev/null 2>&1 || true
  grep -q ^struck report
}

# killed_before_reboot COMMAND...: prepare, the command killed at so many of its places, a power cut; then what was written is
# listed, or the history is lost. STEP=1 tries all of them.
killed_before_reboot() {
  local step=${STEP:-40} n what tried=0
  n=$((RANDOM % step + 1 - step))
  while :; do
    n=$((n + step))
    power_off
    rm -rf lib default.img*
    power_on
    prepare
    inject $n "$@" "$DEV" || break
    # the machine goes on for a while, or it does not
    if [ $((n % 2)) = 0 ]; then
      blxtrack start "$DEV" 2>/dev/null
      write_at 700
    fi
    restart
    blxtrack start --restore "$DEV" 2>/dev/null
    what=lost
    if blxtrack drain "$DEV" >list 2>/dev/null; then
      what=kept
      covers 600
      [ $((n % 2)) = 1 ] || covers 700
    fi
    echo "$what" >>outcomes
    tried=$((tried + 1))
  done
  echo "# $tried of $(sed 's/passed //' report) places: $(sort outcomes | uniq -c | xargs)" >&3
  [ $tried -gt 3 ]
}

@test "save, killed, and then the power is cut" {
  prepare() {
    started
    write_at 600
  }
  killed_before_reboot blxtrack save
}

@test "start --restore, killed, and then the power is cut" {
  prepare() {
    started
    write_at 600
    blxtrack save "$DEV"
    restart
  }
  killed_before_reboot blxtrack start --restore
}
