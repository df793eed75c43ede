#!/bin/bash
# Peak memory of every program of the pipe on a sparse source of 100 GiB, with some data and many small changes, first
# copy and increment. Exit 1 if one took more than 64 MiB. Environment: SIZE (100G), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
size=${SIZE:-100G}

# peak NAME COMMAND...: run it; its peak resident KiB goes to DIR/NAME.kib.
peak() {
  local name=$1
  shift
  python3 -c '
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
open(sys.argv[1], "a").write("%d\n" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)' "$DIR/$name.kib" "$@"
}

replicate() {
  peak "blxtrack-drain" blxtrack drain "$DEV" | peak blxread blxread | peak blxpack blxpack |
    peak blxapply blxapply --ack "$DIR/replica" | peak blxtrack-commit blxtrack commit "$DEV"
}

bench_dir "${TMPDIR:-/var/tmp}"
bench_disk "$size"
bytes=$(blockdev --getsize64 "$DEV")
head -c 256M /dev/urandom | dd of="$DEV" bs=1M oflag=direct iflag=fullblock status=none
blxtrack start "$DEV"
TRACKED=$DEV
begun=$(now)
replicate
printf 'first copy of %s: %.1f s\n' "$size" "$(echo "$(now) - $begun" | bc)"
# Every change an extent of its own, spread over all of the device.
fio --name=scatter --filename="$DEV" --rw=randwrite --bs=4k --iodepth=32 --ioengine=psync --direct=1 --size="$bytes" \
  --number_ios="${CHANGES:-30000}" --norandommap >/dev/null
begun=$(now)
replicate
printf 'increment of %s scattered blocks: %.1f s\n' "${CHANGES:-30000}" "$(echo "$(now) - $begun" | bc)"
blxread -a --whole -o "$DIR/anonymous" "$DIR/disk"
peak blxls blxls --check "$DIR/anonymous"
peak blxpack-d sh -c 'blxpack <"$1" | blxpack -d >/dev/null' sh "$DIR/anonymous"
cmp "$DEV" "$DIR/replica"

echo 'peak resident memory (below about 14 MiB it is that of the program that measures):'
worst=0
for file in "$DIR"/*.kib; do
  name=${file##*/}
  kib=$(sort -n "$file" | tail -n 1)
  printf '%-16s %6.1f MiB\n' "${name%.kib}" "$(echo "$kib / 1024" | bc -l)"
  [ "$kib" -le "$worst" ] || worst=$kib
done
printf 'worst: %.1f MiB (bar 64)\n' "$(echo "$worst / 1024" | bc -l)"
[ "$worst" -le 65536 ]
