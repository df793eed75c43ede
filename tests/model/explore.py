# SPDX-License-Identifier: BSD-2-Clause
"""Breadth first through every state a model can reach: the first that loses a write has a shortest trace."""
import sys
from collections import deque


def variant(names):
    """The broken protocol that the command line asks for; '': the one that is right."""
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name and name not in names:
        sys.exit('no such variant; there are: %s' % ' '.join(names))
    return name


def trace(seen, state):
    steps = []
    while seen[state]:
        label, state = seen[state]
        steps.append(label)
    return reversed(steps)


def explore(start, steps, lost):
    """STEPS(state) yields (label, state) of what may come next, LOST(state) says what is lost, or None. The exit status."""
    seen, queue = {start: None}, deque([start])
    while queue:
        state = queue.popleft()
        bad = lost(state)
        if bad:
            print('LOST after %d states: %s' % (len(seen), bad))
            print('\n'.join('  %2d  %s' % (i + 1, label) for i, label in enumerate(trace(seen, state))))
            return 1
        for label, after in steps(state):
            if after not in seen:
                seen[after] = (label, state)
                queue.append(after)
    print('%d states, none loses a write' % len(seen))
    return 0
