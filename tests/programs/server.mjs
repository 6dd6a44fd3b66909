// Serves HTTP or HTTPS with what Node brings: server.mjs PORT [CERTIFICATE KEY] [--http2]

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";

const STATUS = { missing: 404, created: 201, moved: 302 };

function handle(request, response) {
  const hash = createHash("sha256");
  request.on("data", (chunk) => hash.update(chunk));
  request.on("end", () => {
    const kind = request.url.split("/")[2];
    response.writeHead(STATUS[kind] ?? 200, { "Content-Type": "application/json" });
    // Two writes without a length: the body is chunked.
    response.write(JSON.stringify({ method: request.method, target: request.url }));
    response.end(JSON.stringify({ body: hash.digest("hex") }));
  });
}

const option = "--http2";
const [port, certificate, key] = process.argv.slice(2).filter((word) => word !== option);
const files = certificate && { cert: readFileSync(certificate), key: readFileSync(key) };
const servers = process.argv.includes(option)
  ? [http2.createServer, http2.createSecureServer]
  : [http.createServer, https.createServer];
const server = files ? servers[1](files, handle) : servers[0](handle);
server.listen(Number(port), "127.0.0.1");
