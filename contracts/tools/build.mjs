#!/usr/bin/env node
// Compile the contracts with npm's solc and write the artifacts that the Python package ships.
//
//   node tools/build.mjs                  write them
//   node tools/build.mjs --check          compare byte for byte; exit 1 with the names that differ
//   node tools/build.mjs --forge          also compare forge's bytecode (after `forge build`)
//   node tools/build.mjs --seeded FILE    write the artifact of the arena with a planted fault
//
// The settings are foundry.toml's, read from there, so both compilers make the same bytecode.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

// source file -> the contracts in it that ship; a new contract needs one line here
const CONTRACTS = {
  "src/IArena.sol": ["IArena"],
  "src/Arena.sol": ["Arena"],
  "src/Lens.sol": ["Lens"],
  "src/Credit.sol": ["Credit"],
  "src/IDisputes.sol": ["IDisputes"],
  "src/Disputes.sol": ["Disputes"],
  "src/Timelock.sol": ["Timelock"],
  "src/BlsCommittee.sol": ["BlsCommittee"],
};
// the standard's own interface, from which the client has bindings: no contract of ours
const STANDARDS = ["IERC20.json"];
const SEEDED = { "test/seeded/SeededArena.sol": ["SeededArena"] };

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const target = path.resolve(root, "../src/kumiai/adapters/evm/artifacts");
const solc = createRequire(import.meta.url)("solc");
const args = process.argv.slice(2);

if (args.includes("--seeded")) {
  const file = args[args.indexOf("--seeded") + 1];
  if (!file) fail(["--seeded needs the name of the file to write"]);
  const [[, text]] = compile(SEEDED);
  fs.writeFileSync(file, text);
} else {
  const artifacts = compile(CONTRACTS);
  if (args.includes("--check")) check(artifacts);
  else write(artifacts);
  if (args.includes("--forge")) checkForge(artifacts);
}

function compile(contracts) {
  const settings = readSettings();
  const sources = Object.fromEntries(Object.keys(contracts).map((name) => [name, read(name)]));
  const output = JSON.parse(
    solc.compile(
      JSON.stringify({
        language: "Solidity",
        sources,
        settings: {
          ...settings,
          outputSelection: {
            "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] },
          },
        },
      }),
      { import: (name) => ({ contents: read(name).content }) },
    ),
  );
  const errors = (output.errors ?? []).filter((item) => item.severity === "error");
  if (errors.length) fail(errors.map((item) => item.formattedMessage));
  return Object.entries(contracts).flatMap(([source, names]) =>
    names.map((name) => [name, encode(name, output.contracts[source][name], settings)]),
  );
}

function encode(name, compiled, settings) {
  const artifact = {
    contractName: name,
    abi: compiled.abi,
    bytecode: `0x${compiled.evm.bytecode.object}`,
    deployedBytecode: `0x${compiled.evm.deployedBytecode.object}`,
    compiler: solc.version(),
    settings,
  };
  return `${JSON.stringify(sort(artifact), null, 1)}\n`;
}

// foundry.toml is flat where it matters: `key = value` in [profile.default]
function readSettings() {
  const toml = fs.readFileSync(path.join(root, "foundry.toml"), "utf8");
  const body = toml.split("[profile.default]")[1].split("\n[")[0];
  const get = (key) => {
    const found = body.match(new RegExp(`^${key} = (.*)$`, "m"));
    if (!found) fail([`foundry.toml has no ${key}`]);
    return JSON.parse(found[1]);
  };
  return {
    remappings: get("remappings"),
    optimizer: { enabled: get("optimizer"), runs: get("optimizer_runs") },
    evmVersion: get("evm_version"),
    viaIR: get("via_ir"),
    metadata: { bytecodeHash: get("bytecode_hash"), appendCBOR: get("cbor_metadata") },
  };
}

function read(name) {
  return { content: fs.readFileSync(path.join(root, name), "utf8") };
}

function sort(value) {
  if (Array.isArray(value)) return value.map(sort);
  if (value === null || typeof value !== "object") return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, sort(value[key])]));
}

function write(artifacts) {
  fs.mkdirSync(target, { recursive: true });
  for (const [name, text] of artifacts) fs.writeFileSync(path.join(target, `${name}.json`), text);
  for (const name of listStrangers(artifacts)) fs.rmSync(path.join(target, name));
}

function check(artifacts) {
  const differing = artifacts
    .filter(([name, text]) => {
      const file = path.join(target, `${name}.json`);
      return !fs.existsSync(file) || fs.readFileSync(file, "utf8") !== text;
    })
    .map(([name]) => `${name}.json`);
  const wrong = [...differing, ...listStrangers(artifacts)];
  if (wrong.length) fail(wrong.map((name) => `${name} is not what the sources compile to`));
}

function listStrangers(artifacts) {
  const known = new Set(artifacts.map(([name]) => `${name}.json`));
  if (!fs.existsSync(target)) return [];
  return fs.readdirSync(target).filter((name) => name.endsWith(".json") && !known.has(name) && !STANDARDS.includes(name));
}

function checkForge(artifacts) {
  const wrong = artifacts.filter(([name, text]) => {
    const file = path.join(root, "out", `${name}.sol`, `${name}.json`);
    if (!fs.existsSync(file)) fail([`${name}: run \`forge build\` first`]);
    const built = JSON.parse(fs.readFileSync(file, "utf8"));
    return built.bytecode.object !== JSON.parse(text).bytecode;
  });
  if (wrong.length) fail(wrong.map(([name]) => `${name}: forge makes other bytecode`));
}

function fail(lines) {
  for (const line of lines) console.error(`build.mjs: ${line}`);
  process.exit(1);
}
