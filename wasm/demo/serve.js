// Serves the demo: a coordinator, this page, and some participants of Node's that keep a lone visitor company.
//
//   node demo/serve.js --coordinator path/to/pet-coordinator [--port 8090] [--companions 6]

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Participant } from "../js/node.js";
import { LENGTH, train } from "./model.js";
import { corner, random } from "./world.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
};

/** What a page may do: scripts of its own (and its import map), WebAssembly, and asking the coordinator. */
const policy = (coordinator, importMap) =>
  `default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'sha256-${importMap}'; style-src 'self'; img-src 'self' data:; connect-src 'self' ${coordinator}`;

/** Short rounds: whoever looks on should not have to wait. */
const ROUNDS = [
  "pet.sum.prob=0.3", "pet.sum.count.min=1", "pet.sum.count.max=50", "pet.sum.time.min=1", "pet.sum.time.max=4",
  "pet.update.prob=1.0", "pet.update.count.min=3", "pet.update.count.max=200", "pet.update.time.min=1.5", "pet.update.time.max=8",
  "pet.sum2.count.min=1", "pet.sum2.count.max=50", "pet.sum2.time.min=1", "pet.sum2.time.max=8",
  // Weights of up to 100, in steps of 1e-10.
  "mask.group_type=Prime", "mask.data_type=F32", "mask.bound_type=B2", "mask.model_type=M3",
];

/** Starts a coordinator; gives its URL, and what stops it. */
export async function startCoordinator({ binary, length = LENGTH, settings = ROUNDS, origins = "" }) {
  const folder = await mkdtemp(join(tmpdir(), "pet-demo-"));
  const portFile = join(folder, "port");
  const options = ["serve", "--ephemeral", "--bind", "127.0.0.1:0", "--port-file", portFile, "--model-length", String(length)];
  for (const setting of [...settings, ...(origins ? [`api.cors_origins=${origins}`] : [])]) options.push("--set", setting);
  const child = spawn(binary, options, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => {
    said = (said + data).slice(-20_000);
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.once("error", (error) => {
    said += error.message;
  });
  let address;
  for (let i = 0; i < 1200 && address === undefined; i++) {
    address = await readFile(portFile, "utf8").catch(() => undefined);
    if (child.exitCode !== null || child.pid === undefined) throw new Error(`the coordinator has ended: ${said}`);
    if (address === undefined) await new Promise((resolve) => setTimeout(resolve, 25));
  }
  if (address === undefined) throw new Error(`the coordinator does not listen: ${said}`);
  const stop = async () => {
    if (child.exitCode === null) child.kill("SIGINT");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  return { url: `http://${address.trim()}`, stop, log: () => said };
}

/** Serves the page; gives its URL, and what stops it. The coordinator is told later, as it has to know this page's origin. */
export async function servePage(port = 0) {
  let coordinator = null;
  const html = await readFile(join(here, "index.html"), "utf8");
  const importMap = createHash("sha256").update(html.match(/<script type="importmap">(.*?)<\/script>/s)[1]).digest("base64");
  const server = createServer(async (request, answer) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    const send = (status, type, body) => {
      answer.writeHead(status, {
        "content-type": type,
        "cache-control": "no-store",
        "content-security-policy": policy(coordinator, importMap),
        "x-content-type-options": "nosniff",
      });
      answer.end(request.method === "HEAD" ? undefined : body);
    };
    try {
      if (path === `${sep}config.json`) return send(200, "application/json", JSON.stringify({ coordinator }));
      const inPackage = path.match(/^[/\\]pet-participant[/\\](js[/\\][\w.-]+\.js|pet\.wasm)$/);
      const inDemo = path.match(/^[/\\]([\w-]+\.(html|css|js))?$/);
      if (!inPackage && (!inDemo || path.endsWith("serve.js"))) return send(404, "text/plain", "not found\n");
      const file = inPackage ? join(here, "..", inPackage[1]) : join(here, inDemo[1] ?? "index.html");
      send(200, TYPES[extname(file)], await readFile(file));
    } catch {
      send(404, "text/plain", "not found\n");
    }
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    setCoordinator: (url) => {
      coordinator = url;
    },
    stop: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A participant that knows a corner of the map. */
export function companion(url, seed) {
  const points = corner(random(seed));
  return Participant.create({
    url,
    polling: { max: 1000 },
    train: (globalModel, { length }) => train(globalModel ?? new Float32Array(length), points),
  });
}

async function main() {
  const { values } = parseArgs({
    options: {
      coordinator: { type: "string" },
      port: { type: "string", default: "8090" },
      companions: { type: "string", default: "6" },
    },
  });
  if (!values.coordinator) throw new Error("say where pet-coordinator is: --coordinator target/release/pet-coordinator");
  const page = await servePage(Number(values.port));
  const coordinator = await startCoordinator({ binary: values.coordinator, origins: page.url });
  page.setCoordinator(coordinator.url);
  const companions = [];
  for (let i = 0; i < Number(values.companions); i++) companions.push(await companion(coordinator.url, i));
  console.log(`open ${page.url}, in as many windows as you like (the coordinator: ${coordinator.url}; Ctrl-C ends it)`);
  await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
  await Promise.all(companions.map((each) => each.stop().catch(() => {})));
  await coordinator.stop();
  await page.stop();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
