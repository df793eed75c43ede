# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# What every script here is given: disks, stacks, and the checks that each stack must pass.
set -u
tools=/mnt/tests/tools
err=/tmp/err
fails=0
short=${SHORT:-} # 1: less load
trap 'code=$?; [ $fails = 0 ] || exit 1; [ $code = 0 ] || exit 101' EXIT # 101: it died

# row STACK CHECK RESULT: a cell of the table; RESULT is `ok`, `- why` where there is nothing to test, else a failure.
row() {
  printf 'row\t%s\t%s\t%s\n' "$1" "$2" "$3"
  echo "# after $SECONDS s"
  case $3 in
    ok | '- '*) ;;
    *) fails=$((fails + 1)) ;;
  esac
}

# The last words of a command that failed.
words() {
  tail -n 2 "$err" | tr '\n\t' '  '
}

# expect STACK CHECK STATUS WORDS COMMAND...: the exit status, and words on either output.
expect() {
  local stack=$1 check=$2 want=$3 text=$4 code=0
  shift 4
  "$@" >$err 2>&1 || code=$?
  if [ "$code" = "$want" ] && { [ -z "$text" ] || grep -qF -- "$text" $err; }; then
    row "$stack" "$check" ok
  else
    row "$stack" "$check" "exit $code, not $want: $(words)"
  fi
}

# need STACK MODULE...: end here where this kernel has no such module.
need() {
  local m stack=$1
  shift
  for m; do
    if ! modprobe -n -q -d /mnt/kernel/base "$m"; then
      row "$stack" modules "- no $m"
      exit 0
    fi
  done
}

