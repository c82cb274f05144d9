import { NodeError } from '../errors.ts'
import type { Strategy } from './strategy.ts'
import * as comigs from './strategies/comigs.ts'
import * as fdlora from './strategies/fdlora.ts'
import * as flexlora from './strategies/flexlora.ts'
import * as gossip from './strategies/gossip.ts'
import * as hetlora from './strategies/hetlora.ts'
import * as jointRouting from './strategies/joint-routing.ts'
import * as loraFactors from './strategies/lora-factors.ts'
import * as momentum from './strategies/momentum.ts'
import * as pcl from './strategies/pcl.ts'
import * as pretrained from './strategies/pretrained.ts'
import * as routerOnTrain from './strategies/router-on-train.ts'
import * as twofold from './strategies/twofold.ts'
import * as withoutRouter from './strategies/without-router.ts'

/** All that `--strategies` knows: every export of these files. */
export const STRATEGIES: readonly Strategy[] = [
  pretrained,
  withoutRouter,
  pcl,
  jointRouting,
  routerOnTrain,
  loraFactors,
  fdlora,
  flexlora,
  hetlora,
  comigs,
  gossip,
  momentum,
  twofold,
].flatMap((file): Strategy[] => Object.values(file))

/** @throws NodeError `OPTION_INVALID` */
export function strategiesNamed(names: readonly string[]): Strategy[] {
  return names.map((name) => {
    const found = STRATEGIES.find((strategy) => strategy.name === name)
    if (found !== undefined) return found
    const known = STRATEGIES.map((strategy) => strategy.name).join(', ')
    throw new NodeError({
      code: 'OPTION_INVALID',
      option: '--strategies',
      value: name,
      reason: `is not known; known: ${known}`,
    })
  })
}
