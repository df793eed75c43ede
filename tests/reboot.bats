#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# What `blxtrack save` and `start --restore` make of real reboots: virtual machines that are booted several times with the
# same disks (tests/vm/reboot). All of them run before the first test here; each test then looks at rows of theirs.

load lib

VM=$BATS_TEST_DIRNAME/vm
MACHINES='initramfs-tools data dracut'

cannot() {
  [ "$(uname -m)" = x86_64 ] || echo "Debian's amd64 kernels want an x86_64 machine"
  command -v qemu-system-x86_64 >/dev/null || echo "no qemu-system-x86_64"
  command -v apt-get >/dev/null || echo "no apt-get to fetch kernels with"
}

setup_file() {
  export BLX_BIN=${BLX_BIN:-$TOP/build/bin} BLX_BUILD=${BLX_BUILD:-$TOP/build}
  export RESULTS=$BLX_BUILD/reboot
  [ -z "$(cannot)" ] || return 0
  rm -rf "$RESULTS"
  mkdir -p "$RESULTS"
  {
    timeout 300 "$VM/kernel" "$(awk '$1 == "6.12" { print $2 }' "$VM/kernels")" "$BLX_BUILD/vm/6.12"
    timeout 300 "$VM/tools" "$BLX_BUILD/vm/tools"
    timeout 300 "$VM/reboot/rootfs" "$BLX_BUILD/vm/rootfs"
    printf '%s\n' $MACHINES | xargs -P 2 -n 1 "$VM/reboot/machines" "$RESULTS"
  } 2>&1 | sed -u 's/^/# /' >&3 || true
}

# holds MACHINE DISK CHECK...: these rows are there, and no other of the disk is a failure.
holds() {
  local why check rows=$RESULTS/$1.rows disk=$2
  why=$(cannot)
  [ -z "$why" ] || skip "$why"
  shift 2
  for check; do
    grep -qxF "$disk"$'\t'"$check"$'\tok' "$rows" || fail "$disk: $check: $(grep -F "$disk"$'\t'"$check" "$rows")"
  done
  run -1 grep -P "^$disk\t(?!.*\tok$)" "$rows"
}

@test "a clean reboot keeps the history: what was written before and after is listed, no more" {
  holds data kept 'save' 'restore: the history goes on' 'what was written before' 'what was written before and after' \
    'the next run brings all'
}

@test "nobody can write to what was saved" {
  holds data kept 'saved: cannot be written to'
}

@test "a hard reset declares the history lost, and a reset of the consumer mends it" {
  holds data kept "restore: went down without 'blxtrack save'" 'lost: drain says so' 'reset: all again'
}

@test "saved, taken back, written to and reset: lost" {
  holds data back 'taken back' 'taken back: what was written before and after' \
    "restore: went down without 'blxtrack save'" 'lost: drain says so'
}

@test "a disk that is an older copy of itself has lost its history" {
  holds data reverted 'save' 'restore: not what it was' 'lost: drain says so'
}

@test "a disk that was mounted elsewhere has lost its history" {
  holds data mounted 'save' 'restore: not what it was' 'lost: drain says so'
}

@test "a disk with one sampled sector written has lost its history" {
  holds data raw 'save' 'restore: not what it was' 'lost: drain says so'
}

@test "what firmware and boot loader may have written is listed after each boot" {
  holds data boots 'mounted: refused' 'save' 'restore: the history goes on' 'the EFI system partition is listed' \
    'what firmware and boot loader wrote'
}

@test "a cloned machine has lost its history" {
  holds data kept 'restore: another machine'
}

@test "the replica refuses a machine that was set back to a snapshot" {
  holds data kept 'the replica refuses'
}

@test "systemd: a data disk's history goes on over a reboot, from before it is mounted to after it is unmounted" {
  holds initramfs-tools data 'tracked before it is mounted' 'first copy' 'the history goes on' 'the next run brings all' \
    'hard reset: drain says so'
}

@test "systemd: stopping the unit by hand fails while the disk is mounted, else saves, and nothing is lost" {
  holds initramfs-tools data 'mounted: a stop by hand fails' 'and tracking goes on' 'and its unit starts again' \
    'a stop by hand saves' 'a start by hand takes back'
}

@test "initramfs-tools: the root's disk is tracked before it is mounted, and a clean reboot keeps its history" {
  holds initramfs-tools root 'tracked by the initramfs' 'nothing was saved' 'the history goes on' \
    'all that was written before the reboot is listed'
}

@test "a store that lies elsewhere than the initramfs knows is told" {
  holds initramfs-tools root 'a store that lies elsewhere is told'
}

@test "initramfs-tools: after a hard reset the history of the root's disk is lost" {
  holds initramfs-tools root 'hard reset: lost' 'hard reset: drain says so'
}

@test "dracut: the root's disk is tracked before it is mounted, and saved after it was unmounted" {
  holds dracut root 'tracked by the initramfs' 'nothing was saved' 'the root was unmounted before' 'the history goes on' \
    'all that was written before the reboot is listed'
}

@test "dracut: after a hard reset the history of the root's disk is lost" {
  holds dracut root 'hard reset: lost' 'hard reset: drain says so'
}

@test "systemd: blxtls's socket is enough for replicas, in a service that can do nothing else" {
  holds dracut blxtls 'systemd finds no fault' 'confined by its unit' 'its socket is enough' 'a first copy starts it' \
    'the replica is equal' "and its user's" 'stopped, it starts again' 'a stranger is refused' 'a new key is read' 'it runs' \
    'its log names the peer'
}

@test "every machine went through all of its boots" {
  for machine in $MACHINES; do
    holds "$machine" machine
    [ "$(grep -c . "$RESULTS/$machine.rows")" -gt 7 ]
  done
}
