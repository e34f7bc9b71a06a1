// Two real Lightning nodes (LDK in WASM) over a made-up regtest chain, one channel between them.
//
//   node node.mjs        prints {"port": N}, then answers POST / on 127.0.0.1:N
//
// A request is {"node": "customer" | "provider", "method": ..., ...}; an answer {"result": ...} or
// {"error": {"code", "message"}}. What a payment's state is comes from the node's own events and
// channels. Nothing is kept on disk, and nobody is asked who he is: a test network, and no more.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import * as ldk from "lightningdevkit/index.mjs";

const CHANNEL_SAT = 10_000_000n;
const PUSHED_MSAT = 2_000_000_000n; // the provider's side begins above its reserve
const BODY_BYTES_MAX = 65_536;
const BLOCK_SECONDS = 600;
const HOLD_BLOCKS = 144;
const NETWORK = ldk.Network.LDKNetwork_Regtest;

const library = dirname(fileURLToPath(import.meta.resolve("lightningdevkit/index.mjs")));
await ldk.initializeWasmFromBinary(readFileSync(`${library}/liblightningjs.wasm`));

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));
const sha256 = (data) => new Uint8Array(createHash("sha256").update(data).digest());
const some = (number) => ldk.Option_u64Z.constructor_some(BigInt(number));

let shift_s = 0;
let height = 0;
const now_s = () => Math.floor(Date.now() / 1000) + shift_s;

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function makeNode(name) {
  const done = ldk.ChannelMonitorUpdateStatus.LDKChannelMonitorUpdateStatus_Completed;
  const fees = ldk.FeeEstimator.new_impl({ get_est_sat_per_1000_weight: () => 253 });
  const broadcaster = ldk.BroadcasterInterface.new_impl({ broadcast_transactions() {} });
  const logger = ldk.Logger.new_impl({ log() {} });
  const persister = ldk.Persist.new_impl({
    persist_new_channel: () => done,
    update_persisted_channel: () => done,
    archive_persisted_channel() {},
  });
  const filter = ldk.Option_FilterZ.constructor_none();
  const monitor = ldk.ChainMonitor.constructor_new(filter, broadcaster, logger, fees, persister);
  const keys = ldk.KeysManager.constructor_new(
    new Uint8Array(randomBytes(32)), BigInt(now_s()), 42);
  const entropy = keys.as_EntropySource();
  const graph = ldk.NetworkGraph.constructor_new(NETWORK, logger);
  const decay = ldk.ProbabilisticScoringDecayParameters.constructor_default();
  const scorer = ldk.MultiThreadedLockableScore.constructor_new(
    ldk.ProbabilisticScorer.constructor_new(decay, graph, logger).as_Score());
  const router = ldk.DefaultRouter.constructor_new(
    graph, logger, entropy, scorer.as_LockableScore(),
    ldk.ProbabilisticScoringFeeParameters.constructor_default());
  const messages = ldk.DefaultMessageRouter.constructor_new(graph, entropy);
  const chain = ldk.ChainParameters.constructor_new(
    NETWORK, ldk.BestBlock.constructor_from_network(NETWORK));
  const config = ldk.UserConfig.constructor_default();
  // one payment may fill the channel: the default lets a tenth be under way
  config.get_channel_handshake_config().set_max_inbound_htlc_value_in_flight_percent_of_channel(100);
  const manager = ldk.ChannelManager.constructor_new(
    fees, monitor.as_Watch(), broadcaster, router.as_Router(), messages.as_MessageRouter(), logger,
    entropy, keys.as_NodeSigner(), keys.as_SignerProvider(), config, chain, now_s());
  const ignore = ldk.IgnoringMessageHandler.constructor_new();
  const peers = ldk.PeerManager.constructor_new(
    manager.as_ChannelMessageHandler(), ignore.as_RoutingMessageHandler(),
    ignore.as_OnionMessageHandler(), ignore.as_CustomMessageHandler(), now_s(),
    entropy.get_secure_random_bytes(), logger, keys.as_NodeSigner());
  return {
    name, manager, monitor, peers, id: manager.get_our_node_id(),
    incoming: new Map(), // payment hash -> {amount_msat, state, preimage, deadline, is_hold}
    outgoing: new Map(), // payment hash -> {amount_msat, state, preimage, fee_msat}
    funding: [],
    kept: [fees, broadcaster, logger, persister, keys, graph, scorer, router, messages, ignore],
  };
}

const nodes = { customer: makeNode("customer"), provider: makeNode("provider") };
const both = Object.values(nodes);

// -- what the nodes tell --

function onEvent(node, event) {
  if (event instanceof ldk.Event_FundingGenerationReady) node.funding.push(event);
  if (event instanceof ldk.Event_PaymentClaimable) onClaimable(node, event);
  if (event instanceof ldk.Event_PaymentClaimed) {
    const payment = node.incoming.get(hex(event.payment_hash));
    if (payment) Object.assign(payment, { state: "settled", settled_at_s: now_s() });
  }
  if (event instanceof ldk.Event_PaymentSent) {
    const fee = event.fee_paid_msat;
    Object.assign(node.outgoing.get(hex(event.payment_hash)), {
      state: "settled", preimage: hex(event.payment_preimage), settled_at_s: now_s(),
      fee_msat: fee instanceof ldk.Option_u64Z_Some ? Number(fee.some) : 0,
    });
  }
  if (event instanceof ldk.Event_PaymentFailed &&
      event.payment_hash instanceof ldk.Option_ThirtyTwoBytesZ_Some) {
    const payment = node.outgoing.get(hex(event.payment_hash.some));
    if (payment) payment.state = "failed";
  }
}

