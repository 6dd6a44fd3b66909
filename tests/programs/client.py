"""Makes HTTP requests with http.client and writes down what it did.

    client.py --target URL --out FILE [--count N] [--connections N] [--close]
              [--static] [--interactive]

URL is http://ADDRESS:PORT, https://ADDRESS:PORT or unix:PATH. Requests are numbered;
each has a path, a query and a body of its own. FILE gets a JSON object per request.
With --interactive, every line "run N" on standard input makes N requests more on the
connections that are open, and is answered with "done N".
"""

import argparse
import hashlib
import http.client
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

METHODS = ("GET", "POST", "PUT", "DELETE")
READY_SECONDS = 60


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def wait_for_server(target):
    """Returns once the server accepts connections."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if target.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(target.removeprefix("unix:"))
            else:
                url = urllib.parse.urlsplit(target)
                socket.create_connection((url.hostname, url.port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def connection(target):
    """A connection, not yet open."""
    if target.startswith("unix:"):
        return UnixConnection(target.removeprefix("unix:"))
    url = urllib.parse.urlsplit(target)
    if url.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=60)


def request(number, static):
    """Method, path and body of a request."""
    method = METHODS[number % 4]
    if static and number % 20 == 16:
        return "GET", f"/static/{number // 20 % 8}.txt", b""
    names = {7: "missing", 11: "created", 13: "moved"}
    path = f"/api/{names.get(number % 20, 'items')}/{number}"
    body = b""
    if method in ("POST", "PUT"):
        filler = "x" * (number * 37 % 3000)
        body = json.dumps({"number": number, "note": "secret-" + filler}).encode()
    return method, path, body


def exchange(conn, number, options):
    """Makes one request; returns what was done."""
    method, path, body = request(number, options.static)
    if conn.sock is None:
        conn.connect()
    name = conn.sock.getsockname()
    headers = {"Content-Type": "application/json"} if body else {}
    if options.close:
        headers["Connection"] = "close"
    conn.request(method, f"{path}?q=secret-{number}&page=2", body=body or None, headers=headers)
    response = conn.getresponse()
    content = response.read()
    if options.close:
        conn.close()
    return {
        "method": method,
        "path": path,
        "status": response.status,
        "request_size": len(body),
        "request_sha256": hashlib.sha256(body).hexdigest(),
        "response_size": len(content),
        "response_sha256": hashlib.sha256(content).hexdigest(),
        "port": name[1] if isinstance(name, tuple) else None,
    }


def batch(connections, numbers, options, out):
    """Makes requests, a thread per connection."""
    failures = []

    def work(index, conn):
        try:
            for number in numbers[index :: len(connections)]:
                line = json.dumps(exchange(conn, number, options))
                with lock:
                    out.write(line + "\n")
        except BaseException as error:
            failures.append(error)

    lock = threading.Lock()
    threads = [
        threading.Thread(target=work, args=(index, conn)) for index, conn in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.flush()
    if failures:
        raise failures[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--interactive", action="store_true")
    options = parser.parse_args()

    wait_for_server(options.target)
    connections = [connection(options.target) for _ in range(options.connections)]
    with open(options.out, "w", encoding="utf-8") as out:
        batch(connections, range(options.count), options, out)
        done = options.count
        for line in sys.stdin if options.interactive else ():
            count = int(line.split()[1])
            batch(connections, range(done, done + count), options, out)
            done += count
            print("done", count, flush=True)


if __name__ == "__main__":
    main()
