"""Makes HTTP requests over io_uring, each on a connection of its own:
uring_client.py HOST PORT COUNT"""

import socket
import sys

import liburing

HOST, PORT, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def submit(ring, prepare, *arguments):
    """Has the kernel do one thing, and returns its result."""
    entry = liburing.io_uring_get_sqe(ring)
    prepare(entry, *arguments)
    liburing.io_uring_submit(ring)
    completion = liburing.Cqe()
    liburing.io_uring_wait_cqe(ring, completion)
    result = completion[0].res
    liburing.io_uring_cqe_seen(ring, completion[0])
    if result < 0:
        sys.exit(f"io_uring: error {-result}")
    return result


def main():
    ring = liburing.Ring()
    liburing.io_uring_queue_init(8, ring, 0)
    for number in range(COUNT):
        with socket.create_connection((HOST, PORT)) as connection:
            request = f"GET /api/items/{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
            fd = connection.fileno()
            submit(ring, liburing.io_uring_prep_send, fd, request, len(request), 0)
            answer = bytearray(65536)
            got = submit(ring, liburing.io_uring_prep_recv, fd, answer, len(answer), 0)
            print(f"{len(request)} {got} {answer[:got].split(b' ', 2)[1].decode()}", flush=True)
    liburing.io_uring_queue_exit(ring)


main()
