import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { NodeError } from '../errors.ts'
import type { Target } from './federation.ts'

/** A data set and what its users want to be good at. */
export interface Setting {
  /** Of the data set. */
  readonly name: string
  readonly folder: string
  readonly target: Target
}

interface Suite {
  readonly says: string
  readonly strategies: readonly string[]
  readonly rounds: number
  readonly settings: readonly { readonly name: string; readonly target: Target }[]
}

/** In the repository; further sets lie in the folder that COMIGS_DATA names. */
const SHIPPED = 'multilingual-cc0'
const DEMO = [{ name: SHIPPED, target: 'mixture' }] as const

/** The paper's: multilingual and domains in distribution, AG News out of it; and the demo's. */
const PAPER_SETTINGS = [
  { name: 'multilingual', target: 'own' },
  { name: 'domains', target: 'own' },
  { name: 'agnews', target: 'mixture' },
  ...DEMO,
] as const

export const SUITES = {
  quick: {
    says: 'does exchange help; 11 minutes on two cores',
    strategies: ['pretrained', 'local', 'fedavg', 'comigs-2s', 'comigs-1g1s'],
    rounds: 6,
    settings: DEMO,
  },
  table1: {
    says: "the paper's table 1: CoMiGS and what it is compared with",
    strategies: [
      'pretrained',
      'centralized',
      'local',
      'fedavg',
      'pcl',
      'pfedmoe',
      'fdlora',
      'comigs-2s',
      'comigs-2g',
      'comigs-1g1s',
    ],
    rounds: 20,
    settings: PAPER_SETTINGS,
  },
  table2: {
    says: 'table 2: unequal numbers of experts, and unequal ranks',
    strategies: ['comigs-1g1s', 'comigs-1gxs', 'comigs-1gxs-reversed', 'hetlora', 'flexlora'],
    rounds: 20,
    settings: PAPER_SETTINGS,
  },
  table5: {
    says: "table 5: other ways to share LoRA; validation text's worth",
    strategies: [
      'ffa-lora',
      'fedsa-lora',
      'local-moe',
      'fedavg-moe',
      'pfedmoe',
      'local-moe-tr',
      'fedavg-moe-tr',
      'comigs-tr',
      'comigs-2s',
      'comigs-2g',
      'comigs-1g1s',
    ],
    rounds: 20,
    settings: PAPER_SETTINGS,
  },
  gossip: {
    says: 'a server against a mesh with few bytes, cells, pairs, a ring',
    strategies: [
      'comigs-1g1s',
      'gossip-float32',
      'gossip-int8',
      'gossip-int4',
      'gossip-top-k',
      'gossip-cells',
      'gossip-pairs',
      'gossip-ring',
      'comigs-2s',
    ],
    rounds: 12,
    settings: DEMO,
  },
} as const satisfies Record<string, Suite>

export type SuiteName = keyof typeof SUITES

/** Where the suite's data sets are, and which are missing. */
export function findSettings(
  suite: SuiteName,
  dataFolder: string | undefined,
): { found: Setting[]; missing: string[] } {
  const found: Setting[] = []
  const missing: string[] = []
  for (const { name, target } of SUITES[suite].settings) {
    const places = [join('data', name), ...(dataFolder === undefined ? [] : [join(dataFolder, name)])]
    const folder = places.find((place) => existsSync(place))
    if (folder === undefined) missing.push(name)
    else found.push({ name, folder, target })
  }
  if (found.length > 0) return { found, missing }
  throw new NodeError({
    code: 'OPTION_INVALID',
    option: 'experiment',
    value: suite,
    reason: `has no data here (${missing.join(', ')}); give --data-set, or run it where data/${SHIPPED} is`,
  })
}
