#!/bin/bash
# What tracking costs the workload: 4 KiB random writes at queue depth 32 on loop devices over tmpfs, measured in turns.
# `one`: one device, tracked and untracked; the bar is 0.97 of the IOPS. `many`: the same, and the writes spread over 64
# devices, all tracked and none; what tracking makes of the time of a write is at most 1.1 times as much with 64 as with
# one. Exit 1 below a bar. Usage: track.sh [one] [many]. Environment: PAIRS (9), SECONDS_EACH (5), BLX_BIN.
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
}

untracked() { track && side untracked; }
tracked() { track "${USE[@]}" && side tracked; }

fill() {
  local dev
  for dev in "${USE[@]}"; do
    dd if=/dev/zero of="$dev" bs=1M oflag=direct status=none 2>/dev/null || true # to its end
  done
}

prepare() {
  fio --name=try --filename="${USE[0]}" --rw=write --bs=1M --ioengine=$engine --direct=1 >/dev/null 2>&1 || engine=libaio
  fill
  measure "${USE[@]}" >/dev/null # warm
}

# of NAME KIND: the median.
of() {
  median <"$DIR/$1.$2"
}

quotient() {
  awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", a / b }'
}

# medians NAME...
medians() {
  local name
  for name in "$@"; do
    printf 'median: %s %s IOPS (%s CPU s per million)\n' "$name" "$(of "$name" iops)" "$(of "$name" cpu)"
  done
}

one() {
  USE=("${DEVS[0]}")
  prepare
  echo "one device: $engine, $pairs pairs of $each s each"
  for ((i = 1; i <= pairs; i++)); do
    # Which goes first alternates.
    if ((i % 2)); then untracked && tracked; else tracked && untracked; fi
    ratio=$(quotient "$tracked_iops" "$untracked_iops")
    echo "$ratio" >>"$DIR/ratio"
    printf '%2d  untracked %s  tracked %s  ratio %s\n' "$i" "$untracked_text" "$tracked_text" "$ratio"
  done
  medians untracked tracked
  ratio=$(quotient "$(of tracked iops)" "$(of untracked iops)")
  printf 'ratio of medians %s, median of ratios %s (bar 0.97)\n' "$ratio" "$(median <"$DIR/ratio")"
  awk -v r="$ratio" 'BEGIN { exit r < 0.97 }'
}

narrow() {
  USE=("${DEVS[0]}")
}

spread() {
  USE=("${DEVS[@]:1}")
}

none_of_one() { narrow && track && side none_of_one; }
one_of_one() { narrow && track "${USE[@]}" && side one_of_one; }
none_of_many() { spread && track && side none_of_many; }
all_of_many() { spread && track "${USE[@]}" && side all_of_many; }

many() {
  while [ "${#DEVS[@]}" -le "$many" ]; do bench_disk 16M; done
  spread
  prepare
  echo "one device and $many: $engine, $pairs rounds of 4 times $each s"
  for ((i = 1; i <= pairs; i++)); do
    if ((i % 2)); then
      none_of_one && one_of_one && all_of_many && none_of_many
    else
      none_of_many && all_of_many && one_of_one && none_of_one
    fi
    # IOPS are the inverse of the time of a write.
    ratio=$(quotient "$(quotient "$none_of_many_iops" "$all_of_many_iops")" \
      "$(quotient "$none_of_one_iops" "$one_of_one_iops")")
    echo "$ratio" >>"$DIR/many.ratio"
    printf '%2d  one: untracked %s, tracked %s  %s: untracked %s, tracked %s  ratio %s\n' "$i" "$none_of_one_text" \
      "$one_of_one_text" "$many" "$none_of_many_text" "$all_of_many_text" "$ratio"
  done
  medians none_of_one one_of_one none_of_many all_of_many
  ratio=$(quotient "$(quotient "$(of none_of_many iops)" "$(of all_of_many iops)")" \
    "$(quotient "$(of none_of_one iops)" "$(of one_of_one iops)")")
  printf 'tracking %s to tracking one: ratio of medians %s, median of ratios %s (bar 1.1)\n' "$many" "$ratio" \
    "$(median <"$DIR/many.ratio")"
  awk -v r="$ratio" 'BEGIN { exit r > 1.1 }'
}

bench_dir /dev/shm
bench_disk 1G
engine=io_uring failed=0
[ $# -gt 0 ] || set -- one many
for part in "$@"; do
  case $part in
  one) one || failed=1 ;;
  many) many || failed=1 ;;
  *) echo "what is $part? one or many" >&2 && exit 2 ;;
  esac
done
exit $failed
