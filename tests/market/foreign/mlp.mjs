// The numbers, from docs/nip-training.md section 11: safetensors, fixed point, the recipe `mlp`, plain SGD.

import { need } from './wire.mjs'

const SCALE = 2 ** 24
const LIMIT = 2 ** 31
const TYPES = { F32: [Float32Array, 4], I32: [Int32Array, 4], I64: [BigInt64Array, 8] }

// ---- tensors (numbers are little endian, as on every machine that node runs on) ----

export function writeTensors(tensors) {
  const header = {}
  const parts = []
  let offset = 0
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] }
    offset += bytes.length
    parts.push(bytes)
  }
  let text = JSON.stringify(header)
  text = text.padEnd(Math.ceil(text.length / 8) * 8)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, Buffer.from(text), ...parts])
}

export function readTensors(data, wanted, headerMax) {
  need(data.length >= 8, 'a header')
  const length = data.readBigUInt64LE(0)
  need(length <= BigInt(headerMax) && 8 + Number(length) <= data.length, `a header of ${length} bytes`)
  const start = 8 + Number(length)
  const header = JSON.parse(data.subarray(8, start).toString())
  const names = Object.keys(wanted).sort().join()
  need(Object.keys(header).sort().join() === names, `tensors ${Object.keys(header)}, expected ${names}`)
  const tensors = {}
  let total = 0
  for (const [name, dtype] of Object.entries(wanted)) {
    const [Numbers, width] = TYPES[dtype]
    const { dtype: found, shape, data_offsets: [begin, end] } = header[name]
    const count = shape.reduce((product, size) => product * size, 1)
    need(found === dtype && end - begin === count * width && start + end <= data.length, `tensor ${name}`)
    const bytes = Uint8Array.from(data.subarray(start + begin, start + end))
    tensors[name] = { shape, data: new Numbers(bytes.buffer) }
    total += bytes.length
  }
  need(start + total === data.length, 'bytes that belong to no tensor')
  return tensors
}

export function readVector(data, name, size) {
  const { shape, data: ints } = readTensors(data, { [name]: 'I32' }, 1024)[name]
  need(shape.length === 1 && ints.length === size, `${ints.length} numbers, expected ${size}`)
  need(ints.every((value) => value > -LIMIT), 'a number outside the fixed point')
  return ints
}

export const writeVector = (name, ints) => writeTensors({ [name]: { dtype: 'I32', shape: [ints.length], data: ints } })

export const toFloats = (ints) => Float64Array.from(ints, (value) => value / SCALE)

export function toInts(floats) {
  return Int32Array.from(floats, (value) => {
    const scaled = roundEven(value * SCALE)
    need(Math.abs(scaled) < LIMIT, `${value} has no fixed-point form`)
    return scaled
  })
}

function roundEven(value) {
  const rounded = Math.round(value)
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

export function readShard(data, inputSize, classes) {
  const { x, y } = readTensors(data, { x: 'F32', y: 'I64' }, 4096)
  const count = x.shape[0]
  need(count >= 1 && x.data.length === count * inputSize && y.shape.length === 1 && y.data.length === count, 'a shard of this job')
  const labels = Array.from(y.data, Number)
  need(x.data.every(Number.isFinite) && labels.every((label) => label >= 0 && label < classes), 'samples and labels')
  return { count, x: x.data, y: labels, inputSize }
}

export function writeShard({ count, x, y, inputSize }) {
  const labels = BigInt64Array.from(y, BigInt)
  return writeTensors({
    x: { dtype: 'F32', shape: [count, inputSize], data: Float32Array.from(x) },
    y: { dtype: 'I64', shape: [count], data: labels },
  })
}

// ---- the network: sizes [inputs, hidden..., classes]; weights in the page's order ----

export const listSizes = (inputSize, options, classes) =>
  [inputSize, ...String(options.hidden ?? '64').split(',').map(Number), classes]

export const countWeights = (sizes) =>
  sizes.slice(1).reduce((sum, size, i) => sum + size * (sizes[i] + 1), 0)

export function drawModel(sizes, random) {
  const weights = new Float64Array(countWeights(sizes))
  let at = 0
  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const isHead = layer + 2 === sizes.length
    const bound = isHead ? 1 / Math.sqrt(sizes[layer]) : Math.sqrt(6 / sizes[layer])
    for (let i = 0; i < sizes[layer] * sizes[layer + 1]; i++) weights[at++] = (2 * random() - 1) * bound
    for (let i = 0; i < sizes[layer + 1]; i++) weights[at++] = isHead ? (2 * random() - 1) * bound : 0
  }
  return weights
}

