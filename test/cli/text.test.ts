import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type HttpServer, startHttp } from '../../packages/node/src/http/server.ts'
import { loadPersonalModel } from '../../packages/node/src/text/personal-model.ts'
import {
  createTextService,
  TEXT_LIMITS,
  type TextLimits,
  type TextOutcome,
  type TextService,
} from '../../packages/node/src/text/text-service.ts'
import { type GenerateRequest, TrainingHost } from '../../packages/node/src/training/training-host.ts'
import { startTrainingWorker, type TrainingWorker } from '../../packages/node/src/training/training-worker.ts'
import { MAIN, peerArguments, PeerProcess, runCli } from '../support/peer-process.ts'
import { LANGUAGES, TINY, writeTinyBase } from '../support/tiny-base.ts'

/** Using the personal model: by OpenAI's own client, unchanged, and on the command line. */

let folder: string
let base: string
/** A folder in which a peer has trained and stopped. */
let state: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'comigs-text-'))
  base = await writeTinyBase(join(folder, 'base'))
  state = join(folder, 'trained')
  const listen = ['--listen', '/ip4/127.0.0.1/tcp/0', '--rounds', '2']
  expect((await runCli(peerArguments('fr', base, state, listen))).code).toBe(0)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const clientOf = (http: string, apiKey = 'none') =>
  new OpenAI({ baseURL: `${http}/v1`, apiKey, maxRetries: 0 })

const greedy = { model: 'personal', prompt: 'Il était une fois', max_tokens: 12, temperature: 0 } as const

/** What we add to OpenAI's chunks. */
interface Extended {
  readonly comigs?: { readonly expert: number; readonly scores: readonly number[] }
}

