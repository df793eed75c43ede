# SPDX-License-Identifier: BSD-2-Clause
# shellcheck disable=SC2016,SC2154
# blxsum: digests of blocks, and what differs from digests or from the far end of a pipe.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export BLX_STATE_DIR=$BATS_TEST_TMPDIR/states
}

teardown() {
  if [ -d mnt ]; then umount mnt 2>/dev/null || true; fi
  if [ -n "${TRACKED:-}" ]; then blxtrack stop --force "$TRACKED" || true; fi
  loops_done
}

# noise FILE SIZE [SEEK]: random bytes in place.
noise() {
  head -c "$2" /dev/urandom | dd of="$1" bs=64K seek="${3:-0}" oflag=seek_bytes conv=notrunc status=none
}

# put FILE OFFSET: one byte that was not there.
put() {
  printf '\377' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# pair SIZE: two equal files, a and b, with data, zeroes and holes.
pair() {
  truncate -s "$1" a
  noise a 300000
  head -c 100000 /dev/zero | dd of=a bs=4K seek=1M oflag=seek_bytes conv=notrunc status=none
  noise a 5000 2100001
  cp --sparse=always a b
}

# extents: of the list on standard input, without header and end line.
extents() {
  grep -v '^#' || true
}

# replica_of FILE IMAGE [EPOCH]: what blxapply makes of a full copy of it. The list is as the tracker prints it.
replica_of() {
  local size
  loop_new "$(stat -c %s "$1")"
  cp "$1" "$FILE"
  losetup -c "$DEV"
  size=$(stat -c %s "$1")
  cat >list <<END
# blx-extents 1
# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8
# device: $(<"/sys/class/block/${DEV##*/}/dev")
# size: $size
# block: 4096
# consumer: default
# base: none
# cursor: 0
# epoch: ${3:-1} 0123456789abcdef001122334455667${3:-1}
# chain: 0123456789abcdef001122334455667${3:-1}
0 $size
# end: 1 $size
END
  blxread <list >stream
  blxapply "$2" <stream
}

# next_epoch IMAGE: replica_of's is brought to epoch 2.
next_epoch() {
  sed -e 's/^# base: none/# base: 1 0123456789abcdef0011223344556671/; s/^# cursor: 0/# cursor: 3145728/' \
    -e 's/^# epoch: .*/# epoch: 2 0123456789abcdef0011223344556672/' \
    -e '/^# chain/a# chain: 0123456789abcdef0011223344556672' \
    -e 's/^0 3145728/0 4096/; s/^# end: .*/# end: 1 4096/' list | blxread | blxapply "$1"
}

# ---- digest lists

@test "each block's digest is what xxhsum prints" {
  pair 3M
  blxsum -b 64K a >digests
  [ "$(extents <digests | wc -l)" = 8 ] || fail "$(<digests)"
  while read -r offset length digest; do
    [ "$digest" != zero ] || continue
    [ "$(tail -c +$((offset + 1)) a | head -c "$length" | xxhsum -H128 | cut -d' ' -f1)" = "$digest" ] || fail "$offset"
  done < <(extents <digests)
}

@test "each block's digest is what sha256sum prints" {
  pair 3M
  blxsum -A sha256 -b 64K a >digests
  while read -r offset length digest; do
    [ "$digest" != zero ] || continue
    [ "$(tail -c +$((offset + 1)) a | head -c "$length" | sha256sum | cut -d' ' -f1)" = "$digest" ] || fail "$offset"
  done < <(extents <digests)
}

@test "a standard tool can check the end line" {
  pair 3M
  blxsum a >digests
  body=$(extents <digests)
  [ "$(tail -n 1 digests)" = "# end: $(wc -l <<<"$body") $(xxhsum -H128 <<<"$body" | cut -d' ' -f1)" ]
  blxsum -A sha256 a >digests
  body=$(extents <digests)
  [ "$(tail -n 1 digests)" = "# end: $(wc -l <<<"$body") $(sha256sum <<<"$body" | cut -d' ' -f1)" ]
}

@test "a run of zeroes is one line, whether it was written or is a hole" {
  truncate -s 20M a
  noise a 4096 8M
  head -c 3M /dev/zero | dd of=a bs=1M seek=2 conv=notrunc status=none
  run -0 blxsum a
  [ "${lines[6]}" = "0 8388608 zero" ]
  [ "${lines[8]}" = "9437184 11534336 zero" ]
}

@test "the last block of a size that is no multiple of the block's is short" {
  head -c 1050001 /dev/urandom >a
  run -0 blxsum a
  [ "${lines[7]}" = "1048576 1425 $(tail -c 1425 a | xxhsum -H128 | cut -d' ' -f1)" ]
}

@test "holes are not read" {
  truncate -s 4T a
  noise a 4096 3T
  run -0 timeout 10 blxsum a
  has "3298534883328 1048576 "
}

@test "io_uring and threads give the same digests" {
  pair 70M
  noise a 40M 20M
  diff <(blxsum -b 4K a | extents) <(blxsum -b 4K --no-uring a | extents)
}

@test "a device is digested as the file system writes it, whatever the page cache holds" {
  loop_new 64M
  mkfs.ext4 -q "$DEV"
  cat "$DEV" >/dev/null # the stale pages
  mkdir mnt
  mount "$DEV" mnt
  noise mnt/file 3M
  sync -f mnt
  blxsum -b 4K "$DEV" | extents | diff - <(blxsum -b 4K "$FILE" | extents)
}

@test "what cannot be read is told with its offset" {
  loop_new 8M
  noise "$FILE" 8M
  truncate -s 4M "$FILE"
  run -3 blxsum "$DEV"
  has "blxsum: $DEV: read of 1048576 at 4194304: Input/output error"
}

@test "a full disk and a closed pipe are failures" {
  pair 3M
  run -3 sh -c 'blxsum a >/dev/full'
  has "blxsum: standard output: No space left on device"
  noise a 30M
  run -0 bash -c 'blxsum -b 4K a | true; [ ${PIPESTATUS[0]} = 3 ]'
}

@test "memory stays below 64 MiB whatever the size" {
  truncate -s 2T a
  noise a 80M
  noise a 1M 1T
  for args in "-b 4K a" "-A sha256 a" "-A sha256 --tree a -- blxsum --serve a"; do
    # shellcheck disable=SC2086
    python3 -c '
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=open("out", "w"))
assert status == 0, status
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
assert peak <= 65536, peak' blxsum $args
  done
}

