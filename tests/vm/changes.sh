# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod
# What changes a content without a write is exit 6.
. /mnt/tests/vm/lib.sh
members 2
n=$(sectors "$m1")
dm table "0 $n linear $m1 0"
begin "dm table" /dev/mapper/table
echo "0 $n linear $m2 0" | dmsetup load table
dmsetup suspend table
dmsetup resume table
expect "dm table" "reload: exit 6" 6 '' blxtrack drain /dev/mapper/table
blxtrack start /dev/mapper/table 2>/dev/null
dmsetup suspend table
dmsetup resume table
expect "dm table" "suspend and resume: kept" 6 'consumer reset' blxtrack drain /dev/mapper/table
blxtrack consumer reset default /dev/mapper/table
expect "dm table" "drain after reset" 0 '' blxtrack drain /dev/mapper/table
unmade table

# a disk that goes and comes
pci=$(basename "$(realpath "/sys/block/${m2#/dev/}/device/..")")
begin virtio-blk "$m2"
echo 1 >"/sys/bus/pci/devices/$pci/remove"
expect virtio-blk "unplugged: no drain" 5 '' blxtrack drain "$m2"
echo 1 >/sys/bus/pci/rescan
await eval '[ -b "$(disk m2)" ]'
expect virtio-blk "replugged: exit 6" 6 '' blxtrack drain "$(disk m2)"
