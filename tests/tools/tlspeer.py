#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The other end of blxtls, by another implementation of blx/1 (blxtls(1), WIRE), which can be wrong on purpose.

tlspeer.py client|server KEY ADDRESS PORT; without arguments it prints the cases.

In one connection after the other it says the messages of a case, as the client, or as the server, which says `here` when
it listens. Then it reads to the end, and prints the case, the client's port, and what it saw: how many bytes of data, the
ends (HOW/STATUS), and how the connection ended.
"""
import socket, ssl, struct, sys


def message(kind, payload=b'', zero=0, length=None):
    return struct.pack('<HHI', kind, zero, len(payload) if length is None else length) + payload


def end(how=0, status=0):
    return message(3, struct.pack('<HH', how, status))


DATA, NO_MORE, END = message(1, b'some data\n'), message(2), end()
LONGEST = message(1, bytes(65528))


def told(*said, last=None, ending='notify'):
    return said, last, ending


# name: what is said, what only when the other end has no more data, and how this end ends then: with close_notify, with it
# once the other end's has come (ssl reads nothing after its own), or without. Those that begin with `good` are as they
# should be.
CASES = {
    'good': told(DATA, NO_MORE, last=END, ending='answer'),
    'good_empty': told(NO_MORE, last=END, ending='answer'),
    'good_longest': told(LONGEST, LONGEST, NO_MORE, last=END, ending='answer'),
    'good_in_one': told(DATA + DATA + NO_MORE, last=END, ending='answer'),
    'good_in_bytes': told(*[bytes([byte]) for byte in DATA + NO_MORE], last=END, ending='answer'),
    'type_0': told(DATA, message(0), NO_MORE, END),
    'type_4': told(DATA, message(4), NO_MORE, END),
    'type_256': told(DATA, message(256, b'x'), NO_MORE, END),
    'reserved': told(DATA, message(1, b'x', zero=1), NO_MORE, END),
    'data_empty': told(DATA, message(1), NO_MORE, END),
    'data_too_long': told(DATA, message(1, bytes(65529)), NO_MORE, END),
    'data_4g': told(DATA, message(1, bytes(65536), length=0xffffffff), NO_MORE, END),
    'no_more_long': told(DATA, message(2, b'x'), END),
    'cut_in_head': told(DATA, DATA[:5]),
    'cut_in_data': told(DATA, DATA[:12]),
    'no_end_of_data': told(DATA),
    'end_before_end_of_data': told(DATA, END),
    'exit_before_end_of_data': told(DATA, end(1)),
    'busy': told(DATA, end(3, 7)),
    'data_after_end_of_data': told(DATA, NO_MORE, DATA, END),
    'end_of_data_twice': told(DATA, NO_MORE, NO_MORE, END),
    'no_end': told(DATA, NO_MORE),
    'end_short': told(DATA, NO_MORE, last=message(3, bytes(3))),
    'end_long': told(DATA, NO_MORE, last=message(3, bytes(5))),
    'end_unknown': told(DATA, NO_MORE, last=end(7)),
    'end_0_status_1': told(DATA, NO_MORE, last=end(0, 1)),
    'end_twice': told(DATA, NO_MORE, last=END + END),
    'data_after_end': told(DATA, NO_MORE, last=END + DATA),
    'gone_after_end_of_data': told(DATA + NO_MORE, ending='close'),
    'no_notify': told(DATA, NO_MORE, last=END, ending='close'),
}


class Tls:
    """A connection of which each direction ends by itself, as ssl.SSLSocket has it not."""

    def __init__(self, sock, context, server):
        self.sock, self.inward, self.outward = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inward, self.outward, server_side=server)

    def run(self, function, *words):
        while True:
            try:
                return function(*words)
            except ssl.SSLWantReadError:
                self.flush()
                part = self.sock.recv(65536)
                self.inward.write(part) if part else self.inward.write_eof()
            finally:
                self.flush()

    def flush(self):
        if self.outward.pending:
            self.sock.sendall(self.outward.read())

    def notify(self):
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass
        self.flush()


def new_context(role, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role == 'server' else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(key)
    context.set_alpn_protocols(['blx/1'])
    return context


def decode(got):
    """Bytes of data, whether they have ended, and the ends."""
    data, ended, ends, at = 0, False, [], 0
    while at + 8 <= len(got):
        kind, _, length = struct.unpack_from('<HHI', got, at)
        if kind == 1:
            data += length
        elif kind == 2:
            ended = True
        elif kind == 3 and at + 12 <= len(got):
            ends.append('%d/%d' % struct.unpack_from('<HH', got, at + 8))
        at += 8 + length
    return data, ended, ends


def converse(tls, case):
    """Say what CASE says; the last of it, if there is more, when the other end has no more data. What was read."""
    said, last, ending = CASES[case]
    got, how = b'', None
    try:
        tls.run(tls.tls.do_handshake)
        for part in said:
            tls.run(tls.tls.write, part)
        while how is None:
            if last is not None and decode(got)[1]:
                tls.run(tls.tls.write, last) if last else None
                last = None
            if last is None and ending == 'notify':
                tls.notify()
                ending = None
            elif last is None and ending == 'close':
                tls.sock.close()
                return got, 'closed here'
            try:
                part = tls.run(tls.tls.read, 65536)
            except ssl.SSLZeroReturnError:
                part = b''
            if not part and ending == 'answer':
                tls.notify()
            how = None if part else 'close_notify'
            got += part
    except (OSError, ssl.SSLError) as e:
        how = 'cut: ' + (getattr(e, 'reason', None) or type(e).__name__)
    return got, how


if len(sys.argv) == 1:
    print('\n'.join(CASES))
    sys.exit(0)
role, key, address, port = sys.argv[1:]
context = new_context(role, key)
if role == 'server':
    server = socket.create_server((address, int(port)))
    server.settimeout(20)
    print('here', flush=True)
for case in CASES:
    if role == 'server':
        sock, (_, client) = server.accept()
        sock.settimeout(20)
    else:
        sock = socket.create_connection((address, int(port)), 20)
        client = sock.getsockname()[1]
    got, how = converse(Tls(sock, context, role == 'server'), case)
    sock.close()
    data, _, ends = decode(got)
    print(case, client, data, *ends, how, flush=True)
