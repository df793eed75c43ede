#!/bin/bash
# A full copy of a disk of 1 GiB, half random and half zero: speed, CPU and bytes on the wire, against dd through the
# same wire (a pipe) plain and with zstd, in turns. Environment: ROUNDS (5), BLX_BIN.
. "${BASH_SOURCE[0]%/*}/lib.bash"
rounds=${ROUNDS:-5}

wire() {
  tee >(wc -c >"$DIR/wire.new" && mv "$DIR/wire.new" "$DIR/wire")
}

copy_dd() {
  dd if="$DEV" bs=1M iflag=direct status=none | wire | dd of="$DIR/copy" bs=1M iflag=fullblock conv=fsync status=none
}

copy_dd_zstd() {
  dd if="$DEV" bs=1M iflag=direct status=none | zstd -q -3 | wire | zstd -q -d |
    dd of="$DIR/copy" bs=1M iflag=fullblock conv=fsync status=none
}

copy_blx() {
  blxread -a --whole "$DEV" | blxpack | wire | blxapply --restore "$DIR/copy"
}

copy_blx_unpacked() {
  blxread -a --whole "$DEV" | wire | blxapply --restore "$DIR/copy"
}

copy_blx_tracked() {
  blxtrack consumer reset default "$DEV"
  blxtrack drain "$DEV" | blxread | blxpack | wire | blxapply --ack "$DIR/copy" | blxtrack commit "$DEV"
}

measure() {
  local begun cpu bytes
  rm -rf "$DIR"/copy* "$DIR/wire"
  begun=$(now) cpu=$(busy)
  "copy_$1"
  cpu=$(echo "$(busy) - $cpu" | bc)
  begun=$(echo "$(now) - $begun" | bc)
  until [ -f "$DIR/wire" ]; do sleep 0.05; done
  bytes=$(<"$DIR/wire")
  cmp -s "$DEV" "$DIR/copy" || { echo "$1: the copy differs" >&2; exit 1; }
  echo "1024 / $begun" | bc -l >>"$DIR/$1.speed"
  echo "$cpu" >>"$DIR/$1.cpu"
  echo "$bytes / 1073741824" | bc -l >>"$DIR/$1.bytes"
}

bench_dir /dev/shm
bench_disk 1G
# Random and zero in pieces of 16 MiB, in turns.
for ((i = 0; i < 64; i += 2)); do
  head -c 16M /dev/urandom | dd of="$DEV" bs=1M seek=$((i * 16)) iflag=fullblock oflag=direct status=none
done
blxtrack start "$DEV" 2>/dev/null
TRACKED=$DEV
ways='dd dd_zstd blx blx_unpacked blx_tracked'
for ((r = 0; r < rounds; r++)); do
  for way in $ways; do measure "$way"; done
done
printf '%-14s %10s %12s %16s\n' way MiB/s 'CPU s/GiB' 'wire bytes/byte'
for way in $ways; do
  printf '%-14s %10.0f %12.2f %16.4f\n' "$way" "$(median <"$DIR/$way.speed")" "$(median <"$DIR/$way.cpu")" \
    "$(median <"$DIR/$way.bytes")"
done