describe('a peer that trains', () => {
  let peer: PeerProcess
  let client: OpenAI
  beforeAll(async () => {
    peer = new PeerProcess(peerArguments('fr', base, join(folder, 'live')))
    client = clientOf((await peer.waitFor('listening')).http)
    await peer.waitFor('round')
  })
  afterAll(() => peer.kill('SIGKILL'))

  it('lists its models', async () => {
    const ids = (await client.models.list()).data.map(({ id }) => id)
    expect(ids).toEqual(['personal', 'base'])
    expect((await client.models.retrieve('base')).id).toBe('base')
  })

  it('completes', async () => {
    const { choices, usage, object, model } = await client.completions.create({ ...greedy, model: 'base' })
    expect({ object, model }).toEqual({ object: 'text_completion', model: 'base' })
    expect(choices).toHaveLength(1)
    expect(choices[0]!.text.length).toBeGreaterThan(0)
    expect(usage!.completion_tokens).toBeLessThanOrEqual(12)
    expect(usage!.total_tokens).toBe(usage!.prompt_tokens + usage!.completion_tokens)
    // The base does not learn: the same words again, however far the peer has trained.
    expect((await client.completions.create({ ...greedy, model: 'base' })).choices).toEqual(choices)
  })

  it('draws by the seed', async () => {
    const drawn = async (seed: number) => {
      const { choices } = await client.completions.create({
        ...greedy,
        model: 'base',
        temperature: 1,
        top_p: 0.9,
        seed,
      })
      return choices[0]!.text
    }
    expect(await drawn(1)).toBe(await drawn(1))
    expect(await drawn(1)).not.toBe(await drawn(2))
  })

  it('streams the same text, and the expert of each token', async () => {
    const request = { ...greedy, model: 'base' }
    const whole = await client.completions.create(request)
    let text = ''
    for await (const chunk of await client.completions.create({ ...request, stream: true }))
      text += chunk.choices[0]!.text
    expect(text).toBe(whole.choices[0]!.text)

    const experts = new Set<number>()
    const stream = await client.completions.create({ ...greedy, stream: true })
    for await (const chunk of stream) {
      const { comigs } = chunk as Extended
      expect(comigs!.scores).toHaveLength(2)
      expect(comigs!.scores[0]! + comigs!.scores[1]!).toBeCloseTo(1, 4)
      expect(comigs!.scores[comigs!.expert]).toBe(Math.max(...comigs!.scores))
      experts.add(comigs!.expert)
    }
    expect([0, 1]).toEqual(expect.arrayContaining([...experts]))
  })

  it('chats, streamed or not', async () => {
    const messages = [
      { role: 'system' as const, content: 'Réponds en français.' },
      { role: 'user' as const, content: [{ type: 'text' as const, text: 'Bonjour !' }] },
    ]
    const request = { model: 'base', messages, max_completion_tokens: 10, temperature: 0 }
    const { choices, object } = await client.chat.completions.create(request)
    expect(object).toBe('chat.completion')
    expect(choices[0]!.message.role).toBe('assistant')

    const chunks = []
    const options = { stream: true as const, stream_options: { include_usage: true } }
    for await (const chunk of await client.chat.completions.create({ ...request, ...options }))
      chunks.push(chunk)
    const said = chunks.flatMap((chunk) => chunk.choices.map(({ delta }) => delta.content ?? ''))
    expect(said.join('')).toBe(choices[0]!.message.content)
    expect(chunks[0]!.choices[0]!.delta.role).toBe('assistant')
    const finishes = chunks.flatMap((chunk) => chunk.choices.map(({ finish_reason }) => finish_reason))
    expect(finishes.filter((finish) => finish !== null)).toEqual([choices[0]!.finish_reason])
    expect(chunks.at(-1)!.usage!.completion_tokens).toBeGreaterThan(0)
  })

  it('stops where it is told to', async () => {
    const { choices } = await client.completions.create({ ...greedy, model: 'base' })
    const { text } = choices[0]!
    const stop = text.slice(4, 7)
    const stopped = await client.completions.create({ ...greedy, model: 'base', stop })
    expect(stopped.choices[0]).toMatchObject({
      text: text.slice(0, text.indexOf(stop)),
      finish_reason: 'stop',
    })
  })

  it('answers 32 requests at once, and trains on meanwhile', async () => {
    const before = peer.all('round').at(-1)!.round
    const answers = await Promise.all(
      Array.from({ length: 32 }, (_, seed) =>
        client.completions.create({ ...greedy, prompt: `Peer ${seed}:`, temperature: 1, seed }),
      ),
    )
    expect(answers).toHaveLength(32)
    for (const { choices } of answers) expect(['stop', 'length']).toContain(choices[0]!.finish_reason)
    await peer.waitFor('round', ({ round }) => round > before)
  })

  it('explains what is wrong, as the client expects it', async () => {
    const bad = client.completions.create({ ...greedy, model: 'gpt-4o' })
    await expect(bad).rejects.toBeInstanceOf(OpenAI.NotFoundError)
    await expect(bad).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    const long = client.completions.create({ ...greedy, prompt: 'word '.repeat(TINY.positions + 1) })
    await expect(long).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(long).rejects.toMatchObject({ code: 'context_length_exceeded' })
  })

  it('writes on the command line too, from the folder it trains in', async () => {
    const args = ['--state', join(folder, 'live'), '--base', base, '--max-tokens', '5', '--json']
    const { code, stdout } = await runCli(['generate', ...args])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ prompt: '', text: expect.any(String) as string })
  })
})

