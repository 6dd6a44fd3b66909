"""Makes HTTP requests over io_uring, each on a connection of its own, by system calls alone:
the package of liburing has instructions that emulated processors lack.

    uring_raw.py HOST PORT COUNT"""

import ctypes
import mmap
import os
import socket
import struct
import sys

# include/uapi/asm-generic/unistd.h, the same on all processors
SETUP, ENTER = 425, 426
# include/uapi/linux/io_uring.h
SEND, RECV = 26, 27
SQ_RING, CQ_RING, SQES = 0, 0x8000000, 0x10000000
GETEVENTS = 1
# `struct io_uring_params`: the offsets in the rings begin there.
PARAMS, SQ_OFFSETS, CQ_OFFSETS = 120, 40, 80

libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A system call that must succeed."""
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        sys.exit(f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return result


class Ring:
    """A ring that has one request at a time."""

    def __init__(self):
        params = ctypes.create_string_buffer(PARAMS)
        self.fd = call(SETUP, ctypes.c_uint(4), params)
        # head, tail, mask, entries, flags, dropped, array; and overflow, cqes
        self.sq_at = struct.unpack_from("7I", params, SQ_OFFSETS)
        self.cq_at = struct.unpack_from("6I", params, CQ_OFFSETS)
        self.sq = mmap.mmap(self.fd, mmap.PAGESIZE, offset=SQ_RING)
        self.cq = mmap.mmap(self.fd, mmap.PAGESIZE, offset=CQ_RING)
        self.entries = mmap.mmap(self.fd, mmap.PAGESIZE, offset=SQES)

    def do(self, operation, fd, buffer):
        """Has the kernel send or receive, and returns its result."""
        address = ctypes.addressof(buffer)
        entry = struct.pack("<BBHiQQIIQ", operation, 0, 0, fd, 0, address, len(buffer), 0, 1)
        self.entries[:64] = entry.ljust(64, b"\0")
        tail, array = self.sq_at[1], self.sq_at[6]
        (position,) = struct.unpack_from("I", self.sq, tail)
        (mask,) = struct.unpack_from("I", self.sq, self.sq_at[2])
        struct.pack_into("I", self.sq, array + 4 * (position & mask), 0)
        struct.pack_into("I", self.sq, tail, position + 1)
        none = ctypes.c_void_p(None)
        call(ENTER, self.fd, 1, 1, GETEVENTS, none, ctypes.c_size_t(0))
        (head,) = struct.unpack_from("I", self.cq, self.cq_at[0])
        (mask,) = struct.unpack_from("I", self.cq, self.cq_at[2])
        _, result, _ = struct.unpack_from("<QiI", self.cq, self.cq_at[5] + 16 * (head & mask))
        struct.pack_into("I", self.cq, self.cq_at[0], head + 1)
        if result < 0:
            sys.exit(f"io_uring: {os.strerror(-result)}")
        return result


def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ring = Ring()
    for number in range(count):
        with socket.create_connection((host, port)) as connection:
            request = f"GET /api/items/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            buffer = ctypes.create_string_buffer(request, len(request))
            ring.do(SEND, connection.fileno(), buffer)
            answer = ctypes.create_string_buffer(65536)
            got = ring.do(RECV, connection.fileno(), answer)
            print(f"{len(request)} {got} {answer.raw[:got].split(b' ', 2)[1].decode()}")


main()
