"""The API of server.py for whichever server runs it: `wsgi` and `asgi`."""

from server import answer

REASONS = {200: "OK", 201: "Created", 302: "Found", 404: "Not Found"}


def wsgi(environ, start_response):
    target = environ["RAW_URI"]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status, content = answer(environ["REQUEST_METHOD"], target, body)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    if status == 302:
        headers.append(("Location", "/api/items/1"))
    start_response(f"{status} {REASONS[status]}", headers)
    return [content]


async def asgi(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    target = f"{scope['path']}?{scope['query_string'].decode()}"
    status, content = answer(scope["method"], target, body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    if status == 302:
        headers.append((b"location", b"/api/items/1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
