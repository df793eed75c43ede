#!/usr/bin/env bats
# The tests in tests/vm on Debian's own kernels, in QEMU: disks that this machine does not have.

load lib

VM=$BATS_TEST_DIRNAME/vm
KERNELS=${BLX_BUILD:-$TOP/build}/vm

setup() {
  [ "$(uname -m)" = x86_64 ] || skip "Debian's amd64 kernels want an x86_64 machine"
  command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
  export BLX_BIN=${BLX_BIN:-$TOP/build/bin}
}

# in_vm META SCRIPT: with a virtio, an NVMe and a SCSI disk of 320 MiB each, new and empty.
in_vm() {
  local d kernel=$KERNELS/$1
  mkdir -p "$KERNELS"
  [ -s "$kernel/release" ] || [ -n "$(apt-cache policy "$1")" ] || apt-get -qq update
  [ -s "$kernel/release" ] || [ -n "$(apt-cache policy "$1")" ] || skip "no package $1 to be had"
  timeout 300 "$VM/kernel" "$1" "$kernel"
  for d in v n s; do
    truncate -s 320M "$BATS_TEST_TMPDIR/$d.img"
  done
  VM_TIMEOUT=300 "$VM/boot" "$kernel" "$VM/$2" \
    -drive "file=$BATS_TEST_TMPDIR/v.img,format=raw,if=none,id=v,discard=unmap" -device virtio-blk-pci,drive=v \
    -drive "file=$BATS_TEST_TMPDIR/n.img,format=raw,if=none,id=n,discard=unmap" -device nvme,serial=blx,drive=n \
    -device virtio-scsi-pci \
    -drive "file=$BATS_TEST_TMPDIR/s.img,format=raw,if=none,id=s,discard=unmap" -device scsi-hd,drive=s
}

@test "6.1: virtio, NVMe, SCSI, null_blk and loop disks list exactly what was written" {
  in_vm linux-image-amd64 request-based.sh
}

@test "6.12: virtio, NVMe, SCSI, null_blk and loop disks list exactly what was written" {
  in_vm linux-image-6.12-amd64 request-based.sh
}

@test "6.1: SG_IO that may have written is exit 6" {
  in_vm linux-image-amd64 passthrough.sh
}

@test "6.12: SG_IO that may have written is exit 6" {
  in_vm linux-image-6.12-amd64 passthrough.sh
}

@test "6.1: the pipe from NVMe, virtio and SCSI under load ends equal, with discards that were merged" {
  in_vm linux-image-amd64 pipe.sh
}

@test "6.12: the pipe from NVMe, virtio and SCSI under load ends equal, with discards that were merged" {
  in_vm linux-image-6.12-amd64 pipe.sh
}
