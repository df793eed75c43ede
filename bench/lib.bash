# shellcheck shell=bash
# What the benchmarks share: a device of their own, figures, medians. Sourced.
set -eu -o pipefail
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
PATH=${BLX_BIN:-$here/../build/bin}:/usr/sbin:/sbin:$PATH
export PATH LC_ALL=C

[ "$(id -u)" = 0 ] || { echo "needs root, for loop devices" >&2; exit 2; }
DEV='' TRACKED='' DEVS=()

# bench_dir WHERE: a directory that goes away at the end, with the loop device and its tracking.
bench_dir() {
  DIR=$(mktemp -d -p "$1" blx-bench.XXXXXX)
  trap bench_end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

bench_end() {
  local dev
  # shellcheck disable=SC2086 # devices
  if [ -n "$TRACKED" ]; then blxtrack stop --force $TRACKED; fi
  for dev in "${DEVS[@]}"; do losetup -d "$dev"; done
  rm -rf "$DIR"
}

# bench_disk SIZE: a sparse file on a loop device, DEV, one more of DEVS.
bench_disk() {
  truncate -s "$1" "$DIR/disk${#DEVS[@]}"
  DEV=$(losetup --find --show "$DIR/disk${#DEVS[@]}")
  DEVS+=("$DEV")
}

median() {
  sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# busy: CPU seconds that the whole machine has spent on anything but idling.
busy() {
  awk -v hz="$(getconf CLK_TCK)" '/^cpu / { printf "%.2f\n", ($2 + $3 + $4 + $7 + $8 + $9) / hz }' /proc/stat
}

now() {
  date +%s.%N
}
