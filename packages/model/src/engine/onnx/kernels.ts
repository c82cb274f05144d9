import type { Kernel } from './kernel.ts'
import { NAMED_KERNELS } from './named-kernels.ts'
import { TFJS_KERNELS } from './tfjs-kernels.ts'

/** Every kernel that a step may use on the `onnx` engine. */
export const KERNELS: Readonly<Record<string, Kernel>> = { ...TFJS_KERNELS, ...NAMED_KERNELS }
