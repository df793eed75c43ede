# SPDX-License-Identifier: BSD-2-Clause
"""Reader and writer of block streams written from blx-stream(5) alone, to test the real ones against.

Usage: blxformat.py golden NAME    write one of the golden streams to stdout
       blxformat.py text < STREAM  what blxls -v shall say of it; exit 4 with words if it is not valid
       blxformat.py xxh3 < BYTES   XXH3-64 of them, 16 hexadecimal digits
"""
import struct
import subprocess
import sys

# ---------------------------------------------------------------------------------------------------- XXH3-64, seed 0
M = (1 << 64) - 1
SECRET = bytes.fromhex(
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221'
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8'
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb'
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e')
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def r32(b, at=0):
    return int.from_bytes(b[at:at + 4], 'little')


def r64(b, at=0):
    return int.from_bytes(b[at:at + 8], 'little')


def fold(a, b):
    p = a * b
    return (p & M) ^ (p >> 64)


def avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & M
    return h ^ h >> 32


def avalanche64(h):
    h = (h ^ h >> 33) * P64[1] & M
    h = (h ^ h >> 29) * P64[2] & M
    return h ^ h >> 32


def rotl(h, n):
    return (h << n | h >> 64 - n) & M


def mix16(b, at, s):
    return fold(r64(b, at) ^ r64(SECRET, s), r64(b, at + 8) ^ r64(SECRET, s + 8))


def short(b):
    n = len(b)
    if n == 0:
        return avalanche64(r64(SECRET, 56) ^ r64(SECRET, 64))
    if n <= 3:
        v = b[0] << 16 | b[n >> 1] << 24 | b[n - 1] | n << 8
        return avalanche64(v ^ r32(SECRET) ^ r32(SECRET, 4))
    if n <= 8:
        h = (r32(b, n - 4) + (r32(b) << 32) & M) ^ r64(SECRET, 8) ^ r64(SECRET, 16)
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * 0x9FB21C651E98DF25 & M
        h = (h ^ (h >> 35) + n) * 0x9FB21C651E98DF25 & M
        return h ^ h >> 28
    lo = r64(b) ^ r64(SECRET, 24) ^ r64(SECRET, 32)
    hi = r64(b, n - 8) ^ r64(SECRET, 40) ^ r64(SECRET, 48)
    return avalanche(n + int.from_bytes(lo.to_bytes(8, 'little'), 'big') + hi + fold(lo, hi) & M)


def middle(b):
    n = len(b)
    acc = n * P64[0]
    if n <= 128:
        for i in range((n - 1) // 32, -1, -1):
            acc += mix16(b, 16 * i, 32 * i) + mix16(b, n - 16 * (i + 1), 32 * i + 16)
        return avalanche(acc & M)
    for i in range(8):
        acc += mix16(b, 16 * i, 16 * i)
    acc = avalanche(acc & M)
    for i in range(8, n // 16):
        acc += mix16(b, 16 * i, 16 * (i - 8) + 3)
    return avalanche(acc + mix16(b, n - 16, 136 - 17) & M)


def stripe(acc, b, at, s):
    for i in range(8):
        v = r64(b, at + 8 * i)
        k = v ^ r64(SECRET, s + 8 * i)
        acc[i ^ 1] = acc[i ^ 1] + v & M
        acc[i] = acc[i] + (k & 0xffffffff) * (k >> 32) & M


def xxh3(b):
    n = len(b)
    if n <= 16:
        return short(b)
    if n <= 240:
        return middle(b)
    acc = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]
    blocks = (n - 1) // 1024
    for at in range(0, 1024 * blocks, 1024):
        for i in range(16):
            stripe(acc, b, at + 64 * i, 8 * i)
        for i in range(8):
            acc[i] = (acc[i] ^ acc[i] >> 47 ^ r64(SECRET, 128 + 8 * i)) * P32[0] & M
    for i in range((n - 1 - 1024 * blocks) // 64):
        stripe(acc, b, 1024 * blocks + 64 * i, 8 * i)
    stripe(acc, b, n - 64, 192 - 64 - 7)
    h = n * P64[0]
    for i in range(4):
        h += fold(acc[2 * i] ^ r64(SECRET, 11 + 16 * i), acc[2 * i + 1] ^ r64(SECRET, 19 + 16 * i))
    return avalanche(h & M)


# ------------------------------------------------------------------------------------------------------------- writing
HEAD, DATA, ZERO, COMMIT, END, ABORT, PACK, BAD = range(1, 9)
NAMES = ('', 'HEAD', 'DATA', 'ZERO', 'COMMIT', 'END', 'ABORT', 'PACK', 'BAD')
MAGIC = b'BLXSTRM1'


def frame(kind, offset, length, payload=b'', flags=0):
    h = struct.pack('<HHIQQ', kind, flags, len(payload), offset, length)
    return h + struct.pack('<Q', xxh3(h + payload)) + payload


def check_of(f):
    return f[24:32]


def pack_raw(content):
    """a zstd frame of raw blocks (RFC 8878), for contents below 128 KiB"""
    header = b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', len(content))
    return header + (len(content) << 3 | 1).to_bytes(3, 'little') + content


class Writer:
    def __init__(self):
        self.out, self.total, self.commits = MAGIC, [0, 0, 0], b''

    def head(self, size, text, limit=None):
        f = frame(HEAD, 0, size, text.encode())
        self.limit = size if limit is None else limit
        self.counts, self.checks, self.packing = [0, 0, 0], check_of(f), None
        self.out += f

    def extent(self, f, data, zero):
        self.counts = [self.counts[0] + 1, self.counts[1] + data, self.counts[2] + zero]
        self.checks += check_of(f)
        if self.packing is None:
            self.out += f
        else:
            self.packing = self.packing[0] + f[:32], self.packing[1] + f[32:]

    def data(self, offset, payload):
        self.extent(frame(DATA, offset, len(payload), payload), len(payload), 0)

    def zero(self, offset, length):
        self.extent(frame(ZERO, offset, length), 0, length)

    def bad(self, offset, length):
        self.extent(frame(BAD, offset, length), 0, 0)

    def pack(self):
        self.packing = b'', b''

    def packed(self):
        c, self.packing = b''.join(self.packing), None
        self.out += frame(PACK, r64(c, 8), len(c), pack_raw(c))

    def commit(self):
        f = frame(COMMIT, 0, self.limit, struct.pack('<4Q', *self.counts, xxh3(self.checks)))
        self.total = [a + b for a, b in zip(self.total, self.counts)]
        self.commits += check_of(f)
        self.out += f

    def end(self):
        self.out += frame(END, 0, 0, struct.pack('<4Q', *self.total, xxh3(self.commits)))


T1, T2, T3 = ('%032x' % (0x0123456789abcdef0011223344556677 + i) for i in range(3))
TRACKED = '''# blx-extents 1
# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8
# device: 7:300
# name: loop300
# serial: ABC 123
# diskseq: 42
# start: 1048576
# size: 1048576
# block: 4096
# consumer: default
# base: 11 %s
# cursor: 1048576
# epoch: 12 %s
# chain: %s
# chain: %s
# time: 2026-01-02T03:04:05Z
# label: disk
''' % (T1, T2, T1, T2)
LIMITED = '''# blx-extents 1
# lineage: 6ba7b810-9dad-11d1-80b4-00c04fd430c8
# device: 7:300
# size: 1048576
# block: 4096
# consumer: default
# base: 11 %s
# cursor: 1048576
# partial: 12 %s 4096
# limit: 524288
# epoch: 13 %s
# chain: %s
# chain: %s
# chain: %s
''' % (T1, T2, T3, T1, T2, T3)


def bytes_like(n, seed):
    return bytes((i * 7 + (i >> 8) + seed) & 0xff for i in range(n))


def golden(name):
    w = Writer()
    if name == 'example':  # the one of blx-stream(5)
        w.head(65536, '# blx-extents 1\n# size: 65536\n')
        w.data(4096, b'Hello, blocks!\n\0')
        w.zero(8192, 4096)
        w.commit()
        w.end()
    elif name == 'small':  # two epochs, the second with a limit and a partial
        w.head(1048576, TRACKED)
        w.data(4096, bytes_like(512, 1))
        w.data(4608, bytes_like(100, 2))
        w.zero(65536, 131072)
        w.data(1048575, b'!')
        w.commit()
        w.head(1048576, LIMITED, 524288)
        w.zero(0, 4096)
        w.commit()
        w.end()
    elif name == 'packed':
        w.head(1048576, TRACKED)
        w.pack()
        w.data(4096, bytes_like(512, 1))
        w.zero(65536, 131072)
        w.packed()
        w.data(262144, bytes_like(300, 3))
        w.pack()
        w.data(524288, bytes_like(5, 4))
        w.packed()
        w.commit()
        w.end()
    elif name == 'bad':  # what could not be read stands between packs
        w.head(1048576, TRACKED)
        w.bad(0, 4096)
        w.pack()
        w.data(4096, bytes_like(512, 1))
        w.zero(65536, 131072)
        w.packed()
        w.bad(262144, 512)
        w.bad(262656, 65536)
        w.pack()
        w.data(524288, bytes_like(5, 4))
        w.packed()
        w.commit()
        w.end()
    elif name == 'aborted':
        w.head(1048576, TRACKED)
        w.data(4096, bytes_like(16, 1))
        w.out += frame(ABORT, 3, 0, b'/dev/loop300: read at 8192: Input/output error')
    elif name == 'optional':  # with frames that a reader of today does not know, and shall skip
        w.out += frame(99, 1, 2, b'later', 0x8000)
        w.head(65536, '# blx-extents 1\n# size: 65536\n# x-note: by hand\n')
        w.out += frame(0xffff, M, M, b'', 0x8000)
        w.zero(0, 1)
        w.commit()
        w.out += frame(9, 0, 0, b'', 0x8000)
        w.end()
    else:
        sys.exit('no golden stream of that name')
    return w.out


# ------------------------------------------------------------------------------------------------------------- reading
class Bad(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Bad(what)


def frames(b, at):
    """(position, type, offset, length, payload, check) of each frame in b from at on"""
    while at < len(b):
        need(len(b) - at >= 32, 'cut')
        kind, flags, n, offset, length, check = struct.unpack_from('<HHIQQQ', b, at)
        payload = b[at + 32:at + 32 + n]
        need(len(payload) == n, 'cut')
        need(xxh3(b[at:at + 24] + payload) == check, 'check')
        known = HEAD <= kind <= BAD
        need(flags == 0 if known else flags == 0x8000, 'flags')
        if known:
            yield at, kind, offset, length, payload, b[at + 24:at + 32]
        at += 32 + n


def unpack(payload, length):
    content = subprocess.run(['zstd', '-dc'], input=payload, stdout=subprocess.PIPE, check=True).stdout
    need(len(content) == length, 'pack')
    return content


def gathered(content):
    """a pack's headers and payloads as frames again"""
    heads, lengths = 0, []
    while sum(lengths) + heads < len(content):
        lengths.append(struct.unpack_from('<I', content, heads + 4)[0])
        heads += 32
    out, at = b'', heads
    for i, n in enumerate(lengths):
        out += content[32 * i:32 * i + 32] + content[at:at + n]
        at += n
    return out


def head_numbers(text):
    keys = dict(line[2:].split(': ', 1) for line in text.decode().splitlines()[1:])
    return int(keys['size']), int(keys.get('limit', keys['size']))


class Reader:
    def __init__(self, b):
        self.lines, self.inside, self.ended = ['%12d %-6s %s' % (0, 'MAGIC', MAGIC.decode())], False, False
        self.total, self.commits = [0, 0, 0], b''
        need(b[:8] == MAGIC, 'magic')
        for f in frames(b, 8):
            need(not self.ended, 'bytes after END')
            self.take(*f)
        need(self.ended, 'cut')

    def line(self, position, kind, offset, length, n, more='', mark=''):
        self.lines.append('%12d %s%-6s %d %d %d%s' % (position, mark, NAMES[kind], offset, length, n, more))

    def extent(self, position, kind, offset, length, payload, check, mark=''):
        need(self.inside and length and offset >= self.at and offset + length <= self.limit, 'range')
        need(len(payload) == (length if kind == DATA else 0), 'length')
        self.at = offset + length
        self.counts = [self.counts[0] + 1, self.counts[1] + length * (kind == DATA),
                       self.counts[2] + length * (kind == ZERO)]
        self.checks += check
        self.line(position, kind, offset, length, len(payload), mark=mark)

    def take(self, position, kind, offset, length, payload, check):
        if kind in (DATA, ZERO, BAD):
            self.extent(position, kind, offset, length, payload, check)
            return
        more = ''
        if kind in (COMMIT, END):
            more = ' frames=%d data=%d zero=%d digest=%016x' % struct.unpack('<4Q', payload)
        self.line(position, kind, offset, length, len(payload), more)
        if kind == HEAD:
            size, self.limit = head_numbers(payload)
            need(not self.inside and length == size, 'head')
            self.inside, self.at, self.counts, self.checks = True, 0, [0, 0, 0], check
            self.lines += payload.decode().splitlines()
        elif kind == PACK:
            content = unpack(payload, length)
            inner = list(frames(gathered(content), 0))
            need(inner and inner[0][2] == offset, 'pack')
            for f in inner:
                need(f[1] in (DATA, ZERO), 'pack')
                self.extent(position, *f[1:], mark='+')
        elif kind == COMMIT:
            need(self.inside and length == self.limit, 'commit')
            need(payload == struct.pack('<4Q', *self.counts, xxh3(self.checks)), 'counts')
            self.inside, self.commits = False, self.commits + check
            self.total = [a + b for a, b in zip(self.total, self.counts)]
        elif kind == END:
            need(not self.inside and self.commits, 'end')
            need(payload == struct.pack('<4Q', *self.total, xxh3(self.commits)), 'counts')
            self.ended = True
        else:
            need(False, 'aborted: ' + payload.decode())


def main():
    if sys.argv[1:2] == ['golden'] and len(sys.argv) == 3:
        sys.stdout.buffer.write(golden(sys.argv[2]))
    elif sys.argv[1:] == ['text']:
        try:
            print('\n'.join(Reader(sys.stdin.buffer.read()).lines))
        except Bad as e:
            print('blxformat.py: %s' % e, file=sys.stderr)
            return 4
    elif sys.argv[1:] == ['xxh3']:
        print('%016x' % xxh3(sys.stdin.buffer.read()))
    else:
        sys.exit(__doc__)
    return 0


if __name__ == '__main__':
    sys.exit(main())
