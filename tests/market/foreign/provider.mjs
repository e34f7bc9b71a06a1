// A provider of the training market, from docs/nip-training.md alone: node provider.mjs CONFIG.json
//
// It takes jobs of recipe `mlp` with plain SGD, trains in JavaScript and is paid by policy hold, fair or
// invoice. It works until its standard input ends, and says each thing that happened as a line of JSON.
//
// CONFIG: {secret, relays, blobs, wallet, price_msat, train_s}

import { readFileSync } from 'node:fs'
import * as mlp from './mlp.mjs'
import * as w from './wire.mjs'

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const BYTES_MAX = 2 ** 26
const INVOICE_SLACK_S = 600
const NAME = 'kumiai-foreign'
const POLICIES = ['hold', 'fair', 'invoice']
const party = new w.Party(config)
const { payee } = await w.wallet(config.wallet, 'info')
const jobs = new Map() // id -> {event, terms or undefined while it is sealed}
const offers = new Map() // id of our 6600 -> {job, policy}
const contracts = new Map() // id of the 5601 -> what it says
const works = new Map() // id of our 6602 -> {contract, request, hash}
const places = new Set() // contract, round and attempt that were asked for
const tell = (what, more = {}) => console.log(JSON.stringify({ what, ...more }))

// ---- jobs and offers ----

async function onJob(event) {
  const bid = Number(w.find(event, 'bid'))
  if (config.price_msat > bid || w.find(event, 'expiration') === undefined) return
  const isSealed = event.tags.some((tag) => tag[0] === 'encrypted')
  const job = { event, terms: isSealed ? undefined : await readJob(event.tags) }
  jobs.set(event.id, job)
  const said = job.terms?.payment ?? event.tags.find((tag) => tag[0] === 'payment')?.slice(1) ?? []
  const policy = said.find((name) => POLICIES.includes(name))
  if (!policy) return
  const offer = party.sign(6600, [
    ['v', '1'], ['t', 'training'],
    ['request', JSON.stringify(event)], ['e', event.id, '', 'request'], ['e', event.id, '', 'job'], ['p', event.pubkey],
    ['amount', String(config.price_msat)], ['expiration', String(Math.min(w.nowS() + 600, Number(w.find(event, 'expiration'))))],
    w.writeParam('payment', policy), w.writeParam('payee', payee), w.writeParam('train_s', config.train_s),
  ])
  offers.set(offer.id, { job, policy })
  await party.publish(offer)
  tell('offered', { job: event.id })
}

// What we can train; an Error says why not.
async function readJob(tags) {
  const params = w.readParams(tags)
  const terms = { shardBytes: w.readInt(params, 'shard_bytes', { min: 1 }), modelBytes: w.readInt(params, 'model_bytes', { min: 1 }) }
  for (const name of ['update_bytes_max', 'classes', 'train_s', 'reveal_s', 'judge_s']) terms[name] = w.readInt(params, name, { min: 1 })
  w.need(Math.max(terms.shardBytes, terms.modelBytes, terms.update_bytes_max) <= BYTES_MAX, 'too big for us')
  w.need(params.payment?.some((name) => POLICIES.includes(name)), 'no way of payment that both take')
  w.need(params.recipe?.[0] === 'mlp' && w.readInt(params, 'redundancy', { min: 1, fallback: 1 }) === 1, 'not what we train')
  w.need(terms.train_s >= config.train_s, 'too little time')
  const task = JSON.parse((await w.download(w.readBlob(tags, 'task'), 65_536)).toString())
  const t = task.training
  const isKnown = t.algorithm === 'fedavg' && t.optimizer === 'sgd' && t.codec === 'dense-fixed' && t.lr_schedule === 'constant'
  w.need(isKnown && !t.slim && !t.momentum_ppm && !t.weight_decay_ppm, 'a way of training that we do not know')
  w.need(t.lr_warmup_rounds === 0, 'a way of training that we do not know')
  const inputSize = params.input[0].split(',').reduce((product, size) => product * Number(size), 1)
  return { ...terms, payment: params.payment, training: t, inputSize, sizes: mlp.listSizes(inputSize, task.model.options, terms.classes) }
}

// ---- contracts ----

