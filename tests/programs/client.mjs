// Makes requests over keep-alive connections and writes down what it did, a JSON object
// per request: client.mjs URL COUNT CONNECTIONS OUT [--interactive]
//
// With --interactive, every line "run N" on standard input makes N requests more on the
// connections that are open, and is answered with "done N".

import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { connect } from "node:net";
import { createInterface } from "node:readline";

const METHODS = ["GET", "POST", "PUT", "DELETE"];
const NAMES = { 7: "missing", 11: "created", 13: "moved" };
const READY_MS = 60_000;

const [target, count, connections, out, interactive] = process.argv.slice(2);
const url = new URL(target);
const module = url.protocol === "https:" ? https : http;
const agent = new module.Agent({ keepAlive: true, maxSockets: Number(connections) });

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function accepts() {
  return new Promise((resolve) => {
    const socket = connect(Number(url.port), url.hostname);
    socket.on("connect", () => (socket.destroy(), resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

function exchange(number) {
  const method = METHODS[number % 4];
  const path = `/api/${NAMES[number % 20] ?? "items"}/${number}`;
  const body = method === "POST" || method === "PUT"
    ? JSON.stringify({ number, note: "secret-" + "x".repeat((number * 37) % 3000) })
    : "";
  return new Promise((resolve, reject) => {
    const request = module.request(
      {
        agent,
        host: url.hostname,
        port: url.port,
        method,
        path: `${path}?q=secret-${number}&page=2`,
        headers: body ? { "Content-Type": "application/json", "Content-Length": body.length } : {},
        rejectUnauthorized: false,
      },
      (response) => {
        const port = response.socket.localPort;
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          const content = Buffer.concat(chunks);
          resolve({
            method,
            path,
            status: response.statusCode,
            request_size: body.length,
            request_sha256: sha256(body),
            response_size: content.length,
            response_sha256: sha256(content),
            port,
          });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

const deadline = Date.now() + READY_MS;
while (!(await accepts())) {
  if (Date.now() > deadline) throw new Error(`nothing listens at ${target}`);
  await new Promise((resolve) => setTimeout(resolve, 20));
}

let made = 0;
async function batch(size) {
  const lines = await Promise.all(Array.from({ length: size }, (_, at) => exchange(made + at)));
  made += size;
  appendFileSync(out, lines.map((line) => JSON.stringify(line) + "\n").join(""));
}

await batch(Number(count));
if (interactive === "--interactive") {
  for await (const line of createInterface({ input: process.stdin })) {
    const size = Number(line.split(" ")[1]);
    await batch(size);
    console.log(`done ${size}`);
  }
}
agent.destroy();
