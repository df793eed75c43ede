#!/bin/bash
# What digests beside the image cost: a first copy of 1 GiB and an increment of a tenth of its blocks, at random, through
# the pipe, with and without --digests, in turns; the time, the CPU time of blxapply alone, the digests' size; then a scrub.
# Environment: WHERE, a directory for the image (/dev/shm: nothing but the CPU; a disk shows the fsyncs), ROUNDS (5), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
rounds=${ROUNDS:-5}

# apply NAME STREAM [options]
apply() {
  local name=$1 stream=$2 begun
  shift 2
  begun=$(now)
  TIMEFORMAT='%U %S'
  { time blxapply "$@" "$IMG"; } <"$stream" 2>"$DIR/times"
  echo "$(now) - $begun" | bc -l >>"$DIR/$name.seconds"
  awk '{ print $1 + $2 }' "$DIR/times" >>"$DIR/$name.cpu"
}

# pipe FILE: what the disk's consumer lacks, as a stream.
pipe() {
  blxtrack drain "$DEV" | blxread | blxpack >"$1"
}

bench_dir /dev/shm
image_dir=$(mktemp -d -p "${WHERE:-/dev/shm}" blx-bench.XXXXXX)
trap 'rm -rf "$image_dir"; bench_end' EXIT
IMG=$image_dir/img
bench_disk 1G
dd if=/dev/urandom of="$DEV" bs=1M oflag=direct status=none 2>/dev/null || true
blxtrack start "$DEV" 2>/dev/null
TRACKED=$DEV
pipe "$DIR/first"
blxapply --ack "$IMG" <"$DIR/first" | blxtrack commit "$DEV"
python3 - "$DEV" <<'END'
import os, random, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
for block in sorted(random.sample(range(262144), 26214)):
    os.pwrite(fd, os.urandom(4096), block * 4096)
os.fsync(fd)
END
pipe "$DIR/tenth"
for ((r = 0; r < rounds; r++)); do
  for way in without with; do
    rm -rf "$IMG" "$IMG.blx"
    option=
    [ $way = without ] || option=--digests
    # shellcheck disable=SC2086 # an option or none
    apply "first.$way" "$DIR/first" $option
    apply "tenth.$way" "$DIR/tenth"
    cmp -s "$DEV" "$IMG" || { echo "the image differs" >&2; exit 1; }
  done
  begun=$(now)
  blxsum --scrub "$IMG"
  echo "1024 / ($(now) - $begun)" | bc -l >>"$DIR/scrub"
done
printf '%-12s %-8s %10s %10s\n' epoch digests seconds 'CPU s'
for epoch in first tenth; do
  for way in without with; do
    printf '%-12s %-8s %10.3f %10.3f\n' "$epoch" "$way" "$(median <"$DIR/$epoch.$way.seconds")" \
      "$(median <"$DIR/$epoch.$way.cpu")"
  done
done
printf 'digests: %d KiB; scrub: %.0f MiB/s\n' "$(du -k "$IMG.blx/digests" | cut -f1)" "$(median <"$DIR/scrub")"
