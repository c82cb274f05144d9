import type * as AxeCore from 'axe-core'
import { createRequire } from 'node:module'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { readFile } from 'node:fs/promises'
import { type Browser, chromium, type Page } from 'playwright-core'
import { expect } from 'vitest'
import { MAIN } from '../support/peer-process.ts'

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env['CHROMIUM']!,
    args: ['--no-sandbox', '--disable-gpu'],
  })
}

/** What a page said that it should not have said. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error.stack)))
  return complaints
}

/** A command of the command line that serves a page, and its first line: the one that says where. */
export async function startServing(
  args: readonly string[],
): Promise<{ readonly first: { readonly event: string; readonly http: string }; stop(): Promise<void> }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return {
    first: JSON.parse(line) as { event: string; http: string },
    async stop() {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

/** The big figure of a tile, by its name. */
export async function tile(page: Page, name: string): Promise<number> {
  const text = await page.locator('#tiles > div', { hasText: name }).locator('dd').first().textContent()
  return Number(text!.replace(/,/g, ''))
}

/** Waits for a tile to fit; told with what was there instead. */
export function tileUntil(page: Page, name: string, fits: (value: number) => boolean): Promise<number> {
  return expect
    .poll(() => tile(page, name), { timeout: 90_000, interval: 250 })
    .toSatisfy(fits, name)
    .then(() => tile(page, name))
}

/** axe-core's verdict. Evaluated by the debugger: the page's policy lets no foreign script in. */
export async function violations(page: Page): Promise<unknown[]> {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
  return page.evaluate(async () => {
    const axe = (globalThis as unknown as { axe: typeof AxeCore }).axe
    const { violations, passes } = await axe.run()
    if (passes.length < 10) throw new Error('axe-core looked at nothing')
    return violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ html, failureSummary }) => `${html} ${failureSummary ?? ''}`),
    }))
  })
}

/** Has the page write, and waits until it has. That it began is told at once. */
export async function write(page: Page, prompt: string, tokens: number): Promise<void> {
  await page.fill('#prompt', prompt)
  await page.fill('#tokens', String(tokens))
  await page.press('#prompt', 'Control+Enter')
  await expect.poll(() => page.textContent('#writing'), { timeout: 60_000 }).toMatch(/^(Done|Not)/)
}
