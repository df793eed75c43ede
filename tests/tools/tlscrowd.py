#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A crowd at a listener's door: tlscrowd.py ADDRESS PORT COUNT KIND

KIND: silent (says nothing), half (half a ClientHello), garbage, drip (a ClientHello, a byte a second). Says `here` once
all of them have connected, holds them until its standard input ends, and then says how many the listener had closed.
"""
import os, resource, select, socket, ssl, sys, time

address, port, count, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
hard = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], count + 64)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hello():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


greeting = hello()
first = {'silent': b'', 'half': greeting[:len(greeting) // 2], 'garbage': os.urandom(200), 'drip': greeting[:1]}[kind]
crowd, gone = [], 0
for _ in range(count):
    sock = socket.create_connection((address, port), 20)
    try:
        sock.sendall(first)
    except OSError:
        pass
    crowd.append(sock)
print('here', flush=True)
dripped = 1
while not select.select([0], [], [], 1)[0]:
    if kind != 'drip' or dripped == len(greeting):
        continue
    for sock in crowd:
        try:
            sock.sendall(greeting[dripped:dripped + 1])
        except OSError:
            pass
    dripped += 1
for sock in crowd:
    sock.settimeout(0)
    try:
        while sock.recv(4096):
            pass
        gone += 1
    except BlockingIOError:
        pass
    except OSError:
        gone += 1
print(gone)
