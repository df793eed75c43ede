# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk md-mod crc32c_generic raid0 raid1 raid10 raid456
# Two mirrors may differ where writes overlap in flight, and where nothing was ever written: members are zeroed, no trims.
. /mnt/tests/vm/lib.sh
array() {
  local name=$1
  shift
  need "$name" "$name"
  members 4
  if mdadm -q --create /dev/md7 --run -e 1.2 --assume-clean "$@" </dev/null 2>$err; then
    await test -b /dev/md7
    stack "md $name" /dev/md7 notrim
    blxtrack stop --force /dev/md7 2>/dev/null
    mdadm -q --stop /dev/md7
  else
    row "md $name" make "$(words)"
  fi
}
# `need` ends a shell
(array raid0 --level=0 --chunk=64 --raid-devices=2 "$(disk m1)" "$(disk m2)")
(array raid1 --level=1 --bitmap=none --raid-devices=2 "$(disk m1)" "$(disk m2)")
(array raid10 --level=10 --bitmap=none --chunk=64 --raid-devices=4 "$(disk m1)" "$(disk m2)" "$(disk m3)" "$(disk m4)")
(array raid456 --level=5 --bitmap=none --chunk=64 --raid-devices=3 "$(disk m1)" "$(disk m2)" "$(disk m3)")
