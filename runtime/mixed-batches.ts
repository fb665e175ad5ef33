import { DdrcError } from '../diagnostics/error.ts';
import type { Batch } from './batches.ts';
import { type MixSettings, mixBatches } from './data/mix.ts';
import { type ManifestFile, type ManifestPort, portsOf } from './manifest.ts';
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
  const inputs = portsOf(file.inputs, 'data');
  for (const input of inputs) {
    const why = unmixable(input, inputs[0], settings);
    if (why === null) continue;
    const { name, dtype, shape } = input;
    const message = `${why}, and the input ${name} is ${dtype} [${shape.join(',')}]`;
    throw new DdrcError({ code: 'AID_UNFIT', message, hint: 'train without --mixup and --cutmix' });
  }
}

/** Why an input cannot be mixed; null where it can. */
function unmixable(input: ManifestPort, first: ManifestPort, { cutmix }: MixSettings): string | null {
  if (input.dtype !== 'float32') return 'only float32 inputs can be mixed';
  if (cutmix === 0) return null;
  if (input.shape.length !== 4) return 'CutMix cuts images [N,C,H,W]';
  const sizeOf = ({ shape }: ManifestPort) => shape.slice(2).join('x');
  if (sizeOf(input) === sizeOf(first)) return null;
  return `CutMix cuts the same share out of each input, the first of which has ${sizeOf(first)} places`;
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
