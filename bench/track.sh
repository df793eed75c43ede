#!/bin/bash
# What tracking costs the workload, in pairs of measurements taken in turn, 4 KiB random writes at queue depth 32 on loop
# devices over tmpfs. `one`: one device, tracked and untracked; the bar is 0.97 of the IOPS. `many`: the same writes spread
# over 64 devices, all tracked and one tracked; the bar is 1.1 times the CPU time of a write. Exit 1 below a bar.
# Usage: track.sh [one] [many]. Environment: PAIRS (9), SECONDS_EACH (5), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
pairs=${PAIRS:-9} each=${SECONDS_EACH:-5} many=64

USE=() # what is written to

# measure DEVICES: IOPS, microseconds of mean latency, and CPU seconds of the machine per million writes.
measure() {
  local before after
  before=$(busy)
  fio --name=track --filename="$(IFS=:; echo "$*")" --rw=randwrite --bs=4k --iodepth=32 --ioengine="$engine" --direct=1 \
    --time_based --runtime="$each" --norandommap --randrepeat=0 --output-format=json >"$DIR/fio.json"
  after=$(busy)
  python3 - "$DIR/fio.json" "$before" "$after" <<'END'
import json, sys
w = json.load(open(sys.argv[1]))['jobs'][0]['write']
cpu = float(sys.argv[3]) - float(sys.argv[2])
print('%.0f %.1f %.2f' % (w['iops'], w['lat_ns']['mean'] / 1000, cpu / w['total_ios'] * 1e6))
END
}

# track DEVICES: these are tracked, and no others.
track() {
  local dev
  for dev in $TRACKED; do
    [[ " $* " == *" $dev "* ]] || blxtrack stop --force "$dev"
  done
  TRACKED=$*
  if [ -n "$TRACKED" ]; then blxtrack start "$@" 2>/dev/null; fi
}

# side NAME: measure under that name: iops, lat, cpu, and what to print.
side() {
  read -r iops lat cpu < <(measure "${USE[@]}")
  echo "$iops" >>"$DIR/$1.iops"
  echo "$cpu" >>"$DIR/$1.cpu"
  printf -v "$1_text" '%s IOPS %s us %s s/M' "$iops" "$lat" "$cpu"
  printf -v "$1_iops" '%s' "$iops"
  printf -v "$1_cpu" '%s' "$cpu"
}

untracked() { track && side untracked; }
tracked() { track "$DEV" && side tracked; }
single() { track "${USE[0]}" && side single; }
all() { track "${USE[@]}" && side all; }

fill() {
  local dev
  for dev in "${USE[@]}"; do
    dd if=/dev/zero of="$dev" bs=1M oflag=direct status=none 2>/dev/null || true # to its end
  done
}

# in_turn A B KIND: pairs of A and B; the ratio of A's figure to B's in ratio.
in_turn() {
  local i ratio a b
  rm -f "$DIR"/*.iops "$DIR"/*.cpu "$DIR/ratio"
  for ((i = 1; i <= pairs; i++)); do
    # Which goes first alternates.
    if ((i % 2)); then "$2" && "$1"; else "$1" && "$2"; fi
    local -n a_figure="$1_$3" b_figure="$2_$3" a="$1_text" b="$2_text"
    ratio=$(awk -v a="$a_figure" -v b="$b_figure" 'BEGIN { printf "%.4f", a / b }')
    echo "$ratio" >>"$DIR/ratio"
    printf '%2d  %s %s  %s %s  ratio %s\n' "$i" "$2" "$b" "$1" "$a" "$ratio"
  done
  printf 'median: %s %s IOPS (%s CPU s per million), %s %s IOPS (%s)\n' "$2" "$(median <"$DIR/$2.iops")" \
    "$(median <"$DIR/$2.cpu")" "$1" "$(median <"$DIR/$1.iops")" "$(median <"$DIR/$1.cpu")"
  of_medians=$(awk -v a="$(median <"$DIR/$1.$3")" -v b="$(median <"$DIR/$2.$3")" 'BEGIN { printf "%.4f", a / b }')
}

one() {
  bench_disk 1G
  fio --name=try --filename="$DEV" --rw=write --bs=1M --ioengine=$engine --direct=1 >/dev/null 2>&1 || engine=libaio
  USE=("$DEV")
  fill
  measure "$DEV" >/dev/null # warm
  echo "one device: $engine, $pairs pairs of $each s each"
  in_turn tracked untracked iops
  printf 'IOPS tracked to untracked: ratio of medians %s, median of ratios %s (bar 0.97)\n' "$of_medians" \
    "$(median <"$DIR/ratio")"
  awk -v r="$of_medians" 'BEGIN { exit r < 0.97 }'
}

several() {
  while [ "${#DEVS[@]}" -lt "$many" ]; do bench_disk 16M; done
  USE=("${DEVS[@]:0:many}")
  fill
  echo "$many devices: $engine, $pairs pairs of $each s each"
  in_turn all single cpu
  printf 'CPU time of a write, %s tracked to one: ratio of medians %s, median of ratios %s (bar 1.1)\n' "$many" \
    "$of_medians" "$(median <"$DIR/ratio")"
  awk -v r="$of_medians" 'BEGIN { exit r > 1.1 }'
}

bench_dir /dev/shm
engine=io_uring failed=0
[ $# -gt 0 ] || set -- one many
for part in "$@"; do
  case $part in
  one) one || failed=1 ;;
  many) several || failed=1 ;;
  *) echo "what is $part? one or many" >&2 && exit 2 ;;
  esac
done
exit $failed
