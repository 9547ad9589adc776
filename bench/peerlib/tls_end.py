"""One end of a connection with libssl only, through Python's ssl module:

    tls_end.py send|receive 1.2|1.3 PORT CERTIFICATE BYTES

`send` sends BYTES from standard input. `receive` counts them and prints the same result as the sink of bench/load.
"""
import json
import os
import socket
import ssl
import sys
import time

CHUNK = 256 * 1024


def main():
    role, version, port, pem, total = sys.argv[1:]
    port, total = int(port), int(total)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role == "receive" else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    if version == "1.2":
        context.set_ciphers("AES256-SHA256")
    if role == "receive":
        context.load_cert_chain(pem)
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(60)
            raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as sock:
            receive(sock, total)
    else:
        context.check_hostname = False
        context.load_verify_locations(pem)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as sock:
            if sock.cipher()[0] not in ("AES256-SHA256", "TLS_AES_256_GCM_SHA384"):
                raise SystemExit(f"the suite is {sock.cipher()[0]}")
            send(sock)


def send(sock):
    buffer = memoryview(bytearray(CHUNK))
    while count := os.readv(0, [buffer]):
        sock.sendall(buffer[:count])
    if sock.recv(1) != b"!":
        raise SystemExit("no answer")


def receive(sock, total):
    buffer = memoryview(bytearray(CHUNK))
    got, start = 0, None
    while got < total:
        count = sock.recv_into(buffer)
        if not count:
            raise SystemExit(f"{got} bytes where {total} were to come")
        start = start or time.monotonic()
        got += count
    seconds = time.monotonic() - start
    sock.sendall(b"!")
    print(json.dumps({"bytes": got, "seconds": seconds, "cpu": 0}))


main()
