import type { Dataset } from './dataset.ts';

/** One of the eight ways to lay a square on itself: rows and columns exchanged first, then each axis mirrored. */
export interface Orientation {
  readonly transposed: boolean;
  /** Left and right exchanged. */
  readonly mirroredX: boolean;
  /** Top and bottom exchanged. */
  readonly mirroredY: boolean;
}

/** What test-time augmentation shows a model: `none`, the image only; `flips`, also mirrored along one axis and along both; `turns`, also each of these turned by 90°. */
export type TestAugmentation = 'none' | 'flips' | 'turns';

const upright: Orientation = { transposed: false, mirroredX: false, mirroredY: false };
const flips: readonly Orientation[] = [
  upright,
  { ...upright, mirroredX: true },
  { ...upright, mirroredY: true },
  { ...upright, mirroredX: true, mirroredY: true },
];

/** The orientations in which a model sees each image, the image as it is first: 1, 4 or 8. */
export const orientations: Readonly<Record<TestAugmentation, readonly Orientation[]>> = {
  none: [upright],
  flips,
  turns: [...flips, ...flips.map((flip) => ({ ...flip, transposed: true }))],
};

/** Square planes [N,C,S,S] in another orientation; the ones given stay as they are. */
export function orient(planes: Float32Array, size: number, { transposed, mirroredX, mirroredY }: Orientation): Float32Array {
  const result = new Float32Array(planes.length);
  for (let plane = 0; plane < planes.length; plane += size * size) {
    for (let row = 0; row < size; row++) {
      const y = mirroredY ? size - 1 - row : row;
      for (let column = 0; column < size; column++) {
        const x = mirroredX ? size - 1 - column : column;
        result[plane + row * size + column] = planes[plane + (transposed ? x * size + y : y * size + x)];
      }
    }
  }
  return result;
}

/**
 * A data set whose images are shown in one orientation.
 * @param image the name of the array of planes [N,C,S,S]
 */
export function oriented(dataset: Dataset, image: string, orientation: Orientation): Dataset {
  return {
    ...dataset,
    async batch(indices, augmentation) {
      const arrays = await dataset.batch(indices, augmentation);
      const { dtype, shape, data } = arrays[image];
      return { ...arrays, [image]: { dtype, shape, data: orient(data as Float32Array, shape[3], orientation) } };
    },
  };
}
