# shellcheck shell=bash source=tests/vm/lib.sh
# SPDX-License-Identifier: BSD-2-Clause
# modules: sd_mod virtio_scsi
# SCSI commands sent around the block layer: an INQUIRY is harmless, a WRITE(10) is exit 6 for the disk and its
# partitions, unless they were started to ignore it.
. /mnt/tests/vm/lib.sh
cat >/tmp/sg.py <<'P'
import ctypes, fcntl, os, struct, sys
def sg(cdb, direction, data):
    fd = os.open(sys.argv[1], os.O_RDWR)
    c, d, s = (ctypes.create_string_buffer(b, len(b)) for b in (bytes(cdb), data, bytes(64)))
    fcntl.ioctl(fd, 0x2285, bytearray(struct.pack('iiBBHIPPPIIiPBBBBHHiII', ord('S'), direction, len(cdb), 64, 0, len(data),
        ctypes.addressof(d), ctypes.addressof(c), ctypes.addressof(s), 5000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)))
    os.close(fd)
if sys.argv[2] == 'inquiry':
    sg([0x12, 0, 0, 0, 96, 0], -3, bytes(96))
else:
    sg([0x2a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0], -2, b'x' * 4096)
P
dev=$(disk scsi)
addpart "$dev" 1 2048 65536
addpart "$dev" 2 67584 60000
nodes "${dev#/dev/}"
expect SG_IO start 0 '' blxtrack start "$dev" "${dev}1" "${dev}2"
python3 /tmp/sg.py "$dev" inquiry
expect SG_IO "INQUIRY: kept" 0 '' blxtrack drain "${dev}2"
python3 /tmp/sg.py "$dev" write
for d in "$dev" "${dev}1" "${dev}2"; do
  expect SG_IO "WRITE: exit 6" 6 '' blxtrack drain "$d"
done
blxtrack start --ignore-passthrough "${dev}2" 2>/dev/null
blxtrack consumer reset default "${dev}2"
python3 /tmp/sg.py "$dev" write
expect SG_IO "WRITE ignored" 0 '' blxtrack drain "${dev}2"
