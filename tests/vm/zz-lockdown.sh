# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: virtio_blk
# Must be the last: a lockdown cannot be lifted.
. /mnt/tests/vm/lib.sh
members 1
mount -t securityfs none /sys/kernel/security 2>/dev/null
if [ ! -w /sys/kernel/security/lockdown ]; then
  row lockdown refused "- not in this kernel"
  exit 0
fi
blxtrack stop --all --force # what is loaded before is not refused
echo integrity >/sys/kernel/security/lockdown
expect lockdown "integrity: tracked" 0 '' blxtrack start "$m1"
blxtrack stop --all --force
echo confidentiality >/sys/kernel/security/lockdown
expect lockdown "confidentiality: named" 3 'locked down (confidentiality)' blxtrack start "$m1"
