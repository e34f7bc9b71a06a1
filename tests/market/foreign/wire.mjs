// What a customer and a provider share, from docs/nip-training.md sections 2 and 7: signed events on
// several relays, hidden tags, blobs by their sha256, sealed files. Nothing here knows Kumiai's code.

import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { finalizeEvent, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import * as nip44 from 'nostr-tools/nip44'
import { Relay, useWebSocketImplementation } from 'nostr-tools/relay'
import WebSocket from 'ws'

useWebSocketImplementation(WebSocket)

export const EVENT_BYTES_MAX = 12_000
const CHUNK = 1 << 20
const TAG = 16
const HEADER = 48
const MAGIC = Buffer.concat([Buffer.from('kumiai-sealed'), Buffer.from([0, 0, 1])])
const INFO = 'kumiai sealed file 1'

export const nowS = () => Math.floor(Date.now() / 1000)
export const sha256 = (data) => createHash('sha256').update(data).digest('hex')
export const newKey = () => randomBytes(32).toString('hex')
export const isHash = (text) => /^[0-9a-f]{64}$/.test(text ?? '')
export const sizeOf = (event) => Buffer.byteLength(JSON.stringify(event))
const fromHex = (text) => Uint8Array.from(Buffer.from(text, 'hex'))

export function need(condition, message) {
  if (!condition) throw new Error(message)
}

// ---- tags ----

export const find = (event, name) => event.tags.find((tag) => tag[0] === name)?.[1]

export function findRef(event, marker) {
  const found = event.tags.filter((tag) => tag[0] === 'e' && tag[3] === marker)
  need(found.length === 1 && isHash(found[0][1]), `exactly one e tag with marker ${marker}`)
  return found[0][1]
}

export function readParams(tags) {
  const params = {}
  for (const [kind, name, ...values] of tags) {
    if (kind !== 'param') continue
    need(!Object.hasOwn(params, name), `param ${name} is given twice`)
    params[name] = values
  }
  return params
}

export function readInt(params, name, { min = 0, fallback } = {}) {
  if (params[name] === undefined && fallback !== undefined) return fallback
  const text = params[name]?.[0] ?? ''
  const form = min < 0 ? /^(0|-?[1-9][0-9]{0,18})$/ : /^(0|[1-9][0-9]{0,18})$/
  need(params[name]?.length === 1 && form.test(text) && Number(text) >= min, `param ${name} = ${text}`)
  return Number(text)
}

export const writeParam = (name, ...values) => ['param', name, ...values.map(String)]
export const writeBlob = (ref, role, ext) =>
  ['i', `blossom:${ref.sha256}.${ext}?xs=${ref.server}&sz=${ref.size}`, 'url', '', role]

export function readBlob(tags, role) {
  const found = tags.filter((tag) => tag[0] === 'i' && tag[4] === role)
  need(found.length === 1, `exactly one i tag with role ${role}`)
  const match = /^blossom:([0-9a-f]{64})\.[a-z0-9]{1,12}\?(.*)$/s.exec(found[0][1])
  need(match, `a blossom URI, not ${found[0][1]}`)
  const hints = match[2].split('&').map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)])
  const sizes = hints.filter(([name]) => name === 'sz')
  need(sizes.length === 1 && /^(0|[1-9][0-9]*)$/.test(sizes[0][1]), 'one sz')
  return { sha256: match[1], size: Number(sizes[0][1]), servers: hints.filter(([n]) => n === 'xs').map(([, v]) => v) }
}

export const hasExpired = (event) => find(event, 'expiration') !== undefined && Number(find(event, 'expiration')) <= nowS()

// ---- one party: its key, its relays, its blob server ----

export class Party {
  constructor({ secret, relays, blobs }) {
    this.secret = fromHex(secret)
    this.pubkey = getPublicKey(this.secret)
    this.urls = relays
    this.server = blobs
    this.relays = []
    this.seen = new Set()
  }

  async connect() {
    this.relays = await Promise.all(this.urls.map((url) => Relay.connect(url)))
  }

  close() {
    for (const relay of this.relays) relay.close()
  }

