/** Constants of the paper (appendix B) and of the authors' scripts. */
export const PAPER = {
  /** LoRA's rank and alpha. */
  lora: { rank: 8, alpha: 16 },
  /** Peak learning rate of the experts. */
  rate: 2e-3,
  /** Learning rate of the routers, constant. */
  routerRate: 2e-3,
  weightDecay: 0.01,
  /** Factor of the load-balancing loss, lambda. */
  balance: 0.01,
  /** Expert steps in a round, H. */
  localSteps: 10,
  /** Router phase every so many expert steps, tau. */
  routerEvery: 30,
  /** Router steps in a router phase, s. */
  routerSteps: 10,
} as const
