import type { PeerStatus, SwarmStatus } from '../dist/events.js'
import { errorMessage } from './completions.ts'
import { byId, setText } from './dom.ts'
import { createHistory } from './history.ts'
import { createTextBox } from './text-box.ts'
import { createView } from './view.ts'

/** A round takes seconds; a look costs a few hundred bytes. */
const POLL_MS = 2000
/** A process that is paused takes connections and says nothing. */
const ANSWER_TIMEOUT_MS = 10_000

const history = createHistory()
const view = createView(history)
const tokenForm = byId('token', HTMLFormElement)
let token = sessionStorage.getItem('token') ?? ''
let isSwarm = false
let lostAt: Date | undefined

const headers = (): Record<string, string> => (token === '' ? {} : { authorization: `Bearer ${token}` })

createTextBox({
  url: () =>
    isSwarm ? `peers/${encodeURIComponent(view.shown().status.name)}/v1/completions` : 'v1/completions',
  headers,
})
tokenForm.addEventListener('submit', (event) => {
  event.preventDefault()
  token = byId('given-token', HTMLInputElement).value
  sessionStorage.setItem('token', token)
  void poll()
})
void live()

/** Asks again and again, but not while nobody looks or while the token is wanted. */
async function live(): Promise<void> {
  for (;;) {
    if (tokenForm.hidden) await poll()
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    while (document.hidden)
      await new Promise((resolve) => {
        document.addEventListener('visibilitychange', resolve, { once: true })
      })
  }
}

async function poll(): Promise<void> {
  const answer = await ask().catch(() => undefined)
  if (answer === undefined) {
    lostAt ??= new Date()
    const what = isSwarm ? 'swarm' : 'peer'
    trouble(
      `No answer since ${lostAt.toLocaleTimeString()}: the ${what} has stopped or cannot be reached. Still trying.`,
    )
    view.showPhase('no answer')
    return
  }
  lostAt = undefined
  tokenForm.hidden = answer.status !== 401
  if (answer.status === 401) {
    trouble(token === '' ? 'This peer asks for its token.' : 'That is not the token of this peer.')
    return
  }
  if (answer.status !== 200) {
    trouble(errorMessage(answer.status, answer.body))
    return
  }
  const body = answer.body as PeerStatus | SwarmStatus
  isSwarm = 'peers' in body
  history.merge('peers' in body ? body.peers : [body])
  trouble('')
  if (history.peers.length === 0) return // a swarm of none yet
  byId('content').hidden = false
  view.draw({ isSwarm })
}

async function ask(): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(`api/status?after=${history.after}`, {
    headers: headers(),
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  })
  return { status: response.status, body: await response.json() }
}

function trouble(text: string): void {
  byId('trouble').hidden = text === ''
  setText(byId('trouble'), text)
}
