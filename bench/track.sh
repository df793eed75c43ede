#!/bin/bash
# What tracking costs the workload: fio, 4 KiB random writes, queue depth 32, on a loop device over tmpfs, tracked and
# untracked in turns. Exit 1 if the median of the pairs' ratios is below the bar, 0.97.
# Environment: PAIRS (9), SECONDS_EACH (5), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
pairs=${PAIRS:-9} each=${SECONDS_EACH:-5}

# measure KIND: IOPS, microseconds of mean latency, and CPU seconds of the machine per million writes.
measure() {
  local before after
  before=$(busy)
  fio --name=track --filename="$DEV" --rw=randwrite --bs=4k --iodepth=32 --ioengine="$engine" --direct=1 \
    --time_based --runtime="$each" --norandommap --randrepeat=0 --output-format=json >"$DIR/fio.json"
  after=$(busy)
  python3 - "$DIR/fio.json" "$before" "$after" <<'END'
import json, sys
w = json.load(open(sys.argv[1]))['jobs'][0]['write']
cpu = float(sys.argv[3]) - float(sys.argv[2])
print('%.0f %.1f %.2f' % (w['iops'], w['lat_ns']['mean'] / 1000, cpu / w['total_ios'] * 1e6))
END
}

untracked() {
  read -r iops lat cpu < <(measure)
  echo "$iops" >>"$DIR/untracked"
  echo "$cpu" >>"$DIR/untracked.cpu"
  plain=$iops plain_text="$iops IOPS $lat us $cpu s/M"
}

tracked() {
  blxtrack start "$DEV" 2>/dev/null
  TRACKED=1
  read -r iops lat cpu < <(measure)
  blxtrack stop --force "$DEV"
  TRACKED=
  echo "$iops" >>"$DIR/tracked"
  echo "$cpu" >>"$DIR/tracked.cpu"
  seen=$iops seen_text="$iops IOPS $lat us $cpu s/M"
}

bench_dir /dev/shm
bench_disk 1G
engine=io_uring
fio --name=try --filename="$DEV" --rw=write --bs=1M --ioengine=$engine --direct=1 >/dev/null 2>&1 || engine=libaio
fio --name=fill --filename="$DEV" --rw=write --bs=1M --ioengine="$engine" --direct=1 >/dev/null
measure >/dev/null # warm

echo "4 KiB random writes, QD 32, loop over tmpfs, $engine, $pairs pairs of $each s each"
for ((i = 1; i <= pairs; i++)); do
  # Which goes first alternates too.
  if ((i % 2)); then untracked && tracked; else tracked && untracked; fi
  ratio=$(awk -v a="$seen" -v b="$plain" 'BEGIN { printf "%.4f", a / b }')
  echo "$ratio" >>"$DIR/ratio"
  printf '%2d  untracked %s  tracked %s  ratio %s\n' "$i" "$plain_text" "$seen_text" "$ratio"
done
printf 'median: untracked %s IOPS (%s CPU s per million), tracked %s IOPS (%s)\n' "$(median <"$DIR/untracked")" \
  "$(median <"$DIR/untracked.cpu")" "$(median <"$DIR/tracked")" "$(median <"$DIR/tracked.cpu")"
of_medians=$(awk -v a="$(median <"$DIR/tracked")" -v b="$(median <"$DIR/untracked")" 'BEGIN { printf "%.4f", a / b }')
printf 'ratio of medians %s, median of ratios %s (bar 0.97)\n' "$of_medians" "$(median <"$DIR/ratio")"
awk -v r="$of_medians" 'BEGIN { exit r < 0.97 }'
