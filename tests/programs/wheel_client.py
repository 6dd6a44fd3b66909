"""Makes HTTPS requests by a package that brings its own TLS library, and writes down what
it did: wheel_client.py PACKAGE TARGET COUNT OUT"""

import hashlib
import io
import json
import os
import socket
import sys
import time

PACKAGE, TARGET, COUNT, OUT = sys.argv[1:]
NAMES = {7: "missing", 11: "created", 13: "moved"}
METHODS = ["GET", "POST", "PUT", "DELETE"]


def by_pycurl():
    """pycurl, with libcurl and OpenSSL as shared libraries of its own."""
    import pycurl

    curl = pycurl.Curl()

    def request(method, url, body):
        answer = io.BytesIO()
        curl.reset()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.SSL_VERIFYPEER, 0)
        curl.setopt(pycurl.SSL_VERIFYHOST, 0)
        curl.setopt(pycurl.TIMEOUT, 60)
        curl.setopt(pycurl.WRITEDATA, answer)
        if body:
            curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json"])
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.perform()
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        return status, answer.getvalue(), curl.getinfo(pycurl.LOCAL_PORT)

    return request


def by_curl_cffi():
    """curl_cffi, which is linked with BoringSSL."""
    from curl_cffi import CurlHttpVersion, requests

    session = requests.Session(verify=False, http_version=CurlHttpVersion.V1_1, timeout=60)

    def request(method, url, body):
        fields = {"Content-Type": "application/json"} if body else {}
        answer = session.request(
            method, url, data=body or None, headers=fields, allow_redirects=False
        )
        return answer.status_code, answer.content, answer.local_port

    return request


def by_pyopenssl():
    """pyOpenSSL, over a package that is linked with OpenSSL and stripped."""
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    host, port = TARGET.split("://")[1].split(":")
    open_now = []

    def connect():
        plain = socket.create_connection((host, int(port)), 60)
        plain.settimeout(None)
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        connection.do_handshake()
        return connection, plain

    def request(method, url, body):
        if not open_now:
            open_now.append(connect())
        connection, plain = open_now[0]
        path = url.removeprefix(TARGET)
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, answer = answer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        while len(answer) < int(fields["content-length"]):
            answer += connection.recv(65536)
        local = plain.getsockname()[1]
        if fields["connection"] == "close":
            connection.shutdown()
            plain.close()
            open_now.clear()
        return int(first.split()[1]), answer, local

    return request


def by_pyqwest():
    """pyqwest: reqwest, linked with rustls and AWS-LC."""
    from pyqwest import SyncClient, SyncHTTPTransport

    with open(os.path.join(os.path.dirname(OUT), "certificate.pem"), "rb") as file:
        certificate = file.read()
    transport = SyncHTTPTransport(tls_ca_cert=certificate, follow_redirects=False, timeout=60.0)
    client = SyncClient(transport)

    def request(method, url, body):
        fields = {"Content-Type": "application/json"} if body else {}
        answer = client.execute(method, url, fields, body or None)
        return answer.status, bytes(answer.content), int(answer.headers["x-port"])

    return request


def wait_for(target):
    host, port = target.split("://")[1].split(":")
    for _ in range(3000):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"no server at {target}")


def main():
    makers = {
        "pycurl": by_pycurl,
        "curl_cffi": by_curl_cffi,
        "pyopenssl": by_pyopenssl,
        "pyqwest": by_pyqwest,
    }
    request = makers[PACKAGE]()
    wait_for(TARGET)
    # What is used within 100 ms of having been loaded is not seen for sure; each probe may
    # take the kernel as long under load.
    time.sleep(2)
    with open(OUT, "w") as done:
        for number in range(int(COUNT)):
            method = METHODS[number % 4]
            path = f"/api/{NAMES.get(number % 20, 'items')}/{number}"
            body = b""
            if method in ("POST", "PUT"):
                note = "secret-" + "x" * (number * 37 % 3000)
                body = json.dumps({"number": number, "note": note}).encode()
            status, answer, port = request(method, f"{TARGET}{path}?q=secret-{number}", body)
            line = {
                "method": method,
                "path": path,
                "status": status,
                "request_size": len(body),
                "request_sha256": hashlib.sha256(body).hexdigest(),
                "response_size": len(answer),
                "response_sha256": hashlib.sha256(answer).hexdigest(),
                "port": port,
            }
            print(json.dumps(line), file=done)


main()
