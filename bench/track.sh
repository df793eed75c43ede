#!/bin/bash
# What tracking costs the workload: 4 KiB random writes at queue depth 32 on loop devices over tmpfs, measured in turns.
# `one`: one device, tracked and untracked; the bar is 0.97 of the IOPS. `many`: one device, tracked, and writes spread over
# 64 that are all tracked; the bar is 1.1 times the cost of a write, which is the CPU time of one untracked and the time in
# the programs, as the kernel counts it. (That count depends little on what else the machine does, unlike the IOPS of two
# different workloads.) Exit 1 below a bar. Usage: track.sh [one] [many]. Environment: PAIRS (9), SECONDS_EACH (5), BLX_BIN.
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

# programs: ns that the attached programs have run so far, all together.
programs() {
  local link
  for link in /sys/fs/bpf/blx/4/link-*; do
    bpftool -j prog show id "$(bpftool -j link show pinned "$link" | grep -o '"prog_id":[0-9]*' | cut -d: -f2)"
  done | grep -o '"run_time_ns":[0-9]*' | awk -F: '{ n += $2 } END { printf "%.0f", n }'
}

# costs NAME DEVICE...: these are tracked; ns in the programs per write to them.
costs() {
  local name=$1 before after
  shift
  USE=("$@")
  track "$@"
  sysctl -qw kernel.bpf_stats_enabled=1
  before=$(programs)
  side "$name"
  after=$(programs)
  sysctl -qw kernel.bpf_stats_enabled=0
  ns=$(python3 -c 'import json, sys
w = json.load(open(sys.argv[1]))["jobs"][0]["write"]
print("%.0f" % ((int(sys.argv[3]) - int(sys.argv[2])) / w["total_ios"]))' "$DIR/fio.json" "$before" "$after")
  echo "$ns" >>"$DIR/$name.ns"
}

many() {
  while [ "${#DEVS[@]}" -le "$many" ]; do bench_disk 16M; done
  USE=("${DEVS[@]:1}")
  prepare
  echo "one device and $many: $engine, $pairs pairs of $each s each"
  for ((i = 1; i <= pairs; i++)); do
    USE=("${DEVS[0]}")
    track && side none
    costs single "${DEVS[0]}"
    one_ns=$ns
    costs all "${DEVS[@]:1}"
    printf '%2d  untracked %s  one %s, %s ns in programs  %s %s, %s ns in programs\n' "$i" "$none_text" "$single_text" \
      "$one_ns" "$many" "$all_text" "$ns"
  done
  medians none single all
  # The least that a write was seen to cost: the rest is what else the machine did.
  base=$(sort -g "$DIR/none.cpu" | awk 'NR == 1 { print $1 * 1000 }')
  ratio=$(quotient "$(awk -v a="$base" -v b="$(of all ns)" 'BEGIN { print a + b }')" \
    "$(awk -v a="$base" -v b="$(of single ns)" 'BEGIN { print a + b }')")
  printf 'a write costs %s ns untracked, %s more with one device tracked, %s more with %s: ratio %s (bar 1.1)\n' "$base" \
    "$(of single ns)" "$(of all ns)" "$many" "$ratio"
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
