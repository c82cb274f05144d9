/** The element of index.html with an id. */
export function byId(id: string): HTMLElement
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T
export function byId(id: string, kind = HTMLElement): HTMLElement {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no #${id}`)
  return found
}

/** Content is text, never markup: some of it comes from other peers. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<Omit<HTMLElementTagNameMap[K], 'style' | 'dataset'>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

/** Text that did not change is left alone, so that screen readers do not read it again. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text
}

const filled = new WeakMap<HTMLTableSectionElement, string>()

/**
 * A table's body, left alone when nothing changed. The first cell of a row is its header; columns whose heads are of class
 * `number` hold numbers.
 */
export function fillTable(table: HTMLTableElement, rows: readonly (readonly string[])[]): void {
  const body = table.tBodies[0]!
  const key = JSON.stringify(rows)
  if (filled.get(body) === key) return
  filled.set(body, key)
  body.replaceChildren(...rows.map((cells) => tableRow(table, cells)))
}

export function tableRow(table: HTMLTableElement, cells: readonly (Node | string)[]): HTMLTableRowElement {
  const heads = table.tHead!.rows[0]!.cells
  return element(
    'tr',
    {},
    ...cells.map((content, index) => {
      const { className } = heads[index]!
      if (index > 0) return element('td', { className }, content)
      return element('th', { className, scope: 'row' }, content)
    }),
  )
}
