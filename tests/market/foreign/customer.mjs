// A customer of the training market, from docs/nip-training.md alone: node customer.mjs CONFIG.json
//
// It draws three clouds of points, posts a job to tell them apart, contracts the cheapest providers,
// asks them for updates in rounds, judges each update on points that only it has, pays by policy hold,
// fair or invoice and averages what it accepted. The last line that it writes is the outcome as JSON.
//
// CONFIG: {secret, relays, blobs, wallet, task, rounds, shards, bid_msat, payment, sealed, offers_s, train_s, ...}

import { readFileSync } from 'node:fs'
import * as mlp from './mlp.mjs'
import * as w from './wire.mjs'

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const INPUT = 8
const CLASSES = 3
const JUDGE_S = config.judge_s ?? 20
const REVEAL_S = config.reveal_s ?? 10
const random = mlp.makeRandom(config.seed ?? 1)
const POLICY = config.payment ?? 'hold'
const log = (...words) => console.error('customer:', ...words)

const party = new w.Party(config)
const box = new w.Mailbox()

function drawData(count) {
  const x = new Float32Array(count * INPUT)
  const y = []
  for (let n = 0; n < count; n++) {
    const label = Math.floor(random() * CLASSES)
    for (let i = 0; i < INPUT; i++) {
      const noise = random() + random() + random() + random() - 2
      x[n * INPUT + i] = (i % CLASSES === label ? 1 : 0) + 1.2 * noise
    }
    y.push(label)
  }
  return { count, x, y, inputSize: INPUT }
}

// ---- the job ----

async function post(sizes, model, shards) {
  const task = JSON.parse(readFileSync(config.task, 'utf8'))
  task.name = 'three clouds'
  task.model.options = { hidden: String(sizes[1]) }
  task.data.trainers = config.shards
  Object.assign(task.training, { rounds: config.rounds, local_epochs: 2, learning_rate_ppm: 100_000 })
  const taskRef = await party.upload(Buffer.from(writeCanonical(task)))
  const largest = Math.max(...shards.map((shard) => shard.length))
  const hidden = [
    w.writeBlob(taskRef, 'task', 'json'),
    w.writeParam('recipe', 'mlp'),
    w.writeParam('algorithm', 'fedavg'),
    w.writeParam('rounds', config.rounds),
    w.writeParam('shards', config.shards),
    w.writeParam('redundancy', 1),
    w.writeParam('samples', config.samples),
    w.writeParam('shard_bytes', largest),
    w.writeParam('model_bytes', model.size),
    w.writeParam('update_bytes_max', 1032 + 4 * mlp.countWeights(sizes)),
    w.writeParam('input', INPUT),
    w.writeParam('classes', CLASSES),
    w.writeParam('train_s', config.train_s),
    w.writeParam('reveal_s', REVEAL_S),
    w.writeParam('judge_s', JUDGE_S),
    w.writeParam('payment', POLICY),
    w.writeParam('validation', 'holdout', 'min_gain_ppm=0', 'peer_margin_ppm=1000000'),
    w.writeParam('hardware', 'cpu'),
  ]
  const tags = [
    ['expiration', String(w.nowS() + config.offers_s + 60)],
    ['bid', String(config.bid_msat)],
    ['relays', ...config.relays],
    ['output', 'application/x-kumiai-update'],
  ]
  if (!config.sealed) return { event: await party.say(5600, [...tags, ...hidden]), task }
  const jobKey = w.newKey()
  return { event: await party.say(5600, [...tags, ['payment', POLICY], ['encrypted']], w.sealJob(jobKey, hidden)), jobKey, task }
}

function writeCanonical(value) {
  if (Array.isArray(value)) return `[${value.map(writeCanonical).join()}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const fields = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${writeCanonical(value[name])}`)
  return `{${fields.join()}}`
}

// ---- offers and contracts ----