async function onContract(event) {
  const { job, policy } = offers.get(w.findRef(event, 'offer')) ?? {}
  w.need(job && job.event.id === w.findRef(event, 'job') && job.event.pubkey === event.pubkey, 'an offer that we made')
  try {
    const hidden = party.open(event)
    const params = w.readParams(hidden)
    w.need(w.readInt(params, 'price_msat') === config.price_msat && params.payee[0] === payee && params.payment[0] === policy, 'other terms than our offer\'s')
    const terms = job.terms ?? (await readJob(w.openJob(params.job_key[0], job.event.content)))
    w.need(terms.payment.includes(policy), 'a way of payment that the job does not have')
    const sealed = await w.download(w.readBlob(hidden, 'shard'), 2 * terms.shardBytes + 1024)
    const shard = mlp.readShard(w.unseal(sealed, params.shard_key[0], terms.shardBytes), terms.inputSize, terms.classes)
    contracts.set(event.id, { event, job: job.event.id, customer: event.pubkey, terms, shard, policy })
  } catch (error) {
    await sayFeedback(event, job.event.id, ['error', error.message.slice(0, 200)])
    throw error
  }
  party.subscribe([{ kinds: [5], authors: [event.pubkey] }], (one) => handle(one))
  await party.sayHidden(6601, event.pubkey, [...answer(event), ['e', job.event.id, '', 'job'], ['e', event.id, '', 'contract']], [])
  tell('contracted', { contract: event.id })
}

const answer = (request) => [['request', JSON.stringify(request)], ['e', request.id, '', 'request']]

function sayFeedback(request, job, status, key) {
  const tags = [['status', ...status], ['e', request.id, '', 'request'], ['e', job, '', 'job']]
  if (key) return party.sayHidden(7000, request.pubkey, tags, [w.writeParam('key', key)])
  return party.say(7000, [['p', request.pubkey], ...tags])
}

// ---- rounds ----

async function onRound(event) {
  const contract = contracts.get(w.findRef(event, 'contract'))
  w.need(contract && contract.customer === event.pubkey, 'a contract of ours')
  const hidden = party.open(event)
  const params = w.readParams(hidden)
  const [round, attempt] = [w.readInt(params, 'round', { min: 1 }), w.readInt(params, 'attempt')]
  const [deadline, price] = [w.readInt(params, 'deadline'), w.readInt(params, 'price_msat')]
  const place = [contract.event.id, round, attempt].join()
  w.need(w.find(event, 'n') === String(round) && !places.has(place) && deadline > w.nowS(), 'a new round in time')
  w.need(price === config.price_msat, 'our price')
  w.need(contract.policy !== 'hold' || w.isHash(params.payment_hash?.[0]), 'a hash to lock the money on')
  places.add(place)
  await sayFeedback(event, contract.job, ['processing'])
  try {
    await work({ event, contract, hidden, params, round, attempt, deadline })
  } catch (error) {
    await sayFeedback(event, contract.job, ['error', error.message.slice(0, 200)])
    throw error
  }
}

async function work({ event, contract, hidden, params, round, attempt, deadline }) {
  const { terms, shard, policy } = contract
  const count = mlp.countWeights(terms.sizes)
  const start = mlp.readVector(await w.download(w.readBlob(hidden, 'model'), terms.modelBytes), 'model', count)
  const random = mlp.makeRandom(Number(BigInt(params.seed[0]) % 2n ** 32n))
  const done = mlp.train(terms.sizes, mlp.toFloats(start), shard, terms.training, random)
  const after = mlp.toInts(done.weights)
  const update = mlp.writeVector('update', after.map((value, i) => value - start[i]))
  w.need(update.length <= terms.update_bytes_max && w.nowS() <= deadline, 'short enough and in time')
  const key = w.newKey()
  const ref = await party.upload(w.seal(update, key))
  const expiry = terms.train_s + terms.reveal_s + 3 * terms.judge_s + INVOICE_SLACK_S
  const asked = { key: `invoice/${event.id}`, amount_msat: config.price_msat, expiry_s: expiry }
  if (policy === 'hold') asked.payment_hash = params.payment_hash[0]
  if (policy === 'fair') asked.preimage = key
  const invoice = await w.wallet(config.wallet, policy === 'hold' ? 'make_hold_invoice' : 'make_invoice', asked)
  const hash = invoice.payment_hash
  const tags = [
    ...answer(event), ['e', contract.job, '', 'job'], ['e', contract.event.id, '', 'contract'],
    ['n', String(round)], ['amount', String(config.price_msat), invoice.bolt11],
  ]
  const commitment = w.commit(contract.job, contract.event.id, round, attempt, party.pubkey, w.sha256(update))
  const result = await party.sayHidden(6602, event.pubkey, tags, [
    w.writeBlob(ref, 'update', 'sealed'),
    w.writeParam('commitment', commitment),
    w.writeParam('samples', shard.count),
    w.writeParam('iterations', done.iterations),
    w.writeParam('flop', done.flop),
    w.writeParam('loss_ppm', Math.round(done.loss * 1e6)),
    ...(policy === 'invoice' ? [w.writeParam('key', key)] : []),
  ])
  works.set(result.id, { contract, request: event, hash, round })
  tell('delivered', { round })
  await getPaid({ event, contract, round, hash, key, until: deadline + terms.reveal_s + 2 * terms.judge_s })
}

