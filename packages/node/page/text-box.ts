import { colourIndex } from './colours.ts'
import { complete, type Piece } from './completions.ts'
import { byId, element, setText } from './dom.ts'
import { expertName, percent, plural } from './format.ts'

/** The form that asks a peer to write. */
export function createTextBox(where: { url(): string; headers(): Record<string, string> }): void {
  const form = byId('write', HTMLFormElement)
  const stop = byId('stop', HTMLButtonElement)
  const go = byId('go', HTMLButtonElement)
  const written = byId('written')
  const legend = byId('experts')
  const told = byId('writing')
  let running: AbortController | undefined

  form.addEventListener('submit', (event) => {
    event.preventDefault()
    if (running === undefined) void write()
  })
  byId('prompt').addEventListener('keydown', (event) => {
    // A text area keeps Enter for itself.
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
  })
  stop.addEventListener('click', () => running?.abort())

  const write = async () => {
    const abort = new AbortController()
    running = abort
    go.disabled = true
    stop.disabled = false
    const prompt = byId('prompt', HTMLTextAreaElement).value
    written.hidden = false
    written.replaceChildren(element('span', { className: 'prompt' }, prompt))
    legend.replaceChildren()
    setText(told, 'Writing …')
    const experts = new Map<number, number>()
    let tokens = 0
    try {
      const request = {
        model: byId('model', HTMLSelectElement).value,
        prompt,
        max_tokens: byId('tokens', HTMLInputElement).valueAsNumber,
        temperature: byId('temperature', HTMLInputElement).valueAsNumber,
      }
      for await (const piece of complete(where.url(), request, {
        headers: where.headers(),
        signal: abort.signal,
      })) {
        tokens++
        if (piece.routing !== undefined)
          experts.set(piece.routing.expert, (experts.get(piece.routing.expert) ?? 0) + 1)
        written.append(tokenOf(piece))
        showLegend(legend, experts)
      }
      setText(told, `Done: ${plural(tokens, 'token')}.`)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      setText(
        told,
        abort.signal.aborted ? `Stopped after ${plural(tokens, 'token')}.` : `Not written: ${reason}.`,
      )
    }
    running = undefined
    go.disabled = false
    stop.disabled = true
  }
}

function tokenOf({ text, routing }: Piece): HTMLSpanElement {
  if (routing === undefined) return element('span', {}, text)
  const { expert, scores } = routing
  const title = scores.map((score, one) => `${expertName(one)} ${percent(score)}`).join(', ')
  const token = element('span', { className: `token e${colourIndex(expert)}`, title }, text)
  // From undecided, 1/n, to certain.
  const even = 1 / scores.length
  token.style.setProperty('--trust', String((scores[expert]! - even) / (1 - even || 1)))
  return token
}

function showLegend(legend: HTMLElement, experts: ReadonlyMap<number, number>): void {
  const total = [...experts.values()].reduce((sum, count) => sum + count, 0)
  legend.replaceChildren(
    ...[...experts]
      .sort(([a], [b]) => a - b)
      .map(([expert, count]) =>
        element(
          'li',
          {},
          element('span', { className: `token e${colourIndex(expert)}` }, expertName(expert)),
          ` ${percent(count / total)}`,
        ),
      ),
  )
}
