// How fast is a delta written down and read, how much of it is lost, and how many bytes is it? See README.md.
import { parseArgs } from 'node:util'
import { codecOf, safeGamma } from '@comigs/protocol'
import { stream } from '@comigs/model/light'

const { values: flags } = parseArgs({
  options: { json: { type: 'boolean', default: false }, repeats: { type: 'string', default: '15' } },
})

/** Lengths of the shared vector: attention LoRA and the generalist, rank 8. */
const SHAPES = { demo: shared(4, 256), gpt2: shared(12, 768) }
const CODECS = [
  { values: 'float32' },
  { values: 'float16' },
  { values: 'int8' },
  { values: 'int4' },
  { values: 'int8', topK: 0.2 },
  { values: 'int4', topK: 0.2 },
  { values: 'int8', topK: 0.05 },
  { values: 'int4', topK: 0.05 },
]

/** GPT-2's linears c_attn (d to 3d), c_proj (d to d), c_fc (d to 4d), c_proj (4d to d), each with two LoRA matrices. */
function shared(layers, width, rank = 8) {
  const linears = [
    [width, 3 * width],
    [width, width],
    [width, 4 * width],
    [4 * width, width],
  ]
  return layers * linears.reduce((sum, [from, to]) => sum + rank * (from + to), 0)
}

/** Heavy-tailed, as updates are: normal, and a scale that differs from matrix to matrix. */
function delta(length) {
  const random = stream(1, 'bench/codec')
  let scale = 1e-3
  return Float32Array.from({ length }, (_, i) => {
    if (i % 2048 === 0) scale = 1e-3 * 10 ** (2 * random.float() - 1)
    return scale * Math.sqrt(-2 * Math.log(1 - random.float())) * Math.cos(2 * Math.PI * random.float())
  })
}

/** The fastest: the one that was disturbed least. */
const least = (values) => Math.min(...values)
/** Milliseconds of this process's own time: what else the machine does is not counted. */
const timed = (work) => {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return Math.max(1, user + system) / 1000
}

function measure(shape) {
  const values = delta(SHAPES[shape])
  const numbers = stream(2, 'bench/codec')
  const random = () => numbers.float()
  const target = new Float32Array(values.length)
  const rows = CODECS.map((choice) => ({ choice, codec: codecOf(choice), encode: [], decode: [] }))
  const copies = []
  // Interleaved, so that what else the machine does hits everyone alike.
  for (let i = 0; i < Number(flags.repeats); i++) {
    copies.push(timed(() => target.set(values)))
    for (const row of rows) {
      row.encode.push(timed(() => (row.bytes = row.codec.encode(values, random))))
      row.decode.push(timed(() => (row.back = row.codec.decode(row.bytes, values.length))))
    }
  }
  const megabytes = values.byteLength / 1e6
  const speed = (times) => Math.round((1000 * megabytes) / least(times))
  const energy = values.reduce((sum, value) => sum + value ** 2, 0)
  return {
    shape,
    parameters: values.length,
    memcpyMBps: speed(copies),
    codecs: rows.map(({ choice, codec, encode, decode, bytes, back }) => ({
      codec: codec.name,
      gamma: Number(safeGamma(choice).toPrecision(3)),
      encodeMBps: speed(encode),
      decodeMBps: speed(decode),
      encodeMs: Number(least(encode).toFixed(2)),
      decodeMs: Number(least(decode).toFixed(2)),
      bytesPerRound: bytes.byteLength,
      bitsPerValue: Number(((8 * bytes.byteLength) / values.length).toFixed(2)),
      smallerThanFloat32: Number((values.byteLength / bytes.byteLength).toFixed(1)),
      relativeSquaredError: Number(
        (values.reduce((sum, value, i) => sum + (value - back[i]) ** 2, 0) / energy).toPrecision(3),
      ),
    })),
  }
}

const results = Object.keys(SHAPES).map(measure)
if (flags.json) console.log(JSON.stringify({ results }))
else {
  for (const { shape, parameters, memcpyMBps, codecs } of results) {
    console.log(`${shape}: ${parameters} values, memcpy ${memcpyMBps} MB/s`)
    console.table(codecs)
  }
}
