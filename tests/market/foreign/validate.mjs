// Is an event what docs/nip-training.md says? Written from the page alone, and stricter than a reader has
// to be: a tag, a marker, a parameter that the page does not know is a flaw.
//
//     node validate.mjs CONFIG.json < events (a line each) > {id, kind, flaws} (a line each)
//
// CONFIG: {keys: {public key: secret key}, job_keys: {id of a sealed job: its key}}, to open hidden tags.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { verifyEvent } from 'nostr-tools/pure'
import * as nip44 from 'nostr-tools/nip44'
import { EVENT_BYTES_MAX, find, isHash, openJob, readBlob, sizeOf } from './wire.mjs'

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const REQUEST_BYTES_MAX = 8_000
const POLICIES = ['hold', 'fair', 'invoice', 'escrow']
const RULINGS = ['accepted', 'rejected', 'inconclusive']
const CODES = [
  'accepted', 'no-gain', 'worse-than-peers', 'malformed', 'duplicate', 'replayed', 'empty', 'diverged', 'wrong-hash',
  'too-big', 'late', 'no-key', 'not-there', 'bad-invoice', 'bad-commitment', 'wrong-request', 'not-judged', 'cancelled',
  'not-paid',
]

// ---- forms of values: each takes the list of a parameter's or tag's values ----

const one = (fits) => (values) => values.length === 1 && fits(values[0])
const isInt = (text) => /^(0|[1-9][0-9]{0,18})$/.test(text)
const isSigned = (text) => /^(0|-?[1-9][0-9]{0,18})$/.test(text)
const isPoint = (text) => /^0[23][0-9a-f]{64}$/.test(text)
const isUrl = (text) => /^(wss?|https?):\/\/[^\s]+$/.test(text)
const within = (low, high) => one((text) => isInt(text) && Number(text) >= low && Number(text) <= high)
const count = within(1, Infinity)
const int = one(isInt)
const signed = one(isSigned)
const hash = one(isHash)
const point = one(isPoint)
const text = one(() => true)
const keys = (values) => values.length >= 1 && values.length <= 64 && new Set(values).size === values.length && values.every(isHash)
const policy = one((value) => POLICIES.includes(value))
const cut = (values) => values.length >= 1 && values.every((value) => value.length <= 4000)
const validation = ([method, ...rest]) =>
  method === 'holdout' && rest.length === 2 && isSigned(rest[0].replace(/^min_gain_ppm=/, '')) && isInt(rest[1].replace(/^peer_margin_ppm=/, ''))
const ruling = ([status, code, sentence, ...rest]) => RULINGS.includes(status) && CODES.includes(code) && sentence && !rest.length
const line = ([status, code, gain, ...rest]) => RULINGS.includes(status) && CODES.includes(code) && isSigned(gain) && !rest.length
const candidate = ([contract, commitment, shard, key, ...rest]) => [contract, commitment, key].every(isHash) && isInt(shard) && !rest.length
const status = ([word, sentence = '', ...rest]) =>
  ['payment-required', 'processing', 'error', 'success', 'partial'].includes(word) && sentence.length <= 500 && !rest.length
const amount = ([msat, bolt11 = '', ...rest]) => isInt(msat) && !rest.length && bolt11.length <= 2000

// ---- the page's tables. `?` in front: may be absent. `:key` behind: a public key follows ----

