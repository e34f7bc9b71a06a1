// ethers against a node: what a page's wallet does. Prints one line of JSON, or fails.
//
//   node contracts/test/clients/talk.mjs URL PRIVATE_KEY PROBE_JSON
import { readFileSync } from "node:fs";
import { ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, parseEther } from "ethers";

const [, , url, key, probe] = process.argv;
const { abi, bytecode } = JSON.parse(readFileSync(probe, "utf8"));
const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 50 });
const wallet = new NonceManager(new Wallet(key, provider));
const seen = { chainId: Number((await provider.getNetwork()).chainId) };

const to = "0x" + "ab".repeat(20);
const paid = await (await wallet.sendTransaction({ to, value: parseEther("1") })).wait();
seen.balance = (await provider.getBalance(to)).toString();
seen.gasUsed = paid.gasUsed.toString();

const contract = await new ContractFactory(abi, bytecode, wallet).deploy(1000n);
await contract.waitForDeployment();
seen.total = (await contract.balanceOf(await wallet.getAddress())).toString();
const kept = await (await contract.keep(7n, 42n, "0x0102")).wait();
seen.event = [kept.logs[0].fragment.name, kept.logs[0].args.value.toString()];
seen.slot = (await contract.slots(7n)).toString();
seen.found = (await contract.queryFilter(contract.filters.Kept(), kept.blockNumber)).length;
try {
  await contract.failWithError.staticCall(5n);
} catch (error) {
  seen.error = [error.code, error.revert.name, error.revert.args.value.toString()];
}
try {
  await contract.failWithText.staticCall();
} catch (error) {
  seen.reason = error.reason;
}
try {
  await wallet.sendTransaction({ to, value: parseEther("1000000") });
} catch (error) {
  seen.funds = error.code;
}
wallet.reset();
try {
  await new Wallet(key, provider).sendTransaction({ to, nonce: 0, gasLimit: 21000n });
} catch (error) {
  seen.nonce = error.code;
}

const socket = new WebSocketProvider(url.replace("http", "ws"));
let head;
socket.once("block", (number) => { head = number; });
const sent = [];
while (head === undefined) { // the subscription may be on its way when the first one is sent
  const receipt = await (await wallet.sendTransaction({ to, value: 1n })).wait();
  sent.push(receipt.blockNumber);
  await new Promise((resolve) => setTimeout(resolve, 20));
}
seen.pushed = sent.includes(head);
process.on("unhandledRejection", (error) => { // its last eth_unsubscribe, cancelled by the end
  if (error.code !== "UNSUPPORTED_OPERATION") throw error;
});
await socket.destroy();
provider.destroy();
console.log(JSON.stringify(seen));
