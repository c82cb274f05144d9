/** Sets a key, as the newest of a map in which the oldest make room: what strangers name must not grow without end. */
export function keepLast<K, V>(map: Map<K, V>, most: number, key: K, value: V): void {
  map.delete(key) // to the end of the map's order
  map.set(key, value)
  if (map.size > most) map.delete(map.keys().next().value!)
}
