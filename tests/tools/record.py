#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""An independent record of what was written, and the comparison of a list with it.

record.py write DEV LOG COUNT SEED [SPAN]   COUNT random writes, discards and zeroings with O_DIRECT below SPAN bytes;
                                            appends `OFFSET LENGTH OP` to LOG
record.py once DEV LOG SEED PAUSE           every second block of 4096 bytes once, in a random order, PAUSE seconds apart:
                                            a write that is not listed is not hidden by another
record.py one DEV LOG OFFSET LENGTH [OP]    one of them
record.py compare LIST LOG BLOCK SIZE [START [atleast]]  exit 0 if the extents of LIST are exactly the blocks that LOG
                                            touches; `atleast`: those and perhaps others
"""
import fcntl, mmap, os, random, struct, sys, time

BLKDISCARD, BLKZEROOUT, BLKSSZGET = 0x1277, 0x127f, 0x1268


def put(fd, offset, length, op):
    if op == 'write':
        buf = mmap.mmap(-1, length)
        buf.write(os.urandom(length))
        assert os.pwrite(fd, buf, offset) == length
        buf.close()
    else:
        fcntl.ioctl(fd, BLKDISCARD if op == 'discard' else BLKZEROOUT, struct.pack('QQ', offset, length))


def one(dev, log, offset, length, op='write'):
    fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
    put(fd, int(offset), int(length), op)
    os.close(fd)
    with open(log, 'a') as f:
        print(offset, length, op, file=f)


def write(dev, log, count, seed, span=None):
    rng = random.Random(int(seed))
    fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
    size = int(span) if span else os.lseek(fd, 0, os.SEEK_END)
    unit = struct.unpack('i', fcntl.ioctl(fd, BLKSSZGET, bytes(4)))[0]
    with open(log, 'a') as f:
        for _ in range(int(count)):
            length = unit * rng.choice((1, 1, 2, 7, 8, 8, 8, 9, 64, 257, 2048 * 512 // unit))
            offset = unit * rng.randrange((size - length) // unit + 1)
            op = rng.choice(('write',) * 6 + ('discard', 'zero'))
            try:
                put(fd, offset, length, op)
            except OSError as e:
                if op != 'discard' or e.errno != 95:
                    raise
                continue
            print(offset, length, op, file=f)
    os.close(fd)


def once(dev, log, seed, pause):
    fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
    order = list(range(0, os.lseek(fd, 0, os.SEEK_END) // 4096, 2))
    random.Random(int(seed)).shuffle(order)
    with open(log, 'a') as f:
        for block in order:
            put(fd, block * 4096, 4096, 'write')
            print(block * 4096, 4096, 'write', file=f, flush=True)
            time.sleep(float(pause))
    os.close(fd)


def blocks(ranges, block):
    got = set()
    for offset, length in ranges:
        got.update(range(offset // block, (offset + length - 1) // block + 1))
    return got


def pairs(path):
    for line in open(path):
        if line[0] != '#':
            a, b = line.split()[:2]
            yield int(a), int(b)


def compare(lst, log, block, size, start='0', atleast=''):
    block, size, start = int(block), int(size), int(start)
    clipped = []
    for o, n in pairs(log):
        lo, hi = max(o, start), min(o + n, start + size)
        if lo < hi:
            clipped.append((lo - start, hi - lo))
    want, listed = blocks(clipped, block), list(pairs(lst))
    got = blocks(listed, block)
    for o, n in listed:
        assert o % block == 0 and o + n <= size and (n % block == 0 or o + n == size), (o, n)
    if want != got and not (atleast and want <= got):
        print('missing', sorted(want - got)[:10], 'surplus', sorted(got - want)[:10])
        return 1
    return 0


if __name__ == '__main__':
    verb = {'write': write, 'once': once, 'one': one, 'compare': compare}[sys.argv[1]]
    sys.exit(verb(*sys.argv[2:]))
