// A stake by ethers, as a page's wallet makes it: approve, then stake. Prints the block, or fails.
//
//   node contracts/test/clients/stake.mjs URL PRIVATE_KEY ARENA TOKEN TASK ROLE AMOUNT DOCUMENT
import { readFileSync } from "node:fs";
import { Contract, JsonRpcProvider, NonceManager, Wallet } from "ethers";

const [, , url, key, arenaAt, tokenAt, task, role, amount, document] = process.argv;
const load = (name) =>
  JSON.parse(
    readFileSync(new URL(`../../../src/kumiai/adapters/evm/artifacts/${name}.json`, import.meta.url), "utf8"),
  ).abi;
const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 50 });
const wallet = new NonceManager(new Wallet(key, provider));
const token = new Contract(tokenAt, load("Credit"), wallet);
const arena = new Contract(arenaAt, load("Arena"), wallet);
await (await token.approve(arenaAt, BigInt(amount))).wait();
const staked = await (
  await arena.stake(task, Number(role), BigInt(amount), document, 2n ** 40n - 1n, "0x")
).wait();
console.log(JSON.stringify({ status: staked.status, block: staked.blockNumber }));
provider.destroy();
