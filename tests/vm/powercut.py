# SPDX-License-Identifier: BSD-2-Clause
"""The power fails at every point of a run of blxapply.

usage: powercut.py LOG BASE DISK SUBSETS DEVICE TYPE DIR TARGET

LOG is what dm-log-writes recorded, BASE what was on the disk before, DISK the file to put each state into. The states are
what the disk may hold when the power is cut: all that was durable at a flush (or a write with FUA), and on top of it any
part of what became so at the next one: none of it, and SUBSETS random ones, in pieces of 4 KiB.
In each, DEVICE, a file system of TYPE, is mounted at DIR, and `blxapply --recover TARGET` must leave the state of
/tmp/acks.1 or /tmp/acks.2, and the bytes of /tmp/v1 or /tmp/v2; after the mark `acked` only the latter. In every fourth the
stream /tmp/s2 goes in afterwards, and is acked.
The last line of the output counts; the exit status is 1 if a state was wrong.
"""
import ctypes
import glob
import os
import random
import re
import struct
import subprocess
import sys
import time

# drivers/md/dm-log-writes.c
MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
PIECE = 4096


def entries(path):
    """(flags, offset, data, name of a mark), in the order in which they became durable."""
    with open(path, 'rb') as f:
        magic, version, count, sector = struct.unpack('<QQQI', f.read(28))
        assert (magic, version) == (MAGIC, VERSION), 'not a log'
        f.seek(sector)
        for _ in range(count):
            head = f.read(sector)
            at, n, flags, length = struct.unpack('<QQQQ', head[:32])
            mark = head[32:32 + length].rstrip(b'\0').decode() if flags & MARK else ''
            if flags & DISCARD:
                yield flags, at * sector, bytes(n * sector), mark
            else:
                yield flags, at * sector, b'' if flags & MARK else f.read(n * sector), mark


def pieces(writes):
    for offset, data in writes:
        while data:
            n = min(PIECE - offset % PIECE, len(data))
            yield offset, data[:n]
            offset, data = offset + n, data[n:]


def put(disk, writes):
    for offset, data in writes:
        disk[offset:offset + len(data)] = data


class States:
    """Every state of the disk in turn: (what it is, the bytes, is it after the ack)."""

    def __init__(self, log, base, subsets):
        self.log, self.subsets, self.chance = list(entries(log)), subsets, random.Random(1)
        with open(base, 'rb') as f:
            self.durable = bytearray(f.read())

    def batches(self):
        """(place, writes, acked): what became durable at one place, of which any part may be there before."""
        batch, acked = [], False
        for k, (flags, offset, data, mark) in enumerate(self.log):
            acked = acked or mark == 'acked'
            if flags & FLUSH:
                yield k, batch, acked
                batch = []
            if flags & FUA and data:
                yield k, [(offset, data)], acked
            elif data:
                batch.append((offset, data))
        yield len(self.log), batch, acked

    def __iter__(self):
        for k, batch, acked in self.batches():
            yield f'before {k}', self.durable, acked
            parts = list(pieces(batch))
            for i in range(self.subsets if len(parts) > 1 else 0):
                disk = bytearray(self.durable)
                put(disk, [p for p in parts if self.chance.random() < (.5, .9, .1)[i % 3]])
                yield f'before {k}, part {i + 1}', disk, acked
            put(self.durable, batch)
        yield 'all', self.durable, True


libc = ctypes.CDLL(None, use_errno=True)


class Wrong(Exception):
    pass


def call(what, *args):
    if getattr(libc, what)(*args):
        raise Wrong(f'{what}: {os.strerror(ctypes.get_errno())}')


def content(path, n=None):
    with open(path, 'rb') as f:
        return f.read(n)


def blxapply(*args, stdin=subprocess.DEVNULL):
    run = subprocess.run(['blxapply', *args], stdin=stdin, capture_output=True)
    if run.returncode:
        raise Wrong(f'blxapply {args[0]}: exit {run.returncode}: {run.stderr.decode()}')
    return run.stdout


ACKS = [content('/tmp/acks.1'), content('/tmp/acks.2')]
BYTES = [content('/tmp/v1'), content('/tmp/v2')]


TOKENS = [re.search(rb'token=(\w+)', ack)[1] for ack in ACKS]


def held(where, target):
    """0, old, or 1, new."""
    blxapply('--recover', target)  # fails if the state is not complete
    state = content(glob.glob(f'{where}/img.blx/state' if target.startswith(where) else f'{where}/state/*/state')[0])
    token = re.search(rb'^floor: \d+ (\w+)$', state, re.M)[1]
    if token not in TOKENS or b'\nintent' in state:
        raise Wrong(f'its state: {state}')
    which = TOKENS.index(token)
    if content(target, len(BYTES[which])) != BYTES[which]:
        raise Wrong(f'by its state it is at epoch {which + 1}, by its bytes it is not')
    return which


def goes_on(target):
    with open('/tmp/s2', 'rb') as f:
        if blxapply('--ack', target, stdin=f) != ACKS[1] or content(target, len(BYTES[1])) != BYTES[1]:
            raise Wrong('the next run did not go on')


def look(device, fs, where, target, acked, further):
    call('mount', device.encode(), where.encode(), fs.encode(), 0, None)
    try:
        which = held(where, target)
        if acked and not which:
            raise Wrong('the new epoch was acked, and this is the old one')
        if further:
            goes_on(target)
        return which
    finally:
        call('umount', where.encode())


def main():
    log, base, disk, subsets, device, fs, where, target = sys.argv[1:]
    seen, wrong, previous = [0, 0], 0, None
    for name, state, acked in States(log, base, int(subsets)):
        if state == previous:
            continue
        previous = bytes(state)
        with open(disk, 'r+b') as f:
            f.write(state)
        try:
            seen[look(device, fs, where, target, acked, sum(seen) % 4 == 3)] += 1
        except Wrong as e:
            wrong += 1
            print(f'{name}{", acked" if acked else ""}: {e}'.replace('\n', ' '), flush=True)
    print(f'{seen[0]} old, {seen[1]} new, {wrong} wrong after {time.monotonic() - BEGUN:.0f} s')
    sys.exit(wrong > 0 or not all(seen))


BEGUN = time.monotonic()
main()
