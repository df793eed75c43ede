# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: nvme null_blk,nr_devices=0
# The kernel skips a program that is running on its CPU already: completions of an NVMe disk in hard interrupts over those
# of another disk in softirq. One instance alone loses events; of three, one is always free, and none is lost.
. /mnt/tests/vm/lib.sh
need nested null_blk
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
dir=/sys/kernel/config/nullb/over
mkdir $dir
for o in size=64 irqmode=1 submit_queues=1; do echo "${o#*=}" >"$dir/${o%=*}"; done
echo 1 >$dir/power
null=/dev/over
[ -b $null ] || null=/dev/nullb$(cat $dir/index)
nvme=$(disk small)
begin nested "$nvme"
begin nested "$null"
blxtrack consumer add --now n "$nvme" 2>/tmp/err

# programs' misses, and the sectors that each instance saw written to the NVMe disk's slot
slot=$(cat /run/blx/"$(stat -c '%Hr:%Lr' "$nvme")"/* 2>/dev/null | sed -n 's/^slot: //p' | head -n 1)
cat >/tmp/seen.py <<'P'
import json, struct, subprocess, sys
def bpftool(*words):
    return json.loads(subprocess.run(['bpftool', '-j', *words], stdout=subprocess.PIPE).stdout)
progs = {p.get('name'): p for p in bpftool('prog', 'show')}
for i in range(3):
    key = struct.pack('<I', i * 1024 + int(sys.argv[1]))
    got = bpftool('map', 'lookup', 'pinned', '/sys/fs/bpf/blx/4/map-sums', 'key', *map(str, key))
    words = [bytes(int(b, 16) for b in v['value'][:8]) for v in got['values']]
    print(progs['complete_%d' % i].get('recursion_misses', 0), sum(struct.unpack('<Q', w)[0] for w in words))
P

# together SECONDS: both disks busy on one CPU; what is written to the NVMe disk is logged.
together() {
  taskset -c 0 fio --name=over --filename=$null --direct=1 --ioengine=libaio --iodepth=64 --rw=randwrite --bs=4k \
    --runtime="$1" --time_based >/dev/null 2>&1 &
  local over=$!
  taskset -c 0 fio --name=under --filename="$nvme" --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k \
    --norandommap=1 --randrepeat=0 --runtime="$1" --time_based --write_iolog=/tmp/io >/dev/null 2>&1
  wait $over
  awk '$NF ~ /^[0-9]+$/ && / write / { print $(NF - 1), $NF }' /tmp/io >>/tmp/log.n
}

stat=/sys/block/${nvme#/dev/}/stat
before=$(awk '{ print $7 }' "$stat")
python3 /tmp/seen.py "$slot" >/tmp/seen.before # the slot may have had another disk
: >/tmp/log.n
for _ in 1 2 3; do
  together 3
  python3 /tmp/seen.py "$slot" | paste -d ' ' - /tmp/seen.before | awk '{ print $1 - $3, $2 - $4 }' >/tmp/seen
  [ "$(head -n 1 /tmp/seen | cut -d ' ' -f 1)" = 0 ] || break
done
written=$(($(awk '{ print $7 }' "$stat") - before))
mapfile -t seen </tmp/seen
echo "# $written sectors written; misses and sectors of the three instances: ${seen[*]}"
read -r misses sectors <<<"${seen[0]}"
if [ "$misses" = 0 ]; then
  row nested "one instance loses" "- no completion nested here"
elif [ "$sectors" -lt "$written" ] && [ "$sectors" -gt 0 ]; then
  row nested "one instance loses" ok
else
  row nested "one instance loses" "$misses misses, but $sectors of $written sectors seen"
fi
# each write has 8 sectors, and misses count the other disk's completions too
if printf '%s\n' "${seen[@]}" | awk -v w="$written" 'w - $2 > 8 * $1 { bad = 1 } END { exit bad }'; then
  row nested "what is not seen is counted" ok
else
  row nested "what is not seen is counted" "of $written sectors: ${seen[*]}"
fi
if listed n "$nvme" /tmp/log.n; then
  row nested "three lose nothing" ok
else
  row nested "three lose nothing" "$(words)"
fi
blxtrack stop --force "$nvme" $null 2>/dev/null
rmdir $dir