  // Each event once, checked as section 10 asks of one event by itself; resolves when all relays
  // have given what they had stored.
  subscribe(filters, onEvent) {
    const take = (event) => {
      if (this.seen.has(event.id)) return
      this.seen.add(event.id)
      const isCancel = event.kind === 5
      if (!verifyEvent(event) || sizeOf(event) > EVENT_BYTES_MAX || event.pubkey === this.pubkey) return
      if (!isCancel && (find(event, 'v') !== '1' || hasExpired(event))) return
      onEvent(event)
    }
    return Promise.all(this.relays.map((relay) => new Promise((done) => {
      relay.subscribe(filters, { onevent: take, oneose: done })
    })))
  }

  sign(kind, tags, content = '') {
    const event = finalizeEvent({ kind, created_at: nowS(), tags, content }, this.secret)
    need(sizeOf(event) <= EVENT_BYTES_MAX, `an event of ${sizeOf(event)} bytes`)
    return event
  }

  // Known to be out as soon as one relay has taken it.
  async publish(event) {
    await Promise.any(this.relays.map((relay) => relay.publish(event)))
    return event
  }

  say(kind, tags, content = '') {
    return this.publish(this.sign(kind, [['v', '1'], ['t', 'training'], ...tags], content))
  }

  sayHidden(kind, peer, tags, hidden) {
    return this.say(kind, [['p', peer], ...tags, ['encrypted']], this.hide(peer, hidden))
  }

  hide(peer, tags) {
    return nip44.v2.encrypt(JSON.stringify(tags), nip44.v2.utils.getConversationKey(this.secret, peer))
  }

  open(event) {
    need(find(event, 'p') === this.pubkey, 'it is not for us')
    need(!event.tags.some((tag) => tag[0] === 'i' || tag[0] === 'param'), 'clear tags beside hidden ones')
    return readHidden(event.content, nip44.v2.utils.getConversationKey(this.secret, event.pubkey))
  }

  // The request that a result carries: the one that its e tag names, and signed by us.
  checkAnswer(event) {
    const request = JSON.parse(find(event, 'request') ?? '')
    need(verifyEvent(request) && request.id === findRef(event, 'request'), 'the request that it names')
    need(request.pubkey === this.pubkey && find(event, 'p') === this.pubkey, 'a request of ours')
    need(event.kind === request.kind + 1000, 'a result has its request\'s kind plus 1000')
    return request
  }

  async upload(data) {
    const name = sha256(data)
    const tags = [['t', 'upload'], ['x', name], ['expiration', String(nowS() + 300)]]
    const event = finalizeEvent({ kind: 24242, created_at: nowS(), tags, content: 'upload' }, this.secret)
    const headers = { Authorization: `Nostr ${Buffer.from(JSON.stringify(event)).toString('base64url')}` }
    const answer = await fetch(`${this.server}/upload`, { method: 'PUT', body: data, headers })
    need(answer.ok, `upload: ${answer.status} ${answer.headers.get('x-reason') ?? ''}`)
    need((await answer.json()).sha256 === name, 'the server stored something else')
    return { sha256: name, size: data.length, server: this.server }
  }
}

export function sealJob(jobKey, tags) {
  return nip44.v2.encrypt(JSON.stringify(tags), fromHex(jobKey))
}

export const openJob = (jobKey, content) => readHidden(content, fromHex(jobKey))

function readHidden(content, conversationKey) {
  const tags = JSON.parse(nip44.v2.decrypt(content, conversationKey))
  const isTag = (tag) => Array.isArray(tag) && tag.every((item) => typeof item === 'string') && ['i', 'param'].includes(tag[0])
  need(Array.isArray(tags) && tags.every(isTag), 'hidden tags are i and param tags')
  return tags
}

// Never more bytes than announced, from whichever server has them.
export async function download(ref, sizeMax) {
  need(ref.size <= sizeMax, `${ref.size} bytes announced, ${sizeMax} allowed`)
  for (const server of ref.servers) {
    try {
      const answer = await fetch(`${server}/${ref.sha256}`)
      if (!answer.ok) continue
      const parts = []
      let size = 0
      for await (const part of answer.body) {
        size += part.length
        if (size > ref.size) break
        parts.push(part)
      }
      const data = Buffer.concat(parts)
      if (size === ref.size && sha256(data) === ref.sha256) return data
    } catch {
      continue
    }
  }
  throw new Error(`no server has ${ref.sha256}`)
}

