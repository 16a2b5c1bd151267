// Runs a test program that was compiled for wasm32-wasip1: cargo's runner (see `make test-wasm`). It sees this repository.

import { readFile } from "node:fs/promises";
import { argv, cwd, env, exit } from "node:process";
import { fileURLToPath } from "node:url";
import { WASI } from "node:wasi";

// (Not "/": Node 20 finds nothing in it.)
const repository = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
const [program, ...args] = argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [program, ...args],
  env: { ...env, PWD: cwd() },
  preopens: { [repository]: repository, ".": cwd() },
  returnOnExit: true,
});
const module = await WebAssembly.compile(await readFile(program));
exit(wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject())));
