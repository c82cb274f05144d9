/** A loop: `map` with a function takes ten times as long, in the thread that must answer others. */
export function negated(a: Float32Array): Float32Array {
  const result = new Float32Array(a.length)
  for (let k = 0; k < a.length; k++) result[k] = -a[k]!
  return result
}