describe('text for many', () => {
  let worker: TrainingWorker
  let server: HttpServer | undefined
  const ended: TextOutcome[] = []
  let onEnded: (() => void) | undefined

  beforeAll(async () => {
    worker = startTrainingWorker()
    await loadPersonalModel(worker.training, { state, base, baseDtype: 'auto', engine: 'auto', threads: 1 })
  })
  afterAll(() => worker.stop())
  afterEach(async () => {
    await server?.stop()
    server = undefined
    ended.length = 0
  })

  const serviceWith = (limits: Partial<TextLimits> = {}): TextService =>
    createTextService({
      training: worker.training,
      positions: TINY.positions,
      limits: { ...TEXT_LIMITS, ...limits },
      onEnd: (outcome) => {
        ended.push(outcome)
        onEnded?.()
      },
    })
  const untilEnded = (count: number) =>
    new Promise<void>((resolve) => {
      onEnded = () => {
        if (ended.length >= count) resolve()
      }
      onEnded()
    })
  const serve = async (text: TextService, token?: string) => {
    server = await startHttp({
      host: token === undefined ? '127.0.0.1' : '0.0.0.0',
      port: 0,
      names: [],
      token,
      metrics: async () => '',
      ready: () => true,
      status: () => ({}),
      text,
      onRefused: () => undefined,
    })
    return server.url
  }
  const request = (maxTokens: number, seed = 1): GenerateRequest => ({
    model: 'personal',
    prompt: 'Il',
    maxTokens,
    temperature: 0,
    seed,
  })
  /** Far more than can be written before a test is over. */
  const ENDLESS = request(1_000_000)
  const forever = new AbortController().signal
  const all = async (service: TextService, asked: GenerateRequest) => {
    const texts: string[] = []
    for await (const { text } of service.write(asked, forever)) texts.push(text)
    return texts.join('')
  }

  it('is written in the order in which it was asked for', async () => {
    const service = serviceWith({ active: 2 })
    const finished: number[] = []
    await Promise.all(
      Array.from({ length: 32 }, async (_, i) => {
        await all(service, request(6))
        finished.push(i)
      }),
    )
    for (const [place, i] of finished.entries()) expect(Math.abs(place - i)).toBeLessThan(2)
    expect(ended).toEqual(new Array(32).fill('done'))
  })

  it('is not held up by a long one', async () => {
    const service = serviceWith({ active: 2 })
    const long = service.write(ENDLESS, forever)[Symbol.asyncIterator]()
    await long.next()
    await all(service, request(6))
    await long.return?.()
    expect(ended[0]).toBe('done')
  })

  it('is the same side by side as alone', async () => {
    const service = serviceWith()
    const alone = await all(service, request(20))
    expect(await Promise.all([1, 2, 3].map(() => all(service, request(20))))).toEqual([alone, alone, alone])
  })

  it('is refused when it takes too long, waiting or not, and then there is room again', async () => {
    const service = serviceWith({ active: 1, timeoutMs: 100 })
    const outcomes = await Promise.allSettled([all(service, ENDLESS), all(service, ENDLESS)])
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { detail: { code: 'TEXT_TIMEOUT' } } })
    expect(ended).toEqual(['timeout', 'timeout'])
    expect(await all(serviceWith(), request(5))).not.toBe('')
  })

  it('is refused at once when too many wait', async () => {
    const service = serviceWith({ active: 1, waiting: 1 })
    const stop = new AbortController()
    const writing = service.write(ENDLESS, stop.signal)[Symbol.asyncIterator]()
    await writing.next()
    const waiting = all(service, request(3))
    const url = await serve(service)
    await expect(clientOf(url).completions.create(greedy)).rejects.toMatchObject({
      status: 429,
      code: 'queue_full',
    })
    stop.abort()
    await waiting
    expect(ended).toEqual(['full', 'cancelled', 'done'])
  })

  it('times out as an error of the server, before and within a stream', async () => {
    const url = await serve(serviceWith({ active: 1, timeoutMs: 100 }))
    const long = { ...greedy, max_tokens: 2048 }
    const streamed = async () => {
      const chunks = []
      for await (const chunk of await clientOf(url).completions.create({ ...long, stream: true }))
        chunks.push(chunk)
      return chunks
    }
    const [first, second] = await Promise.allSettled([streamed(), clientOf(url).completions.create(long)])
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'timeout' } })
    expect(second).toMatchObject({ status: 'rejected', reason: { status: 503, code: 'timeout' } })
  })

  it('ends when the client goes away', async () => {
    const service = serviceWith({ active: 1 })
    let asked: () => void = () => undefined
    const url = await serve({
      ...service,
      write: (...args) => {
        asked()
        return service.write(...args)
      },
    })
    const endless = { ...greedy, max_tokens: 2048 }
    const stream = await clientOf(url).completions.create({ ...endless, stream: true })
    const chunks = stream[Symbol.asyncIterator]()
    await chunks.next()
    await chunks.return?.() // the client closes the connection
    await untilEnded(1)
    expect(ended).toEqual(['cancelled'])

    const gone = new AbortController()
    const arrived = new Promise<void>((resolve) => (asked = resolve))
    const whole = clientOf(url).completions.create(endless, { signal: gone.signal })
    await arrived
    gone.abort()
    await expect(whole).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
    await untilEnded(2)
    expect(ended).toEqual(['cancelled', 'cancelled'])
    expect(await all(service, request(3))).not.toBe('')
  })

  it('wants the token where others can reach it', async () => {
    const url = await serve(serviceWith(), 'secret')
    await expect(clientOf(url, 'guess').models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    const { choices } = await clientOf(url, 'secret').completions.create(greedy)
    expect(choices).toHaveLength(1)
  })
})

