#!/usr/bin/env python3
"""Bytes that a resting TLS 1.3 session takes of a server's process, with OpenSSL.

    python3 at_rest.py CERTIFICATE.pem KEY.pem [SESSIONS]

Each session is opened over a pair of sockets by OpenSSL's own client, which is freed afterwards; the server's end stays. What is printed
is how much the anonymous memory of this process has grown, divided by the sessions. libssl is called directly, so nothing of Python's is
counted; buffers are released when they are empty (SSL_MODE_RELEASE_BUFFERS), one ticket is sent, and nothing is cached.
"""

import ctypes
import ctypes.util
import os
import resource
import socket
import sys
from array import array

WARM = 64
SESSIONS = 15_000

SSL_FILETYPE_PEM = 1
SSL_CTRL_MODE = 33
SSL_CTRL_SET_SESS_CACHE_MODE = 44
SSL_CTRL_SET_MIN_PROTO_VERSION = 123
SSL_MODE_RELEASE_BUFFERS = 0x10
TLS1_3_VERSION = 0x0304
SSL_ERROR_WANT_READ = 2


def library():
    """libssl, with the types of what is called here."""
    name = ctypes.util.find_library("ssl")
    if name is None:
        sys.exit("at_rest: no libssl is installed (package libssl3)")
    ssl = ctypes.CDLL(name)
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for function, result, arguments in [
        ("TLS_server_method", pointer, []),
        ("TLS_client_method", pointer, []),
        ("SSL_CTX_new", pointer, [pointer]),
        ("SSL_CTX_ctrl", ctypes.c_long, [pointer, number, ctypes.c_long, pointer]),
        ("SSL_CTX_set_num_tickets", number, [pointer, ctypes.c_size_t]),
        ("SSL_CTX_use_certificate_chain_file", number, [pointer, text]),
        ("SSL_CTX_use_PrivateKey_file", number, [pointer, text, number]),
        ("SSL_new", pointer, [pointer]),
        ("SSL_free", None, [pointer]),
        ("SSL_set_fd", number, [pointer, number]),
        ("SSL_set_accept_state", None, [pointer]),
        ("SSL_set_connect_state", None, [pointer]),
        ("SSL_do_handshake", number, [pointer]),
        ("SSL_get_error", number, [pointer, number]),
        ("SSL_read", number, [pointer, pointer, number]),
        ("SSL_write", number, [pointer, pointer, number]),
        ("SSL_version", number, [pointer]),
    ]:
        call = getattr(ssl, function)
        call.restype, call.argtypes = result, arguments
    return ssl


class Pair:
    """Contexts of both ends."""

    def __init__(self, certificate, key):
        self.ssl = library()
        self.server = self.context(self.ssl.TLS_server_method())
        self.client = self.context(self.ssl.TLS_client_method())
        if self.ssl.SSL_CTX_use_certificate_chain_file(self.server, certificate.encode()) != 1:
            sys.exit(f"at_rest: {certificate} cannot be used")
        if self.ssl.SSL_CTX_use_PrivateKey_file(self.server, key.encode(), SSL_FILETYPE_PEM) != 1:
            sys.exit(f"at_rest: {key} cannot be used")
        self.ssl.SSL_CTX_set_num_tickets(self.server, 1)

    def context(self, method):
        context = self.ssl.SSL_CTX_new(method)
        self.ssl.SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, None)
        self.ssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, 0, None)
        self.ssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_3_VERSION, None)
        return context

    def open(self):
        """The server's end of a session over which one byte has gone each way. Its descriptor stays open."""
        ssl = self.ssl
        descriptors = [end.detach() for end in socket.socketpair()]
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
        server, client = ssl.SSL_new(self.server), ssl.SSL_new(self.client)
        ssl.SSL_set_fd(server, descriptors[0])
        ssl.SSL_set_fd(client, descriptors[1])
        ssl.SSL_set_accept_state(server)
        ssl.SSL_set_connect_state(client)
        left = [client, server]
        while left:
            left = [end for end in left if not self.step(end)]
        byte = ctypes.create_string_buffer(1)
        for sender, receiver in [(client, server), (server, client)]:
            if ssl.SSL_write(sender, byte, 1) != 1 or ssl.SSL_read(receiver, byte, 1) != 1:
                sys.exit("at_rest: a byte does not come over")
        if ssl.SSL_version(server) != TLS1_3_VERSION:
            sys.exit("at_rest: not TLS 1.3")
        ssl.SSL_free(client)
        os.close(descriptors[1])
        return server

    def step(self, end):
        """Whether this end has done its handshake."""
        done = self.ssl.SSL_do_handshake(end)
        if done != 1 and self.ssl.SSL_get_error(end, done) != SSL_ERROR_WANT_READ:
            sys.exit("at_rest: the handshake fails")
        return done == 1


def anonymous_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sessions = int(sys.argv[3]) if len(sys.argv) == 4 else SESSIONS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = hard - WARM - 64
    if hard != resource.RLIM_INFINITY and sessions > room:
        print(f"at_rest: only {room} sessions, the hard limit of descriptors is low (ulimit -Hn)", file=sys.stderr)
        sessions = room
    pair = Pair(sys.argv[1], sys.argv[2])
    # What the first ones touch is nobody's, and the places of the others are there before anything is weighed.
    kept = array("Q", [pair.open() for _ in range(WARM)] + [0] * sessions)
    before = anonymous_bytes()
    for at in range(WARM, len(kept)):
        kept[at] = pair.open()
    print((anonymous_bytes() - before) // sessions)


main()
