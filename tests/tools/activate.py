#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Starts a command the way others start servers: activate.py inetd|listen|accept ADDRESS:PORT[,ADDRESS:PORT] COMMAND ...

inetd: for each connection, one after the other, which is its standard input, output and error. listen: once, with the
listening sockets from descriptor 3 on (sd_listen_fds(3)). accept: for each connection, which is descriptor 3. Where there
is one for each, it says how it ended.
"""
import os, socket, sys

how, addresses, command = sys.argv[1], sys.argv[2].split(','), sys.argv[3:]


def listen(address):
    host, port = address.rsplit(':', 1)
    host = host.strip('[]')
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ':' in host else socket.AF_INET)


def pass_on(fds):
    """From 3 on, as the only ones, and execute."""
    kept = [os.dup(fd) for fd in fds]
    high = [os.dup2(fd, 100 + i) for i, fd in enumerate(kept)]
    os.closerange(3, 100)
    os.closerange(100 + len(fds), 1024)
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i)
        os.close(fd)
    os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=':'.join(['x'] * len(fds)))
    os.execvp(command[0], command)


servers = [listen(address) for address in addresses]
if how == 'listen':
    pass_on([server.fileno() for server in servers])
while True:
    connection, _ = servers[0].accept()
    pid = os.fork()
    if pid == 0:
        if how == 'accept':
            pass_on([connection.fileno()])
        for fd in 0, 1, 2:
            os.dup2(connection.fileno(), fd)
        os.closerange(3, 100)
        os.execvp(command[0], command)
    connection.close()
    print('activate: status', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=sys.stderr)
