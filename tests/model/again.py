#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Explicit-state model of what a consumer lacks besides its deltas: blocks that could not be read (`unread` acks), and blocks that
rotted on the other side and are listed again (`blxtrack resync` for a consumer whose position is known).

Usage: again.py            every reachable state; exit 0 if none loses a write
       again.py VARIANT    a broken protocol: exit 1 with the shortest trace that loses one

  source    disk, marked blocks, deltas (number, token, blocks), position (epoch, base, again, again_epoch), next number
  lists     two pipelines at a time, each killed at any step; blocks are read one by one while writes go on; a read may fail
  replica   (token, contents); takes a list if its token is in the list's chain; all of it or nothing
  acks      (token, unread blocks); each may arrive late, again, or never
  rot       a block of the replica changes by itself, once; a scrub finds it at any later time and asks for it again

CHECKED IN EVERY STATE: a clean run (drain, read, apply) leaves the replica equal to the source, unless rot was not found yet.
LIMITS: two blocks, two writes, three epochs, two bad reads; no first copy, no partial acks, one consumer.
"""
import sys

from explore import explore, variant

BLOCKS, WRITES, EPOCHS, BAD = 2, 2, 3, 2
ROT = -1
BROKEN = variant(('forget-unread', 'no-epoch', 'ack-without-unread'))


def bits(mask):
    return [b for b in range(BLOCKS) if mask >> b & 1]


def put(t, i, v):
    return t[:i] + (v,) + t[i + 1:]


# disk, marked, deltas, position, next number, pipes, replica, acks, writes, bad reads, rot (0 not yet, 1 hidden, 2 found)
START = ((0,) * BLOCKS, 0, (), (0, 0, 0, 0), 1, (None, None), (0, (0,) * BLOCKS), frozenset(), 0, 0, 0)


def flip(deltas, marked, number):
    return deltas + ((number, number, marked),), 0, number + 1


def drain(s):
    deltas, marked, number = flip(s[2], s[1], s[4])
    epoch, base, again, again_epoch = s[3]
    blocks = again
    for n, _, m in deltas:
        if n > epoch:
            blocks |= m
    chain = (base,) + tuple(t for n, t, _ in deltas if n > epoch)
    return (chain, blocks), put(put(put(s, 1, marked), 2, deltas), 4, number)


def commit(s, ack):
    token, unread = ack
    deltas, (epoch, base, again, again_epoch) = s[2], s[3]
    if token <= epoch or token not in [t for _, t, _ in deltas]:
        return s
    if BROKEN == 'forget-unread':
        unread = 0
    kept = again if token <= again_epoch and BROKEN != 'no-epoch' else 0
    position = (token, token, kept | unread, max(again_epoch, token) if unread else again_epoch)
    return put(put(s, 3, position), 2, tuple(d for d in deltas if d[0] > token))


def apply(replica, chain, read):
    token, contents = replica
    for b, c in read:
        if c is not None:
            contents = put(contents, b, c)
    return chain[-1], contents


def steps(s):
    disk, marked, deltas, position, number, pipes, replica, acks, writes, bad, rot = s
    if writes < WRITES:
        for b in range(BLOCKS):
            yield 'write %d to block %d' % (writes + 1, b), put(put(put(s, 0, put(disk, b, writes + 1)), 1, marked | 1 << b), 8, writes + 1)
    for i, p in enumerate(pipes):
        if p is None:
            if number <= EPOCHS:
                listed, after = drain(s)
                yield 'drain %s, blocks %s' % (listed[0], bits(listed[1])), put(after, 5, put(pipes, i, listed + ((),)))
            continue
        chain, blocks, read = p
        todo = bits(blocks)[len(read):]
        yield 'list %d is dropped' % chain[-1], put(s, 5, put(pipes, i, None))
        if todo:
            b = todo[0]
            yield 'list %d: block %d is read' % (chain[-1], b), put(s, 5, put(pipes, i, (chain, blocks, read + ((b, disk[b]),))))
            if bad < BAD:
                yield ('list %d: block %d cannot be read' % (chain[-1], b),
                       put(put(s, 5, put(pipes, i, (chain, blocks, read + ((b, None),)))), 9, bad + 1))
        elif replica[0] in chain[:-1]:
            unread = sum(1 << b for b, c in read if c is None)
            if BROKEN == 'ack-without-unread':
                unread = 0
            yield ('list %d is applied' % chain[-1],
                   put(put(put(s, 6, apply(replica, chain, read)), 7, acks | {(chain[-1], unread)}), 5, put(pipes, i, None)))
    for a in acks:
        after = commit(s, a)
        if after != s:
            yield 'ack of %d, unread %s, arrives' % (a[0], bits(a[1])), after
    if rot == 0:
        for b in range(BLOCKS):
            yield 'block %d of the replica rots' % b, put(put(s, 6, (replica[0], put(replica[1], b, ROT))), 10, 1)
    if rot == 1 and number <= EPOCHS:
        rotten = sum(1 << b for b in range(BLOCKS) if replica[1][b] == ROT)
        deltas, marked, after = flip(deltas, marked, number)
        epoch, base, again, again_epoch = position
        new = (epoch, base, again | rotten, number if rotten else again_epoch)
        yield 'a scrub asks for %s again' % bits(rotten), put(put(put(put(put(s, 1, marked), 2, deltas), 4, after), 3, new), 10, 2)


def lost(s):
    (chain, blocks), _ = drain(s)
    if s[6][0] not in chain:
        return 'the replica at %d is refused by %s' % (s[6][0], chain)
    _, contents = apply(s[6], chain, [(b, s[0][b]) for b in bits(blocks)])
    wrong = [b for b in range(BLOCKS) if contents[b] != s[0][b] and not (s[10] == 1 and contents[b] == ROT)]
    return 'blocks %s of the replica are wrong after a clean run' % wrong if wrong else None


if __name__ == '__main__':
    sys.exit(explore(START, steps, lost))
