import { DdrcError } from '../diagnostics/error.ts';
import type { Batch } from './batches.ts';
import { type MixSettings, mixBatches } from './data/mix.ts';
import { type ManifestFile, portsOf } from './manifest.ts';
import type { TensorData } from './tensor.ts';

/** K batches that were mixed with themselves, one behind the other, ready to be fed. */
export interface MixedBatch extends Pick<Batch, 'feeds' | 'labels'> {
  /** λ of each: a scalar for one batch that a step takes, [K] for those of a loop. */
  readonly scalars: Record<string, TensorData>;
}

const share = 'mix_share';
const partnerEnding = '_partner';

/**
 * @throws DdrcError COMPILE_REQUEST where a training that mixes examples has files without that, or the other way round; AID_UNFIT where examples are not such
 *   as can be mixed
 */
export function checkMix(file: ManifestFile, settings: MixSettings | null): void {
  if (portsOf(file.inputs, 'mix').length > 0 !== (settings !== null)) {
    const message = settings ? 'the training graph takes no mixed examples' : 'the training graph takes mixed examples only';
    throw new DdrcError({ code: 'COMPILE_REQUEST', message, hint: `compile it with mixed: ${settings !== null}` });
  }
  if (!settings) return;
  for (const { name, dtype, shape } of portsOf(file.inputs, 'data')) {
    const fits = dtype === 'float32' && (settings.cutmix === 0 || shape.length === 4);
    if (fits) continue;
    const what = dtype === 'float32' ? 'CutMix cuts images [N,C,H,W]' : 'only float32 inputs can be mixed';
    const message = `${what}, and the input ${name} is ${dtype} [${shape.join(',')}]`;
    throw new DdrcError({ code: 'AID_UNFIT', message, hint: 'train without --mixup and --cutmix' });
  }
}

/**
 * Mixes the examples of `count` batches, each within itself; the feeds' memory is that of the result. The label of an example is the one with the larger share.
 * @param file what the manifest says of the graph of a single step
 * @param run the run of the first batch, of which everything random follows with the seed
 */
export function mixFeeds(
  { feeds, labels }: Pick<Batch, 'feeds' | 'labels'>,
  file: ManifestFile,
  settings: MixSettings,
  { count, seed, run, looped }: { count: number; seed: number | string; run: number; looped: boolean },
): MixedBatch {
  const inputs = portsOf(file.inputs, 'data').map(({ name }) => name);
  const { shares, partners } = mixBatches(feeds, inputs, count, settings, seed, run);
  const size = partners.length / count;
  const targets = portsOf(file.inputs, 'mix').filter(({ name }) => name !== share);
  const other = targets.map(({ name }): [string, TensorData] => {
    const { data, ...rest } = feeds[name.slice(0, -partnerEnding.length)];
    return [name, { ...rest, data: BigInt64Array.from(partners, (n) => data[n] as bigint) } as TensorData];
  });
  return {
    feeds: { ...feeds, ...Object.fromEntries(other) },
    labels: labels?.map((label, n) => (shares[Math.floor(n / size)] < 0.5 ? labels[partners[n]] : label)) ?? null,
    scalars: { [share]: { dtype: 'float32', shape: looped ? [count] : [], data: shares } },
  };
}
