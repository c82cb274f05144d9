import { ModelError } from '../errors.ts'
import { type HostArray, sizeOf, type TensorSpec } from './graph.ts'

/** What a run was given for an input. @throws ModelError `SHAPE_MISMATCH` */
export function checked(name: string, spec: TensorSpec, values: HostArray | undefined): HostArray {
  const expected = sizeOf(spec.shape)
  if (values?.length === expected) return values
  throw new ModelError({
    code: 'SHAPE_MISMATCH',
    what: `input "${name}"`,
    expected: `[${spec.shape.join()}]`,
    actual: values === undefined ? 'nothing' : `${values.length} elements`,
  })
}
