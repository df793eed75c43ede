#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Explicit-state model of a history that outlives a reboot: `blxtrack save`, `start --restore`, and what may happen around them.

Usage: saved.py            every reachable state; exit 0 if none loses a write
       saved.py VARIANT    a broken protocol: exit 1 with the shortest trace that loses one

  disk      two blocks; written to while tracked, while not, while the machine is off (a rescue system), or set back to what it
            was at first; no write while it is read-only
  kernel    up or off, boots counted, writes to the disk since the boot (statistics); tracked or not; marks, deltas, position
  save      two steps: remember and make read-only; write the file. Taking back: use the file up, then make writable
  file      used or not, by which boot it was written, deltas, position; moved away while the disk is saved, and back before the
            machine goes down, or never
  restore   three steps: read the file, and use it up; begin to mark; compare, and go on or declare the history lost
  replica   (token, contents); a run may lose its ack; every step may be followed by a hard reset

CHECKED IN EVERY STATE: where a list would be printed, a clean run leaves the replica equal to the disk.
LIMITS: samples are taken to see what a rescue system wrote, or this one before blxtrack was started, and that the disk was
set back, and nothing else; two writes, three boots, one consumer, one set-back, one foreign write.
"""
import sys
from collections import namedtuple

from explore import explore, variant

BLOCKS, WRITES, BOOTS, TOKENS = 2, 2, 3, 3
BROKEN = variant(('keep-fresh', 'use-up-late', 'no-statistics', 'no-samples', 'writable', 'writable-first', 'no-forgo', 'moved'))

State = namedtuple('State', 'disk up boot stat tracked phase saved ro marked deltas position token file replica writes foreign back alien away')
File = namedtuple('File', 'used boot deltas position')
ZERO = (0,) * BLOCKS
OFF = dict(up=False, tracked=False, phase='', saved='', ro=False, marked=0, deltas=(), position=None)
# at first: tracked, and the replica is the disk at token 0; a position is a token, None: it is lost
START = State(ZERO, True, 1, True, True, '', '', False, 0, (), 0, 0, None, (0, ZERO), 0, False, False, False, False)


def bits(mask):
    return [b for b in range(BLOCKS) if mask >> b & 1]


def put(t, i, v):
    return t[:i] + (v,) + t[i + 1:]


def flip(s):
    token = s.token + 1
    return s._replace(deltas=s.deltas + ((token, s.marked),), marked=0, token=token)


def listed(s):
    blocks = 0
    for _, mask in s.deltas:
        blocks |= mask
    return (s.position,) + tuple(t for t, _ in s.deltas), blocks


def gives_lists(s):
    return s.up and s.tracked and not s.phase and not s.saved and s.position is not None


def use_up(f):
    return f if BROKEN == 'keep-fresh' else f._replace(used=True)


def write(s, b, what):
    disk = put(s.disk, b, s.writes + 1)
    return what, s._replace(disk=disk, writes=s.writes + 1)


def run(s):
    s = flip(s)
    chain, blocks = listed(s)
    if s.replica[0] not in chain:
        return
    contents = s.replica[1]
    for b in bits(blocks):
        contents = put(contents, b, s.disk[b])
    s = s._replace(replica=(s.token, contents))
    yield 'a run, its ack is lost', s
    yield 'a run', s._replace(position=s.token, deltas=())


def saving(s):
    if not s.saved and s.tracked and not s.phase:
        yield 'save makes it read-only', s._replace(saved='begun', ro=BROKEN != 'writable')
    if s.saved == 'begun':
        s = flip(s)
        yield 'save writes the file', s._replace(saved='done', alien=False, away=False, file=File(False, s.boot, s.deltas, s.position))


def moving(s):
    if s.away:
        yield 'the file is moved back', s._replace(away=False)
    elif s.saved == 'done':
        yield 'the file is moved away', s._replace(away=True)


def taking_back(s):
    if s.away and BROKEN != 'moved':
        return
    used = s.file if s.away else s.file and use_up(s.file)
    if BROKEN == 'writable-first':
        if s.ro:
            yield 'it is made writable', s._replace(ro=False)
        else:
            yield 'what was saved is used up', s._replace(file=used, saved='')
    elif s.ro:
        yield 'what was saved is used up, and it is made writable', s._replace(file=used, ro=False, saved='')
        yield 'what was saved is used up', s._replace(file=used)
    else:
        yield 'taken back', s._replace(file=used, saved='')


def starting(s):
    fresh = s.file and not s.file.used
    late = BROKEN == 'use-up-late'
    if not s.phase:
        ok = fresh and s.file.boot != s.boot and (not s.stat or BROKEN == 'no-statistics')
        yield 'restore reads the file', s._replace(phase='goes on' if ok else 'lost', file=s.file if late or not s.file else use_up(s.file))
        yield ('a plain start', s._replace(tracked=True, position=None, deltas=(), marked=0,
                                           file=s.file if not s.file or BROKEN == 'no-forgo' else use_up(s.file)))
    elif not s.tracked:
        # what was written before is in the statistics
        ok = s.phase == 'goes on' and (not s.stat or BROKEN == 'no-statistics')
        yield 'tracking begins', s._replace(tracked=True, marked=0, phase='goes on' if ok else 'lost')
    else:
        same = not s.alien or BROKEN == 'no-samples'
        s = s._replace(file=use_up(s.file) if late and s.file else s.file)
        if s.phase == 'goes on' and same:
            yield 'the history goes on', s._replace(phase='', deltas=s.file.deltas, position=s.file.position)
        else:
            yield 'the history is lost', s._replace(phase='', deltas=(), position=None)


def steps(s):
    if not s.up:
        if s.boot < BOOTS:
            yield 'boot', s._replace(up=True, boot=s.boot + 1, stat=False)
        if not s.foreign and s.writes < WRITES:
            for b in range(BLOCKS):
                what, after = write(s, b, 'a rescue system writes block %d' % b)
                yield what, after._replace(foreign=True, alien=True)
        if not s.back and s.disk != ZERO:
            yield 'the disk is set back', s._replace(disk=ZERO, back=True, alien=True)
        return
    yield 'power is cut', s._replace(**OFF, away=False, file=None if s.away else s.file)
    if s.writes < WRITES and not s.ro:
        for b in range(BLOCKS):
            what, after = write(s, b, 'block %d is written' % b)
            idle = not s.tracked and not s.phase
            yield what, after._replace(stat=True, marked=s.marked | 1 << b if s.tracked else 0, alien=s.alien or idle)
    if gives_lists(s) and s.token < TOKENS:
        yield from run(s)
    if s.token < TOKENS:
        yield from saving(s)
    yield from moving(s)
    if s.saved:
        yield from taking_back(s)
    if not s.tracked or s.phase:
        yield from starting(s)


def lost(s):
    if not gives_lists(s):
        return None
    chain, blocks = listed(flip(s))
    if s.replica[0] not in chain:
        return None  # the replica refuses it, and says so
    wrong = [b for b in range(BLOCKS) if not blocks >> b & 1 and s.replica[1][b] != s.disk[b]]
    return 'blocks %s of the replica are wrong after a clean run' % wrong if wrong else None


if __name__ == '__main__':
    sys.exit(explore(START, steps, lost))
