"""Runs a command under a seccomp filter: filtered.py CMD...

The filter kills for the system call by which functions with a return probe return since
6.11, as a list of what a program needs does that was made before there was such a call.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
URETPROBE = 335
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
# struct sock_filter: load the number, compare it, return.
FILTER = struct.pack(
    "HBBI" * 4,
    *(0x20, 0, 0, 0),
    *(0x15, 0, 1, URETPROBE),
    *(0x06, 0, 0, KILL_PROCESS),
    *(0x06, 0, 0, ALLOW),
)


class Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(FILTER) // 8, FILTER)
for args in (
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
):
    if libc.prctl(*args) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
with open("/proc/self/status") as status:
    assert "Seccomp:\t2\n" in status.read()
os.execvp(sys.argv[1], sys.argv[1:])
