"""Connects three times over TLS 1.3, has all that it sends come back, resumes, and is the second to close at last."""

import os
import socket
import ssl

context = ssl.create_default_context(cafile=os.environ["ROOT"])
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["http/1.1"])
session = None
for number in range(3):
    plain = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), timeout=60)
    # An end of the stream without a close_notify is an error.
    connection = context.wrap_socket(
        plain, server_hostname=os.environ["NAME"], session=session, suppress_ragged_eofs=False
    )
    assert connection.session_reused == (number > 0), connection.session_reused
    for size in (1, 100, 16384, 16385, 100000):
        sent = bytes(at % 251 for at in range(size))
        connection.sendall(sent)
        heard = b""
        while len(heard) < size:
            heard += connection.recv(65536)
        assert heard == sent, size
    session = connection.session
    if number == 2:
        connection.sendall(b"bye")
        assert connection.recv(1) == b""
    # Sends close_notify, and waits for that of the server.
    connection.unwrap()
