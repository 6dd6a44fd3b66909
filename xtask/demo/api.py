"""A small API of a shop, over HTTP and HTTPS, for `cargo xtask demo`.

It has the faults that a watched API is hoped not to have: a user's record leaks
fields, the report is open to Basic credentials over plain HTTP, an order echoes
the card it was paid with, and a search that fails answers with a stack trace. All
people and numbers in it are invented.

Usage: api.py DIRECTORY. The directory holds cert.pem and key.pem; `http` and
`https` in it say where the API listens, `services` what it is called by its
program and ports.
"""

import base64
import json
import os
import re
import ssl
import sys
import threading
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HTTP_PORT = 8980
HTTPS_PORT = 8943

NAMES = ["Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Felix", "Grace", "Hedy"]
USERS = {
    number: {
        "id": number,
        "name": name,
        "email": f"{name.lower()}@shop.example",
        "phone": f"+1-202-555-01{number:02}",
        "created_at": f"2024-0{number}-01T09:00:00Z",
        "password_hash": f"$2b$12${name.lower():x<22}",
        "is_admin": number == 1,
    }
    for number, name in enumerate(NAMES, start=1)
}
PUBLIC = ("id", "name", "email")
ORDERS = {}
TOKENS = set()


def order_from(body):
    """The stored form of an order, or None when the body is not one."""
    if not isinstance(body, dict) or not isinstance(body.get("item"), str):
        return None
    quantity = body.get("quantity", 1)
    if not isinstance(quantity, int) or quantity < 1:
        return None
    return {
        "id": str(uuid.uuid4()),
        "item": body["item"],
        "quantity": quantity,
        "total": {"amount": 1250 * quantity, "currency": "EUR"},
        "card": body.get("card"),
        "status": "open",
    }


class Shop(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "shop/1.0"
    sys_version = ""
    # Idle connections do not keep the demo from ending.
    timeout = 10

    def handle_request(self):
        path = self.path.split("?", 1)[0]
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return action(self, *match.groups())
        return self.answer(404, {"error": "not found"})

    do_GET = do_POST = do_DELETE = handle_request

    def answer(self, status, value=None, headers=()):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if value is not None:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        """The request's JSON, or None."""
        try:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError:
            return None

    def basic(self):
        """Whether the request carries the one known user and password."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        expected = base64.b64encode(b"ada:open-sesame").decode()
        return kind == "Basic" and given == expected

    def bearer(self):
        """Whether the request carries a token that login gave out."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and given in TOKENS

    def health(self):
        self.answer(200, {"status": "ok"})

    def login(self):
        if not self.basic():
            challenge = [("WWW-Authenticate", 'Basic realm="shop"')]
            return self.answer(401, {"error": "who are you?"}, challenge)
        token = uuid.uuid4().hex
        TOKENS.add(token)
        return self.answer(200, {"token": token, "expires_in": 3600})

    def users(self):
        rows = [{key: user[key] for key in PUBLIC} for user in USERS.values()]
        self.answer(200, {"users": rows, "next_page": None})

    def user(self, number):
        found = USERS.get(int(number))
        self.answer(200, found) if found else self.answer(404, {"error": "no such user"})

    def create_order(self):
        body = self.body()
        if not self.bearer():
            return self.answer(401, {"error": "log in first"})
        order = order_from(body)
        if order is None:
            return self.answer(422, {"error": "an order has an item and a quantity"})
        ORDERS[order["id"]] = order
        return self.answer(201, order, [("Location", f"/api/v1/orders/{order['id']}")])

    def order(self, key):
        found = ORDERS.get(key)
        self.answer(200, found) if found else self.answer(404, {"error": "no such order"})

    def delete_order(self, key):
        self.answer(204) if ORDERS.pop(key, None) else self.answer(404, {"error": "no such order"})

    def report(self):
        if not self.basic():
            return self.answer(401, {"error": "who are you?"})
        return self.answer(200, {"orders": len(ORDERS), "users": len(USERS)})

    def search(self):
        query = parse_qs(urlsplit(self.path).query)
        try:
            if "'" in query.get("q", [""])[0]:
                raise ValueError("unterminated quoted string")
            self.answer(200, {"hits": [order["item"] for order in ORDERS.values()]})
        except ValueError:
            self.answer(500, {"error": traceback.format_exc()})

    def log_message(self, *_):
        pass


UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
ROUTES = [
    ("GET", r"/healthz", Shop.health),
    ("POST", r"/api/v1/login", Shop.login),
    ("GET", r"/api/v1/users", Shop.users),
    ("GET", r"/api/v1/users/(\d+)", Shop.user),
    ("POST", r"/api/v1/orders", Shop.create_order),
    ("GET", r"/api/v1/orders/" + UUID, Shop.order),
    ("DELETE", r"/api/v1/orders/" + UUID, Shop.delete_order),
    ("GET", r"/api/v1/admin/report", Shop.report),
    ("GET", r"/api/v1/search", Shop.search),
]


def bind(port):
    """A server on the port, or on any when that one is taken."""
    for candidate in (port, 0):
        try:
            return ThreadingHTTPServer(("127.0.0.1", candidate), Shop)
        except OSError:
            if candidate == 0:
                raise
    raise AssertionError


def main():
    directory = sys.argv[1]
    plain, secure = bind(HTTP_PORT), bind(HTTPS_PORT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, daemon=True).start()

    program = os.path.basename(os.path.realpath("/proc/self/exe"))
    facts = {
        "services": f"{program}:{plain.server_port}\n{program}:{secure.server_port}\n",
        "https": f"https://localhost:{secure.server_port}",
        # The last one: whoever waits for it finds the others.
        "http": f"http://localhost:{plain.server_port}",
    }
    for name, fact in facts.items():
        with open(f"{directory}/{name}.new", "w", encoding="utf-8") as file:
            file.write(fact)
        os.rename(f"{directory}/{name}.new", f"{directory}/{name}")
    plain.serve_forever()


if __name__ == "__main__":
    main()