async function collectOffers(job) {
  const offers = new Map()
  const until = w.nowS() + config.offers_s
  while (offers.size < (config.offers_enough ?? config.shards)) {
    const event = await box.take((one) => one.kind === 6600, until)
    if (!event) break
    attempt(() => {
      w.need(party.checkAnswer(event).id === job.id && w.findRef(event, 'job') === job.id, 'an offer for our job')
      const params = w.readParams(event.tags)
      const price = Number(w.find(event, 'amount'))
      w.need(/^[1-9][0-9]*$/.test(w.find(event, 'amount')) && price <= config.bid_msat, `an amount within the bid`)
      w.need(params.payment?.[0] === POLICY && /^0[23][0-9a-f]{64}$/.test(params.payee?.[0]), `${POLICY}, and a payee`)
      offers.set(event.pubkey, { event, price, payee: params.payee[0], trainS: w.readInt(params, 'train_s', { min: 1 }) })
    }, event)
  }
  return [...offers.values()].sort((a, b) => a.price - b.price || a.trainS - b.trainS)
}

async function contract(job, jobKey, offer, index, shard) {
  const key = w.newKey()
  const ref = await party.upload(w.seal(shard, key))
  const provider = offer.event.pubkey
  const hidden = [
    w.writeBlob(ref, 'shard', 'sealed'),
    w.writeParam('shard_key', key),
    w.writeParam('shard', index),
    w.writeParam('price_msat', offer.price),
    w.writeParam('payment', POLICY),
    w.writeParam('payee', offer.payee),
    ...(jobKey ? [w.writeParam('job_key', jobKey)] : []),
  ]
  const until = w.nowS() + 120
  const tags = [['e', job.id, '', 'job'], ['e', offer.event.id, '', 'offer'], ['expiration', String(until)]]
  const event = await party.sayHidden(5601, provider, tags, hidden)
  const isAnswer = (one) => one.pubkey === provider && (one.kind === 6601 || one.kind === 7000) && refers(one, event.id)
  const answer = await box.take(isAnswer, until)
  w.need(answer?.kind === 6601, `${provider.slice(0, 8)} did not accept: ${answer && answer.tags.find((t) => t[0] === 'status')}`)
  w.need(party.checkAnswer(answer).id === event.id, 'an acceptance of this contract')
  return { id: event.id, provider, offer, index, accepted: 0, paidMsat: 0, rejected: 0 }
}

const refers = (event, id) => event.tags.some((tag) => tag[0] === 'e' && tag[1] === id && tag[3] === 'request')

// ---- one provider's work of one round ----

async function ask(job, member, round, modelRef) {
  const preimage = w.newKey()
  const hash = w.sha256(Buffer.from(preimage, 'hex'))
  const deadline = w.nowS() + config.train_s
  const price = member.offer.price
  const hidden = [
    w.writeBlob(modelRef, 'model', 'kumiai'),
    w.writeParam('round', round),
    w.writeParam('attempt', 0),
    w.writeParam('seed', Math.floor(random() * 2 ** 50)),
    w.writeParam('deadline', deadline),
    w.writeParam('price_msat', price),
    ...(POLICY === 'hold' ? [w.writeParam('payment_hash', hash)] : []),
  ]
  const tags = [['e', job.id, '', 'job'], ['e', member.id, '', 'contract'], ['n', String(round)], ['expiration', String(deadline)]]
  const request = await party.sayHidden(5602, member.provider, tags, hidden)
  const isHis = (one) => one.pubkey === member.provider && refers(one, request.id)
  const status = (one) => one.tags.find((tag) => tag[0] === 'status')
  const silence = w.nowS() + Math.ceil(config.train_s / 4)
  const first = await box.take((one) => isHis(one) && one.kind === 7000, silence)
  w.need(first && ['processing', 'payment-required'].includes(status(first)[1]), `no reply: ${first && status(first)}`)
  const result = await box.take((one) => isHis(one) && one.kind === 6602, deadline)
  w.need(result, 'no result before the deadline')
  const work = { member, round, request, result, preimage, hash }
  const given = readResult(work)
  const sealed = await w.download(given.update, given.sealedMax)
  const isKey = (one) => isHis(one) && one.kind === 7000 && status(one)[1] === 'partial'
  work.plain = w.unseal(sealed, await getKey(work, given, isKey), given.plainMax)
  work.update = w.sha256(work.plain)
  const commitment = w.commit(job.id, member.id, round, 0, member.provider, work.update)
  w.need(commitment === given.commitment, 'the update that was committed to')
  return work
}

