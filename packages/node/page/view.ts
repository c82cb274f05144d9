import type { LeftOutReason, RefusalReason } from '@comigs/protocol'
import type { RoundEvent } from '../dist/events.js'
import { colour, colourIndex, seriesColour } from './colours.ts'
import { byId, element, fillTable, setText, tableRow } from './dom.ts'
import { bytes, count, number, percent, plural, range, shortId } from './format.ts'
import { createHeatMap } from './heat-map.ts'
import type { History, PeerView } from './history.ts'
import { type Line, othersBand, pointsOf, reading } from './line.ts'
import { createLineChart } from './line-chart.ts'

export interface View {
  /** The peer that is shown in detail. */
  shown(): PeerView
  draw(what: { readonly isSwarm: boolean }): void
  showPhase(phase: string): void
}

/** Newest rounds in the table. */
const TABLE_ROUNDS = 200

/** Everything on the page but the text box, from what the history holds. */
export function createView(history: History): View {
  const charts = {
    perplexity: createLineChart(byId('perplexity'), { format: number, scale: 'log' }),
    consensus: createLineChart(byId('consensus'), {
      format: (value) => value.toFixed(2),
      scale: 'from zero',
    }),
    traffic: createLineChart(byId('traffic'), { format: bytes, scale: 'from zero' }),
    router: createHeatMap(byId('router')),
  }
  const numbers = byId('numbers', HTMLDetailsElement)
  const peerRows = new Map<string, HTMLTableRowElement>()
  let shownName: string | undefined
  let isSwarm = false

  const shown = () => history.peers.find(({ status }) => status.name === shownName) ?? history.peers[0]!

  const draw = () => {
    const peer = shown()
    drawHead(peer)
    byId('swarm').hidden = !isSwarm
    if (isSwarm) drawPeers()
    byId('glance').hidden = peer.status.phase === 'serving'
    drawTiles(peer)
    for (const node of document.querySelectorAll<HTMLElement>('.of-peer'))
      setText(node, isSwarm ? `: ${peer.status.name}` : '')
    for (const node of document.querySelectorAll<HTMLElement>('.training'))
      node.hidden = peer.rounds.length === 0
    drawPerplexity(peer)
    drawConsensus()
    drawTraffic(peer)
    charts.router.draw(peer.rounds.map(({ round, generalistShare }) => ({ round, shares: generalistShare })))
    drawNeighbours(peer)
    drawRefusals(peer)
    if (numbers.open) drawNumbers(peer)
  }

  const showPhase = (phase: string) => {
    setText(byId('phase'), phase)
    byId('phase').dataset['phase'] = phase
  }

  const drawHead = ({ status, rounds }: PeerView) => {
    const { federation, engine, version } = status
    const title = isSwarm ? `Swarm of ${plural(history.peers.length, 'peer')}` : status.name
    const round = rounds.at(-1)?.round
    setText(byId('name'), title)
    document.title = round === undefined ? `${title} – comigs` : `${title}, round ${round} – comigs`
    const parts = [
      federation === undefined ? '' : `federation ${federation.name} (${federation.hash.slice(0, 8)})`,
      engine === undefined ? '' : `${engine.name} on ${engine.device}`,
      `comigs ${version}`,
    ]
    setText(byId('about'), parts.filter((part) => part !== '').join(' · '))
    showPhase(status.phase)
  }

  /** Rows are kept, so that the choice keeps the keyboard's focus. */
  const drawPeers = () => {
    const table = byId('peers', HTMLTableElement)
    history.peers.forEach((peer, index) => {
      const { name, phase, baseValid, http } = peer.status
      const last = peer.rounds.at(-1)
      const row =
        peerRows.get(name) ?? tableRow(table, [peerChoice(name, index), ...Array<string>(8).fill('')])
      peerRows.set(name, row)
      if (!row.isConnected) table.tBodies[0]!.append(row)
      const values = [
        maybe(last?.round ?? phase, String),
        maybe(perplexityOf(peer), number),
        maybe(baseValid?.perplexity, number),
        maybe(latest(peer)?.consensusDistance, distance),
        maybe(last?.mixedWith, count),
        maybe(last?.bytes.sent, bytes),
        maybe(last?.bytes.received, bytes),
      ]
      values.forEach((value, column) => setText(row.cells[column + 1]!, value))
      const own = row.cells[8]!
      if (http !== undefined && own.childElementCount === 0)
        own.replaceChildren(element('a', { href: http }, new URL(http).host))
    })
  }

  const peerChoice = (name: string, index: number) => {
    const radio = element('input', { type: 'radio', name: 'shown', checked: index === 0 })
    radio.addEventListener('change', () => {
      shownName = name
      draw()
    })
    return element('label', {}, radio, element('span', { className: `swatch c${colourIndex(index)}` }), name)
  }

  /** One line a peer, the shown one's base, training loss and what others publish beside it. */
  const drawPerplexity = (peer: PeerView) => {
    const lines = peerLines('validation text', ({ validPerplexity }) => validPerplexity)
    const { status, rounds } = peer
    const ends = [rounds[0]?.round, rounds.at(-1)?.round].filter((round) => round !== undefined)
    if (!isSwarm) lines.push(train(rounds))
    if (status.baseValid !== undefined)
      lines.push({
        label: isSwarm ? `base of ${status.name}` : 'base',
        colour: colour('muted'),
        isDashed: true,
        points: new Map(ends.map((round) => [round, status.baseValid!.perplexity])),
      })
    const band = othersBand(rounds)
    const isPublished = band.points.size > 0
    if (!isSwarm && isPublished) lines.push({ ...band, colour: colour('c2') })
    // Those of a swarm are all here; with differential privacy nobody may publish any.
    byId('unpublished').hidden = isSwarm || isPublished || rounds.at(-1)?.epsilon !== undefined
    charts.perplexity.draw(lines, summary('Perplexity over rounds', lines, number))
  }

  const train = (rounds: readonly RoundEvent[]): Line => ({
    label: 'training text',
    colour: colour('c3'),
    isDashed: true,
    points: pointsOf(rounds, ({ trainLoss }) => Math.exp(trainLoss)),
  })

  const drawConsensus = () => {
    const lines = peerLines('generalist', ({ consensusDistance }) => consensusDistance)
    charts.consensus.draw(lines, summary('Consensus distance over rounds', lines, distance))
  }

  /** @param alone - what the line of a peer is called on its own page */
  const peerLines = (alone: string, value: (round: RoundEvent) => number | undefined): Line[] =>
    history.peers.map(({ status, rounds }, index) => ({
      label: isSwarm ? status.name : alone,
      colour: seriesColour(index),
      points: pointsOf(rounds, value),
    }))

  const drawTraffic = ({ rounds }: PeerView) => {
    const lines: Line[] = (['sent', 'received'] as const).map((way, index) => ({
      label: way,
      colour: seriesColour(index),
      points: eachRound(rounds, way),
    }))
    charts.traffic.draw(lines, summary('Bytes a round', lines, bytes))
  }

  const drawNeighbours = (peer: PeerView) => {
    const names = new Map(history.peers.map(({ status }) => [status.peerId, status.name]))
    const last = new Map(peer.rounds.at(-1)?.neighbours.map((one) => [one.peer, one]))
    const share = ({ weight, leftOut }: RoundEvent['neighbours'][number]) =>
      weight === undefined ? `left out: ${LEFT_OUT[leftOut ?? 'new']}` : percent(weight)
    const rows = (latest(peer)?.neighbours ?? []).map((one) => [
      names.get(one.peer) ?? shortId(one.peer),
      count(one.round),
      one.ageRounds === 0 ? 'new' : plural(one.ageRounds, 'round'),
      share(last.get(one.peer) ?? one),
    ])
    rows.sort(([a], [b]) => a!.localeCompare(b!))
    showTable('neighbours', rows, 'alone')
  }

  numbers.addEventListener('toggle', draw)
  return {
    shown,
    draw(what) {
      isSwarm = what.isSwarm
      draw()
    },
    showPhase,
  }
}

