// Serves HTTP or HTTPS with what Node brings: server.mjs PORT [CERTIFICATE KEY]

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";

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

const [port, certificate, key] = process.argv.slice(2);
const server = certificate
  ? createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, handle)
  : createServer(handle);
server.listen(Number(port), "127.0.0.1");
