#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A workload: files made, overwritten in place, cut, renamed, removed and synced below DIR until the file STOP is there
(or 600 s have passed). churn.py DIR STOP SEED [PAUSE]"""
import os, random, sys, time

top, stop, seed = sys.argv[1:4]
pause = float(sys.argv[4]) if len(sys.argv) > 4 else 0.002
rng = random.Random(int(seed))
os.makedirs(top, exist_ok=True)
end = time.monotonic() + 600
names = []


def body(n):
    return os.urandom(n) if rng.random() < .7 else bytes(n)


while not os.path.exists(stop) and time.monotonic() < end:
    what = rng.random()
    try:
        if what < .45 or not names:
            name = os.path.join(top, 'f%d' % rng.randrange(400))
            with open(name, 'wb') as f:
                f.write(body(rng.choice((10, 4096, 20000, 70000, 300000))))
                if rng.random() < .5:
                    f.flush()
                    os.fsync(f.fileno())
            names.append(name)
        elif what < .75:
            fd = os.open(rng.choice(names), os.O_RDWR)
            os.pwrite(fd, body(rng.choice((1, 512, 4096, 30000))), rng.randrange(200000))
            if rng.random() < .5:
                os.fsync(fd)
            os.close(fd)
        elif what < .8:
            os.truncate(rng.choice(names), rng.randrange(100000))
        elif what < .85:
            new = rng.choice(names) + 'r'
            os.rename(rng.choice(names), new)
            names.append(new)
        else:
            os.remove(names.pop(rng.randrange(len(names))))
    except FileNotFoundError:
        pass
    except OSError as e:
        if e.errno != 28:
            raise
        for n in names:
            if os.path.exists(n):
                os.remove(n)
        names = []
    time.sleep(pause)