const JOB = {
  blobs: { task: 'json', '?code': 'py' },
  params: {
    recipe: text, algorithm: text, rounds: within(1, 10_000), shards: within(1, 1000), '?redundancy': within(1, 5),
    samples: count, shard_bytes: count, model_bytes: count, update_bytes_max: count,
    input: one((value) => /^[1-9][0-9]*(,[1-9][0-9]*){0,7}$/.test(value)), classes: count,
    train_s: count, reveal_s: count, judge_s: count, payment: (v) => v.length >= 1 && v.every((name) => POLICIES.includes(name)),
    validation, '?hardware': text, '?committee': keys, '?quorum': count, '?arbiter': point, '?jury': keys,
  },
}
const payment = (values) => values.length >= 1 && values.every((name) => POLICIES.includes(name))
const RULES = {
  5600: {
    markers: [], p: false, tags: { expiration: int, bid: count, relays: (v) => v.length >= 1 && v.every(isUrl), output: one((v) => v === 'application/x-kumiai-update'), '?payment': payment },
    encrypted: 'may', clear: JOB, hidden: JOB,
  },
  6600: {
    markers: ['request', 'job'], p: true, answers: true, tags: { amount: (v) => v.length === 1 && isInt(v[0]), expiration: int },
    encrypted: 'never', clear: { blobs: {}, params: { payment: policy, payee: point, train_s: count, '?ecash': point } },
  },
  5601: {
    markers: ['job', 'offer'], p: true, tags: { expiration: int }, encrypted: 'always',
    hidden: { blobs: { shard: 'sealed' }, params: { shard_key: hash, shard: int, price_msat: int, payment: policy, payee: point, '?job_key': hash } },
  },
  6601: { markers: ['request', 'contract', 'job'], p: true, answers: true, tags: {}, encrypted: 'always', hidden: { blobs: {}, params: {} } },
  5602: {
    markers: ['job', 'contract'], p: true, tags: { n: count, expiration: int }, encrypted: 'always',
    hidden: {
      blobs: { model: 'kumiai' },
      params: {
        round: count, attempt: int, seed: int, deadline: int, price_msat: int, '?payment_hash': hash,
        '?token': cut, '?customer_ecash': point, '?locktime': int,
      },
    },
  },
  6602: {
    markers: ['request', 'job', 'contract'], p: true, answers: true, tags: { n: count, amount }, encrypted: 'always',
    hidden: {
      blobs: { update: 'sealed' },
      params: { commitment: hash, samples: int, iterations: int, flop: int, loss_ppm: signed, '?key': hash },
    },
  },
  7000: {
    markers: ['request', 'job'], p: true, tags: { status }, encrypted: 'may',
    clear: { blobs: {}, params: {} }, hidden: { blobs: {}, params: { key: hash } },
  },
  7601: {
    markers: ['result', 'job', 'contract'], p: true, tags: { n: count, status: ruling, '?x': hash, '?model': hash }, encrypted: 'always',
    hidden: { blobs: {}, params: { gain_ppm: signed, '?preimage': hash, '?signature': (v) => v.length >= 1 } },
  },
  5603: {
    markers: ['job'], p: true, tags: { n: count, expiration: int }, encrypted: 'always',
    hidden: {
      blobs: { model: 'kumiai', '?previous': 'kumiai', '?update:key': 'sealed' },
      params: { round: count, attempt: int, part: int, parts: count, beacon: hash, '?candidate:key': candidate },
    },
  },
  6603: {
    markers: ['request', 'job'], p: true, tags: { n: count }, encrypted: 'never',
    clear: { blobs: {}, params: { attempt: int, loss_ppm: int, accuracy_ppm: within(0, 1e6), '?line:key': line } },
  },
  7602: {
    markers: ['verdict', 'job', 'contract'], p: true, tags: { n: count }, encrypted: 'always',
    hidden: {
      blobs: { update: 'sealed', model: 'kumiai' },
      params: { key: hash, attempt: int, commitment: hash, '?token': cut, verdict: cut },
    },
  },
  7603: {
    markers: ['dispute', 'verdict', 'job', 'contract'], p: true, tags: { status: ruling }, encrypted: 'may',
    clear: { blobs: {}, params: {} }, hidden: { blobs: {}, params: { signature: (v) => v.length >= 1 } },
  },
  7604: {
    markers: ['job'], p: false, tags: { '?x': hash }, encrypted: 'never',
    clear: { blobs: {}, params: { rounds: int, paid_msat: int, '?member:key': (v) => v.length === 3 && v.every(isInt) } },
  },
  31602: {
    markers: ['contract'], p: true, tags: { d: hash, rating: within(0, 100) }, encrypted: 'never',
    clear: { blobs: {}, params: {} }, content: () => true,
  },
  11998: {
    markers: [], p: false, tags: { a: one((value) => /^31990:[0-9a-f]{64}:/.test(value)), d: text, status: one((v) => v === 'online' || v === 'offline'), expiration: int },
    encrypted: 'never', clear: { blobs: {}, params: {} },
  },
  31990: {
    markers: [], p: false, tags: { d: text, k: one((value) => value === '5600') }, encrypted: 'never',
    clear: { blobs: {}, params: {} }, content: isAnnouncement,
  },
}

