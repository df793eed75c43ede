#!/usr/bin/env bats
# What blxtrack needs of the machine and of its user: the least capabilities suffice, and what lacks is named.

load lib

setup() {
  T=$BATS_TEST_TMPDIR
}

teardown() {
  [ -z "${DEV:-}" ] || blxtrack stop --force "$DEV" 2>/dev/null || true
  loops_done
}

# only CAPABILITIES COMMAND...: as root with no other (`+sys_admin,+bpf`, or `-all` for none).
only() {
  local caps=$1
  shift
  setpriv --bounding-set "-all${caps:+,$caps}" --inh-caps=-all "$@"
}

# elsewhere MOUNTS COMMAND...: in a mount namespace in which the shell words MOUNTS were run first.
elsewhere() {
  local mounts=$1
  shift
  unshare --mount --propagation private sh -ec "$mounts"'; exec "$@"' sh "$@"
}

@test "CAP_SYS_ADMIN is enough for start, drain, run, status and stop; commit needs none" {
  loop_new 8M
  only +sys_admin blxtrack start "$DEV"
  only +sys_admin blxtrack drain "$DEV" | blxread | blxapply --ack "$T/img" | only "" blxtrack commit "$DEV"
  run -0 only +sys_admin blxtrack run "$DEV" -- sh -c "blxread | blxapply --ack '$T/img'"
  run -0 only +sys_admin blxtrack status "$DEV"
  has "whole, epoch"
  only +sys_admin blxtrack stop --force "$DEV"
}

@test "without capabilities start names what is missing" {
  loop_new 8M
  run -3 only "" blxtrack start "$DEV"
  has "it takes CAP_SYS_ADMIN"
  # the tmpfs is there, the programs are not
  blxtrack start "$DEV"
  rm -r /sys/fs/bpf/blx
  run -3 only "" blxtrack start "$DEV"
  has "CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON, are missing"
  blxtrack start "$DEV"
}

@test "without capabilities drain and status name what is missing, and nothing is lost" {
  loop_new 8M
  blxtrack start "$DEV"
  for verb in drain status; do
    run -3 only +bpf,+perfmon blxtrack $verb "$DEV"
    has "it takes CAP_SYS_ADMIN"
  done
  run -0 blxtrack drain "$DEV"
  has "0 8388608"
}

@test "another user is told to be root" {
  loop_new 8M
  run -3 setpriv --reuid=65534 --clear-groups blxtrack start "$DEV"
  has "run as root"
  blxtrack start "$DEV"
  for verb in drain commit status; do
    run -3 setpriv --reuid=65534 --clear-groups blxtrack $verb "$DEV"
    has "run as root"
  done
}

@test "a missing bpf file system is mounted" {
  loop_new 8M
  run -0 elsewhere 'umount /sys/fs/bpf; umount -q /run/blx || true' sh -c "blxtrack start $DEV && blxtrack status $DEV &&
    blxtrack stop --force $DEV"
  has "tracking"
}

@test "a bpf file system that cannot be mounted is named" {
  loop_new 8M
  # a full quota of mounts refuses more for anybody
  run -3 elsewhere 'mount -t tmpfs -o mode=755 tmpfs /run; mkdir -m 700 /run/blx; mount -t tmpfs blx /run/blx; while umount /sys/fs/bpf 2>/dev/null; do :; done' \
    setpriv --bounding-set -all --inh-caps=-all blxtrack start "$DEV"
  has "/sys/fs/bpf: no bpf file system there, and mounting one failed (it takes CAP_SYS_ADMIN)"
}

@test "a kernel without BTF is named" {
  loop_new 8M
  run -3 elsewhere 'mount -t tmpfs none /sys/kernel/btf' blxtrack start "$DEV"
  has "built without BTF (CONFIG_DEBUG_INFO_BTF)"
}