function readResult({ member, round, result, request }) {
  w.need(party.checkAnswer(result).id === request.id, 'a result of this request')
  w.need(w.findRef(result, 'contract') === member.id && w.find(result, 'n') === String(round), 'its contract and round')
  const hidden = party.open(result)
  const params = w.readParams(hidden)
  const plainMax = 1032 + 4 * mlp.countWeights(sizes)
  for (const name of ['samples', 'iterations', 'flop']) w.readInt(params, name)
  w.readInt(params, 'loss_ppm', { min: -1e12 })
  w.need(w.isHash(params.commitment?.[0]), 'a commitment')
  return { update: w.readBlob(hidden, 'update'), commitment: params.commitment[0], key: params.key?.[0], plainMax, sealedMax: plainMax + 64 }
}

// What opens the sealed update, by the policy: for locked money, for money, or as a gift.
async function getKey(work, given, isKey) {
  if (POLICY === 'invoice') {
    w.need(w.isHash(given.key), 'a key with the result')
    return given.key
  }
  const paid = await pay(work)
  if (POLICY === 'fair') {
    w.need(paid.state === 'settled', `paying: ${paid.state}`)
    return paid.preimage
  }
  w.need(['accepted', 'pending'].includes(paid.state), `paying: ${paid.state}`)
  const partial = await box.take(isKey, w.nowS() + REVEAL_S)
  w.need(partial, 'no key')
  const [key] = w.readParams(party.open(partial)).key ?? []
  w.need(w.isHash(key), 'a key')
  return key
}

// Only the contract's invoice; with policy hold the money is locked until we say the preimage.
async function pay(work) {
  const { member, result, hash } = work
  const [, amount, bolt11] = result.tags.find((tag) => tag[0] === 'amount')
  const invoice = await w.wallet(config.wallet, 'decode', { bolt11 })
  w.need(Number(amount) <= member.offer.price && invoice.amount_msat === Number(amount), 'the amount of the contract')
  w.need(invoice.payee === member.offer.payee, 'the payee of the offer')
  w.need(POLICY !== 'hold' || invoice.payment_hash === hash, 'our hash')
  work.hash = invoice.payment_hash
  work.amountMsat = Number(amount)
  const body = { key: `pay/${work.request.id}`, bolt11, amount_msat: work.amountMsat, payee: member.offer.payee }
  return w.wallet(config.wallet, 'pay', body)
}

// ---- judging ----

// Copies are looked for in the one form that needs no knowledge of the others: the same direction.
function judge(works, weights, step) {
  const base = mlp.measure(sizes, mlp.toFloats(weights), holdout)
  const replays = task.validation.replay_cosine_ppm / 1e6
  const earlier = []
  for (const work of works) {
    Object.assign(work, { gain: 0, code: 'malformed' })
    attempt(() => {
      work.ints = mlp.readVector(work.plain, 'update', weights.length)
      const moved = weights.map((value, i) => value + work.ints[i])
      const found = mlp.measure(sizes, mlp.toFloats(moved), holdout)
      const gain = Math.min(base.loss - found.loss, base.bounded - found.bounded)
      work.gain = Math.round(Math.max(-1, gain) * 1e6)
      if (work.ints.every((value) => value === 0)) work.code = 'empty'
      else if (earlier.some((other) => Math.abs(cosine(other, work.ints)) >= 0.99999)) work.code = 'duplicate'
      else if (step && cosine(step, work.ints) >= replays) work.code = 'replayed'
      else work.code = work.gain >= 0 ? 'accepted' : 'no-gain'
      earlier.push(work.ints)
    }, work.result)
  }
  const mean = works.reduce((sum, work) => sum + work.gain, 0) / works.length
  for (const work of works) if (work.code === 'accepted' && work.gain < mean - 1e6) work.code = 'worse-than-peers'
}

function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0]
  a.forEach((value, i) => { ab += value * b[i]; aa += value * value; bb += b[i] * b[i] })
  return ab / Math.sqrt(aa * bb || 1)
}