# ---- -c

@test "an equal image differs nowhere" {
  pair 3000001
  blxsum -b 8K a >digests
  run -0 blxsum -c b <digests
  [ "${lines[0]}" = "# blx-extents 1" ]
  [ "${lines[-1]}" = "# end: 0 0" ]
  run -0 blxsum -q -c b <digests
  [ -z "$output" ]
}

@test "what differs is printed as an extent list of whole blocks" {
  pair 3000001
  blxsum -b 8K a >digests
  put b 0
  put b 100000
  put b 2500000 # was a hole
  put b 3000000
  dd if=/dev/zero of=b bs=4096 seek=2M count=20 oflag=seek_bytes conv=notrunc status=none # was data
  blxsum -c b <digests >list
  printf '0 8192\n98304 8192\n2097152 8192\n2498560 8192\n2998272 1729\n' | diff - <(extents <list)
  [ "$(tail -n 1 list)" = "# end: 5 34497" ]
  run -1 blxsum -q -c b <digests
  [ -z "$output" ]
  blxread -a b <list | blxls --check
}

@test "a device that is longer differs from there on" {
  pair 3000001
  blxsum -b 8K a >digests
  truncate -s 5M b
  run -0 blxsum -c b <digests
  [ "${lines[-2]}" = "3000001 2242879" ]
  run -1 blxsum -q -c b <digests
}

@test "digests of something longer are refused, unless it is a device" {
  pair 3M
  blxsum a >digests
  truncate -s 2M b
  run -5 blxsum -c b <digests
  has "blxsum: b: is shorter (2097152) than what it is compared with (3145728)"
  loop_new 3M
  cp a "$FILE"
  blxsum "$DEV" >digests
  run -0 blxsum -q -c b <digests
}

@test "a digest list that is cut, changed or empty is refused" {
  pair 3M
  blxsum -b 64K a >digests
  run -4 blxsum -c a </dev/null
  has "blxsum: empty input, not a digest list"
  head -n -1 digests >bad
  run -4 blxsum -c a <bad
  has "the digest list has no end line"
  sed '8s/.$/x/' digests >bad
  run -4 blxsum -c a <bad
  has "line 8: not an 'OFFSET LENGTH DIGEST' line"
  sed '8d' digests >bad
  run -4 blxsum -c a <bad
  has "line 8: does not begin where the line before ends"
  sed '8y/0123456789abcdef/123456789abcdef0/; 8s/^[^ ]* [^ ]*/65536 65536/' digests >bad
  run -4 blxsum -c a <bad
  has "count or digest do not agree"
  { cat digests && echo more; } >bad
  run -4 blxsum -c a <bad
  has "follows the end line"
}

