import { PAPER } from '../../paper.ts'
import { nothing, type Strategy } from '../strategy.ts'

export const pretrained: Strategy = {
  name: 'pretrained',
  says: 'the base alone',
  mixture: () => ({ ...PAPER.lora, experts: 0, routing: 'mean' }),
  trains: 'nothing',
  shares: nothing,
}