function isAnnouncement(content) {
  const about = JSON.parse(content)
  const names = ['name', 'about', 'hardware', 'recipes', 'price_msat', 'payment', 'encryption']
  const isList = (value) => Array.isArray(value) && value.every((item) => typeof item === 'string')
  return Object.keys(about).sort().join() === names.sort().join() && isList(about.recipes) && isList(about.payment) &&
    about.payment.every((name) => POLICIES.includes(name)) && Number.isInteger(about.price_msat) && about.encryption.includes('nip44_v2')
}

// ---- one event ----

function listFlaws(event) {
  const flaws = []
  const check = (condition, flaw) => { if (!condition) flaws.push(flaw) }
  check(verifyEvent(event), 'id or signature')
  check(sizeOf(event) <= EVENT_BYTES_MAX, `${sizeOf(event)} bytes`)
  if ([5600, 5601, 5602].includes(event.kind)) check(sizeOf(event) <= REQUEST_BYTES_MAX, `a request of ${sizeOf(event)} bytes`)
  if (event.kind === 5) return [...flaws, ...listCancelFlaws(event)]
  const rule = RULES[event.kind]
  if (!rule) return [...flaws, `kind ${event.kind} is not the page's`]
  check(find(event, 'v') === '1', 'v')
  check(event.tags.some((tag) => tag[0] === 't' && tag[1] === 'training'), 't')
  checkClear(event, rule, check)
  if (rule.answers) checkAnswer(event, check)
  const isEncrypted = event.tags.some((tag) => tag[0] === 'encrypted')
  check(rule.encrypted === 'may' || isEncrypted === (rule.encrypted === 'always'), `encrypted: ${isEncrypted}`)
  const shown = event.tags.filter((tag) => ['i', 'param'].includes(tag[0]))
  if (!isEncrypted) {
    check(rule.content ? rule.content(event.content) : event.content === '', 'content')
    checkTags(shown, rule.clear ?? { blobs: {}, params: {} }, check)
    return flaws
  }
  check(shown.length === 0, 'clear i or param beside hidden ones')
  const hidden = open(event)
  check(hidden, 'hidden tags that cannot be opened')
  if (hidden) {
    check(hidden.every((tag) => ['i', 'param'].includes(tag[0])), 'hidden tags other than i and param')
    checkTags(hidden, rule.hidden, check)
    checkSense(event, hidden, check)
  }
  return flaws
}

function listCancelFlaws(event) {
  const flaws = event.tags.filter(([name, value, ...rest]) => rest.length ||
    !((name === 'e' && isHash(value)) || (name === 'k' && ['5600', '5601', '5602'].includes(value)))).map((tag) => `tag ${tag}`)
  const names = event.tags.map((tag) => tag[0])
  return names.includes('e') && names.includes('k') ? flaws : [...flaws, 'e and k tags']
}

function checkClear(event, rule, check) {
  const markers = event.tags.filter((tag) => tag[0] === 'e')
  check(markers.every((tag) => tag.length === 4 && isHash(tag[1]) && (tag[2] === '' || isUrl(tag[2]))), 'form of e tags')
  check(markers.map((tag) => tag[3]).sort().join() === [...rule.markers].sort().join(), `markers ${markers.map((tag) => tag[3])}`)
  const receivers = event.tags.filter((tag) => tag[0] === 'p')
  check(receivers.length === (rule.p ? 1 : 0) && receivers.every((tag) => tag.length === 2 && isHash(tag[1])), 'p')
  const others = ['v', 't', 'e', 'p', 'i', 'param', 'encrypted', ...(rule.answers ? ['request'] : [])]
  const rest = event.tags.filter((tag) => !others.includes(tag[0]))
  if (event.kind === 5600) check(rest.some((tag) => tag[0] === 'payment') === event.tags.some((tag) => tag[0] === 'encrypted'), 'a sealed job, and no other, says payment openly')
  checkNamed(rest.map(([name, ...values]) => [name, values]), rule.tags, check, 'tag')
}