function onClaimable(node, event) {
  const payment = node.incoming.get(hex(event.payment_hash));
  if (!payment || payment.state !== "pending") {
    node.manager.fail_htlc_backwards(event.payment_hash); // withdrawn, or never asked for
    return;
  }
  const deadline = event.claim_deadline;
  payment.deadline = deadline instanceof ldk.Option_u32Z_Some ? deadline.some : height;
  payment.state = "accepted";
  if (!payment.is_hold) node.manager.claim_funds(bytes(payment.preimage));
}

// -- the line between them, and the chain --

const queue = [];
const sockets = {};
const link = (from, to, number) => ldk.SocketDescriptor.new_impl({
  send_data(data) { queue.push([nodes[to], to, data]); return data.length; },
  disconnect_socket() { console.error(`${from} hung up`); process.exit(1); },
  eq: (other) => other.hash() === number,
  hash: () => number,
});

function pump() {
  for (let quiet = 0; quiet < 3;) {
    let isBusy = false;
    for (const node of both) {
      node.manager.process_pending_htlc_forwards();
      node.peers.process_events();
    }
    while (queue.length) {
      const [node, name, data] = queue.shift();
      if (!node.peers.read_event(sockets[name], data).is_ok()) throw new Error("line is broken");
      node.peers.process_events();
      isBusy = true;
    }
    for (const node of both) {
      const handler = ldk.EventHandler.new_impl({
        handle_event(event) {
          isBusy = true;
          onEvent(node, event);
          return ldk.Result_NoneReplayEventZ.constructor_ok();
        },
      });
      node.manager.as_EventsProvider().process_pending_events(handler);
      node.monitor.as_EventsProvider().process_pending_events(handler);
    }
    quiet = isBusy ? 0 : quiet + 1;
  }
}

function makeHeader() {
  const header = new Uint8Array(80);
  header.set(randomBytes(68));
  new DataView(header.buffer).setUint32(68, now_s(), true);
  return header;
}

// The nodes know no clock but the last block's: another block of the same height tells the time.
function tellTime() {
  for (const node of both) node.manager.as_Confirm().best_block_updated(makeHeader(), height);
}

function mine(transactions) {
  height += 1;
  const header = makeHeader();
  const confirmed = transactions.map((raw, index) =>
    ldk.TwoTuple_usizeTransactionZ.constructor_new(index + 1, raw));
  for (const node of both) {
    for (const part of [node.manager.as_Confirm(), node.monitor.as_Confirm()]) {
      if (confirmed.length) part.transactions_confirmed(header, confirmed, height);
      part.best_block_updated(header, height);
    }
    node.manager.timer_tick_occurred();
    for (const payment of node.incoming.values()) {
      if (payment.state === "accepted" && height >= payment.deadline) payment.state = "expired";
    }
  }
  pump();
}

function openChannel() {
  const { customer, provider } = nodes;
  sockets.customer = link("customer", "provider", 1n);
  sockets.provider = link("provider", "customer", 2n);
  const nowhere = ldk.Option_SocketAddressZ.constructor_none();
  provider.peers.new_inbound_connection(sockets.provider, nowhere);
  const hello = customer.peers.new_outbound_connection(provider.id, sockets.customer, nowhere);
  queue.push([provider, "provider", hello.res]);
  pump();
  const asked = customer.manager.create_channel(
    provider.id, CHANNEL_SAT, PUSHED_MSAT, 7n, null, null);
  if (!asked.is_ok()) throw new Error("no channel");
  pump();
  const [event] = customer.funding;
  const raw = makeFunding(event.output_script, event.channel_value_satoshis);
  const funded = customer.manager.funding_transaction_generated(
    event.temporary_channel_id, event.counterparty_node_id, raw);
  if (!funded.is_ok()) throw new Error("no funding");
  pump();
  mine([raw]);
  for (let i = 0; i < 7; i++) mine([]);
  if (both.some((node) => node.manager.list_usable_channels().length !== 1)) {
    throw new Error("the channel did not open");
  }
}

// One input from nowhere, one output, one empty witness: a chain that checks nothing takes it.
function makeFunding(script, value_sat) {
  const raw = new Uint8Array(script.length + 65);
  const end = script.length + 58;
  raw.set([2, 0, 0, 0, 0, 1, 1]);
  raw.fill(0xff, 44, 48);
  raw[48] = 1;
  new DataView(raw.buffer).setBigUint64(49, value_sat, true);
  raw[57] = script.length;
  raw.set(script, 58);
  raw.set([1, 1, 0xff], end);
  return raw;
}

// -- what may be asked --

