# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: nvme
# A head with two paths, and its partitions. Paths go and come while it is written to.
. /mnt/tests/vm/lib.sh
head=$(disk paths)
[ -b "$head" ] || { row "nvme multipath" make "no head"; exit; }
blkdiscard -f "$head"
stack "nvme multipath" "$head"
blxtrack stop --force "$head"
addpart "$head" 1 2048 30000
addpart "$head" 2 32769 20001
nodes "${head#/dev/}"
begin "nvme multipath" "$head"
begin "nvme multipath partition" "${head}p1" && begin "nvme multipath partition" "${head}p2" &&
  extents "nvme multipath partition" "${head}p2"
stress "nvme multipath partition" "${head}p1"

# the paths' controllers
mapfile -t controllers < <(grep -lx 'paths *' /sys/class/nvme/nvme*/serial | xargs -n 1 dirname)
blxtrack consumer add --now lost "$head"
python3 $tools/record.py write "$head" /tmp/log.lost 300 9 2>/tmp/lost.err &
writer=$!
for c in "${controllers[0]}" "${controllers[1]}" "${controllers[0]}"; do
  echo 1 >"$c/reset_controller"
  await grep -qx live "$c/state"
done
pci=$(basename "$(realpath "${controllers[0]}/device")")
echo "$pci" >/sys/bus/pci/drivers/nvme/unbind
wait $writer || row "nvme multipath" "paths lost" "$(tail -n 1 /tmp/lost.err)"
echo "$pci" >/sys/bus/pci/drivers/nvme/bind
await eval '[ "$(grep -lx "paths *" /sys/class/nvme/nvme*/serial | wc -l)" = 2 ]'
python3 $tools/record.py write "$head" /tmp/log.lost 100 10 2>/tmp/lost.err
if listed lost "$head" /tmp/log.lost 0 atleast; then
  row "nvme multipath" "paths lost and found" ok
else
  row "nvme multipath" "paths lost and found" "$(words)"
fi
replicated "nvme multipath" "$head"
