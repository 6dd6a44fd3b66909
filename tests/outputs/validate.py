"""Checks the JSON bodies of a HAR file against an OpenAPI document.

validate.py DOCUMENT.json HAR: one JSON object on standard output: `checked` bodies that
a schema was found for, `refused` bodies, calls `unknown` to the document.
"""

import json
import re
import sys
from urllib.parse import unquote, urlsplit

from openapi_schema_validator import OAS31Validator, oas31_format_checker

METHODS = {"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}


def segments(path):
    parts = (unquote(part.split(";")[0]) for part in path.split("/"))
    return [part for part in parts if part]


def pattern(route):
    """A template as an expression for each segment; how much of it is fixed."""
    expressions, fixed = [], 0
    for segment in [part for part in route.split("/") if part]:
        literals = [unquote(text) for text in re.split(r"\{[^}]*\}", segment)]
        expressions.append(re.compile(".+".join(map(re.escape, literals)), re.DOTALL))
        fixed += 2 * (len(literals) == 1) + any(literals)
    return expressions, fixed


def operation(document, method, path):
    parts, found = segments(path), []
    for route, item in document["paths"].items():
        expressions, fixed = pattern(route)
        if len(expressions) == len(parts) and method.lower() in item:
            if all(e.fullmatch(part) for e, part in zip(expressions, parts)):
                found.append((fixed, route))
    return document["paths"][max(found)[1]][method.lower()] if found else None


def check(schemas, media_type, text, what, result):
    media_type = media_type.split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return
    try:
        body = json.loads(text)
    except ValueError:
        result["malformed"] += 1
        return
    schema = schemas.get(media_type, {}).get("schema")
    if schema is None:
        result["unknown"].append(f"{what}: no schema for {media_type}")
        return
    result["checked"] += 1
    validator = OAS31Validator(schema, format_checker=oas31_format_checker)
    for error in validator.iter_errors(body):
        result["refused"].append(f"{what}: {error.json_path}: {error.message}")


def main(document, archive):
    with open(document, encoding="utf-8") as file:
        document = json.load(file)
    with open(archive, encoding="utf-8") as file:
        entries = json.load(file)["log"]["entries"]
    hosts = {urlsplit(server["url"]).netloc for server in document["servers"]}
    result = {"checked": 0, "malformed": 0, "refused": [], "unknown": []}
    for entry in entries:
        request, response = entry["request"], entry["response"]
        _, _, rest = request["url"].partition("://")
        host, slash, target = rest.partition("/")
        if host not in hosts or request["method"] not in METHODS:
            continue
        path = re.split("[?#]", slash + target)[0]
        what = f"{request['method']} {path} {response['status']}"
        found = operation(document, request["method"], path)
        if found is None:
            if response["status"] != 404:
                result["unknown"].append(what)
            continue
        if "postData" in request:
            sent = request["postData"]
            schemas = found.get("requestBody", {}).get("content", {})
            check(schemas, sent["mimeType"], sent["text"], what + " request", result)
        if "text" in response["content"]:
            got = response["content"]
            schemas = found["responses"].get(str(response["status"]), {}).get("content", {})
            check(schemas, got["mimeType"], got["text"], what + " response", result)
    json.dump(result, sys.stdout)


main(*sys.argv[1:])
