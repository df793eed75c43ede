# shellcheck shell=bash
# shellcheck disable=SC2034,SC2164
# What the suites of blxapply share: streams made of scripts, replicas, places to die.

SIZE=1048576
LINEAGE=6ba7b810-9dad-11d1-80b4-00c04fd430c8

# tok N: the token of epoch N; a token is itself.
tok() {
  if [ ${#1} = 32 ]; then echo "$1"; else printf '%032x' "$1"; fi
}

# head_of N [key=value...]: header of epoch N: base N-1 and the whole of it by default; base=none, base=TOKEN,
# chain="1 2" ...
head_of() {
  local n=$1 lineage=$LINEAGE device=7:300 size=$SIZE base=$(($1 - 1)) cursor='' partial='' limit='' chain='' resync='' kv t
  shift
  for kv; do
    local "${kv%%=*}=${kv#*=}"
  done
  [ "$base" != 0 ] || base=none
  if [ "$base" = none ]; then cursor=${cursor:-0} chain=${chain:-$n}; else chain=${chain:-$base $n}; fi
  printf '# blx-extents 1\n# lineage: %s\n# device: %s\n# size: %s\n# block: 4096\n# consumer: default\n' \
    "$lineage" "$device" "$size"
  if [ "$base" = none ]; then echo "# base: none"; else echo "# base: ${base/$(tok "$base")/0} $(tok "$base")"; fi
  echo "# cursor: ${cursor:-$size}"
  # partial: EPOCH,UPTO
  [ -z "$partial" ] || echo "# partial: ${partial%,*} $(tok "${partial%,*}") ${partial#*,}"
  [ -z "$limit" ] || echo "# limit: $limit"
  # resync: the replica's id
  [ -z "$resync" ] || echo "# resync: $resync $(tok "$base")"
  echo "# epoch: $n $(tok "$n")"
  for t in $chain; do
    echo "# chain: $(tok "$t")"
  done
  echo "# time: 2026-01-02T03:04:05Z"
}

# stream N SOURCE RANGES [key=value...]: RANGES is 'data O L/zero O L/...' ('' is an empty epoch).
stream() {
  local n=$1 source=$2 ranges=$3
  shift 3
  { head_of "$n" "$@" && tr / '\n' <<<"${ranges:+$ranges/}commit/end"; } | mkstream "$source"
}

WHOLE="data 0 524288/zero 524288 131072/data 655360 393216"
TWO="data 4096 8192/zero 65536 65536/data 532480 8192/data 1048064 512" # 532480 is a hole of v1
THREE="data 8192 4096/data 262144 8192"
ONE_TO_THREE="data 4096 8192/zero 65536 65536/data 262144 8192/data 532480 8192/data 1048064 512"

# into FILE OFFSET LENGTH: random bytes there
into() {
  head -c "$3" /dev/urandom | dd of="$1" bs=1M oflag=seek_bytes seek="$2" conv=notrunc status=none
}

setup_file() {
  PATH=${BLX_BIN:-$TOP/build/bin}/../tools:$PATH
  cd "$BATS_FILE_TMPDIR"
  head -c $SIZE /dev/urandom >v1
  dd if=/dev/zero of=v1 bs=1024 seek=512 count=128 conv=notrunc status=none
  cp v1 v2
  into v2 4096 8192
  dd if=/dev/zero of=v2 bs=1024 seek=64 count=64 conv=notrunc status=none
  into v2 532480 8192
  into v2 1048064 512
  cp v2 v3
  into v3 8192 4096
  into v3 262144 8192
  stream 1 v1 "$WHOLE" >s1
  stream 2 v2 "$TWO" >s2
  stream 3 v3 "$THREE" >s3
  stream 3 v3 "$ONE_TO_THREE" base=1 chain="1 2 3" >s13
}

setup() {
  begin_test
}

teardown() {
  end_test
}

begin_test() {
  PATH=${BLX_BIN:-$TOP/build/bin}/../tools:$PATH
  V=$BATS_FILE_TMPDIR
  export BLX_STATE_DIR=$BATS_TEST_TMPDIR/state
  cd "$BATS_TEST_TMPDIR"
  IMG=$PWD/img
}

end_test() {
  cd /
  [ -z "${TRACKED:-}" ] || blxtrack stop --force "$TRACKED" 2>/dev/null || true
  same_boot
  if mountpoint -q "$BATS_TEST_TMPDIR/mnt"; then umount "$BATS_TEST_TMPDIR/mnt"; fi
  loops_done
}

# apply STREAM [options] TARGET
apply() {
  local in=$1
  shift
  blxapply "$@" <"$in"
}

# A replica at epoch 1.
replica() {
  apply "$V/s1" "${1:-$IMG}"
}

same() {
  cmp "$1" "$2" || fail "$2 differs from $1"
}

done_ack() {
  printf 'blx-ack 1 done lineage=%s device=7:300 consumer=default epoch=%s token=%s' $LINEAGE "$1" "$(tok "$1")"
}

# id_of TARGET: the replica's id.
id_of() {
  blxapply --status --json "$1" | sed -n 's/.*"replica":"\([^"]*\)".*/\1/p'
}

# refused STREAM WORDS [options]: exit 5, the words, a failed ack, and nothing changed.
refused() {
  local in=$1 words=$2 before
  before=$(md5sum <"$IMG"; stat -c '%i %s %y' "$IMG"; cat "$IMG.blx/state" 2>/dev/null || true)
  run -5 --separate-stderr apply "$in" --ack "$IMG"
  [[ $stderr == *"$words"* ]] || fail "expected '$words' in: $stderr"
  [[ $output == "blx-ack 1 failed lineage="*" code=5 why="* ]] || fail "ack: $output"
  [ "$before" = "$(md5sum <"$IMG"; stat -c '%i %s %y' "$IMG"; cat "$IMG.blx/state" 2>/dev/null || true)" ] ||
    fail "something changed"
}

# ---- file systems

# small_fs SIZE: a tmpfs on mnt; it makes no clones.
small_fs() {
  mkdir mnt
  mount -t tmpfs -o size="$1" tmpfs mnt
}

cloning_fs() {
  truncate -s 320M fs
  "mkfs.$1" -q fs
  mkdir mnt
  mount -o loop fs mnt
}

# ---- crashes

# The machine has been started anew; and it has not.
BOOT_ID=/proc/sys/kernel/random/boot_id
other_boot() {
  cat /proc/sys/kernel/random/uuid >"$BATS_TEST_TMPDIR/boot"
  mount --bind "$BATS_TEST_TMPDIR/boot" $BOOT_ID
}

same_boot() {
  if mountpoint -q $BOOT_ID; then umount $BOOT_ID; fi
}

# kill_at CALLS NTH STREAM [options]: run, and die there. KILLED says if it came that far.
kill_at() {
  local calls=$1 nth=$2 in=$3
  shift 3
  KILLED=0
  strace -qq -o /dev/null -e trace="$calls" -e inject="$calls":signal=KILL:when="$nth" blxapply "$@" <"$in" \
    >/dev/null 2>err || KILLED=$?
  [ "$KILLED" = 0 ] || [ "$KILLED" = 137 ] || fail "at $calls number $nth: exit $KILLED: $(cat err)"
}
