"""Serves HTTP with what CPython brings.

    server.py --kind KIND (--port PORT [--address ADDRESS] | --path PATH)
              [--certificate FILE --key FILE]

KIND is how connections are served:
    threading  http.server.ThreadingHTTPServer
    unix       socketserver.ThreadingUnixStreamServer
    forking    a process per connection, which reads and answers
    handoff    the parent reads each request, a forked child answers it
    dup        answers go out on a duplicate of the socket's descriptor
    vectors    answers go out from many buffers in one call
    prefork    eight processes, forked before the first connection, accept connections;
               they write the address of each TLS session beside the certificate
    asyncio    asyncio.start_server: TLS is done on memory buffers
    prefork-asyncio  the same in eight processes
"""

import argparse
import asyncio
import ctypes
import hashlib
import http.server
import io
import json
import os
import signal
import socket
import socketserver
import ssl


# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1

# Where processes that were forked before write down their sessions.
SESSIONS = None


def write_down(connection):
    """Writes down the process and where its TLS session is."""
    # PySSLSocket, Modules/_ssl.c: the object's head, the socket, the session.
    place = id(connection._sslobj) + 3 * ctypes.sizeof(ctypes.c_void_p)
    session = ctypes.c_void_p.from_address(place).value
    with open(SESSIONS, "a") as file:
        file.write(f"{os.getpid()} {session:x}\n")


def answer(method, path, body):
    """Status and body of the response to a request."""
    status = {"missing": 404, "created": 201, "moved": 302}
    kind = path.split("/")[2] if path.count("/") > 1 else ""
    content = {
        "method": method,
        "target": path,
        "body": hashlib.sha256(body).hexdigest(),
        "padding": "y" * (len(path) * 131 % 5000),
    }
    return status.get(kind, 200), json.dumps(content).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request."""

    protocol_version = "HTTP/1.1"
    # Head and body go out in two writes, the second of which would wait for the
    # client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content = answer(self.command, self.path, body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/api/items/1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = reply

    def log_message(self, *_):
        pass


class UnixHandler(Handler):
    """Answers on a unix socket, which has nothing to disable."""

    disable_nagle_algorithm = False


class HandoffHandler(Handler):
    """Has a child answer."""

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        child = os.fork()
        if child == 0:
            self.rfile = io.BytesIO(body)
            super().reply()
            self.wfile.flush()
            os._exit(0)
        os.waitpid(child, 0)

    do_GET = do_POST = do_PUT = do_DELETE = reply


class DupHandler(Handler):
    """Answers on a duplicate of the descriptor."""

    def setup(self):
        super().setup()
        self.wfile = os.fdopen(os.dup(self.connection.fileno()), "wb", buffering=0)


class Vectors:
    """Writes to a socket from 240 buffers at once."""

    def __init__(self, connection):
        self.connection = connection

    def write(self, content):
        size = len(content) // 240 + 1
        buffers = [content[at : at + size] for at in range(0, len(content), size)]
        sent = self.connection.sendmsg(buffers)
        self.connection.sendall(content[sent:])

    def flush(self):
        pass

    def close(self):
        pass


class VectorsHandler(Handler):
    """Answers from many buffers."""

    def setup(self):
        super().setup()
        self.wfile = Vectors(self.connection)


class PreforkHandler(Handler):
    """Writes down where its TLS session is."""

    def setup(self):
        super().setup()
        write_down(self.connection)


class Forking(socketserver.ForkingMixIn, http.server.HTTPServer):
    """A process per connection."""


async def converse(reader, writer):
    """Serves one asyncio connection."""
    if SESSIONS:
        write_down(writer.get_extra_info("ssl_object"))
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, content = answer(method, path, body)
            writer.write(
                f"HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
            )
            writer.write(content)
            await writer.drain()
            if headers.get("connection") == "close":
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve_asyncio(listener, context):
    server = await asyncio.start_server(converse, sock=listener, ssl=context)
    async with server:
        await server.serve_forever()


def make_server(options):
    """The server of a kind."""
    if options.kind == "unix":
        return socketserver.ThreadingUnixStreamServer(options.path, UnixHandler)
    base, handler = {
        "threading": (http.server.ThreadingHTTPServer, Handler),
        "forking": (Forking, Handler),
        "handoff": (http.server.ThreadingHTTPServer, HandoffHandler),
        "prefork": (http.server.HTTPServer, PreforkHandler),
        "dup": (http.server.ThreadingHTTPServer, DupHandler),
        "vectors": (http.server.ThreadingHTTPServer, VectorsHandler),
    }[options.kind]

    class Server(base):
        address_family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
        daemon_threads = True
        request_queue_size = 128

    return Server((options.address, options.port), handler)


def fork_workers():
    """Goes on in eight processes, which end with the first."""
    for _ in range(7):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args()

    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    if options.kind.startswith("prefork"):
        global SESSIONS
        SESSIONS = os.path.join(os.path.dirname(options.certificate), "sessions")
    if options.kind.endswith("asyncio"):
        family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
        listener = socket.create_server((options.address, options.port), family=family)
        if SESSIONS:
            fork_workers()
        asyncio.run(serve_asyncio(listener, context))
        return
    server = make_server(options)
    if context:
        # The handshake belongs to the connection's thread, not to the one that accepts.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    if SESSIONS:
        fork_workers()
    server.serve_forever()


if __name__ == "__main__":
    main()
