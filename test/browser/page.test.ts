import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { PeerStatus } from '../../packages/node/src/events.ts'
import { peerArguments, PeerProcess } from '../support/peer-process.ts'
import { writeTinyBase } from '../support/tiny-base.ts'
import { complaintsOf, launch, startServing, tile, tileUntil, violations, write } from './support.ts'

const MAX_PAGE_BYTES = 300_000

describe("a peer's page, while two peers train", () => {
  let folder: string
  let browser: Browser
  let page: Page
  let complaints: string[]
  let peer: PeerProcess
  let other: PeerProcess
  let otherId: string
  let url: string
  let otherAddress: string
  const started: PeerProcess[] = []
  const sizes = new Map<string, number>()

  const start = (language: string, extra: readonly string[] = []) => {
    const arguments_ = peerArguments(language, join(folder, 'base'), join(folder, language), extra)
    const one = new PeerProcess(arguments_)
    started.push(one)
    return one
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-page-'))
    await writeTinyBase(join(folder, 'base'))
    peer = start('de')
    const listening = await peer.waitFor('listening')
    url = listening.http
    other = start('fr', ['--bootstrap', listening.addresses[0]!, '--publish-perplexity'])
    const { peerId, addresses } = await other.waitFor('listening')
    otherId = peerId
    otherAddress = addresses[0]!
    await peer.waitFor('round', ({ mixedWith }) => mixedWith === 1)

    browser = await launch()
    page = await browser.newPage()
    complaints = complaintsOf(page)
    page.on('response', (response) => {
      void response.body().then(
        (body) => sizes.set(response.url(), body.byteLength),
        () => undefined,
      )
    })
    await page.goto(url)
    await page.waitForSelector('#perplexity canvas')
  })
  afterAll(async () => {
    await browser.close()
    await Promise.all(started.map((one) => one.kill('SIGKILL')))
    await rm(folder, { recursive: true, force: true })
  })

  it('is small and comes from the peer alone', () => {
    const paths = [...sizes.keys()].map((each) => new URL(each))
    expect(new Set(paths.map(({ origin }) => origin))).toEqual(new Set([url]))
    const files = [...sizes].filter(([each]) => !each.includes('/api/'))
    expect(files.map(([each]) => each)).toContain(`${url}/page/uplot.js`)
    expect(files.reduce((sum, [, size]) => sum + size, 0)).toBeLessThan(MAX_PAGE_BYTES)
  })

  it('shows rounds that rise and perplexity that falls, without reload', async () => {
    await page.evaluate(() => {
      Object.assign(globalThis, { isStillHere: true })
    })
    const round = await tile(page, 'Round')
    const perplexity = await tile(page, 'Perplexity')
    await tileUntil(page, 'Round', (value) => value > round + 5)
    await tileUntil(page, 'Perplexity', (value) => value < perplexity)
    expect(await page.evaluate(() => 'isStillHere' in globalThis)).toBe(true)
    expect(await page.locator('#perplexity [role=img]').getAttribute('aria-label')).toMatch(
      /^Perplexity over rounds: validation text from [\d,.]+ to [\d,.]+/,
    )
  })

  it('shows the perplexity that another peer publishes, without its name', async () => {
    const legend = page.locator('#perplexity .legend li', { hasText: 'others that publish theirs' })
    await expect.poll(() => legend.textContent()).toMatch(/^others that publish theirs \(1\) [\d,.]+$/)
    expect(await page.locator('#perplexity [role=img]').getAttribute('aria-label')).toMatch(
      /, others that publish theirs \(1\) (from [\d,.]+ to )?[\d,.]+\.$/,
    )
    expect(await page.locator('#unpublished').isVisible()).toBe(false)
  })

  it('tells how to publish it where nobody does', async () => {
    const own = await browser.newPage()
    const { http } = await other.waitFor('listening')
    await own.goto(http)
    await own.waitForSelector('#perplexity canvas')
    expect(await own.locator('#unpublished').textContent()).toContain('--publish-perplexity')
    expect(await own.locator('#unpublished').isVisible()).toBe(true)
    expect(await own.locator('#perplexity').textContent()).not.toContain('others')
    await own.close()
  })

  it('draws from the least to the most of what others publish, and lets nobody flatten the scale', async () => {
    const own = await browser.newPage()
    await own.route('**/api/status*', async (route) => {
      const response = await route.fetch({ url: `${url}/api/status?after=0` })
      const status = (await response.json()) as PeerStatus
      const rounds = status.rounds.map((round) => {
        const own = round.validPerplexity!
        return { ...round, othersPerplexity: { peers: 3, least: own / 2, median: own, most: 1e9 } }
      })
      await route.fulfill({ response, json: { ...status, rounds } })
    })
    await own.goto(url)
    await own.waitForSelector('#perplexity canvas')
    expect(await own.locator('#perplexity .legend').textContent()).toMatch(
      /others that publish theirs \(3\) [\d,.]+–1,000,000,000$/,
    )
    // Translucent, from the middle of the picture to its top.
    const alphas = await own.locator('#perplexity canvas').evaluate((node) => {
      const { width, height } = node as HTMLCanvasElement
      const pixels = (node as HTMLCanvasElement).getContext('2d')!
      const middle = pixels.getImageData(Math.round(width / 2), 0, 1, height).data
      return Array.from({ length: height }, (_, row) => middle[4 * row + 3]!)
    })
    expect(alphas.filter((alpha) => alpha === 0x26).length).toBeGreaterThan(alphas.length / 4)
    await own.locator('#numbers summary').press('Enter')
    await expect
      .poll(() => own.locator('#numbers tbody tr').first().textContent())
      .toMatch(/[\d,.]+–1,000,000,000 \(3\)/)
    await own.close()
  })

  it('calls the distance by its own name', async () => {
    expect(await page.locator('#consensus .legend').textContent()).toMatch(/^generalist \d/)
    expect(await page.locator('#consensus [role=img]').getAttribute('aria-label')).toMatch(
      /^Consensus distance over rounds: generalist (from )?\d/,
    )
  })

  it('draws a single round', async () => {
    const own = await browser.newPage()
    await own.route('**/api/status*', async (route) => {
      const response = await route.fetch({ url: `${url}/api/status?after=0` })
      const status = (await response.json()) as PeerStatus
      await route.fulfill({ response, json: { ...status, rounds: status.rounds.slice(0, 1) } })
    })
    await own.goto(url)
    await own.waitForSelector('#traffic canvas')
    expect(await own.locator('#traffic [role=img]').getAttribute('aria-label')).toMatch(
      /^Bytes a round: sent [\d.]+ k?B, received [\d.]+ k?B\.$/,
    )
    const isDrawn = await own.locator('#traffic').evaluate((node) => {
      const wanted = getComputedStyle(node.querySelector('.swatch')!).color.match(/\d+/g)!.map(Number)
      const canvas = node.querySelector('canvas')!
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
      return data.some((_, at) => at % 4 === 0 && wanted.every((value, k) => data[at + k] === value))
    })
    expect(isDrawn).toBe(true)
    await own.close()
  })

  it('tells who it mixes with', async () => {
    const row = page.locator('#neighbours tbody tr')
    await expect.poll(() => row.count()).toBe(1)
    expect(await row.locator('th').textContent()).toContain(otherId.slice(-8))
    await expect.poll(() => row.locator('td').last().textContent()).toMatch(/^[1-9]\d* %$/)
  })

  it('draws whom the routers trust, and says it', async () => {
    const canvas = page.locator('#router canvas')
    expect(await canvas.getAttribute('aria-label')).toMatch(/layer 1: \d+ %, layer 2: \d+ %/)
    const colours = await canvas.evaluate((node) => {
      const { width, height } = node as HTMLCanvasElement
      const pixels = (node as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height).data
      return new Set(new Uint32Array(pixels.buffer)).size
    })
    expect(colours).toBeGreaterThan(3)
  })

  it('lists rounds for those who do not see charts', async () => {
    await page.locator('#numbers summary').press('Enter')
    await expect.poll(() => page.locator('#numbers tbody tr').count()).toBeGreaterThan(5)
  })

  it('writes text, coloured by the trusted expert', async () => {
    await write(page, 'Es war einmal', 24)
    const tokens = page.locator('#written .token')
    expect(await tokens.count()).toBeGreaterThan(5)
    const seen = await tokens.evaluateAll((nodes) =>
      nodes.map((node) => ({
        expert: [...node.classList].find((name) => /^e\d$/.test(name)),
        background: getComputedStyle(node).backgroundColor,
        title: (node as HTMLElement).title,
      })),
    )
    const colours = new Map(seen.map(({ expert, background }) => [expert, background]))
    // Each expert has a colour of its own, and what a token is coloured by is what its scores say.
    expect(new Set(colours.values()).size).toBe(colours.size)
    expect([...colours.values()]).not.toContain('rgba(0, 0, 0, 0)')
    for (const { expert, title } of seen) {
      const [generalist, specialist] = [...title.matchAll(/(\d+) %/g)].map(([, share]) => Number(share))
      expect(expert === 'e0' ? generalist! >= specialist! : specialist! >= generalist!).toBe(true)
    }
    expect(await page.locator('#written').textContent()).toMatch(/^Es war einmal./)
    expect(await page.locator('#experts').textContent()).toMatch(/(generalist|specialist 1) \d+ %/)
  })

  it('says why nothing was written', async () => {
    await page.fill('#prompt', 'a b c d e f g h '.repeat(40))
    await page.click('#go')
    await expect
      .poll(() => page.textContent('#writing'))
      .toMatch(/^Not written: .*tokens, this model can see 64/)
    complaints.splice(0) // the browser itself reports the 400
  })

  it.each([
    ['light, wide', 'light', 1280],
    ['dark, wide', 'dark', 1280],
    ['light, phone', 'light', 375],
    ['dark, phone', 'dark', 375],
  ] as const)("passes axe-core's checks: %s", async (_, colorScheme, width) => {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 800 })
    await write(page, 'Im Wald', 8)
    expect(await violations(page)).toEqual([])
    // Nothing sticks out of a phone.
    expect(await page.evaluate(() => document.scrollingElement!.scrollWidth)).toBeLessThanOrEqual(width)
  })

  it('has complained about nothing so far', () => {
    expect(complaints).toEqual([])
  })

  it("survives the peer's death and return", async () => {
    const round = await tile(page, 'Round')
    await peer.kill('SIGKILL')
    await page.waitForSelector('#trouble:not([hidden])')
    expect(await page.textContent('#trouble')).toMatch(/^No answer since/)
    expect(await page.textContent('#phase')).toBe('no answer')
    expect(await tile(page, 'Round')).toBeGreaterThanOrEqual(round)

    peer = start('de', ['--bootstrap', otherAddress, '--http', new URL(url).host])
    await page.waitForSelector('#trouble[hidden]', { state: 'attached', timeout: 60_000 })
    await tileUntil(page, 'Round', (value) => value > round + 2)
    expect(await page.textContent('#phase')).toBe('training')
    expect(await page.evaluate(() => 'isStillHere' in globalThis)).toBe(true)
    // A browser reports what it cannot reach; the page has nothing to add.
    expect(complaints.filter((text) => !text.includes('ERR_CONNECTION'))).toEqual([])
  })

  it('sees another peer die and return', async () => {
    await other.kill('SIGKILL')
    const row = page.locator('#neighbours tbody tr td')
    await expect
      .poll(() => row.last().textContent(), { timeout: 60_000 })
      .toBe('left out: silent for too long (stale)')
    const { addresses } = await peer.waitFor('listening')
    other = start('fr', ['--bootstrap', addresses[0]!])
    await expect.poll(() => row.last().textContent(), { timeout: 60_000 }).toMatch(/%$/)
  })

  it('is the page of comigs-peer serve too', async () => {
    const base = ['--base', join(folder, 'base')]
    const serve = await startServing(['serve', '--json', '--state', join(folder, 'de'), ...base])
    const own = await browser.newPage()
    const said = complaintsOf(own)
    await own.goto(serve.first.http)
    await expect.poll(() => own.textContent('#phase')).toBe('serving')
    await write(own, 'Es war', 8)
    expect(await own.locator('#written .token').count()).toBeGreaterThan(1)
    expect(await own.locator('section:visible').count()).toBe(1)
    expect(said).toEqual([])
    await own.close()
    await serve.stop()
  })

  it('asks for the token off loopback, once a tab', async () => {
    const off = ['--http', '0.0.0.0:0', '--http-token', 'pass word']
    const base = ['--base', join(folder, 'base')]
    const serve = await startServing(['serve', '--json', '--state', join(folder, 'de'), ...base, ...off])
    const own = await browser.newPage()
    await own.goto(serve.first.http)
    const trouble = own.locator('#trouble')
    await expect.poll(() => trouble.textContent()).toBe('This peer asks for its token.')
    expect(await own.locator('#content').isVisible()).toBe(false)
    expect(await violations(own)).toEqual([])

    await own.getByLabel('Token of this peer').fill('pass')
    await own.keyboard.press('Enter')
    await expect.poll(() => trouble.textContent()).toBe('That is not the token of this peer.')
    await own.getByLabel('Token of this peer').fill('pass word')
    await own.getByRole('button', { name: 'Show' }).click()
    await expect.poll(() => own.textContent('#phase')).toBe('serving')
    await own.reload()
    await expect.poll(() => own.textContent('#phase')).toBe('serving')
    await write(own, 'Es war', 8)
    expect(await own.textContent('#writing')).toMatch(/^Done/)
    await own.close()
    await serve.stop()
  })
})
