# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# modules: sd_mod virtio_scsi
# SCSI commands sent around the block layer: an INQUIRY is harmless, a WRITE(10) is exit 6 for the disk and its
# partitions, unless they were started to ignore it.
set -u
fails=0

row() {
  printf '%-16s %-24s %s\n' sg_io "$1" "$2"
  [ "$2" = ok ] || fails=$((fails + 1))
}

# expect WHAT STATUS COMMAND...
expect() {
  local what=$1 want=$2 code=0
  shift 2
  "$@" >/tmp/out 2>&1 || code=$?
  if [ "$code" = "$want" ]; then row "$what" ok; else row "$what" "exit $code: $(tail -n 1 /tmp/out)"; fi
}

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

addpart /dev/sda 1 2048 65536
addpart /dev/sda 2 67584 60000
for i in 1 2; do
  number=$(cat "/sys/block/sda/sda$i/dev")
  [ -b "/dev/sda$i" ] || mknod "/dev/sda$i" b "${number%:*}" "${number#*:}"
done
expect start 0 blxtrack start /dev/sda /dev/sda1 /dev/sda2
python3 /tmp/sg.py /dev/sda inquiry
expect "after INQUIRY" 0 blxtrack drain /dev/sda2
python3 /tmp/sg.py /dev/sda write
for dev in sda sda1 sda2; do
  expect "$dev after WRITE" 6 blxtrack drain "/dev/$dev"
done
expect "start ignoring" 0 blxtrack start --ignore-passthrough /dev/sda2
blxtrack consumer reset default /dev/sda2
python3 /tmp/sg.py /dev/sda write
expect "ignored WRITE" 0 blxtrack drain /dev/sda2
exit $fails
