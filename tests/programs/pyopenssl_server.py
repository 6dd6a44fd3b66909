"""The API of server.py over pyOpenSSL, a thread for each connection:
pyopenssl_server.py PORT CERTIFICATE KEY"""

import socket
import sys
import threading

from OpenSSL import SSL

from server import answer

PORT, CERTIFICATE, KEY = sys.argv[1:]
REASONS = {200: "OK", 201: "Created", 302: "Found", 404: "Not Found"}


def serve(plain, context):
    connection = SSL.Connection(context, plain)
    connection.set_accept_state()
    held = b""
    try:
        # The first read makes the handshake.
        while True:
            while b"\r\n\r\n" not in held:
                held += connection.recv(65536)
            head, held = held.split(b"\r\n\r\n", 1)
            first, *lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            length = int(fields.get("content-length", 0))
            while len(held) < length:
                held += connection.recv(65536)
            body, held = held[:length], held[length:]
            method, target, _ = first.split(" ")
            status, content = answer(method, target, body)
            head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
            if status == 302:
                head += "Location: /api/items/1\r\n"
            head += f"Content-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content)
    except (SSL.Error, OSError):
        plain.close()


def main():
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(CERTIFICATE)
    context.use_privatekey_file(KEY)
    listener = socket.create_server(("127.0.0.1", int(PORT)))
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=serve, args=(plain, context), daemon=True).start()


main()
