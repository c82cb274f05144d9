import type { FastifyInstance } from 'fastify'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The page's files by path, as they are sent. */
export type Page = ReadonlyMap<string, { readonly type: string; readonly body: Buffer }>

const STATIC = fileURLToPath(new URL('../../page/', import.meta.url))
/** What `tsc -b` makes of page/*.ts. */
const SCRIPTS = fileURLToPath(new URL('../../dist/page/', import.meta.url))
const { resolve } = createRequire(import.meta.url)

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.js': 'text/javascript; charset=utf-8',
}

/** The page runs its own scripts, talks to its own server, and is nobody's frame. */
export const PAGE_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

/** All of the page, chart library included: nothing comes from elsewhere. */
export async function readPage(): Promise<Page> {
  const scripts = (await readdir(SCRIPTS)).filter((name) => name.endsWith('.js'))
  const files: readonly (readonly [path: string, file: string])[] = [
    ['/', `${STATIC}index.html`],
    ['/page/style.css', `${STATIC}style.css`],
    ['/page/icon.svg', `${STATIC}icon.svg`],
    ['/page/uplot.css', resolve('uplot/dist/uPlot.min.css')],
    ['/page/uplot.js', resolve('uplot/dist/uPlot.iife.min.js')],
    ...scripts.map((name) => [`/page/${name}`, SCRIPTS + name] as const),
  ]
  const read = async ([path, file]: (typeof files)[number]) =>
    [path, { type: TYPES[extname(file)]!, body: await readFile(file) }] as const
  return new Map(await Promise.all(files.map(read)))
}

export function addPage(server: FastifyInstance, page: Page): void {
  for (const [path, { type, body }] of page)
    server.get(path, async (_, response) => {
      await response.type(type).header('cache-control', 'no-cache').send(body)
    })
}
