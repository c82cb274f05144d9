import type { HubName } from '@comigs/model'

// Apart from hub.ts, whose library takes 8 MB, which most peers never need.

/** `owner/name`, with `@` a branch, tag or commit. */
const HUB_ID = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w-][\w.-]*))?$/

/** @returns undefined for what is no model's id on the hub */
export function parseHubId(text: string): HubName | undefined {
  const [, name, revision] = HUB_ID.exec(text) ?? []
  return name === undefined ? undefined : { name, revision }
}

export const isHubId = (text: string): boolean => parseHubId(text) !== undefined

/** What the folder of a downloaded model's commits is called: `owner--name`. */
export const folderOfName = (name: string): string => name.replace('/', '--')

export const nameOfFolder = (folder: string): string => folder.replace('--', '/')