# ---- replicas and tracked devices

@test "digests of a replica carry its id and token, and what differs names them" {
  pair 3M
  replica_of a img
  id=$(sed -n 's/^id: *//p' img.blx/state)
  [ -n "$id" ] || fail "$(<img.blx/state)"
  blxsum img >digests
  grep -x "# replica: $id 1 0123456789abcdef0011223344556671" digests
  grep -x "# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8" digests
  run -0 blxsum -c a <digests
  has "# resync: $id 0123456789abcdef0011223344556671"
}

@test "digests of a replica that was changed carry no token" {
  pair 3M
  replica_of a img
  put img 5
  run -0 --separate-stderr blxsum img
  [[ $stderr == "blxsum: img: the image was changed"*"the digests name no token of it" ]] || fail "$stderr"
  has "# replica: "
  [[ $output != *0011223344556671* ]] || fail "$output"
  blxsum img 2>/dev/null >digests
  run -0 blxsum -c a <digests
  [[ $output != *resync* ]] || fail "$output"
}

@test "a promoted image is one like any other" {
  pair 3M
  replica_of a img
  blxapply --promote img
  run -0 --separate-stderr blxsum img
  [ -z "$stderr" ] || fail "$stderr"
  [[ $output != *"# replica"* ]] || fail "$output"
  run -0 blxsum --tree a -- blxsum --serve img
  [[ $output != *"# resync"* ]] || fail "$output"
}