# Is this kernel at least so new? since 6.3
since() {
  [ "$(printf '%s\n%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]
}

# await COMMAND...: until it succeeds, for 20 seconds.
await() {
  local end=$((SECONDS + 20))
  until "$@" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || return
    sleep 0.1
  done
}

# disks_with SERIAL: the devices with that serial number (see `disks`).
disks_with() {
  local d serial hidden
  for d in /sys/block/{vd,nvme,sd}*; do
    serial='' hidden=0
    [ ! -e "$d/hidden" ] || read -r hidden <"$d/hidden"
    if [ -e "$d/serial" ]; then
      read -r serial <"$d/serial"
    elif [ -e "$d/device/serial" ]; then
      read -r serial <"$d/device/serial"
    elif [ -e "$d/device/vpd_pg80" ]; then
      serial=$(tail -c +5 "$d/device/vpd_pg80" | tr -d '\0 ')
    fi
    [ "$serial" != "$1" ] || [ "$hidden" = 1 ] || echo "/dev/${d##*/}"
  done
}

# disk SERIAL: the first of them.
disk() {
  local all
  all=$(disks_with "$1")
  echo "${all:-/dev/no-disk-$1}" | head -n 1
}

# members N: that many empty disks of 32 MiB in m1, m2...
members() {
  local i
  for i in $(seq "$1"); do
    printf -v "m$i" %s "$(disk "m$i")"
    blkdiscard -z -f "$(disk "m$i")" 2>$err
  done
}

sectors() {
  blockdev --getsz "$1"
}

# dm NAME TABLE: /dev/mapper/NAME
dm() {
  echo "$2" | dmsetup create "$1" 2>$err || { row "$1" make "$(words)"; exit; }
  dmsetup mknodes "$1"
}

# unmade NAME: stop tracking and remove.
unmade() {
  blxtrack stop --force "/dev/mapper/$1" 2>/dev/null
  dmsetup remove "$1"
}

# node NAME...: device nodes of disks or partitions, where devtmpfs has none yet.
nodes() {
  local number path
  for path in /sys/class/block/"$1"*; do
    number=$(cat "$path/dev" 2>/dev/null) || continue
    [ -b "/dev/${path##*/}" ] || mknod "/dev/${path##*/}" b "${number%:*}" "${number#*:}"
  done
}

begin() {
  if ! blxtrack start "$2" 2>$err; then
    row "$1" start "$(words)"
    return 1
  fi
}

# listed CONSUMER DEV LOG [START [atleast]]: what a drain lists is what the log says.
listed() {
  local size
  size=$(blockdev --getsize64 "$2")
  blxtrack drain -c "$1" "$2" >"/tmp/list.$1" 2>$err &&
    python3 $tools/record.py compare "/tmp/list.$1" "$3" 4096 "$size" "${4:-0}" ${5:+"$5"} >>$err 2>&1
}

# extents NAME DEV [atleast]: random writes, discards and zeroings are listed exactly; `atleast`: nothing is missing.
extents() {
  local log=/tmp/log
  rm -f $log
  if ! blxtrack consumer add --now t "$2" 2>$err; then
    row "$1" extents "$(words)"
  elif python3 $tools/record.py write "$2" "$log" 100 5 2>$err && listed t "$2" "$log" 0 "${3:-}"; then
    row "$1" extents ok
  else
    row "$1" extents "$(words)"
  fi
  blxtrack consumer remove t "$2" 2>/dev/null
}

replicate() {
  blxtrack run "$1" -- sh -c "blxread | blxpack | blxapply --ack $2" >>$err 2>&1
}

# in_sync NAME: has a dm-raid its members in step?
in_sync() {
  dmsetup status "$1" | grep -Eq ' (A+) ([0-9]+)/\2 '
}

# replicated NAME DEV: a first copy, then equal.
replicated() {
  local code=0
  : >$err
  blxtrack consumer reset default "$2" 2>$err
  replicate "$2" /tmp/img || code=$?
  if [ $code = 0 ] && cmp "$2" /tmp/img >>$err 2>&1; then
    row "$1" pipe ok
  else
    row "$1" pipe "exit $code: $(words)"
  fi
  rm -rf /tmp/img*
}

# failed NAME DEV OFFSET: a write that fails is listed.
failed() {
  begin "$1" "$2" || return
  blxtrack consumer add --now f "$2" 2>$err
  if dd if=/dev/zero of="$2" bs=4096 count=1 seek=$(($3 / 4096)) oflag=direct 2>/dev/null; then
    row "$1" "failed write" "it did not fail"
  elif echo "$(($3 / 4096 * 4096)) 4096" >/tmp/log.f && listed f "$2" /tmp/log.f; then
    row "$1" "failed write" ok
  else
    row "$1" "failed write" "$(words)"
  fi
}

# queue_of DEV: the directory of its disk's limits.
queue_of() {
  local d
  d=/sys/dev/block/$(stat -Lc '%Hr:%Lr' "$1")
  [ -d "$d/queue" ] || d=$d/..
  echo "$d/queue"
}

# load DEV [notrim]: a fixed number of random writes and trims with fio, for two or three seconds.
load() {
  local bs trim=()
  bs=$(blockdev --getss "$1")
  if [ -z "${2:-}" ] && [ "$(cat "$(queue_of "$1")/discard_max_bytes" 2>/dev/null)" != 0 ]; then
    trim=(--name=trim --rw=randtrim --bs=64k --iodepth=4 --number_ios=16 --thinktime=30ms --offset=50% --randseed=2)
  fi
  timeout 60 fio --filename="$1" --direct=1 --ioengine=libaio --allow_file_create=0 --gtod_reduce=1 --output=/tmp/fio.out \
    --name=write --rw=randwrite --bsrange="$bs-64k" --iodepth=8 --serialize_overlap=1 --number_ios=$((short ? 80 : 150)) --thinktime=4ms \
    --randseed=1 "${trim[@]}" >/tmp/fio.err 2>&1
}

# stress NAME DEV [notrim]: the pipe while fio writes, a drain every 100 ms, and some of them killed (on a kernel that is
# marked `short`, one); then equal.
stress() {
  local img=/tmp/img code=1 i pid fio
  rm -rf "$img"*
  : >$err
  load "$2" "${3:-}" &
  fio=$!
  for ((i = 0; ; i++)); do
    kill -0 $fio 2>/dev/null || break
    (exec blxtrack run "$2" -- sh -c "blxread | blxpack | blxapply --ack $img" >>$err 2>&1) &
    pid=$!
    if [ $((i % 3)) = 1 ] || [ -n "$short" ]; then
      sleep "0.$((RANDOM % 4))"
      kill -9 $pid
    fi
    wait $pid 2>/dev/null
    blxtrack drain "$2" >/dev/null 2>&1
    [ -z "$short" ] || break
    sleep 0.1
  done
  wait $fio || { row "$1" "pipe under load" "fio: $(tail -n 1 /tmp/fio.err) $(grep -m 1 err /tmp/fio.out)"; return; }
  for i in $(seq 20); do
    : >$err
    code=0
    replicate "$2" "$img" || code=$?
    [ $code = 7 ] || [ $code = 3 ] || break
    sleep 0.2
  done
  if [ $code = 0 ] && cmp "$2" "$img" >>$err 2>&1; then
    row "$1" "pipe under load" ok
  else
    row "$1" "pipe under load" "exit $code: $(words)"
  fi
  rm -rf "$img"*
}

# stack NAME DEV [atleast] [notrim]: all that every stack must pass.
stack() {
  local name=$1 dev=$2 atleast='' notrim=''
  [[ " $* " != *' atleast '* ]] || atleast=atleast
  [[ " $* " != *' notrim '* ]] || notrim=notrim
  begin "$name" "$dev" || return
  extents "$name" "$dev" $atleast
  stress "$name" "$dev" $notrim
  expect "$name" status 0 ': tracking' blxtrack status "$dev"
}
