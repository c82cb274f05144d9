import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LANGUAGES, writeTinyBase } from '../support/tiny-base.ts'
import { complaintsOf, launch, startServing, tileUntil, violations, write } from './support.ts'

describe('the page of comigs-peer swarm', () => {
  let folder: string
  let browser: Browser
  let page: Page
  let complaints: string[]
  let swarm: Awaited<ReturnType<typeof startServing>>

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'comigs-swarm-page-'))
    const base = await writeTinyBase(join(folder, 'base'))
    const size = ['--batch', '4', '--context', '32', '--rounds', '12', '--peers', '2']
    const args = ['--data-set', LANGUAGES, '--base', base, '--state', join(folder, 'peers'), ...size]
    swarm = await startServing(['swarm', '--json', '--stay', ...args])
    expect(swarm.first.event).toBe('page')

    browser = await launch()
    page = await browser.newPage({ reducedMotion: 'reduce' })
    complaints = complaintsOf(page)
    await page.goto(swarm.first.http)
  })
  afterAll(async () => {
    await browser.close()
    await swarm.stop()
    await rm(folder, { recursive: true, force: true })
  })

  it('shows all peers, from before they start to after their last round', async () => {
    const names = () => page.locator('#peers tbody th').allTextContents()
    await expect.poll(names, { timeout: 60_000 }).toEqual(['de', 'fr'])
    await tileUntil(page, 'Round', (round) => round === 12)
    expect(await page.locator('#perplexity .legend').textContent()).toMatch(/de [\d,.]+fr [\d,.]+base/)
    await expect.poll(() => page.textContent('#phase'), { timeout: 60_000 }).toBe('done')
  })

  it('shows the chosen one in detail; the keyboard is enough', async () => {
    expect(await page.textContent('#neighbours tbody th')).toBe('fr')
    await page.getByRole('radio', { name: 'de' }).focus()
    await page.keyboard.press('ArrowDown')
    expect(await page.getByRole('radio', { name: 'fr' }).isChecked()).toBe(true)
    expect(await page.textContent('#text-title')).toBe('Write: fr')
    expect(await page.textContent('#neighbours tbody th')).toBe('de')
  })

  it('has the chosen one write', async () => {
    await write(page, 'Il était une fois', 12)
    expect(await page.textContent('#writing')).toMatch(/^Done: \d+ tokens/)
    expect(await page.locator('#written .token').count()).toBeGreaterThan(2)
  })

  it("leads to a peer's own page", async () => {
    const own = await browser.newPage()
    await own.goto((await page.locator('#peers a').first().getAttribute('href'))!)
    await expect.poll(() => own.textContent('h1')).toBe('de')
    await own.close()
  })

  it("passes axe-core's checks and has complained about nothing", async () => {
    expect(await violations(page)).toEqual([])
    await page.setViewportSize({ width: 375, height: 800 })
    await expect.poll(() => page.evaluate(() => document.scrollingElement!.scrollWidth)).toBe(375)
    expect(complaints).toEqual([])
  })
})
