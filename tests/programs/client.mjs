// Makes requests over keep-alive connections and writes down what it did, a JSON object
// per request: client.mjs URL COUNT CONNECTIONS OUT [--interactive] [--http2]
//
// With --interactive, every line "run N" on standard input makes N requests more on the
// connections that are open, and is answered with "done N".

import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { connect } from "node:net";
import { createInterface } from "node:readline";

const METHODS = ["GET", "POST", "PUT", "DELETE"];
const NAMES = { 7: "missing", 11: "created", 13: "moved" };
const READY_MS = 60_000;

const [target, count, connections, out, ...options] = process.argv.slice(2);
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

// Connections of HTTP/2, made when they are needed.
const sessions = [];

function session(number) {
  const at = number % Number(connections);
  sessions[at] ??= http2.connect(target, { rejectUnauthorized: false });
  return sessions[at];
}

// Makes a request over either version, and gives its response and the port it came from.
function request(number, method, path, body) {
  const headers = body
    ? { "content-type": "application/json", "content-length": body.length }
    : {};
  return new Promise((resolve, reject) => {
    if (options.includes("--http2")) {
      const on = session(number);
      const endStream = !body;
      const stream = on.request({ ":method": method, ":path": path, ...headers }, { endStream });
      stream.on("response", (head) => resolve([stream, head[":status"], on.socket.localPort]));
      stream.on("error", reject);
      if (body) stream.end(body);
      return;
    }
    const { hostname: host, port } = url;
    const call = { agent, host, port, method, path, headers, rejectUnauthorized: false };
    const made = module.request(call, (response) => {
      resolve([response, response.statusCode, response.socket.localPort]);
    });
    made.on("error", reject);
    made.end(body);
  });
}

async function exchange(number) {
  const method = METHODS[number % 4];
  const path = `/api/${NAMES[number % 20] ?? "items"}/${number}`;
  const body = method === "POST" || method === "PUT"
    ? JSON.stringify({ number, note: "secret-" + "x".repeat((number * 37) % 3000) })
    : "";
  const query = `q=secret-${number}&page=2`;
  const [response, status, port] = await request(number, method, `${path}?${query}`, body);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const content = Buffer.concat(chunks);
  return {
    method,
    path,
    status,
    request_size: body.length,
    request_sha256: sha256(body),
    response_size: content.length,
    response_sha256: sha256(content),
    port,
  };
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

// Requests of HTTP/2 are all sent at once: not more than programs have under way.
const AT_ONCE = options.includes("--http2") ? 100 : Infinity;

async function batches(size) {
  for (let rest = size; rest > 0; rest -= AT_ONCE) await batch(Math.min(rest, AT_ONCE));
}

await batches(Number(count));
if (options.includes("--interactive")) {
  for await (const line of createInterface({ input: process.stdin })) {
    const size = Number(line.split(" ")[1]);
    await batches(size);
    console.log(`done ${size}`);
  }
}
agent.destroy();
sessions.forEach((session) => session.close());
