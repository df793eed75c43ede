#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Explicit-state model of tracking by bio: note, mark, land, forget against flip, grace, carry, harvest, read.

inflight.py [VARIANT]   0 if every reachable state of a small world is right; 1 and a shortest trace if a write is lost.

A write (of one block) goes: note (block into the table of those in flight), look (which bitmap is marked), mark, then
the data lands at any later time, then forget. Programs are the steps up to mark: a grace period waits for those that
began before it. A flip: grace, harvest of what an interrupted flip left, store of the other parity, grace, carry (what
is noted is marked in the new bitmap), harvest of the old one: its blocks are the list, which is read block by block
while writes go on, into the replica. A flip may be killed before any step. At any time everything may come to rest: all
writes finish, two more flips and reads follow (the second for what the first carried): the replica must be the disk.

Variants that must lose: no-carry, carry-early (before the store), mark-first (noted after the mark), forget-first
(forgotten before the data lands). Memory is in order here: the grace between store and carry, which orders it on real
machines and ends half-written notes, can be left out without a loss (variant one-grace).
"""
import sys

from explore import explore, variant

BLOCKS, WRITES, FLIPS, KILLS = 2, 2, 2, 1
IDLE, NOTED, LOOKED, MARKED, LANDED, DONE = range(6)
STEPS = {
    '': ('grace', 'leftover', 'store', 'grace', 'carry', 'harvest', 'read'),
    'no-carry': ('grace', 'leftover', 'store', 'grace', 'harvest', 'read'),
    'carry-early': ('grace', 'leftover', 'carry', 'store', 'grace', 'harvest', 'read'),
    'one-grace': ('grace', 'leftover', 'store', 'carry', 'harvest', 'read'),
}


class World:
    """state: disk, replica, writes ((block, phase, parity looked at, noted) each), parity, bitmaps, list, step of the
    flip (-1: none), programs that the grace waits for, flips and kills so far"""

    def __init__(self, variant):
        self.steps = STEPS.get(variant, STEPS[''])
        self.mark_first = variant == 'mark-first'
        self.forget_first = variant == 'forget-first'

    def init(self):
        return ((0,) * BLOCKS, (0,) * BLOCKS, (), 0, (0, 0), 0, -1, None, 0, 0)

    def moves(self, s, resting=False):
        """(label, next state); resting: no new write and no kill"""
        disk, replica, writes, parity, maps, todo, step, waits, flips, kills = s
        if len(writes) < WRITES and not resting:
            for b in range(BLOCKS):
                # two writes of one block at a time have no defined result, on any disk
                if all(w[0] != b or w[1] == DONE for w in writes):
                    yield 'write block %d' % b, (disk, replica, writes + ((b, IDLE, 0, 0),), *s[3:])
        for i, w in enumerate(writes):
            for label, new, new_disk, new_maps in self.advance(i, w, disk, parity, maps):
                left = waits
                if waits is not None and new[1] >= MARKED:
                    left = waits - {i}
                yield label, (new_disk, replica, writes[:i] + (new,) + writes[i + 1:], parity, new_maps, todo, step, left,
                              flips, kills)
        yield from self.flip(s, resting)

    def advance(self, i, w, disk, parity, maps):
        b, phase, looked, noted = w
        if phase == IDLE:
            yield 'note %d' % i, (b, NOTED, 0, int(not self.mark_first)), disk, maps
        elif phase == NOTED:
            yield 'look %d' % i, (b, LOOKED, parity, noted), disk, maps
        elif phase == LOOKED:
            new = list(maps)
            new[looked] |= 1 << b
            yield 'mark %d' % i, (b, MARKED, 0, noted), disk, tuple(new)
        elif phase == MARKED:
            if self.mark_first and not noted:
                yield 'note late %d' % i, (b, MARKED, 0, 1), disk, maps
                return
            if self.forget_first and noted:
                yield 'forget early %d' % i, (b, MARKED, 0, 0), disk, maps
                return
            yield 'land %d' % i, (b, LANDED, 0, noted), disk[:b] + (i + 1,) + disk[b + 1:], maps
        elif phase == LANDED:
            yield 'forget %d' % i, (b, DONE, 0, 0), disk, maps

    def flip(self, s, resting):
        disk, replica, writes, parity, maps, todo, step, waits, flips, kills = s
        running = frozenset(i for i, w in enumerate(writes) if w[1] in (NOTED, LOOKED))
        if step == -1:
            if flips < FLIPS or resting:
                yield 'flip', (*s[:6], 0, None, flips + 1, kills)
            return
        # a list that was not read whole is printed again: its deltas are still there
        if kills < KILLS and not resting and self.steps[step] != 'read':
            yield 'kill', (*s[:6], -1, None, flips, kills + 1)
        what, nxt = self.steps[step], step + 1
        if what == 'grace':
            if waits is None:
                waits = running
            if not waits:
                yield 'grace over', (*s[:6], nxt, None, flips, kills)
            else:
                yield 'grace', (*s[:7], waits, flips, kills)
        elif what in ('leftover', 'harvest'):
            old = parity ^ 1
            new = list(maps)
            new[old] = 0
            yield what, (disk, replica, writes, parity, tuple(new), todo | maps[old], nxt, None, flips, kills)
        elif what == 'store':
            yield 'store', (disk, replica, writes, parity ^ 1, maps, todo, nxt, None, flips, kills)
        elif what == 'carry':
            new = list(maps)
            for b, _, _, noted in writes:
                new[parity] |= noted << b
            yield 'carry', (disk, replica, writes, parity, tuple(new), todo, nxt, None, flips, kills)
        elif not todo:
            yield 'read', (*s[:6], -1, None, flips, kills)
        else:
            for b in range(BLOCKS):
                if todo >> b & 1:
                    yield 'read %d' % b, (disk, replica[:b] + (disk[b],) + replica[b + 1:], writes, parity, maps,
                                          todo & ~(1 << b), step, None, flips, kills)

    def rest(self, s):
        """all writes finish, the flip that runs ends, two more follow; the state then"""
        more = 2
        while True:
            moves = [(l, n) for l, n in self.moves(s, True) if n != s]
            still = [(l, n) for l, n in moves if not l.startswith('flip')]
            if still:
                s = still[0][1]
            elif more:
                more -= 1
                s = next(n for l, n in moves if l == 'flip')
            else:
                return s

    def lost(self, s):
        disk, replica = self.rest(s)[:2]
        return 'the disk is %s, the replica %s' % (disk, replica) if disk != replica else None


if __name__ == '__main__':
    world = World(variant(('no-carry', 'carry-early', 'mark-first', 'forget-first', 'one-grace')))
    sys.exit(explore(world.init(), world.moves, world.lost))
