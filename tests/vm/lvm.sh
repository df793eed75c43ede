# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk dm-mod crc32c_generic dm-snapshot
# A volume group of two disks; a volume that grows onto the second one keeps its history.
. /mnt/tests/vm/lib.sh
export LVM_SYSTEM_DIR=/tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir /tmp/lvm
cat >/tmp/lvm/lvm.conf <<'C'
devices { use_devicesfile=0 obtain_device_list_from_udev=0 }
activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 }
global { use_lvmpolld=0 locking_dir="/tmp/lvm" }
backup { backup=0 archive=0 }
C
members 2
lvm_quietly() {
  lvm "$@" >$err 2>&1 || row LVM "$1" "$(words)"
}
lvm_quietly pvcreate -q -y "$m1" "$m2"
lvm_quietly vgcreate -q vg "$m1" "$m2"
lvm_quietly lvcreate -q -y -Wn -Zn -L 16M -n data vg
stack LVM /dev/vg/data
blxtrack consumer add --now grown /dev/vg/data
lvm_quietly lvextend -q -L 40M vg/data
n=$((16 << 20))
dd if=/dev/urandom of=/dev/mapper/vg-data bs=4096 count=2 oflag=direct status=none
expect LVM "lvextend: history kept" 0 '' blxtrack drain -c grown /dev/vg/data
echo "0 8192
$n $((24 << 20))" >/tmp/log.grown
if python3 $tools/record.py compare $err /tmp/log.grown 4096 $((40 << 20)) >/tmp/out 2>&1; then
  row LVM "lvextend: new range listed" ok
else
  row LVM "lvextend: new range listed" "$(cat /tmp/out)"
fi
dmsetup rename vg-data renamed
dmsetup mknodes
expect LVM "renamed while tracked" 0 '' blxtrack drain /dev/mapper/renamed
dmsetup rename renamed vg-data
dmsetup mknodes
replicated LVM /dev/vg/data
lvm_quietly lvcreate -q -y -s -L 8M -n snap vg/data
expect LVM "lvcreate -s: history kept" 0 '' blxtrack drain /dev/vg/data
lvm_quietly lvremove -q -y vg/snap
