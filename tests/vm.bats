#!/usr/bin/env bats
# The scripts in tests/vm on Debian's own kernels, in QEMU: stacks of disks that this machine does not have. All of them
# run before the first test here; each test then looks at one kernel's rows.

load lib

VM=$BATS_TEST_DIRNAME/vm

cannot() {
  [ "$(uname -m)" = x86_64 ] || echo "Debian's amd64 kernels want an x86_64 machine"
  command -v qemu-system-x86_64 >/dev/null || echo "no qemu-system-x86_64"
  command -v apt-get >/dev/null || echo "no apt-get to fetch kernels with"
}

setup_file() {
  export BLX_BIN=${BLX_BIN:-$TOP/build/bin} BLX_BUILD=${BLX_BUILD:-$TOP/build}
  [ -z "$(cannot)" ] || return 0
  "$VM/run" 2>&1 | sed -u 's/^/# /' >&3 || true
}

# every_row KERNEL: none of its rows is a failure, and there are some.
every_row() {
  local rows=$BLX_BUILD/vm/results/$1.rows why
  why=$(cannot)
  [ -z "$why" ] || skip "$why"
  [ ! -e "${rows%.rows}.cannot" ] || skip "$(cat "${rows%.rows}.cannot")"
  [ "$(grep -c . "$rows")" -gt 3 ] || fail "nothing ran on $1"
  run -1 grep -Pv '\t(ok|- .*)$' "$rows"
}

@test "6.1: every stack lists what was written, and replicates" {
  every_row 6.1
}

@test "6.12: every stack lists what was written, and replicates" {
  every_row 6.12
}

@test "6.1 cloud: every stack lists what was written, and replicates" {
  every_row 6.1-cloud
}

@test "6.1 with PREEMPT_RT: every stack lists what was written, and replicates" {
  every_row 6.1-rt
}

@test "5.10 is refused, by its type information and by name" {
  every_row 5.10
}
