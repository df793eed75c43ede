#!/bin/bash
# The main job, shown: a 1 GiB disk with ext4 is replicated over ssh while it is written to. Needs root. Takes about half
# a minute, uses up to 2.5 GiB below TMPDIR (/var/tmp), and leaves nothing behind, also when it is interrupted.
# Environment: BLX_BIN, the programs; ROUNDS, increments (15).
set -u -o pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
bin=${BLX_BIN:-$here/../build/bin}
PATH=$bin:/usr/sbin:/sbin:$PATH
export PATH LC_ALL=C
# shellcheck source=demo/sshd.sh
. "$here/sshd.sh"

rounds=${ROUNDS:-15}
disk='' tracked='' mounted='' look='' workload='' SSHD_PID=''

say() {
  printf '\n== %s\n' "$*"
}

die() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}

clean_up() {
  trap '' INT TERM
  touch "$dir/stop"
  [ -z "$workload" ] || wait "$workload" 2>/dev/null
  [ -z "$look" ] || umount "$dir/look"
  [ -z "$mounted" ] || umount "$dir/disk"
  [ -z "$tracked" ] || blxtrack stop --force "$disk" 2>/dev/null
  [ -z "$disk" ] || losetup -d "$disk"
  sshd_stop
  rm -rf "$dir"
}

[ "$(id -u)" = 0 ] || die "needs root, for a loop device and for tracking"
dir=$(mktemp -d -p "${TMPDIR:-/var/tmp}" blx-demo.XXXXXX) || exit 1
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_disk() {
  truncate -s 1G "$dir/disk.img"
  disk=$(losetup --find --show "$dir/disk.img") || die "no loop device"
  mkdir "$dir/disk"
  mkfs.ext4 -q "$disk" || die "no file system"
  mount -o discard "$disk" "$dir/disk" || die "it does not mount"
  mounted=1
  head -c 96M /dev/urandom >"$dir/disk/random"
  seq 12000000 >"$dir/disk/numbers"
  sync -f "$dir/disk"
}

# The far side: a real sshd on loopback if there is one, else the same command here.
connect() {
  far=(sh -c)
  where='(no sshd to be had: the receiver runs without ssh)'
  if sshd_start "$dir/ssh" "$PATH" && ssh -F "$dir/ssh/config" backup true 2>/dev/null; then
    far=(ssh -F "$dir/ssh/config" backup)
    where='through sshd on loopback'
  fi
}

now_ms() {
  echo $(($(date +%s%N) / 1000000))
}

# One epoch: the line of the README, with a list and a stream kept to count.
replicate() {
  local begun epoch changed sent
  begun=$(now_ms)
  blxtrack drain "$disk" | tee "$dir/list" | blxread | blxpack | tee "$dir/stream" |
    "${far[@]}" "blxapply --ack $dir/replica.img" | blxtrack commit "$disk" || return
  took=$(($(now_ms) - begun))
  epoch=$(sed -n 's/^# epoch: \([0-9]*\) .*/\1/p' "$dir/list")
  changed=$(sed -n 's/^# end: [0-9]* //p' "$dir/list")
  sent=$(stat -c %s "$dir/stream")
  total_changed=$((total_changed + changed)) total_sent=$((total_sent + sent))
  awk -v e="$epoch" -v c="$changed" -v s="$sent" -v t="$took" 'BEGIN {
    printf "%5d %9.2f MiB %9.2f MiB %8.1f %7.2f s\n", e, c / 1048576, s / 1048576, c / s, t / 1000 }'
}

# seconds_left BEGUN_MS: until a second after it, for sleep.
seconds_left() {
  local ms=$(($1 + 1000 - $(now_ms)))
  [ $ms -gt 0 ] || ms=0
  printf '%d.%03d' $((ms / 1000)) $((ms % 1000))
}

verify() {
  say "replica and disk compared"
  cmp "$disk" "$dir/replica.img" || die "the replica differs"
  echo "cmp: $(blockdev --getsize64 "$disk") bytes, all equal"
  e2fsck -fn "$dir/replica.img" 2>&1 | tail -n 1
  [ "${PIPESTATUS[0]}" = 0 ] || die "e2fsck found errors"
  mkdir "$dir/look"
  mount -o ro,loop,noload "$dir/replica.img" "$dir/look" || die "the replica does not mount"
  look=1
  found=$(sqlite3 "file:$dir/look/app.db?immutable=1" 'pragma integrity_check; select count(*) from event')
  echo "sqlite3 on the replica: integrity ${found%$'\n'*}, ${found#*$'\n'} rows (the source had $rows)"
  [ "$found" = "ok"$'\n'"$rows" ] || die "the database is not what it was"
}

total_changed=0 total_sent=0 slowest=0
say "a disk of 1 GiB with ext4, tracked"
make_disk
connect
blxtrack start "$disk" || die "tracking does not start"
tracked=1
"$here/workload.sh" "$dir/disk" &
workload=$!

say "first copy and $rounds increments $where, under load"
echo 'epoch       changed          sent    ratio      time'
replicate || die "the first copy failed"
for ((i = 0; i < rounds; i++)); do
  begun=$(now_ms)
  replicate || die "an increment failed"
  [ "$took" -le "$slowest" ] || slowest=$took
  sleep "$(seconds_left "$begun")"
done

say "the load ends; the disk is unmounted; one more"
touch "$dir/stop"
wait "$workload"
workload=
rows=$(sqlite3 "$dir/disk/app.db" 'select count(*) from event')
umount "$dir/disk" || die "umount"
mounted=
replicate || die "the last increment failed"
verify

say "shown"
awk -v n="$rounds" -v c="$total_changed" -v s="$total_sent" -v t="$slowest" 'BEGIN {
  printf "A live disk was copied and followed by %d increments while files, fio and a database wrote to it.\n", n
  printf "%.1f MiB had changed, %.1f MiB were sent; the slowest increment took %.2f s.\n", c / 1048576, s / 1048576, t / 1000
  print "In the end the replica was the disk, byte for byte; its file system and its database are sound." }'
