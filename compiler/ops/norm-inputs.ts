import { type NDArray, ndarray } from '../ir/ndarray.ts';
import type { Site } from '../ir/op.ts';
import { elementCount, formatShape, type Shape, type TensorType } from '../ir/types.ts';
import { requireDType, requireKnown, shapeError } from './shapes.ts';

/**
 * What every norm asks of its inputs: float32; x [N,C,…] of which only the first size may be unknown; one value a channel in the others.
 *
 * @returns the number of channels.
 */
export function requireChannels(inputs: readonly TensorType[], vectors: readonly number[], site: Site): number {
  const [x] = inputs;
  requireDType(inputs, 'float32', site);
  if (x.shape.length < 2) throw shapeError(site, 'SHAPE_RANK', `takes [N,C,…], got ${formatShape(x.shape)}`, [x]);
  requireKnown(x, 1, inputs, site);
  const channels = x.shape[1] as number;
  for (const i of vectors) {
    const { shape } = inputs[i];
    if (shape.length !== 1 || shape[0] !== channels) {
      const sentence = `${formatShape(shape)} is not one value for each of the ${channels} channels of ${formatShape(x.shape)}`;
      throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs);
    }
  }
  return channels;
}

export function requireEpsilon(epsilon: number, inputs: readonly TensorType[], site: Site): void {
  if (epsilon > 0 && Number.isFinite(epsilon)) return;
  throw shapeError(site, 'SHAPE_ATTRIBUTE', `epsilon ${epsilon} is not a positive number`, inputs, 'the usual one is 1e-5');
}

/** Values scattered evenly in mean ± 2·deviation, without a pattern: for samples. */
export function scattered(shape: Shape, mean = 0, deviation = 1, seed = 1): NDArray {
  const data = Array.from({ length: elementCount(shape) }, (_, i) => {
    const fraction = (((Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 43758.5453) % 1) + 1) % 1;
    return mean + deviation * (4 * fraction - 2);
  });
  return ndarray(shape as readonly number[], data);
}
