"""Makes one HTTPS request, and crashes: crash.py URL always|probed|watch.

`probed`: only if somebody has put a breakpoint into the TLS library's functions, as
programs do that watch over their own code. `watch`: no request, and then without end.
"""

import _ssl
import ctypes
import http.client
import os
import signal
import ssl
import sys
import time
import urllib.parse

BREAKPOINT = 0xCC
FUNCTION_START = 12


def is_probed():
    library = ctypes.CDLL(_ssl.__file__)
    functions = (library.SSL_read_ex, library.SSL_write_ex)
    addresses = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
    return any(BREAKPOINT in ctypes.string_at(at, FUNCTION_START) for at in addresses)


if sys.argv[2] == "watch":
    print("watching", flush=True)
    while not is_probed():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTRAP)

url, when = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2]
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
connection.request("GET", url.path)
connection.getresponse().read()
if when == "always" or is_probed():
    os.kill(os.getpid(), signal.SIGSEGV)
