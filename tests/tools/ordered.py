#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes ordered across two devices, and a look whether lists and replicas keep the order. Write k goes to block k // 2 of
device k % 2, a fresh block, after write k - 1 has completed; so what any point in time shows is the first n of them.
ordered.py ROUNDS DEV DEV: replicate that many times to images/v1 and images/v2 in the working directory meanwhile."""
import mmap, os, subprocess, sys, time

BLOCK = 4096
rounds, devs = int(sys.argv[1]), sys.argv[2:4]
images = ['images/v1', 'images/v2']
RUN = 'rm -rf lists; cp -r "$BLX_LISTS" lists; blxread "$BLX_LISTS"/* | blxapply --ack --into images'


def write_until_stopped():
    fds = [os.open(d, os.O_WRONLY | os.O_DIRECT) for d in devs]
    page = mmap.mmap(-1, BLOCK)
    blocks = os.lseek(fds[0], 0, os.SEEK_END) // BLOCK
    for k in range(2 * blocks):
        if os.path.exists('stop'):
            os._exit(0)
        page[:8] = page[BLOCK - 8:] = (k + 1).to_bytes(8, 'little')
        os.pwrite(fds[k % 2], page, k // 2 * BLOCK)
        time.sleep(0.001)
    os._exit(9)  # devices too small


def check(condition, what):
    if not condition:
        sys.exit('round %d: %s' % (number, what))


def listed(which, have):
    """Up to which block all of the device is in this list or one before."""
    for line in open('lists/v%d.extents' % (which + 1)):
        if line[0] != '#':
            offset, length = map(int, line.split())
            check(offset <= have * BLOCK, 'v%d: nothing from block %d to byte %d' % (which + 1, have, offset))
            have = max(have, (offset + length) // BLOCK)
    return have


def value(f, block):
    b = os.pread(f, BLOCK, block * BLOCK)
    check(len(b) == BLOCK and b[:8] == b[-8:], 'a torn block')
    return int.from_bytes(b[:8], 'little')


def held(which, low, high):
    """How many blocks the replica holds, all of low..high looked at."""
    f = os.open(images[which], os.O_RDONLY)
    n = low
    for block in range(low, high):
        v = value(f, block)
        check(v in (0, 2 * block + which + 1), 'v%d: block %d holds %d' % (which + 1, block, v))
        check(not v or block == n, 'v%d: block %d without %d' % (which + 1, block, n))
        n += v != 0
    os.close(f)
    return n


def replicate():
    subprocess.run(['blxtrack', 'run', *devs, '--', 'sh', '-c', RUN], check=True)


number = 0
replicate()  # the first copies, while nothing is written
writer = os.fork()
if not writer:
    write_until_stopped()
have, there = [0, 0], [0, 0]
try:
    for number in range(1, rounds + 1):
        replicate()
        have = [listed(i, have[i]) for i in (0, 1)]
        check(have[1] <= have[0] <= have[1] + 1, 'lists up to blocks %d and %d' % tuple(have))
        there = [held(i, there[i], have[i] + 64) for i in (0, 1)]
        check(there == have, 'replicas up to %s, lists up to %s' % (there, have))
finally:
    open('stop', 'w').close()
    status = os.waitpid(writer, 0)[1]
check(status == 0, 'the writer ended with %d' % status)
check(have[0] > rounds, 'only %d writes' % sum(have))
replicate()
for dev, image in zip(devs, images):
    subprocess.run(['cmp', dev, image], check=True)
print('%d rounds, %d writes' % (rounds, sum(have)))