async function sayVerdict(job, work) {
  const isAccepted = work.code === 'accepted'
  const tags = [
    ['e', job.id, '', 'job'], ['e', work.member.id, '', 'contract'], ['e', work.result.id, '', 'result'],
    ['n', String(work.round)], ['status', isAccepted ? 'accepted' : 'rejected', work.code, 'by its gain on our own points'],
    ['x', work.update],
  ]
  const hidden = [w.writeParam('gain_ppm', work.gain), ...(isAccepted && POLICY === 'hold' ? [w.writeParam('preimage', work.preimage)] : [])]
  await party.sayHidden(7601, work.member.provider, tags, hidden)
  if (POLICY === 'fair') work.member.paidMsat += work.amountMsat
  if (!isAccepted) return void (work.member.rejected += 1)
  work.member.accepted += 1
  if (POLICY === 'fair') return
  if (POLICY === 'invoice') await pay(work)
  const until = w.nowS() + 120
  const state = await w.waitForPayment(config.wallet, { payment_hash: work.hash, is_incoming: false }, ['settled'], until)
  w.need(state === 'settled', `the provider did not take its money: ${state}`)
  work.member.paidMsat += work.amountMsat
}

async function attempt(action, event) {
  try {
    return await action()
  } catch (error) {
    log(`event ${event?.id?.slice(0, 8)} of kind ${event?.kind}: ${error.message}`)
    return undefined
  }
}

// ---- the whole job ----

const sizes = mlp.listSizes(INPUT, { hidden: '16' }, CLASSES)
const holdout = drawData(300)
config.samples ??= 200
const shards = Array.from({ length: config.shards }, () => mlp.writeShard(drawData(config.samples)))
let model = mlp.toInts(mlp.drawModel(sizes, random))

await party.connect()
await party.subscribe([{ kinds: [6600, 6601, 6602, 7000], '#p': [party.pubkey] }], (event) => box.put(event))
let modelRef = await party.upload(mlp.writeVector('model', model))
const { event: job, jobKey, task } = await post(sizes, modelRef, shards)
const offers = await collectOffers(job)
log(`${offers.length} offers`)
const wanted = offers.slice(0, config.shards)
const signed = wanted.map((offer, i) => attempt(() => contract(job, jobKey, offer, i, shards[i]), offer.event))
const members = (await Promise.all(signed)).filter(Boolean)
const losses = [mlp.measure(sizes, mlp.toFloats(model), holdout).loss]
let step
for (let round = 1; round <= config.rounds && members.length; round++) {
  const asked = members.map((member) => attempt(() => ask(job, member, round, modelRef), { id: member.id, kind: 5602 }))
  const works = (await Promise.all(asked)).filter(Boolean)
  judge(works, model, step)
  await Promise.all(works.map((work) => attempt(() => sayVerdict(job, work), work.result)))
  const accepted = works.filter((work) => work.code === 'accepted')
  log(`round ${round}: ${works.map((work) => `${work.code} ${work.gain}`)}`)
  if (accepted.length) {
    step = model.map((_, i) => Math.round(accepted.reduce((sum, work) => sum + work.ints[i], 0) / accepted.length))
    model = model.map((value, i) => value + step[i])
    modelRef = await party.upload(mlp.writeVector('model', model))
  }
  losses.push(mlp.measure(sizes, mlp.toFloats(model), holdout).loss)
}
const paid = members.reduce((sum, member) => sum + member.paidMsat, 0)
await party.say(7604, [
  ['e', job.id, '', 'job'], w.writeParam('rounds', config.rounds), w.writeParam('paid_msat', paid), ['x', modelRef.sha256],
  ...members.map((member) => w.writeParam(`member:${member.provider}`, member.accepted, member.rejected, member.paidMsat)),
])
const { accuracy } = mlp.measure(sizes, mlp.toFloats(model), holdout)
const told = members.map(({ provider, accepted, rejected, paidMsat }) => ({ provider, accepted, rejected, paid_msat: paidMsat }))
console.log(JSON.stringify({ job: job.id, job_key: jobKey ?? '', losses, accuracy, paid_msat: paid, members: told }))
party.close()
