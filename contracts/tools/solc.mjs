#!/usr/bin/env node
// The compiler that forge is given: npm's WASM solc behind the two options that forge uses.
// forge wants a program; the npm package is a library (its own solcjs refuses forge's options).
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const solc = createRequire(import.meta.url)("solc");
const args = process.argv.slice(2);
if (args.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
  process.exit(0);
}
if (!args.includes("--standard-json")) {
  console.error("solc.mjs: only --version and --standard-json");
  process.exit(2);
}
const roots = [...readOption("--base-path"), ...readOption("--include-path"), process.cwd()];
const input = JSON.parse(fs.readFileSync(0, "utf8"));
for (const source of Object.values(input.sources)) {
  const found = source.content ?? (source.urls ?? []).map(read).find((text) => text !== undefined);
  if (found !== undefined) {
    source.content = found;
    delete source.urls;
  }
}
const output = solc.compile(JSON.stringify(input), {
  import: (name) => {
    const contents = read(name);
    return contents === undefined ? { error: `not found: ${name}` } : { contents };
  },
});
process.stdout.write(output);

function readOption(name) {
  return args.flatMap((arg, i) =>
    arg === name ? [args[i + 1]] : arg.startsWith(`${name}=`) ? [arg.slice(name.length + 1)] : [],
  );
}

function read(name) {
  for (const root of roots) {
    try {
      return fs.readFileSync(path.resolve(root, name), "utf8");
    } catch {
      // the next root
    }
  }
  return undefined;
}