describe('training and text on one engine', () => {
  const file = (split: string, ending = '') => join(LANGUAGES, `fr.${split}.txt${ending}`)
  const source = { train: [file('train', '.gz')], valid: [file('valid')], test: [file('test')] }
  const ready = async () => {
    const host = new TrainingHost()
    await host.load({ engine: 'onnx', threads: 1, base, baseDtype: 'auto' })
    await host.loadData(source, 32)
    const mixture = { experts: 2, rank: 8, alpha: 16, routing: 'router' as const }
    const schedule = { kind: 'constant' as const, rate: 2e-3, warmupSteps: 1 }
    await host.prepare({ mixture, batch: 4, context: 32, schedule, sharedSeed: 1, seed: 2 })
    return host
  }
  const train = async (host: TrainingHost) => {
    const { loss } = await host.trainExperts(20)
    return { loss, routers: (await host.trainRouters(5))!.loss, shared: await host.shared() }
  }

  it('go on at once, and training is none the worse for it', async () => {
    const alone = await train(await ready())
    const host = await ready()
    let training = true
    const tokensMeanwhile = { count: 0 }
    const asked = { model: 'personal', prompt: 'Il', maxTokens: 1_000_000, temperature: 0, seed: 1 } as const
    const text = host.generate(1, asked, () => {
      if (training) tokensMeanwhile.count++
    })
    const together = await train(host)
    training = false
    host.cancel(1)
    await text
    expect(tokensMeanwhile.count).toBeGreaterThan(20)
    expect(together).toEqual(alone) // to the last bit
  })
})

describe('the command line', () => {
  const at = () => ['--state', state, '--base', base]

  it('generates, the same with the same seed, within all limits', async () => {
    const args = ['generate', ...at(), '--prompt', 'Il', '--seed', '7', '--top-k', '50', '--top-p', '0.9']
    const limits = ['--max-tokens', '20', '--stop', 'e', '--stop', ' x', '--json', '--show-experts']
    const [one, other] = [await runCli([...args, ...limits]), await runCli([...args, ...limits])]
    expect(one.code).toBe(0)
    expect(one.stdout).toBe(other.stdout)
    const said = JSON.parse(one.stdout) as { text: string; tokens: { text: string; scores: number[] }[] }
    expect(said.text).not.toContain('e')
    expect(said.tokens.map(({ text }) => text).join('')).toBe(said.text)
    for (const { scores } of said.tokens) expect(scores).toHaveLength(2)
  })

  it('marks the experts where there are no colours', async () => {
    const args = [
      'generate',
      ...at(),
      '--prompt',
      'Il',
      '--seed',
      '7',
      '--max-tokens',
      '20',
      '--show-experts',
    ]
    const { stdout } = await runCli(args, { env: { NO_COLOR: '1' } })
    expect(stdout).toMatch(/^Il\[[01]\]/)
    expect(stdout).toMatch(/tokens by the expert that the router trusted most: \[[01]\] /)
  })

  it.each([
    ['--top-p', '1.5'],
    ['--top-k', '0'],
    ['--temperature', 'warm'],
    ['--stop', ''],
  ])('refuses %s "%s"', async (flag, value) => {
    const { code, stderr } = await runCli(['generate', ...at(), flag, value])
    expect(stderr).toContain(flag)
    expect(code).toBe(2)
  })

  it('chats line by line', async () => {
    const child = spawn(process.execPath, [MAIN, 'chat', ...at(), '--max-tokens', '5', '--seed', '1'])
    let stdout = ''
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
    child.stdin.end('Bonjour\nEncore\n')
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect(code).toBe(0)
    expect(stdout).toContain('not tuned for conversation')
    expect(stdout.match(/model> /g)).toHaveLength(2)
  })

  it('serves what it has, until stopped', async () => {
    const child: ChildProcess = spawn(process.execPath, [MAIN, 'serve', ...at(), '--json'])
    const line = await new Promise<string>((resolve) =>
      createInterface({ input: child.stdout! }).once('line', resolve),
    )
    const { http, round } = JSON.parse(line) as { http: string; round: number }
    expect(round).toBe(2)
    const answer = await clientOf(http).completions.create(greedy)
    const written = await runCli([
      ...[
        'generate',
        ...at(),
        '--prompt',
        greedy.prompt,
        '--max-tokens',
        '12',
        '--temperature',
        '0',
        '--json',
      ],
    ])
    expect(answer.choices[0]!.text).toBe((JSON.parse(written.stdout) as { text: string }).text)
    const metrics = await (await fetch(`${http}/metrics`)).text()
    expect(metrics).toContain('comigs_text_requests_total{outcome="done"} 1')
    child.kill('SIGTERM')
    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(0)
  })
})