// Loss of one sample; adds its gradient times `scale` where an array for it is given.
function passSample(sizes, weights, x, label, gradient, scale) {
  const values = [x]
  const starts = []
  let at = 0
  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const [inputs, outputs] = [sizes[layer], sizes[layer + 1]]
    const biases = at + inputs * outputs
    starts.push(at)
    const out = new Float64Array(outputs)
    for (let o = 0; o < outputs; o++) {
      let sum = weights[biases + o]
      for (let i = 0; i < inputs; i++) sum += weights[at + o * inputs + i] * values[layer][i]
      out[o] = layer + 2 < sizes.length ? Math.max(0, sum) : sum
    }
    values.push(out)
    at = biases + outputs
  }
  const scores = values.at(-1)
  const top = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - top))
  const total = powers.reduce((sum, power) => sum + power, 0)
  const loss = Math.log(total) - (scores[label] - top)
  if (!gradient) return { loss, isRight: scores.indexOf(top) === label }
  let slope = powers.map((power, o) => scale * (power / total - (o === label ? 1 : 0)))
  for (let layer = sizes.length - 2; layer >= 0; layer--) {
    const [inputs, outputs] = [sizes[layer], sizes[layer + 1]]
    const below = new Float64Array(inputs)
    for (let o = 0; o < outputs; o++) {
      gradient[starts[layer] + inputs * outputs + o] += slope[o]
      for (let i = 0; i < inputs; i++) {
        gradient[starts[layer] + o * inputs + i] += slope[o] * values[layer][i]
        below[i] += slope[o] * weights[starts[layer] + o * inputs + i]
      }
    }
    slope = layer ? below.map((value, i) => (values[layer][i] > 0 ? value : 0)) : below
  }
  return { loss }
}

// Mean loss as it is, and with no answer counting more than surely wrong guessing would cost (section 5).
export function measure(sizes, weights, shard) {
  const classes = sizes.at(-1)
  const bound = (Math.log(classes) * classes) / (classes - 1)
  let [loss, bounded, right] = [0, 0, 0]
  for (let n = 0; n < shard.count; n++) {
    const x = shard.x.subarray(n * shard.inputSize, (n + 1) * shard.inputSize)
    const found = passSample(sizes, weights, x, shard.y[n])
    loss += found.loss
    bounded += Math.min(found.loss, bound)
    right += found.isRight ? 1 : 0
  }
  return { loss: loss / shard.count, bounded: bounded / shard.count, accuracy: right / shard.count }
}

// One round's local work: what the section's table says of `sgd` without momentum.
export function train(sizes, start, shard, training, random) {
  const weights = Float64Array.from(start)
  const batchSize = Math.min(training.batch_size, shard.count)
  const perEpoch = Math.ceil(shard.count / batchSize)
  const iterations = training.local_iterations || training.local_epochs * perEpoch
  const rate = training.learning_rate_ppm / 1e6
  let [order, loss] = [[], 0]
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (iteration % perEpoch === 0) order = shuffle(shard.count, random)
    const first = (iteration % perEpoch) * batchSize
    const gradient = new Float64Array(weights.length)
    loss = 0
    for (let k = 0; k < batchSize; k++) {
      const n = order[(first + k) % shard.count]
      const x = shard.x.subarray(n * shard.inputSize, (n + 1) * shard.inputSize)
      loss += passSample(sizes, weights, x, shard.y[n], gradient, 1 / batchSize).loss / batchSize
    }
    for (let i = 0; i < weights.length; i++) weights[i] -= rate * gradient[i]
  }
  return { weights, iterations, loss, flop: 6 * weights.length * batchSize * iterations }
}

function shuffle(count, random) {
  const order = Array.from({ length: count }, (_, n) => n)
  for (let n = count - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1))
    ;[order[n], order[other]] = [order[other], order[n]]
  }
  return order
}

// mulberry32: a generator with a seed, for data, weights and orders of samples.
export function makeRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