@test "what differs from a tracked device says since when it was tracked" {
  loop_new 3M
  noise "$FILE" 3M
  blxtrack start "$DEV"
  TRACKED=$DEV
  lineage=$(sed -n 's/^lineage: //p' "/run/blx/$(<"/sys/class/block/${DEV##*/}/dev")/state")
  blxsum "$DEV" >digests
  grep -x "# since: $lineage [0-9]*" digests
  run -0 blxsum -c "$DEV" <digests
  has "# since: $lineage "
  run -0 blxsum --tree "$DEV" -- blxsum --serve "$FILE"
  has "# since: $lineage "
}

# ---- tree

@test "what differs over a pipe is what cmp finds, at random" {
  for algorithm in xxh128 sha256; do
    for size in 4096 1000001 270532608; do
      rm -f a b
      pair "$size"
      truncate -s "$size" a b
      : >where
      for i in {1..40}; do
        at=$((RANDOM * 32768 + RANDOM))
        put b $((at % size))
      done
      cmp -l a b | awk '{ n = int(($1 - 1) / 4096); if (n != last) print n; last = n }' last=-1 >expected || true
      blxsum -A "$algorithm" --tree a -- blxsum --serve b | extents |
        awk -v size="$size" '{ for (o = $1; o < $1 + $2; o += 4096) print o / 4096 }' >got
      diff expected got
      [ -s got ] || fail "nothing differs"
    done
  done
}

@test "an equal pair of 1 TiB costs less than 1 MiB of messages, both ways together" {
  truncate -s 1T a
  noise a 1M 512G
  cp --sparse=always a b
  run -0 blxsum -q --tree a -- bash -c 'tee up | blxsum --serve b | tee down'
  [ $(($(stat -c %s up) + $(stat -c %s down))) -lt 1048576 ] || fail "$(stat -c %s up down)"
}

@test "a whole window of sections that differ everywhere comes through small pipes" {
  truncate -s 2561M a b
  noise a 80M
  noise b 80M 500M
  run -0 blxsum --tree a -- bash -c 'dd bs=100 status=none | blxsum --serve b | dd bs=1000 status=none'
  [ "${lines[-1]}" = "# end: 2 167772160" ] || fail "${lines[-1]}"
}

@test "a device over the pipe: longer differs, shorter is refused" {
  pair 3M
  truncate -s 4000000 b
  run -0 blxsum --tree b -- blxsum --serve a
  [ "${lines[-2]}" = "3145728 854272" ]
  run -5 blxsum --tree a -- blxsum --serve b
  has "blxsum: a: is shorter"
}

@test "what differs from a replica over the pipe names it" {
  pair 3M
  replica_of a img
  id=$(sed -n 's/^id: *//p' img.blx/state)
  run -0 blxsum --tree b -- blxsum --serve img
  has "# resync: $id 0123456789abcdef0011223344556671"
  [ "${lines[-1]}" = "# end: 0 0" ]
}

@test "a replica that was changed is not served, and the words say what to do" {
  pair 3M
  replica_of a img
  put img 5
  run -5 blxsum --tree b -- blxsum --serve img
  has "blxsum: the far end: img: the image was changed"
  has '`blxapply --allow resync img`'
}

@test "a replica that moves on while it is compared is told" {
  pair 3M
  noise a 3M
  replica_of a img
  cp a b
  # The connection's first bytes come when the far end has opened the replica.
  blxsum --tree b -- sh -c 'blxsum --serve --rate 2M img | tee begun' >got 2>words &
  pid=$!
  await test -s begun
  next_epoch img
  code=0
  wait "$pid" || code=$?
  [ "$code" = 5 ] || fail "$code $(<words)"
  [ "$(<words)" = "blxsum: the far end: img: the replica was written to while it was read: try again" ]
  [ "$(grep -c '^# end' got)" = 0 ]
}

@test "a far end that is no blxsum is told, and so is a command that fails" {
  pair 3M
  run -4 blxsum --tree a -- cat
  has "blxsum: "
  run -4 blxsum --tree a -- echo "Welcome to the machine"
  has "blxsum: what came is no tree comparison"
  run -4 blxsum --tree a -- sh -c 'exit 42'
  has "blxsum: sh exited with status 42"
  has "blxsum: the connection was cut"
  run -4 blxsum --tree a -- ./missing
  has "blxsum: ./missing: No such file or directory"
}

@test "a command that fails after all was said fails the comparison" {
  pair 3M
  run -3 blxsum --tree a -- sh -c 'blxsum --serve b; exit 9'
  has "blxsum: sh exited with status 9"
  [[ $output != *"# end:"* ]]
  run -3 blxsum --timeout 1 --tree a -- sh -c 'blxsum --serve b; exec sleep 60'
  has "blxsum: sh does not end, though all was said"
}

@test "a connection that is cut anywhere gives no whole list" {
  pair 3M
  for i in 0 10 100 1000; do put b $((i * 1000)); done
  blxsum --tree a -- sh -c 'blxsum --serve b | tee all' >/dev/null
  size=$(stat -c %s all)
  for n in 0 100 $((size / 2)) $((size - 1)); do
    run -4 blxsum --tree a -- sh -c "blxsum --serve b 2>/dev/null | dd bs=1 count=$n status=none"
    [[ $output != *"# end:"* ]] || fail "$n: $output"
  done
}

@test "a far end that hangs is given up after --timeout" {
  pair 3M
  run -3 timeout 10 blxsum --timeout 1 --tree a -- sleep 60
  has "blxsum: not a word from the far end within 1 s"
}

@test "a far end that was killed or stopped is told" {
  pair 3M
  noise a 3M
  # far SIGNAL SECONDS: sent to the far end at work, after which its pipes stay open for so long.
  far='exec 5<&0 2>/dev/null; blxsum --serve --rate 1M a <&5 & echo $! >pid; sleep 0.5; kill -"$0" $!; sleep "$1"'
  run -4 blxsum --tree a -- bash -c "$far" KILL 0
  has "blxsum: the connection was cut"
  run -3 blxsum --timeout 1 --tree a -- bash -c "$far" STOP 5
  kill -KILL "$(<pid)"
  has "blxsum: not a word from the far end within 1 s"
  [[ $output != *"# end:"* ]]
}

@test "what cannot be read at the far end is told here, and the other way round" {
  loop_new 8M
  noise "$FILE" 8M
  cp "$FILE" a
  truncate -s 4M "$FILE"
  run -3 blxsum --tree a -- blxsum --serve "$DEV"
  has "blxsum: the far end: $DEV: read of 1048576 at 4194304: Input/output error"
  [[ $output != *"# end:"* ]]
  run -3 blxsum --tree "$DEV" -- blxsum --serve a
  has "blxsum: $DEV: read of 1048576 at 4194304: Input/output error"
}

@test "a far end that reads slowly is not taken for dead" {
  pair 3M
  noise a 3M
  run -0 blxsum --timeout 2 --tree a -- blxsum --rate 1M --serve a
}

@test "the far end ends when the near end is gone" {
  pair 3M
  run -4 bash -c 'blxsum --serve a </dev/null >/dev/null'
  has "blxsum: the connection was cut"
}

# ---- a part only

@test "--only compares these ranges, whole blocks of them" {
  pair 3M
  for i in 1 50 300 700; do put b $((i * 4096)); done
  printf '200000 10000\n4095 2\n# plain\n2867200 1\n' >ranges
  run -0 blxsum --only ranges --tree a -- blxsum --serve b
  [ "$(extents <<<"$output" | tr '\n' ';')" = "4096 4096;204800 4096;2867200 4096;" ] || fail "$output"
  blxsum -b 4K b >digests
  blxsum --only ranges -c a <digests | extents | diff - <(extents <<<"$output")
}

@test "--only takes an extent list, and reads nothing else" {
  truncate -s 3G a
  noise a 300M
  cp --sparse=always a b
  put b 3000
  put b 200000000
  printf '# blx-extents 1\n# size: 3221225472\n0 4096\n150000000 5\n3221221376 4096\n# end: 3 8197\n' >ranges
  run -0 --separate-stderr strace -f -qq -e trace=pread64 -o trace \
    blxsum --no-uring --only ranges --tree a -- blxsum --no-uring --serve b
  [ "$(extents <<<"$output")" = "0 4096" ] || fail "$output"
  [ "$(grep -c 'pread64.*= 4096$' trace)" -le 8 ] || fail "$(<trace)"
  run -0 grep -c 'pread64(.*= [0-9]\{6,\}$' trace || true
}

@test "--only with what is no list, or beyond the end, is refused" {
  pair 3M
  echo "0 x" >ranges
  run -4 blxsum --only ranges --tree a -- blxsum --serve b
  has "blxsum: ranges: line 1: not an 'OFFSET LENGTH' line"
  echo "0 4000000" >ranges
  run -5 blxsum --only ranges --tree a -- blxsum --serve b
  has "goes beyond the end"
  printf '# blx-extents 1\n# size: 3145728\n0 4096\n' >ranges
  run -4 blxsum --only ranges --tree a -- blxsum --serve b
  has "cut after line 3"
}

@test "--used compares what the file system uses" {
  loop_new 64M
  mkfs.ext4 -q "$DEV"
  mkdir mnt
  mount "$DEV" mnt
  noise mnt/file 3M
  noise mnt/gone 3M
  sync -f mnt
  gone=$(filefrag -b4096 -v mnt/gone | awk -F '[ .:]+' '$2 == "0" { print $5; exit }')
  here=$(filefrag -b4096 -v mnt/file | awk -F '[ .:]+' '$2 == "0" { print $5; exit }')
  rm mnt/gone
  sync -f mnt
  cp "$FILE" b
  put b $(((gone + 100) * 4096))
  put b $((here * 4096))
  run -0 blxsum --used --tree "$DEV" -- blxsum --serve b
  extents <<<"$output" | grep -x "$((here * 4096)) 4096"
  [[ $output != *"$(((gone + 100) * 4096)) "* ]] || fail "$output"
  blxsum -b 4K b >digests
  blxsum --used -c "$DEV" <digests | extents | grep -x "$((here * 4096)) 4096"
}

@test "--used on what blxused refuses fails as it does" {
  pair 3M
  loop_new 3M
  noise "$FILE" 3M
  run -5 blxsum --used --tree "$DEV" -- blxsum --serve b
}

# ---- people

@test "--progress shows how far it is, whatever it does" {
  pair 3M
  blxsum a >digests
  for args in "a" "-c a" "--tree a -- blxsum --serve b"; do
    # shellcheck disable=SC2086
    run -0 --separate-stderr blxsum -P $args <digests
    [[ $stderr == *"3.0M of 3.0M, 100%"* ]] || fail "$args: $stderr"
  done
}

@test "--rate limits what is read" {
  pair 3M
  noise a 3M
  begun=${EPOCHREALTIME/./}
  blxsum --rate 3M a >/dev/null
  [ $((${EPOCHREALTIME/./} - begun)) -ge 800000 ]
}

# ---- the command line

@test "wrong command lines are refused with words" {
  pair 1M
  run -2 blxsum
  has "a device or image is expected"
  run -2 blxsum -b 5000 a
  has "not a power of two from 4K to 1M"
  run -2 blxsum -b 2M a
  run -2 blxsum -A md5 a
  has "neither xxh128 nor sha256"
  run -2 blxsum -q a
  run -2 blxsum --tree a
  has "--tree: DEV -- CMD... is expected"
  run -2 blxsum --tree -c a -- cat
  has "exclude each other"
  run -2 blxsum a b
  run -2 blxsum -c --only x --used a </dev/null
  run -2 script -qec 'blxsum --serve a' /dev/null </dev/null
  has "not a terminal"
  run -5 blxsum missing
  has "blxsum: missing: No such file or directory"
}
