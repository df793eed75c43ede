#!/bin/bash
# A replica of a device of 4 GiB that nobody knows the state of, with 0, 0.1, 1 and 10 percent of random blocks of 4 KiB
# changed, made equal: time, CPU seconds of all programs on both sides, bytes on the wire (a pipe) in both directions.
# Beside blxsum and the pipe: bdsync, rsync --inplace, and a full read that compares digests of 1 MiB, as blocksync does;
# in turns. Environment: ROUNDS (3), PERCENT, SIZE (4G), WHERE (/dev/shm), BDSYNC (a path, if it is not on PATH), WAYS,
# BLX_BIN. What is missing is said and left out.
. "${BASH_SOURCE[0]%/*}/lib.bash"
rounds=${ROUNDS:-3} percents=${PERCENT:-0 0.1 1 10} size=${SIZE:-4G}
bdsync=${BDSYNC:-$(command -v bdsync || true)}
export TIMEFORMAT='%R %U %S'

# Programs on the far end, behind wires that count: `wire COMMAND...`.
far_end() {
  cat >"$DIR/wire" <<'END'
#!/bin/bash
# Some callers close their end only when this has ended.
to=$(mktemp -u -p "$DIR") && mkfifo "$to" || exit
tee >(exec wc -c >>"$DIR/sent") <&0 >"$to" &
set -o pipefail
"$@" <"$to" | tee >(exec wc -c >>"$DIR/sent")
code=$?
kill $! 2>/dev/null
exit $code
END
  printf '#!/bin/bash\nshift\nexec "$DIR/wire" "$@"\n' >"$DIR/rsh"
  cat >"$DIR/blocksync" <<'END'
#!/usr/bin/env python3
"""blocksync SOURCE TARGET: here; blocksync -: the far end, which is told TARGET. Digests of 1 MiB; what differs is sent."""
import hashlib, os, struct, subprocess, sys

BLOCK = 1 << 20


def far():
    target = open(sys.stdin.buffer.readline()[:-1], 'r+b', buffering=0)
    size = os.fstat(target.fileno()).st_size
    out, buf = sys.stdout.buffer, bytearray(BLOCK)
    for at in range(0, size, BLOCK):
        n = target.readinto(buf)
        out.write(hashlib.sha1(memoryview(buf)[:n]).digest())
    out.flush()
    while header := sys.stdin.buffer.read(12):
        at, n = struct.unpack('<QI', header)
        os.pwrite(target.fileno(), sys.stdin.buffer.read(n), at)


def here(source, target):
    far_end = subprocess.Popen([os.environ['DIR'] + '/wire', sys.argv[0], '-'], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    far_end.stdin.write(os.fsencode(target) + b'\n')
    far_end.stdin.flush()
    at, buf = 0, bytearray(BLOCK)
    with open(source, 'rb', buffering=0) as f:
        while n := f.readinto(buf):
            if hashlib.sha1(memoryview(buf)[:n]).digest() != far_end.stdout.read(20):
                far_end.stdin.write(struct.pack('<QI', at, n) + buf[:n])
            at += n
    far_end.stdin.close()
    sys.exit(far_end.wait())


far() if sys.argv[1] == '-' else here(*sys.argv[1:])
END
  chmod +x "$DIR/wire" "$DIR/rsh" "$DIR/blocksync"
}

sync_blx() {
  blxapply --allow resync "$DIR/image" &&
    blxsum --tree "$DEV" -- "$DIR/wire" blxsum --serve "$DIR/image" | blxtrack resync "$DEV" &&
    blxtrack run "$DEV" -- sh -c "blxread | blxpack | '$DIR/wire' blxapply --ack '$DIR/image'"
}

sync_bdsync() {
  "$bdsync" "$DIR/wire $bdsync --server" "$DEV" "$DIR/image" | "$DIR/wire" "$bdsync" --patch
}

sync_bdsync_twopass() {
  "$bdsync" --twopass "$DIR/wire $bdsync --server" "$DEV" "$DIR/image" | "$DIR/wire" "$bdsync" --patch
}

sync_rsync() {
  rsync -e "$DIR/rsh" -I --inplace --no-whole-file --copy-devices "$DEV" far:"$DIR/image"
}

sync_blocksync() {
  "$DIR/blocksync" "$DEV" "$DIR/image"
}

# change PERCENT SEED: that many blocks of the disk get new random bytes, below the device.
change() {
  python3 - "$DIR/disk0" "$1" "$2" <<'END'
import os, random, sys
fd, rng = os.open(sys.argv[1], os.O_WRONLY), random.Random(sys.argv[3])
blocks = os.fstat(fd).st_size // 4096
for at in rng.sample(range(blocks), round(blocks * float(sys.argv[2]) / 100)):
    os.pwrite(fd, rng.randbytes(4096), at * 4096)
END
  blockdev --flushbufs "$DEV"
}

# Tracking was lost: what is tracked from now on is another history.
track_anew() {
  [ -z "$TRACKED" ] || blxtrack stop --force "$DEV"
  TRACKED=''
  blxtrack start "$DEV" 2>/dev/null
  TRACKED=$DEV
}

measure() {
  local percent=$1 way=$2 real user system count
  track_anew
  change "$percent" "$RANDOM"
  sync
  echo 3 >/proc/sys/vm/drop_caches
  : >"$DIR/sent"
  { time "sync_$way" >"$DIR/out" 2>&1; } 2>"$DIR/times" || { cat "$DIR/out" "$DIR/times" >&2; exit 1; }
  read -r real user system <"$DIR/times"
  cmp -s "$DIR/disk0" "$DIR/image" || { echo "$way: the replica differs" >&2; exit 1; }
  until count=$(wc -l <"$DIR/sent") && [ $((count % 2)) = 0 ] && [ "$count" -gt 0 ]; do sleep 0.05; done
  echo "$real" >>"$DIR/$way.$percent.time"
  echo "$user + $system" | bc >>"$DIR/$way.$percent.cpu"
  awk '{ n += $1 } END { printf "%.0f\n", n }' "$DIR/sent" >>"$DIR/$way.$percent.bytes"
}

# figure WAY PERCENT WHAT
figure() {
  median <"$DIR/$1.$2.$3"
}

# row WAY PERCENT: the figures, and how many times ours they are.
row() {
  local what
  printf '%7s %-15s' "$2" "$1"
  for what in time cpu bytes; do
    awk -v v="$(figure "$1" "$2" $what)" -v ours="$(figure blx "$2" $what)" -v what=$what 'BEGIN {
      printf((what == "bytes" ? " %13.0f" : " %9.2f"), v)
      printf(" %8s", (ours ? sprintf("x%.2f", v / ours) : "-")) }'
  done
  echo
}

ways=${WAYS:-blx bdsync bdsync_twopass rsync blocksync}
[ -n "$bdsync" ] || { echo "bdsync is missing (BDSYNC=)"; ways=$(sed 's/bdsync[^ ]*//g' <<<"$ways"); }
command -v rsync >/dev/null || { echo "rsync is missing"; ways=${ways/ rsync/}; }
bench_dir "${WHERE:-/dev/shm}"
export DIR
far_end
bench_disk "$size"
head -c "$size" /dev/urandom >"$DIR/disk0"
cp "$DIR/disk0" "$DIR/image"
printf '%7s %-15s %9s %8s %9s %8s %13s %8s\n' percent way seconds '' 'CPU s' '' bytes ''
for percent in $percents; do
  for ((r = 0; r < rounds; r++)); do
    for way in $ways; do measure "$percent" "$way"; done
  done
  for way in $ways; do row "$way" "$percent"; done
done
