# SPDX-License-Identifier: BSD-2-Clause
# blxread: extents in, the bytes of the device out.

load lib

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
  loops_done
  if [ -d mnt ]; then umount mnt 2>/dev/null || true; fi
}

# tracked_list DEV "OFFSET LENGTH"...: a list as the tracker prints it.
tracked_list() {
  local sys disk dev=$1 count=0 bytes=0 e
  sys=/sys/class/block/${dev##*/}
  disk=$sys
  [ ! -e "$sys/partition" ] || disk=$sys/..
  shift
  cat <<END
# blx-extents 1
# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8
# device: $(<"$sys/dev")
# name: ${dev##*/}
# diskseq: $(<"$disk/diskseq")
END
  [ ! -e "$sys/partition" ] || echo "# start: $(($(<"$sys/start") * 512))"
  cat <<END
# size: $(($(<"$sys/size") * 512))
# block: 4096
# consumer: default
# base: 11 0123456789abcdef0011223344556677
# cursor: $(($(<"$sys/size") * 512))
# epoch: 12 0123456789abcdef0011223344556678
# chain: 0123456789abcdef0011223344556677
# chain: 0123456789abcdef0011223344556678
# time: 2026-01-02T03:04:05Z
# label: disk
END
  for e in "$@"; do
    echo "$e"
    count=$((count + 1)) bytes=$((bytes + ${e#* }))
  done
  echo "# end: $count $bytes"
}

# anonymous_list SIZE "OFFSET LENGTH"...
anonymous_list() {
  local count=0 bytes=0 e
  printf '# blx-extents 1\n# size: %s\n# time: 2026-01-02T03:04:05Z\n' "$1"
  shift
  for e in "$@"; do
    echo "$e"
    count=$((count + 1)) bytes=$((bytes + ${e#* }))
  done
  echo "# end: $count $bytes"
}

# noise FILE SIZE [SEEK]: random bytes in place.
noise() {
  head -c "$2" /dev/urandom | dd of="$1" bs=64K seek="${3:-0}" oflag=seek_bytes conv=notrunc status=none
}

# frames STREAM: type, offset and length of the frames that carry bytes.
frames() {
  blxls -v "$1" | awk '$2 == "DATA" || $2 == "ZERO" || $2 == "BAD" { print $2, $3, $4 }'
}

# bad_file: `image`, 4 MiB on a btrfs where the blocks at 1503232, 2093056 and 2097152 cannot be read: the checksums of
# what lies below do not agree. `want` is what it held.
bad_file() {
  local at
  truncate -s 128M pool
  mkfs.btrfs -q pool
  mkdir mnt
  mount -o loop pool mnt
  noise want 4M
  for at in 1503232 2093056 2097152; do
    printf 'bad sector at %s' $at | dd of=want bs=4096 seek=$((at / 4096)) conv=notrunc status=none
  done
  cp --reflink=never want mnt/image
  ln -s mnt/image image
  umount mnt
  for at in $(grep -abo 'bad sector at' pool | cut -d: -f1); do
    printf X | dd of=pool bs=1 seek="$at" conv=notrunc status=none
  done
  mount -o loop pool mnt
}

# ---- the bytes

@test "a listed device is found by its number and read" {
  loop_new 8M
  noise "$FILE" 8M
  tracked_list "$DEV" "4096 8192" "1048576 2097152" >list
  blxread <list >stream
  blxls --check stream
  blxls stream | diff - list
  truncate -s 8M got
  for r in "4096 8192" "1048576 2097152"; do
    dd if="$FILE" of=masked bs=4K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
      skip="${r% *}" seek="${r% *}" count="${r#* }"
  done
  truncate -s 8M masked
  python3 "$TOP/tests/replay.py" got <stream
  cmp got masked
}

@test "a partition is read at its own offsets" {
  loop_new 8M
  noise "$FILE" 8M
  addpart "$DEV" 1 2048 4096
  status=0
  tracked_list "${DEV}p1" "0 2097152" | blxread >stream || status=$?
  delpart "$DEV" 1
  [ "$status" = 0 ]
  truncate -s 0 got
  python3 "$TOP/tests/replay.py" got <stream
  cmp got <(tail -c +$((2048 * 512 + 1)) "$FILE" | head -c 2M)
}

@test "reads see what a mounted file system wrote, whatever the page cache of the device holds" {
  loop_new 64M
  mkfs.ext4 -q "$DEV"
  cat "$DEV" >/dev/null # the stale pages
  mkdir mnt
  mount "$DEV" mnt
  noise mnt/file 3M
  sync -f mnt
  where=$(filefrag -b1 -v mnt/file | awk -F '[ .:]+' '$2 == "0" { print $5; exit }')
  size=$(blockdev --getsize64 "$DEV")
  tracked_list "$DEV" "0 $size" | blxread >stream
  truncate -s 0 got
  python3 "$TOP/tests/replay.py" got <stream
  cmp <(head -c 1M mnt/file) <(tail -c +$((where + 1)) got | head -c 1M)
}

@test "unaligned ranges of a device are byte-exact" {
  loop_new 8M
  noise "$FILE" 8M
  printf '%s\n' "1 1" "511 2" "4095 4098" "1048575 2" "2000001 3333333" "8388607 1" >ranges
  blxread -a --plain "$DEV" <ranges >stream
  blxls --check stream
  truncate -s 8M got want
  while read -r at n; do
    tail -c +$((at + 1)) "$FILE" | head -c "$n" |
      dd of=want bs=64K seek="$at" oflag=seek_bytes conv=notrunc iflag=fullblock status=none
  done <ranges
  python3 "$TOP/tests/replay.py" got <stream
  cmp got want
  [ "$(frames stream | awk '{ n += $3 } END { print n }')" = $((1 + 2 + 4098 + 2 + 3333333 + 1)) ]
}

@test "a device with blocks of 4096 bytes is read at unaligned ranges" {
  loop_new 4M --sector-size 4096
  noise "$FILE" 4M
  echo "513 5000" | blxread -a --plain "$DEV" >stream
  truncate -s 4M want got
  tail -c +514 "$FILE" | head -c 5000 | dd of=want bs=8K seek=513 oflag=seek_bytes conv=notrunc status=none
  python3 "$TOP/tests/replay.py" got <stream
  cmp got want
}

@test "hand-written ranges may be in any order, overlap and be hexadecimal" {
  noise image 1M
  printf '%s\n' "# mine" "0x3000 0x1000" "0 8192 WRITE x" "" "4096 4096" | blxread -a --plain image >stream
  [ "$(frames stream)" = $'DATA 0 8192\nDATA 12288 4096' ]
}

@test "--whole reads all of a file" {
  noise image 3333333
  blxread -a --whole image >stream
  truncate -s 0 got
  python3 "$TOP/tests/replay.py" got <stream
  cmp got image
}

@test "io_uring and threads write the same stream" {
  loop_new 48M
  noise "$FILE" 20M 1M
  noise "$FILE" 700001 30000000
  size=$((48 * 1024 * 1024))
  mapfile -t extents < <(seq 0 5000 $((size - 4000)) | sed 's/$/ 3000/')
  for list in "$(anonymous_list $size "0 $size")" "$(anonymous_list $size "${extents[@]}")"; do
    blxread -a "$DEV" <<<"$list" >one
    blxread -a --no-uring "$DEV" <<<"$list" >two
    cmp one two
    blxls --check one
  done
}

@test "where io_uring is refused, threads read" {
  noise image 3M
  anonymous_list 3145728 "0 3145728" >list
  blxread -a image <list >one
  ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o trace -e trace=io_uring_setup -e inject=io_uring_setup:error=EPERM blxread -a image <list >two
  cmp one two
}

@test "many reads are in flight" {
  noise image 8M
  ASAN_OPTIONS=detect_leaks=0 strace -f -qq -c -o calls -e trace=pread64,clone,clone3 blxread -a --whole --no-uring image >stream
  [ "$(awk '$NF ~ /^clone/ { n += $4 } END { print n }' calls)" -ge 8 ]
}

# ---- zeroes

@test "zeroes are not sent, and one run of them is one frame over chunk borders" {
  loop_new 16M
  noise "$FILE" 4096 5M
  blxread -a --whole "$DEV" >stream
  [ "$(frames stream)" = $'ZERO 0 5242880\nDATA 5242880 4096\nZERO 5246976 11530240' ]
}

@test "a block that is zero but for its last byte is data" {
  truncate -s 12K image
  printf x | dd of=image bs=1 seek=8191 conv=notrunc status=none
  blxread -a --whole image >stream
  [ "$(frames stream)" = $'ZERO 0 4096\nDATA 4096 4096\nZERO 8192 4096' ]
}

@test "zero pieces shorter than a block, at the ends of a range, are zeroes too" {
  head -c 16K /dev/zero >image
  echo "100 5000" | blxread -a --plain image >stream
  [ "$(frames stream)" = "ZERO 100 5000" ]
}

@test "two ranges of zeroes with a gap stay two" {
  head -c 64K /dev/zero >image
  printf '%s\n' "0 4096" "8192 4096" | blxread -a --plain image >stream
  [ "$(frames stream)" = $'ZERO 0 4096\nZERO 8192 4096' ]
}

@test "holes of a file are not read" {
  truncate -s 4T image
  noise image 64K 3T
  timeout 60 blxread -a --whole image >stream
  [ "$(frames stream | sed -n 2p)" = "DATA $((3 << 40)) 65536" ]
  [ "$(frames stream | wc -l)" = 3 ]
  [ "$(frames stream | awk '{ n += $3 } END { printf "%.0f", n }')" = $((4 << 40)) ]
}

@test "ranges that begin inside holes and data are exact" {
  truncate -s 8M image
  noise image 100000 1M
  noise image 100000 3M
  printf '%s\n' "10 100" "1000000 100000" "1100001 50000" "2000000 3000000" "8388600 8" >ranges
  blxread -a --plain image <ranges >stream
  truncate -s 8M want got
  while read -r at n; do
    tail -c +$((at + 1)) image | head -c "$n" |
      dd of=want bs=64K seek="$at" oflag=seek_bytes conv=notrunc iflag=fullblock status=none
  done <ranges
  python3 "$TOP/tests/replay.py" got <stream
  cmp got want
  [ "$(frames stream | awk '{ n += $3 } END { print n }')" = $((100 + 100000 + 50000 + 3000000 + 8)) ]
}

@test "no data frame is longer than 1 MiB" {
  noise image 5M
  blxread -a --whole image >stream
  [ "$(frames stream | awk '{ print $3 }' | sort -n | tail -1)" = 1048576 ]
}

# ---- lists

@test "several lists become several epochs of one stream" {
  loop_new 1M
  noise "$FILE" 1M
  { tracked_list "$DEV" "0 4096"; tracked_list "$DEV" "8192 4096"; } | blxread >stream
  [ "$(blxls -v stream | grep -c COMMIT)" = 2 ]
  [ "$(frames stream)" = $'DATA 0 4096\nDATA 8192 4096' ]
}

@test "a file is looked at anew for each list" {
  truncate -s 1M image
  {
    anonymous_list 1048576 "65536 4096" "1044480 4096"
    await grep -aq '# size' stream
    noise image 1M
    anonymous_list 1048576 "65536 4096"
  } | blxread -a image >stream
  [ "$(frames stream | tail -1)" = "DATA 65536 4096" ]
}

@test "a list without extents is an epoch without frames" {
  loop_new 1M
  tracked_list "$DEV" | blxread >stream
  blxls --check stream
  [ "$(frames stream | wc -l)" = 0 ]
}

@test "each epoch leaves at once: its COMMIT does not wait for the next list" {
  loop_new 1M
  mkfifo in out
  blxread <in >out 3>&- &
  exec 7>in 8<out
  tracked_list "$DEV" "0 4096" >&7
  timeout 10 grep -m1 -aq 'epoch: 12' <&8 # nothing closed yet
  exec 7>&-
  cat <&8 >rest
  wait $!
  exec 8<&-
}

@test "the label of the list is kept, and --label replaces it" {
  loop_new 1M
  tracked_list "$DEV" "0 4096" >list
  blxread <list | blxls | grep -qx '# label: disk'
  blxread --label other <list | blxls | grep -qx '# label: other'
  run -2 --separate-stderr blxread --label a/b <list
  [[ $stderr == *"--label 'a/b': not a name"* ]]
}

@test "-a makes an anonymous stream of a tracked list" {
  loop_new 1M
  noise "$FILE" 1M
  tracked_list "$DEV" "0 4096" | blxread -a "$DEV" | blxls >list
  run -1 grep lineage list
  grep -qx '# time: 2026-01-02T03:04:05Z' list
}

@test "an anonymous list without -a is refused" {
  truncate -s 1M image
  anonymous_list 1048576 "0 4096" >list
  run -2 --separate-stderr blxread image <list
  [ "$stderr" = "blxread: the list is anonymous: use -a and name the device" ]
}

@test "an extent beyond the end of what -a names is refused" {
  truncate -s 1M image
  anonymous_list 4194304 "0 4096" "1044480 8192" >list
  run -5 --separate-stderr blxread -a image <list
  [[ $stderr == *"image: extent 1044480 8192 is beyond its end at 1048576" ]]
}

@test "a hand-written range beyond the end is refused" {
  truncate -s 1M image
  echo "1044480 8192" >list
  run -5 --separate-stderr blxread -a --plain image <list
  [ "$stderr" = "blxread: line 1: goes beyond the end at 1048576: 1044480 8192" ]
}

# ---- what is in use

# cursor_at N: in a list.
cursor_at() {
  sed "s/^# cursor: .*/# cursor: $1/; s/^# base: .*/# base: none/"
}

@test "--used sends zeroes for what is free, but only where the receiver has nothing yet" {
  loop_new 32M
  noise "$FILE" 32M
  mkfs.ext4 -q -F -E nodiscard "$DEV"
  blxused "$DEV" >in_use
  tracked_list "$DEV" "0 33554432" | cursor_at 20000768 >list
  blxread --used <list >stream
  truncate -s 32M got want
  python3 "$TOP/tests/replay.py" got <stream
  { printf '0 20000768\n'; grep -v '^#' in_use; } | blxread -a --plain "$DEV" >two
  python3 "$TOP/tests/replay.py" want <two
  cmp want got
  run -1 cmp -s got "$FILE"
  tracked_list "$DEV" "0 33554432" | blxread --used >stream # there is no cursor below the end: nothing is asked
  python3 "$TOP/tests/replay.py" got <stream
  cmp got "$FILE"
}

@test "--used of what cannot say what it uses is refused, here and downstream" {
  loop_new 8M
  tracked_list "$DEV" "0 8388608" | cursor_at 0 >list
  run -5 --separate-stderr bash -c 'blxread --used <list >stream'
  [ "$stderr" = "blxused: $DEV: holds neither ext4 nor xfs; others do not say what they use
blxread: blxused $DEV: exit status 5" ] || fail "$stderr"
  run -4 blxls --check stream
  has "ABORT (code 5)"
  run -2 blxread -a --whole --used "$DEV"
  has "--used is for lists of tracked devices"
}

@test "--used does not take a list that is cut, nor a blxused that fails after its list" {
  loop_new 16M
  mkfs.ext4 -q "$DEV"
  tracked_list "$DEV" "0 16777216" | cursor_at 0 >list
  mkdir bin
  cp "$(command -v blxread)" bin
  real=$(command -v blxused)
  for rest in "| head -n 6" "; exit 6" "; kill -9 \$\$" "| sed s/16777216/16777728/"; do
    printf '#!/bin/bash\n%s "$@" %s\n' "$real" "$rest" >bin/blxused
    chmod +x bin/blxused
    code=0
    bin/blxread --used <list >stream 2>words || code=$?
    [ "$code" -gt 2 ] && [ "$code" -lt 8 ] || fail "$rest: exit $code"
    run -4 blxls --check stream
    if blxls -v stream 2>&- | grep -q COMMIT; then fail "$rest: committed: $(<words)"; fi
    cat words
  done
}

# ---- the wrong device

# refused WORD SED-SCRIPT: the list of $DEV, edited, is refused with exit 5 and WORD, and the stream says so.
refused() {
  tracked_list "$DEV" "0 4096" | sed "$2" >list
  run -5 --separate-stderr blxread <list
  [[ $stderr == *"$1"* ]] || fail "$stderr"
  blxread <list >stream 2>/dev/null || true
  blxls -v stream | grep -q 'ABORT *5 ' || fail "no ABORT"
}

@test "another diskseq is another device: exit 5" {
  loop_new 1M
  refused "diskseq is" 's/^# diskseq: .*/# diskseq: 999999/'
}

@test "another size is another device: exit 5" {
  loop_new 1M
  refused "size is 1048576, listed 2097152" 's/^# size: .*/# size: 2097152/; s/^# cursor: .*/# cursor: 2097152/'
}

@test "another start is another partition: exit 5" {
  loop_new 1M
  refused "start is 0, listed 512" 's/^# size/# start: 512\n&/'
}

@test "a number without a device: exit 5" {
  loop_new 1M
  refused "4095:77: no such block device" 's/^# device: .*/# device: 4095:77/'
}

@test "DEV named on the command line must be the listed device: exit 5" {
  loop_new 1M
  one=$DEV
  loop_new 1M
  tracked_list "$one" "0 4096" >list
  run -5 --separate-stderr blxread "$DEV" <list
  [[ $stderr == *"$DEV: not the device of the list: number is"* ]]
  blxread "$one" <list | blxls --check
}

@test "a link to the listed device will do" {
  loop_new 1M
  ln -s "$DEV" link
  tracked_list "$DEV" "0 4096" | blxread link | blxls --check
}

@test "a tracked list is not read from a file" {
  loop_new 1M
  tracked_list "$DEV" "0 4096" >list
  run -5 --separate-stderr blxread "$FILE" <list
  [[ $stderr == *"$FILE: not a block device" ]]
}

@test "a device that is not there: exit 5" {
  run -5 --separate-stderr blxread -a --whole /dev/no-such </dev/null
  [ "$stderr" = "blxread: /dev/no-such: No such file or directory" ]
}

@test "a directory is not read" {
  run -5 --separate-stderr blxread -a --whole / </dev/null
  [ "$stderr" = "blxread: /: neither a block device nor a file" ]
}

# ---- bad input

@test "empty input: exit 4, and ABORT downstream" {
  run -4 --separate-stderr blxread </dev/null
  [[ $stderr == "blxread: empty input"* ]]
  blxread </dev/null >stream 2>/dev/null || true
  blxls -v stream | grep -q 'ABORT *4 '
}

@test "a list cut at any line: exit 4, ABORT downstream, no COMMIT" {
  loop_new 1M
  tracked_list "$DEV" "0 4096" "8192 4096" "16384 4096" >list
  total=$(wc -l <list)
  for ((n = 1; n < total; n++)); do
    head -n "$n" list >part
    status=0
    blxread <part >stream 2>words || status=$?
    [ "$status" = 4 ] || fail "$n lines: exit $status: $(<words)"
    blxls -v stream >text || true
    grep -q 'ABORT *4 ' text || fail "$n lines: no ABORT"
    if grep -q COMMIT text; then fail "$n lines: committed"; fi
  done
}

@test "a bad line is named" {
  loop_new 1M
  tracked_list "$DEV" "0 4096" "8192 4096" | sed 's/^8192 4096/&x/' >list
  run -4 --separate-stderr blxread <list
  [[ $stderr == *"line $(grep -n 4096x list | cut -d: -f1)"* ]]
}

@test "hand-written input without a range: exit 4" {
  truncate -s 1M image
  echo "# nothing" >list
  run -4 --separate-stderr blxread -a --plain image <list
}

# ---- errors

@test "a failed read names device and offset, and becomes ABORT" {
  loop_new 8M
  noise "$FILE" 8M
  truncate -s 4M "$FILE"
  size=$((8 << 20))
  for engine in --no-uring --progress; do
    status=0
    tracked_list "$DEV" "0 $size" | blxread "$engine" >stream 2>words || status=$?
    [ "$status" = 3 ] || fail "exit $status: $(<words)"
    grep -q "blxread: $DEV: read of 1048576 at 4194304: Input/output error" words || fail "$(<words)"
    blxls -v stream >text || true
    grep -q 'ABORT *3 .*Input/output error' text
  done
}

@test "a bad sector is an error that names --skip-bad" {
  bad_file
  run -3 --separate-stderr blxread -a --whole image
  [[ $stderr == "blxread: image: read of "*": Input/output error; --skip-bad FILE goes on without what cannot be read" ]] ||
    fail "$stderr"
}

@test "--skip-bad leaves out the blocks that cannot be read, and no other" {
  bad_file
  dev=$(losetup --find --show image)
  echo "$dev" >>loops
  for from in image "$dev"; do
    for engine in --progress --no-uring; do
      run -0 --separate-stderr blxread -a -w "$engine" --skip-bad bad -o stream "$from"
      [[ $stderr == *"blxread: $from: 2 ranges, 12288 bytes in all, could not be read: bad lists them"* ]] ||
        fail "$stderr"
      [ "$(blxls -v stream 2>&- | awk '$2 == "BAD" { print $3, $4 }')" = $'1503232 4096\n2093056 8192' ]
      [ "$(grep -v '^#' bad)" = $'1503232 4096\n2093056 8192' ]
      truncate -s 0 got
      truncate -s 4M got
      python3 "$TOP/tests/replay.py" got <stream
      blxread -a want <bad >rest
      python3 "$TOP/tests/replay.py" got <rest
      cmp want got
    done
  done
}

@test "--skip-bad keeps to the ranges that were asked for" {
  bad_file
  printf '%s\n' "1500000 3300" "1504000 1000" "1507328 100" >ranges
  blxread -a --plain --skip-bad bad image <ranges >stream
  [ "$(frames stream)" = $'DATA 1500000 3232\nBAD 1503232 68\nBAD 1504000 1000\nDATA 1507328 100' ] || fail "$(frames stream)"
}

@test "--skip-bad writes an empty list where all can be read, and after a failure none" {
  noise image 1M
  echo old >bad
  blxread -a -w --skip-bad bad image >stream
  [ "$(grep -v '^# time' bad)" = $'# blx-extents 1\n# size: 1048576\n# end: 0 0' ]
  cp bad want
  run -5 bash -c 'echo 0 1048577 | blxread -a -p --skip-bad bad image >stream'
  cmp bad want
  [ ! -e bad.new ]
}

@test "--skip-bad lists the last epoch of a pipe, and all of several lists" {
  loop_new 8M
  noise "$FILE" 4M
  truncate -s 4M "$FILE" # what is beyond is an I/O error
  { tracked_list "$DEV" "4194304 4096"; tracked_list "$DEV" "0 4096" "8384512 4096"; } >lists
  blxread --skip-bad bad <lists >stream 2>words
  [ "$(blxls -v stream 2>&- | grep -c COMMIT)" = 2 ]
  [ "$(grep -v '^#' bad)" = "8384512 4096" ]
  grep -qx "# name: ${DEV##*/}" bad
  run -1 grep lineage bad
  blxread --skip-bad bad lists >stream 2>words
  [ "$(grep -v '^#' bad)" = $'4194304 4096\n8384512 4096' ]
}

@test "--skip-bad replaces neither what is read nor the output" {
  noise image 1M
  cp image want
  run -2 blxread -a -w --skip-bad image -o stream image
  has "image: is the file of --skip-bad too"
  run -2 blxread -a -w --skip-bad stream -o stream image
  has "--skip-bad 'stream': is the output"
  run -2 blxread -a -w --skip-bad - -o stream image
  has "--skip-bad '-': a file's name is expected"
  cmp image want
  [ ! -e image.new ]
}

@test "a list of bad sectors that cannot be written, or made, is an error, and an ABORT" {
  bad_file
  run -3 bash -c 'blxread -a -w --skip-bad nowhere/bad image >stream'
  has "nowhere/bad.new: open: No such file or directory"
  run -4 blxls --check stream
  has "ABORT (code 3)"
  has "nowhere/bad.new: open: No such file or directory"
  run -3 bash -c 'blxread -a -w --skip-bad /dev/full image >stream'
  has "/dev/full: write: No space left on device"
  run -4 blxls --check stream
  has "ABORT (code 3)"
}

@test "a file that shrinks under us is an error" {
  noise image 2M
  {
    anonymous_list 2097152 "0 4096"
    await grep -aq '# size' stream
    truncate -s 1M image
    anonymous_list 2097152 "1048000 4096"
  } | { blxread -a image >stream 2>words || echo $? >status; }
  [ "$(<status)" = 3 ]
  [ "$(<words)" = "blxread: image: read at 1048576: it ends at 1048576" ]
}

@test "a full output is an error" {
  noise image 1M
  run -3 blxread -a --whole -o /dev/full image
  has "blxread: /dev/full: write: No space left on device"
}

@test "nobody reading is one line and exit 3" {
  noise image 4M
  mkfifo out
  { blxread -a --whole image >out 2>words || echo $? >status; } &
  head -c 100 <out >/dev/null
  wait $!
  [ "$(<status)" = 3 ]
  [ "$(<words)" = "blxread: standard output: Broken pipe" ]
}

@test "an idle reader notices that the stage after it has gone" {
  loop_new 1M
  mkfifo in out
  { timeout 20 blxread <in >out 2>words 3>&- || echo $? >status; } &
  exec 7>in 8<out
  tracked_list "$DEV" "0 4096" >&7
  timeout 10 grep -m1 -aq 'epoch: 12' <&8
  exec 8<&-
  wait $!
  exec 7>&-
  [ "$(<status)" = 3 ]
  [ "$(<words)" = "blxread: standard output: Broken pipe" ]
}

# ---- the command line

@test "-o writes a file that only its owner may read" {
  noise image 1M
  blxread -a --whole -o stream image
  blxls --check stream
  [ "$(stat -c %a stream)" = 600 ]
}

# untouched COMMAND-LINE STATUS: it fails so, good.blx is what it was, and nothing lies beside it.
untouched() {
  run "-$2" --separate-stderr bash -c "$1"
  [ "$(<good.blx)" = good ] || fail "$1: touched"
  [ ! -e good.blx.new ] || fail "$1: left good.blx.new"
}

@test "-o replaces a file only when the whole stream is there" {
  noise image 1M
  echo good >good.blx
  untouched 'blxread -a -w -o good.blx nosuch' 5
  [ "$stderr" = "blxread: nosuch: No such file or directory" ]
  untouched 'blxread -o good.blx </dev/null' 4
  untouched 'echo 0 1048577 | blxread -a -p -o good.blx image' 5
  untouched 'ulimit -f 64; trap "" XFSZ; blxread -a -w -o good.blx image' 3
  ln -s good.blx link
  blxread -a -w -o link image
  blxls --check good.blx
  [ -L link ]
}

@test "-o is undone when it is interrupted" {
  loop_new 1M
  echo good >good.blx
  mkfifo in
  blxread -o good.blx <in 3>&- &
  pid=$!
  exec 7>in
  await [ -e good.blx.new ]
  tracked_list "$DEV" "0 4096" >&7
  kill -TERM "$pid"
  code=0
  wait "$pid" || code=$?
  [ "$code" = 143 ]
  exec 7>&-
  [ "$(<good.blx)" = good ]
  [ ! -e good.blx.new ]
}

@test "-o does not write over what another blxread is writing" {
  noise image 64K
  echo other >stream.new
  run -7 --separate-stderr blxread -a -w -o stream image
  [[ $stderr == "blxread: stream.new: exists: "* ]] || fail "$stderr"
  [ "$(<stream.new)" = other ]
  [ ! -e stream ]
}

@test "-o does not replace what is read, by whatever name: exit 2" {
  noise image 1M
  cp image want
  ln image hard
  ln -s image soft
  for out in image hard soft; do
    run -2 --separate-stderr blxread -a -w -o "$out" image
    [[ $stderr == "blxread: image: is the output too"* ]] || fail "$stderr"
    cmp image want
    [ ! -e "$out.new" ] && [ ! -e image.new ]
  done
  run -2 bash -c 'blxread -a -w image >>image'
  cmp image want
}

@test "the file below a loop device is not replaced by what is read of the device" {
  loop_new 1M
  noise "$FILE" 1M
  cp "$FILE" want
  run -2 blxread -a -w -o "$FILE" "$DEV"
  has "$DEV: is the output too"
  tracked_list "$DEV" "0 4096" >list
  run -2 bash -c "blxread -o '$FILE' <list"
  run -2 bash -c "blxread -a -w '$DEV' 1<>'$DEV'"
  cmp "$FILE" want
}

@test "-o writes no block device: exit 2" {
  noise image 64K
  loop_new 1M
  run -2 blxread -a -w -o "$DEV" image
  has "--output '$DEV': a block device would be overwritten"
  cmp -n 1048576 "$FILE" /dev/zero
}

@test "-o writes a FIFO and a character device as they are" {
  noise image 64K
  blxread -a -w -o /dev/null image
  mkfifo fifo
  timeout 20 blxread -a -w -o fifo image 3>&- &
  blxls --check <fifo
  wait $!
  [ -p fifo ] && [ -c /dev/null ]
}

@test "-o - is standard output" {
  noise image 64K
  blxread -a --whole -o - image | blxls --check
}

@test "a stream is not written to a terminal" {
  noise image 64K
  run -2 script -qec "blxread -a --whole $PWD/image" /dev/null </dev/null
  has "standard output is a terminal"
}

@test "--rate slows data down, and zeroes cost nothing" {
  noise image 1M
  truncate -s 1G image
  before=$(date +%s%N)
  blxread -a --whole --rate 1M image >stream
  took=$((($(date +%s%N) - before) / 1000000))
  [ "$took" -ge 700 ] || fail "took $took ms"
}

@test "--progress says how far it is" {
  noise image 1M
  run -0 --separate-stderr blxread -a --whole --progress -o stream image
  [[ $stderr == *"1.0M of 1.0M, 100%"* ]] || fail "$stderr"
}

@test "success is silent" {
  noise image 1M
  run -0 blxread -a --whole -o stream image
  [ -z "$output" ]
}

@test "wrong command lines exit 2 and say why" {
  run -2 blxread --nonsense
  has "unrecognized option"
  run -2 blxread -a
  has "-a needs the device or file to read"
  run -2 blxread --plain image
  has "it needs -a"
  run -2 blxread --whole image
  has "it needs -a"
  run -2 blxread -a --plain --whole image
  has "exclude each other"
  run -2 blxread -a one two
  has "'two': one device only"
  run -2 blxread --rate fast
  has "--rate 'fast': not a number of bytes"
  for wrong in "--rate ''" "--label ''" "--output ''" "-a -w ''"; do
    run -2 bash -c "blxread $wrong"
    has "'': "
  done
}

@test "an unknown option gives one line, and where help is" {
  run -2 "$(command -v blxread)" --nonsense
  [ "$output" = "blxread: unrecognized option '--nonsense'"$'\n'"Try 'blxread --help'." ]
}

@test "help and version go to standard output, which is checked" {
  run -0 blxread --help
  has "usage: blxread"
  for option in anonymous plain whole label rate progress output skip-bad used no-uring help version; do
    has "--$option"
  done
  run -0 blxread --version
  has "blxread (blx)"
  run -3 sh -c 'blxread --help >/dev/full'
}

@test "with standard error closed, progress is not written into the stream" {
  truncate -s 4M "$BATS_TEST_TMPDIR/disk"
  printf x | dd of="$BATS_TEST_TMPDIR/disk" bs=1 seek=70000 conv=notrunc 2>/dev/null
  blxread -P -a -w -o "$BATS_TEST_TMPDIR/stream" "$BATS_TEST_TMPDIR/disk" 2>&-
  blxls --check "$BATS_TEST_TMPDIR/stream"
}

@test "--skip-bad goes on where a run that was killed left its list, and waits for no other" {
  noise image 64K
  echo left >bad.new
  blxread -a --whole --skip-bad bad image >/dev/null
  [ ! -e bad.new ]
  [ "$(grep -vc '^#' bad)" = 0 ]
  exec 8>bad.new
  flock 8
  run -7 blxread -a --whole --skip-bad bad image
  has "bad.new: another blxread writes it"
}