const methods = {
  info: (node) => ({ id: hex(node.id), height, now_s: now_s(), hold_blocks: HOLD_BLOCKS }),

  invoice(node, { amount_msat, payment_hash, preimage, description, expiry_s }) {
    if (node.incoming.has(payment_hash)) throw new Refused("OTHER", "this hash was used before");
    tellTime();
    const text = ldk.Bolt11InvoiceDescription.constructor_direct(
      ldk.Description.constructor_new(description).res);
    const made = node.manager.create_bolt11_invoice(
      some(amount_msat), text, ldk.Option_u32Z.constructor_some(expiry_s),
      ldk.Option_u16Z.constructor_some(HOLD_BLOCKS),
      ldk.Option_ThirtyTwoBytesZ.constructor_some(bytes(payment_hash)));
    if (!made.is_ok()) throw new Refused("OTHER", "the node makes no such invoice");
    node.incoming.set(payment_hash, {
      amount_msat, state: "pending", preimage, is_hold: preimage === null, fee_msat: 0,
      created_at_s: now_s(), settled_at_s: null,
    });
    return made.res.to_str();
  },

  pay(node, { bolt11, fee_msat_max }) {
    const read = ldk.Bolt11Invoice.constructor_from_str(bolt11);
    if (!read.is_ok()) throw new Refused("OTHER", "no invoice");
    const terms = ldk.UtilMethods.constructor_payment_parameters_from_invoice(read.res);
    if (!terms.is_ok()) throw new Refused("OTHER", "an invoice without an amount");
    const [hash, onion, route] = [terms.res.get_a(), terms.res.get_b(), terms.res.get_c()];
    const name = hex(hash);
    if (node.outgoing.has(name)) throw new Refused("ALREADY_PAID", "this hash was paid before");
    route.set_max_total_routing_fee_msat(some(fee_msat_max));
    node.outgoing.set(name, {
      amount_msat: Number(route.get_final_value_msat()), state: "pending", preimage: null,
      fee_msat: 0, created_at_s: now_s(), settled_at_s: null,
    });
    const sent = node.manager.send_payment(
      hash, onion, hash, route, ldk.Retry.constructor_attempts(0)); // the hash is the payment's id
    if (!sent.is_ok()) node.outgoing.get(name).state = "failed";
    pump();
    return methods.payment(node, { payment_hash: name, is_incoming: false });
  },

  claim(node, { preimage }) {
    node.manager.claim_funds(bytes(preimage));
    const payment = node.incoming.get(hex(sha256(bytes(preimage))));
    payment.preimage = preimage;
    pump();
    return payment;
  },

  fail(node, { payment_hash }) {
    const payment = node.incoming.get(payment_hash);
    if (payment.state === "accepted") node.manager.fail_htlc_backwards(bytes(payment_hash));
    payment.state = "canceled"; // who pays from here on is sent back (onClaimable)
    pump();
    return payment;
  },

  payment(node, { payment_hash, is_incoming }) {
    const payment = (is_incoming ? node.incoming : node.outgoing).get(payment_hash);
    if (!payment) return null;
    // the payer's money is locked once both sides have committed to it
    const isLocked = !is_incoming && payment.state === "pending" && node.manager.list_channels()
      .some((channel) => channel.get_pending_outbound_htlcs().some((htlc) =>
        hex(htlc.get_payment_hash()) === payment_hash && isCommitted(htlc)));
    return { ...payment, state: isLocked ? "accepted" : payment.state };
  },

  balance(node) {
    const channels = node.manager.list_channels();
    const sum = (numbers) => numbers.reduce((a, b) => a + Number(b), 0);
    return {
      spendable_msat: sum(channels.map((channel) => channel.get_outbound_capacity_msat())),
      held_msat: sum(channels.flatMap((channel) =>
        channel.get_pending_outbound_htlcs().map((htlc) => htlc.get_amount_msat()))),
    };
  },

  pass_time(_, { seconds }) {
    shift_s += seconds;
    for (let i = 0; i < Math.max(1, Math.ceil(seconds / BLOCK_SECONDS)); i++) mine([]);
    return height;
  },
};

function isCommitted(htlc) {
  const state = htlc.get_state();
  return state instanceof ldk.Option_OutboundHTLCStateDetailsZ_Some &&
    state.some === ldk.OutboundHTLCStateDetails.LDKOutboundHTLCStateDetails_Committed;
}

function answer(body) {
  try {
    const { node, method, ...rest } = JSON.parse(body);
    if (!Object.hasOwn(nodes, node) || !Object.hasOwn(methods, method)) {
      throw new Refused("NOT_IMPLEMENTED", `no ${method} at ${node}`);
    }
    return { result: methods[method](nodes[node], rest) };
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    return { error: { code: error.code ?? "INTERNAL", message: String(error.message ?? error) } };
  }
}

openChannel();
const server = createServer((request, response) => {
  let body = "";
  request.on("data", (part) => {
    body += part;
    if (body.length > BODY_BYTES_MAX) request.destroy();
  });
  request.on("end", () => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(answer(body)));
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on("end", () => process.exit(0)).resume(); // it ends with whoever started it