function checkNamed(found, rules, check, what) {
  const seen = new Set()
  for (const [name, values] of found) {
    const prefix = name.includes(':') && isHash(name.split(':')[1]) ? `${name.split(':')[0]}:key` : name
    const rule = rules[prefix] ?? rules[`?${prefix}`]
    check(rule, `${what} ${name} is not on the page`)
    check(!seen.has(name), `${what} ${name} is there twice`)
    seen.add(name)
    if (rule) check(rule(values), `${what} ${name} = ${values}`.slice(0, 200))
  }
  for (const name of Object.keys(rules)) check(name.startsWith('?') || seen.has(name), `${what} ${name} is missing`)
}

function checkTags(tags, rules, check) {
  const params = tags.filter((tag) => tag[0] === 'param')
  checkNamed(params.map(([, name, ...values]) => [name, values]), rules.params, check, 'param')
  check(params.every((tag) => tag.length <= 66 && tag.every((value) => value.length <= 4096)), 'too much of a param')
  const roles = tags.filter((tag) => tag[0] === 'i').map((tag) => [tag[4], [tag]])
  const blobs = Object.fromEntries(Object.entries(rules.blobs).map(([role, ext]) => [role, ([tag]) => isBlob(tag, ext)]))
  checkNamed(roles, blobs, check, 'i')
}

function isBlob(tag, ext) {
  const ref = readBlob([tag], tag[4])
  const isPlain = ref.servers.every((server) => isUrl(server) && !server.endsWith('/') && !server.includes('%'))
  return tag.length === 5 && tag[2] === 'url' && tag[3] === '' && ref.servers.length >= 1 && ref.servers.length <= 8 &&
    isPlain && tag[1].split('?')[0].endsWith(`.${ext}`)
}

function checkAnswer(event, check) {
  const embedded = event.tags.filter((tag) => tag[0] === 'request')
  check(embedded.length === 1 && embedded[0].length === 2, 'one request tag')
  const request = JSON.parse(embedded[0][1])
  check(verifyEvent(request), 'the embedded request')
  check(event.tags.some((tag) => tag[0] === 'e' && tag[3] === 'request' && tag[1] === request.id), 'e of the embedded request')
  check(request.pubkey === find(event, 'p') && request.kind === event.kind - 1000, 'author and kind of the embedded request')
}

// What the tags of one event say together.
function checkSense(event, hidden, check) {
  const value = (name) => hidden.find((tag) => tag[0] === 'param' && tag[1] === name)?.[2]
  if ([5602, 5603].includes(event.kind)) check(find(event, 'n') === value('round'), 'n is not the round')
  if (event.kind === 5602) check(find(event, 'expiration') === value('deadline'), 'expiration is not the deadline')
  if (event.kind === 7000) check(find(event, 'status') === 'partial', 'a key comes with partial only')
  if (event.kind === 7601) check(!(value('preimage') || value('signature')) || find(event, 'status') === 'accepted', 'money for what was not accepted')
}

function open(event) {
  try {
    if (event.kind === 5600) return openJob(config.job_keys[event.id], event.content)
    const receiver = find(event, 'p')
    const [secret, peer] = config.keys[event.pubkey] ? [config.keys[event.pubkey], receiver] : [config.keys[receiver], event.pubkey]
    const conversation = nip44.v2.utils.getConversationKey(Uint8Array.from(Buffer.from(secret, 'hex')), peer)
    return JSON.parse(nip44.v2.decrypt(event.content, conversation))
  } catch {
    return undefined
  }
}

for await (const text of createInterface({ input: process.stdin })) {
  const event = JSON.parse(text)
  let flaws
  try {
    flaws = listFlaws(event)
  } catch (error) {
    flaws = [String(error.message)]
  }
  console.log(JSON.stringify({ id: event.id, kind: event.kind, flaws }))
}
