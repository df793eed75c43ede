# SPDX-License-Identifier: BSD-2-Clause
"""Write what an unpacked stream on stdin holds into an image, knowing only its frames; shares no code with blx.

Usage: replay.py IMAGE < STREAM    ranges that no frame names keep their bytes
"""
import struct
import sys

stream, image = sys.stdin.buffer, open(sys.argv[1], 'r+b')
assert stream.read(8) == b'BLXSTRM1', 'magic'
while True:
    header = stream.read(32)
    assert len(header) == 32, 'cut'
    kind, _, payload_len, offset, length, _ = struct.unpack('<HHIQQQ', header)
    payload = stream.read(payload_len)
    image.seek(offset)
    if kind == 1:
        image.truncate(length)
    elif kind == 2:
        image.write(payload)
    elif kind == 3:
        while length:
            n = min(length, 1 << 20)
            image.write(bytes(n))
            length -= n
    elif kind == 8:  # could not be read
        pass
    elif kind == 5:
        break
    else:
        assert kind == 4, 'frame of type %d' % kind
