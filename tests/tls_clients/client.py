"""Connects twice over TLS 1.3, has all that it sends come back, and resumes the second time."""

import os
import socket
import ssl

context = ssl.create_default_context(cafile=os.environ["ROOT"])
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["http/1.1"])
session = None
for resumed in (False, True):
    plain = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), timeout=60)
    connection = context.wrap_socket(plain, server_hostname=os.environ["NAME"], session=session)
    assert connection.session_reused == resumed, connection.session_reused
    for size in (1, 100, 16384, 16385, 100000):
        sent = bytes(at % 251 for at in range(size))
        connection.sendall(sent)
        heard = b""
        while len(heard) < size:
            heard += connection.recv(65536)
        assert heard == sent, size
    session = connection.session
    # Sends close_notify, and waits for that of the server.
    connection.unwrap()
