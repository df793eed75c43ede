#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A network block device of MIB MiB in memory, server and client in one process: nbd.py DEV MIB

linux/nbd.h, the old ioctl interface; protocol: nbd's doc/proto.md, transmission phase. Serves until it is killed.
"""
import fcntl, os, signal, socket, struct, sys

SET_SOCK, SET_BLKSIZE, DO_IT, CLEAR_SOCK, SET_SIZE_BLOCKS, DISCONNECT, SET_FLAGS = (
    0xab00, 0xab01, 0xab03, 0xab04, 0xab07, 0xab08, 0xab0a)
HAS_FLAGS, SEND_FLUSH, SEND_TRIM = 1, 4, 32
READ, WRITE, DISC, FLUSH, TRIM = range(5)
dev, size = sys.argv[1], int(sys.argv[2]) << 20


def get(sock, n):
    buf = bytearray()
    while len(buf) < n:
        part = sock.recv(n - len(buf))
        if not part:
            sys.exit(0)
        buf += part
    return bytes(buf)


def serve(sock):
    disk = bytearray(size)
    while True:
        magic, what, handle, offset, length = struct.unpack('>II8sQI', get(sock, 28))
        what &= 0xffff
        reply = struct.pack('>II', 0x67446698, 0) + handle
        if what == READ:
            reply += disk[offset:offset + length]
        elif what == WRITE:
            disk[offset:offset + length] = get(sock, length)
        elif what == TRIM:
            disk[offset:offset + length] = bytes(length)
        elif what == DISC:
            return
        sock.sendall(reply)


ours, kernels = socket.socketpair()
nbd = os.open(dev, os.O_RDWR)
fcntl.ioctl(nbd, SET_BLKSIZE, 512)
fcntl.ioctl(nbd, SET_SIZE_BLOCKS, size // 512)
fcntl.ioctl(nbd, CLEAR_SOCK)
if os.fork() == 0:
    os.close(nbd)
    kernels.close()
    serve(ours)
    os._exit(0)
ours.close()
fcntl.ioctl(nbd, SET_SOCK, kernels.fileno())
fcntl.ioctl(nbd, SET_FLAGS, HAS_FLAGS | SEND_FLUSH | SEND_TRIM)
signal.signal(signal.SIGTERM, lambda *_: (fcntl.ioctl(nbd, DISCONNECT), sys.exit(0)))
fcntl.ioctl(nbd, DO_IT)