function drawTiles(peer: PeerView): void {
  const { status, rounds } = peer
  const last = rounds.at(-1)
  const isTested = status.test !== undefined
  const perplexity = perplexityOf(peer)
  const base = (isTested ? status.baseTest : status.baseValid)?.perplexity
  const tiles: (readonly [name: string, value: string, note: string])[] = [
    [
      'Round',
      maybe(last?.round, count),
      maybe(last?.seconds, (seconds) => `${seconds.toFixed(1)} s the last`),
    ],
    [
      isTested ? 'Test perplexity' : 'Perplexity',
      maybe(perplexity ?? base, number),
      perplexity === undefined || base === undefined ? "the base's" : comparison(perplexity, base),
    ],
    ['Distance', maybe(latest(peer)?.consensusDistance, distance), 'from consensus'],
    [
      'Mixed with',
      maybe(last?.mixedWith, count),
      `of ${plural(latest(peer)?.neighbours.length ?? 0, 'peer')} followed`,
    ],
    ['Speed', maybe(last?.tokensPerSecond, (speed) => count(Math.round(speed))), 'tokens a second'],
    [
      'Sent',
      maybe(last?.bytes.sent, bytes),
      maybe(last?.bytes.received, (received) => `${bytes(received)} received`),
    ],
    ['Own text', maybe(status.tokens?.train, count), 'tokens to learn from'],
    ['Cell', maybe(last?.cellDepth, cellOf), maybe(last?.cellDepth, cellNote)],
  ]
  if (last?.epsilon !== undefined)
    tiles.push(['Privacy', `ε ${number(last.epsilon)}`, 'spent so far, at δ 1e-5'])
  const list = byId('tiles')
  if (list.childElementCount !== tiles.length)
    list.replaceChildren(...tiles.map(() => element('div', {}, element('dt'), element('dd'), element('dd'))))
  tiles.forEach(([name, value, note], index) => {
    const parts = list.children[index]!.children as HTMLCollectionOf<HTMLElement>
    setText(parts[0]!, name)
    setText(parts[1]!, value)
    setText(parts[2]!, value === NOTHING ? '' : note)
  })
}

