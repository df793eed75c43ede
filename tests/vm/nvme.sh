# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: nvme xfs
# Six discards that are no neighbours, in one request: each is listed where it was.
. /mnt/tests/vm/lib.sh
dev=$(disk small)
stack nvme "$dev"
dev=$(disk nvme)
begin nvme "$dev"
blxtrack consumer add --now six "$dev"
: >/tmp/log.six
mkfs.xfs -q -f -K "$dev" && mkdir /tmp/mnt && mount -o discard "$dev" /tmp/mnt
for i in $(seq 40); do dd if=/dev/zero of=/tmp/mnt/$i bs=64k count=1 status=none; done
sync
cut=$(tr -s ' ' <"/sys/block/${dev#/dev/}/stat" | cut -d ' ' -f 13-15)
blxtrack drain -c six "$dev" >/tmp/before
blxtrack consumer add --now gone "$dev"
echo 1 >/sys/kernel/tracing/events/block/block_bio_queue/enable
for i in $(seq 1 2 40); do rm /tmp/mnt/$i; done
sync
xfs_freeze -f /tmp/mnt
xfs_freeze -u /tmp/mnt
sync
umount /tmp/mnt
echo 0 >/sys/kernel/tracing/events/block/block_bio_queue/enable
# what the kernel says was queued, discards included
sed -n 's/.* block_bio_queue: [0-9,]* \([A-Z]*\) \([0-9]*\) + \([0-9]*\) .*/\1 \2 \3/p' /sys/kernel/tracing/trace |
  awk '$1 ~ /[WD]/ && $3 > 0 { print $2 * 512, $3 * 512 } $1 ~ /D/ { n++ } END { print "#", n+0 }' >/tmp/log.gone
after=$(tr -s ' ' <"/sys/block/${dev#/dev/}/stat" | cut -d ' ' -f 13-15)
merged=$(($(cut -d ' ' -f 2 <<<"$after") - $(cut -d ' ' -f 2 <<<"$cut")))
if [ "$merged" -lt 5 ]; then
  row nvme "merged discards" "only $merged were merged"
elif listed gone "$dev" /tmp/log.gone; then
  row nvme "merged discards" ok
else
  row nvme "merged discards" "$(words)"
fi
