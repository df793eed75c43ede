#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Cuts a session of blxtls, or flips a bit of it, at each byte asked for, and judges both ends.

tlscut.py --to ADDRESS:PORT --way out|in --how fin|half|rst|mix|flip --at FIRST-LAST|N,N,... --inputs DIR --reply FILE
    --listener PID [--size BYTES] [--jobs N] -- NEAR COMMAND ... ; {} in it becomes the address to connect to

In each session a proxy passes on the first N bytes from the near side (out) or to it (in), and when there are more it
closes both connections (fin), closes that direction only (half) or resets both (rst), or (mix) one of these, by turns; or
it passes on all, byte N with a bit flipped. The far command leaves what it read in a file of DIR, with CLEAN behind it if it saw the end, and sends FILE.
What the near side sends begins with the number of the session. A session may end with 0 only if the far command has it
all and the near side has all of FILE; and no far command may see an end of anything else. The last line is
    tried N, ended well: M, the first at A, passed at most B bytes, the rest: STATUS*COUNT ...
"""
import argparse, collections, os, random, select, socket, struct, subprocess, sys, tempfile, threading, time

parser = argparse.ArgumentParser()
parser.add_argument('--to', required=True)
parser.add_argument('--way', choices=('out', 'in'), required=True)
parser.add_argument('--how', choices=('fin', 'half', 'rst', 'mix', 'flip'), required=True)
parser.add_argument('--at', required=True)
parser.add_argument('--inputs', required=True)
parser.add_argument('--reply', required=True)
parser.add_argument('--listener', type=int, required=True)
parser.add_argument('--size', type=int, default=100)
parser.add_argument('--jobs', type=int, default=3)
parser.add_argument('command', nargs='+')
args = parser.parse_args()

if '-' in args.at:
    first, last = map(int, args.at.split('-'))
    points = list(range(first, last + 1))
else:
    points = [int(n) for n in args.at.split(',')]
reply = open(args.reply, 'rb').read()
body = random.Random(1).randbytes(args.size)
host, port = args.to.rsplit(':', 1)
WAIT = 20  # seconds, for all that must not hang
lock = threading.Lock()
statuses, faults, most = {}, [], [0]


def how_at(n):
    return ('fin', 'half', 'rst')[n % 3] if args.how == 'mix' else args.how


def fault(n, words):
    with lock:
        faults.append(f'{how_at(n)} {args.way} at {n}: {words}')


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def sent(sock, data):
    """False: whom it is for is gone."""
    try:
        sock.sendall(data)
        return True
    except OSError:
        return False


def finish(sock):
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def relay(near, far, n):
    """Until both directions have ended, or were cut."""
    marked = near if args.way == 'out' else far
    other = {near: far, far: near}
    passed, cut, live, how = 0, False, {near, far}, how_at(n)
    while live:
        ready = select.select(list(live), [], [], WAIT)[0]
        if not ready:
            raise TimeoutError('silence')
        for sock in ready:
            try:
                data = sock.recv(65536)
            except OSError:
                data = b''
            if not data:
                live.discard(sock)
                if not (cut and sock is marked):
                    finish(other[sock])
                continue
            if sock is marked and cut:
                continue
            if sock is marked and passed + len(data) > n:
                if how == 'flip':
                    if passed <= n:
                        data = bytearray(data)
                        data[n - passed] ^= 1 << (n % 8)
                else:
                    sent(other[sock], data[:n - passed])
                    cut = True
                    if how == 'half':
                        finish(other[sock])
                        continue
                    for end in (near, far):
                        reset(end) if how == 'rst' else end.close()
                    return
            if sock is marked:
                passed += len(data)
                most[0] = max(most[0], passed)
            if not sent(other[sock], data):
                live.discard(sock)


def session(listener, n):
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as back, tempfile.TemporaryFile() as words:
        given.write(b'%010d\n' % n + body)
        given.seek(0)
        address = '127.0.0.1:%d' % listener.getsockname()[1]
        process = subprocess.Popen([word.replace('{}', address) for word in args.command], stdin=given, stdout=back,
                                   stderr=words)
        near, _ = listener.accept()
        far = socket.create_connection((host, int(port)), WAIT)
        for sock in near, far:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            relay(near, far, n)
        finally:
            near.close()
            far.close()
            try:
                status = process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                status = 'hangs'
        back.seek(0)
        words.seek(0)
        said = words.read().decode(errors='replace').strip()
        got = back.read()
        with lock:
            statuses[n] = status
        if status == 0 and got != reply:
            fault(n, f'exit 0 with {len(got)} of {len(reply)} bytes')
        if status not in (0, 3, 4, 5) or (status != 0 and not said):
            fault(n, f'exit {status}: {said}')
        if not reply.startswith(got):
            fault(n, 'other bytes came out')


def work():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.settimeout(WAIT)
        while True:
            with lock:
                if not points or len(faults) > 20:
                    return
                n = points.pop(0)
            try:
                session(listener, n)
            except Exception as e:
                fault(n, repr(e))


def idle():
    """The listener has no command any more."""
    end = time.monotonic() + WAIT
    while subprocess.run(['ps', '-o', 'pid=', '--ppid', str(args.listener)], stdout=subprocess.PIPE).stdout.strip():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


total = len(points)
threads = [threading.Thread(target=work) for _ in range(args.jobs)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if not idle():
    faults.append('commands of the listener hang')

whole = set()
for name in os.listdir(args.inputs):
    data = open(os.path.join(args.inputs, name), 'rb').read()
    if data.endswith(b'CLEAN\n'):
        if data[11:-6] != body or not data[:10].isdigit():
            faults.append(f'{name}: an end after {len(data) - 6} of {len(body) + 11} bytes')
        else:
            whole.add(int(data[:10]))
    elif not (b'%010d\n' % int(data[:10] or 0) + body).startswith(data):
        faults.append(f'{name}: other bytes went in')
well = sorted(n for n, status in statuses.items() if status == 0)
for n in well:
    if n not in whole:
        faults.append(f'{args.how} {args.way} at {n}: exit 0, and the far command does not have it all')
for line in faults[:20]:
    print(line, file=sys.stderr)
rest = collections.Counter(status for status in statuses.values() if status != 0)
print(f'tried {total}, ended well: {len(well)}, the first at {well[0] if well else "none"}, passed at most {most[0]} bytes, '
      'the rest:',
      *(f'{status}*{count}' for status, count in sorted(rest.items(), key=str)))
sys.exit(1 if faults else 0)