/** A swarm that grows halves again and again; depth 3 is one cell of eight. */
const cellOf = (depth: number): string => `1 of ${count(2 ** depth)}`
const cellNote = (depth: number): string =>
  depth === 0 ? 'the whole swarm' : `halved ${depth === 1 ? 'once' : `${count(depth)} times`}`

function comparison(perplexity: number, base: number): string {
  const share = percent(Math.abs(1 - perplexity / base))
  return `${share} ${perplexity <= base ? 'below' : 'above'} the base's ${number(base)}`
}

const REASONS: Readonly<Record<RefusalReason | 'federation', string>> = {
  malformed: 'could not be read',
  signature: 'was not signed by its author',
  rate: 'came too often',
  old: 'was not news',
  full: 'no more peers can be followed',
  stranger: 'came from a peer that is not on the allow-list',
  hash: 'was not what had been announced',
  length: 'had not the announced length',
  'non-finite': 'had values that are no numbers',
  unreachable: 'could not be fetched',
  timeout: 'took too long to fetch',
  refused: 'was refused by its holder',
  opposed: 'came from a peer that has learnt against us',
  cell: 'came from a peer of another cell',
  federation: 'belongs to another federation',
}

/** The names of the metric `comigs_left_out_peers`, too, so that they can be looked up there. */
const LEFT_OUT: Readonly<Record<LeftOutReason | 'new', string>> = {
  new: 'came after the last mixture (new)',
  stale: 'silent for too long (stale)',
  muted: 'mixing it in did harm (muted)',
  opposed: 'has learnt against us (opposed)',
  pending: 'still being fetched (pending)',
  malformed: `its copy ${REASONS.malformed} (malformed)`,
  hash: `its copy ${REASONS.hash} (hash)`,
  length: `its copy ${REASONS.length} (length)`,
  'non-finite': `its copy ${REASONS['non-finite']} (non-finite)`,
  unreachable: `its copy ${REASONS.unreachable} (unreachable)`,
  timeout: `its copy ${REASONS.timeout} (timeout)`,
  refused: `its copy ${REASONS.refused} (refused)`,
}

function drawRefusals({ status }: PeerView): void {
  const reasons = Object.entries(status.refusals).sort(([, a], [, b]) => b - a)
  const rows = reasons.map(([reason, times]) => {
    const meaning = (REASONS as Readonly<Record<string, string | undefined>>)[reason]
    return [meaning === undefined ? reason : `${reason}: ${meaning}`, count(times)]
  })
  showTable('refusals', rows, 'nothing-refused')
}

function drawNumbers({ rounds }: PeerView): void {
  const rows = rounds
    .slice(-TABLE_ROUNDS)
    .reverse()
    .map((one) => [
      count(one.round),
      number(Math.exp(one.trainLoss)),
      maybe(one.validPerplexity, number),
      maybe(
        one.othersPerplexity,
        ({ least, most, peers }) => `${range(number(least), number(most))} (${count(peers)})`,
      ),
      maybe(one.consensusDistance, distance),
      count(one.mixedWith),
      one.generalistShare.map(percent).join(' '),
      count(Math.round(one.tokensPerSecond)),
      one.seconds.toFixed(1),
    ])
  fillTable(document.querySelector('#numbers table')!, rows)
}

/** A table, or a sentence where it would be empty. */
function showTable(id: string, rows: readonly (readonly string[])[], otherwise: string): void {
  fillTable(byId(id, HTMLTableElement), rows)
  byId(id).hidden = rows.length === 0
  byId(otherwise).hidden = rows.length > 0
}

const NOTHING = '–'
const distance = (value: number): string => value.toFixed(3)

function maybe<T>(value: T | undefined, format: (value: T) => string): string {
  return value === undefined ? NOTHING : format(value)
}

/** As good as it is now: on test text at the end, before that on validation text. */
function perplexityOf({ status, rounds }: PeerView): number | undefined {
  return (
    status.test?.perplexity ??
    rounds.findLast(({ validPerplexity }) => validPerplexity !== undefined)?.validPerplexity
  )
}

/** How far the peers are apart: after the last round copies still come in. */
const latest = ({ status, rounds }: PeerView) => status.consensus ?? rounds.at(-1)

/** From totals, which start at 0 with round 1; a total that fell began anew with the peer. */
function eachRound(rounds: readonly RoundEvent[], way: 'sent' | 'received'): Map<number, number> {
  return new Map(
    rounds.flatMap(({ round, bytes }, index) => {
      const before = rounds[index - 1]?.bytes[way] ?? (round === 1 ? 0 : undefined)
      if (before === undefined) return []
      return [[round, bytes[way] >= before ? bytes[way] - before : bytes[way]] as const]
    }),
  )
}

/** What a chart shows, in words. */
function summary(title: string, lines: readonly Line[], format: (value: number) => string): string {
  const told = lines.flatMap((line) => {
    const [first] = line.points.keys()
    if (first === undefined) return []
    const from = reading(line, format, first)!
    const to = reading(line, format)!
    return [from === to ? `${line.label} ${to}` : `${line.label} from ${from} to ${to}`]
  })
  return `${title}: ${told.join(', ')}.`
}
