"""Asks an HTTP/3 server: PORT CONNECTIONS REQUESTS BYTES. Next to it, other UDP.

Prints how many connections of HTTP/3 there were, and how many bytes of bodies.
"""

import socket
import sys
import threading
import time

import niquests
import urllib3

PORT, CONNECTIONS, REQUESTS, BYTES = map(int, sys.argv[1:])


def wait_for_server():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", PORT), 1).close()
        except OSError:
            time.sleep(0.05)
    sys.exit("the server did not come")


def ask_names():
    """Datagrams as DNS has them, answered, with numbers that look like QUIC's first byte."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer():
        for _ in range(100):
            query, peer = server.recvfrom(512)
            server.sendto(query[:2] + b"\x81\x80" + query[4:], peer)

    thread = threading.Thread(target=answer)
    thread.start()
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(100):
        query = bytes([0xC0 + number % 64, number, 1, 0, 0, 1]) + bytes(6)
        client.sendto(query + b"\x09localhost\x00\x00\x01\x00\x01", server.getsockname())
        client.recvfrom(512)
    thread.join()


def main():
    wait_for_server()
    ask_names()
    urllib3.disable_warnings()
    moved = 0
    for _ in range(CONNECTIONS):
        with niquests.Session(disable_http1=True, disable_http2=True) as session:
            session.quic_cache_layer.add_domain("localhost", PORT)
            for number in range(REQUESTS):
                url = f"https://localhost:{PORT}/bytes/{BYTES}"
                if number % 2:
                    answer = session.post(url, data=b"y" * BYTES, verify=False)
                else:
                    answer = session.get(url, verify=False)
                assert answer.status_code == 200 and len(answer.content) == BYTES, answer
                assert answer.http_version == 30, answer.http_version
                moved += BYTES
    print(CONNECTIONS, moved)


main()
