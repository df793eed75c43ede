#!/bin/bash
# How fast blxsum is beside reading alone: blxsum, and fio reading the same bytes with O_DIRECT in pieces of 1 MiB, 16 in
# flight, in turns. The device is a loop device on a file of random bytes in memory, so that no disk's waits hide what the
# digests cost; or DEV. The bar is 0.9 of fio's speed, by the median of the pairs' ratios. What else the machine does slows
# whoever has two busy processors more than who has one: the best runs are shown, too. Environment: SIZE (2G), PAIRS (15),
# DEV, TMPDIR (/dev/shm), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
size=${SIZE:-2G} pairs=${PAIRS:-15} dev=${DEV:-}

seconds() {
  local begun
  begun=$(now)
  "$@" >/dev/null
  echo "$(now) - $begun" | bc
}

# fio's own figure: it takes its time to start.
read_alone() {
  fio --name=read --filename="$dev" --readonly --rw=read --direct=1 --bs=1M --iodepth=16 --ioengine="$engine" \
    --output-format=json >"$DIR/fio.json"
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["jobs"][0]["read"]["runtime"] / 1000)' "$DIR/fio.json"
}

bench_dir "${TMPDIR:-/dev/shm}"
engine=io_uring
fio --name=probe --filename="$DIR/probe" --rw=read --size=4k --ioengine=io_uring >/dev/null 2>&1 || engine=libaio
if [ -z "$dev" ]; then
  head -c "$(numfmt --from=iec "$size")" /dev/urandom >"$DIR/disk0"
  dev=$(losetup --find --show "$DIR/disk0")
  DEVS+=("$dev")
fi
mib=$(echo "$(blockdev --getsize64 "$dev") / 1048576" | bc)
read_alone >/dev/null
for ((i = 0; i < pairs; i++)); do
  alone=$(read_alone)
  xxh=$(seconds blxsum "$dev")
  sha=$(seconds blxsum -A sha256 "$dev")
  for way in alone xxh sha; do
    echo "$mib / ${!way}" | bc -l >>"$DIR/$way"
    echo "$alone / ${!way}" | bc -l >>"$DIR/$way.ratio"
  done
done
best() {
  sort -g "$DIR/$1" | tail -n 1
}
printf '%-24s %10s %10s %10s %10s\n' 'MiB/s' median best 'of fio' 'best/best'
for way in alone xxh sha; do
  case $way in
    alone) name="fio ($engine)" ;;
    xxh) name=blxsum ;;
    sha) name='blxsum -A sha256' ;;
  esac
  printf '%-24s %10.0f %10.0f %10.2f %10.2f\n' "$name" "$(median <"$DIR/$way")" "$(best "$way")" \
    "$(median <"$DIR/$way.ratio")" "$(echo "$(best "$way") / $(best alone)" | bc -l)"
done
[ "$(echo "$(median <"$DIR/xxh.ratio") >= 0.9" | bc -l)" = 1 ]