// ---- sealed files ----

export function seal(plain, keyHex) {
  const header = Buffer.concat([MAGIC, randomBytes(32)])
  const count = Math.max(1, Math.ceil(plain.length / CHUNK))
  const parts = [header]
  for (let i = 0; i < count; i++) {
    const { key, nonce } = chunkKey(keyHex, header, i, i === count - 1)
    const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG })
    cipher.setAAD(header)
    parts.push(cipher.update(plain.subarray(i * CHUNK, (i + 1) * CHUNK)), cipher.final(), cipher.getAuthTag())
  }
  return Buffer.concat(parts)
}

export function unseal(data, keyHex, sizeMax) {
  const header = data.subarray(0, HEADER)
  need(header.length === HEADER && header.subarray(0, MAGIC.length).equals(MAGIC), 'not a sealed file')
  const count = Math.max(1, Math.ceil((data.length - HEADER) / (CHUNK + TAG)))
  const parts = []
  for (let i = 0; i < count; i++) {
    const chunk = data.subarray(HEADER + i * (CHUNK + TAG), HEADER + (i + 1) * (CHUNK + TAG))
    const { key, nonce } = chunkKey(keyHex, header, i, i === count - 1)
    const cipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG })
    cipher.setAAD(header)
    cipher.setAuthTag(chunk.subarray(-TAG))
    parts.push(cipher.update(chunk.subarray(0, -TAG)), cipher.final())
  }
  const plain = Buffer.concat(parts)
  need(plain.length <= sizeMax, `${plain.length} bytes, ${sizeMax} allowed`)
  return plain
}

function chunkKey(keyHex, header, number, isLast) {
  const secret = Buffer.from(hkdfSync('sha256', fromHex(keyHex), header.subarray(16), INFO, 39))
  const nonce = Buffer.alloc(12)
  secret.copy(nonce, 0, 32, 39)
  nonce.writeUInt32BE(number, 7)
  nonce[11] = isLast ? 1 : 0
  return { key: secret.subarray(0, 32), nonce }
}

// ---- commitments, waiting, the wallet ----

export const commit = (job, contract, round, attempt, provider, update) =>
  sha256(['kumiai-training-1', job, contract, round, attempt, provider, update].join('\n'))

// Events that somebody will ask for: `take` waits until one fits, or gives undefined at the deadline.
export class Mailbox {
  constructor() {
    this.letters = []
    this.waiting = []
  }

  put(letter) {
    const at = this.waiting.findIndex((one) => one.fits(letter))
    if (at < 0) this.letters.push(letter)
    else this.waiting.splice(at, 1)[0].give(letter)
  }

  take(fits, deadlineS) {
    const at = this.letters.findIndex(fits)
    if (at >= 0) return Promise.resolve(this.letters.splice(at, 1)[0])
    return new Promise((give) => {
      const one = { fits, give: (letter) => { clearTimeout(timer); give(letter) } }
      const timer = setTimeout(() => {
        this.waiting = this.waiting.filter((other) => other !== one)
        give(undefined)
      }, Math.max(0, deadlineS * 1000 - Date.now()))
      this.waiting.push(one)
    })
  }
}

// A Lightning wallet behind HTTP and JSON: POST <url>/<method>. Methods: info, decode, make_invoice,
// make_hold_invoice, pay, lookup, settle, cancel. States are pending, accepted, settled, failed, expired, canceled.
export async function wallet(url, method, body = {}) {
  const answer = await fetch(`${url}/${method}`, { method: 'POST', body: JSON.stringify(body) })
  need(answer.ok, `wallet ${method}: ${answer.status} ${await answer.clone().text()}`)
  return answer.json()
}

export async function waitForPayment(url, body, states, untilS) {
  for (;;) {
    const { state } = await wallet(url, 'lookup', body)
    if (states.includes(state) || nowS() > untilS) return state
    await sleep(50)
  }
}
