import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { baseLayout, hubConfig, type ModelConfig, namedArrays, writeSafetensors } from '@comigs/model'
import { initialise } from '../../packages/model/src/parameters.ts'

export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
export const SHIPPED_BASE = join(REPOSITORY, 'packages/node/models/base-en')
export const LANGUAGES = join(REPOSITORY, 'data/multilingual-cc0')

/** Small enough that a step takes milliseconds; the shipped tokenizer, so that real text goes in. */
export const TINY: ModelConfig = {
  architecture: 'gpt2',
  vocabSize: 4096,
  positions: 64,
  width: 32,
  layers: 2,
  heads: 2,
  hidden: 128,
  epsilon: 1e-5,
}

/** Writes an untrained base of the TINY shape in Hugging Face's layout. */
export async function writeTinyBase(folder: string, seed = 1): Promise<string> {
  await mkdir(folder, { recursive: true })
  const layout = baseLayout(TINY)
  await writeFile(
    join(folder, 'model.safetensors'),
    writeSafetensors(namedArrays(layout, initialise(layout, seed))),
  )
  await writeFile(join(folder, 'config.json'), JSON.stringify(hubConfig(TINY)))
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(join(SHIPPED_BASE, file), join(folder, file))
  }
  return folder
}