// With policy hold the money is locked now, and the verdict lets us take it; else it comes by itself.
async function getPaid({ event, contract, round, hash, key, until }) {
  const wanted = contract.policy === 'hold' ? 'accepted' : 'settled'
  const lookup = { payment_hash: hash, is_incoming: true }
  const state = await w.waitForPayment(config.wallet, lookup, [wanted, 'canceled', 'expired'], until)
  if (state !== wanted) tell('unpaid', { round, state })
  else if (wanted === 'accepted') await sayFeedback(event, contract.job, ['partial'], key)
  else await sayPaid(event, contract, round, config.price_msat)
}

async function sayPaid(request, contract, round, amountMsat) {
  await sayFeedback(request, contract.job, ['success'])
  tell('paid', { round, amount_msat: amountMsat })
}

async function onVerdict(event) {
  const found = works.get(w.findRef(event, 'result'))
  w.need(found && found.contract.customer === event.pubkey, 'a verdict on our result')
  const [, status, code] = event.tags.find((tag) => tag[0] === 'status')
  if (status !== 'accepted') {
    if (found.contract.policy === 'hold') await w.wallet(config.wallet, 'cancel', { payment_hash: found.hash })
    tell('rejected', { round: found.round, code })
    return
  }
  if (found.contract.policy !== 'hold') return
  const [preimage] = w.readParams(party.open(event)).preimage ?? []
  w.need(w.isHash(preimage) && w.sha256(Buffer.from(preimage, 'hex')) === found.hash, 'the preimage of our invoice')
  const { state, amount_msat: amount } = await w.wallet(config.wallet, 'settle', { preimage })
  w.need(state === 'settled', `settling: ${state}`)
  await sayPaid(found.request, found.contract, found.round, amount)
}

function onCancel(event) {
  for (const [, id] of event.tags.filter((tag) => tag[0] === 'e')) {
    if (contracts.get(id)?.customer === event.pubkey) contracts.delete(id)
  }
}

// ---- everything that is heard ----

const HANDLERS = { 5: onCancel, 5600: onJob, 5601: onContract, 5602: onRound, 7601: onVerdict }

async function handle(event) {
  try {
    await HANDLERS[event.kind]?.(event)
  } catch (error) {
    tell('refused', { kind: event.kind, id: event.id, why: error.message })
  }
}

async function announce() {
  const about = { name: NAME, about: 'plain JavaScript', hardware: 'cpu', recipes: ['mlp'], price_msat: config.price_msat, payment: ['hold'], encryption: ['nip44_v2'] }
  const tags = [['d', NAME], ['k', '5600'], ['v', '1'], ['t', 'training']]
  await party.publish(party.sign(31990, tags, JSON.stringify(about)))
}

const beat = () => party.say(11998, [['a', `31990:${party.pubkey}:${NAME}`], ['d', NAME], ['status', 'online'], ['expiration', String(w.nowS() + 600)]])

await party.connect()
await party.subscribe([
  { kinds: [5600], '#t': ['training'] },
  { kinds: [5601, 5602, 7601, 7603], '#p': [party.pubkey] },
], (event) => handle(event))
await announce()
await beat()
const beating = setInterval(beat, 300_000)
tell('ready', { pubkey: party.pubkey })
process.stdin.resume()
process.stdin.on('end', () => {
  clearInterval(beating)
  party.close()
  process.exit(0)
})
