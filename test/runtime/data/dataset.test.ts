import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { defaultAugmentation, drawAugmentation } from '../../../runtime/data/augment.ts';
import { epochOrder, imageDataset, openArrays, subset } from '../../../runtime/data/dataset.ts';
import { loadImages } from '../../../runtime/data/images.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import { createWarp } from '../../../runtime/data/warp.ts';
import { serializeSafetensors } from '../../../runtime/safetensors.ts';
import type { TensorData } from '../../../runtime/tensor.ts';
import { errorOf, folderOf, temporaryFolder } from './files.ts';

const size = 8;

async function images(memoryLimit?: number) {
  const pictures = await Promise.all(
    [0, 1, 2, 3].map((i) =>
      sharp(
        Uint8Array.from({ length: size * size * 3 }, (_, at) => (at * 7 + i * 50) % 256),
        { raw: { width: size, height: size, channels: 3 } },
      )
        .png()
        .toBuffer(),
    ),
  );
  const root = folderOf([
    ['b/0.png', pictures[0]],
    ['a/1.png', pictures[1]],
    ['a/2.png', 'not an image'],
    ['b/3.png', pictures[3]],
  ]);
  return loadImages(readListing(root), { size, cache: 'none', onBadImage: 'skip', memoryLimit });
}

describe.each([undefined, 0])('imageDataset (memory limit %s)', (memoryLimit) => {
  it('gives images and labels, without those that were left out', async () => {
    const loaded = await images(memoryLimit);
    const dataset = imageDataset(loaded, [0, 1, 2, 3]);
    expect(dataset).toMatchObject({ size: 3, items: [0, 2, 3], classes: ['a', 'b'], labels: Int32Array.from([0, 1, 1]) });
    const batch = await dataset.batch([2, 0]);
    expect(batch.label).toEqual({ dtype: 'int64', shape: [2], data: BigInt64Array.from([1n, 0n]) });
    expect(batch.image).toMatchObject({ dtype: 'float32', shape: [2, 3, size, size] });
    const expected = (i: number) =>
      Array.from({ length: 192 }, (_, at) => Math.fround(((((at % 64) * 3 + Math.floor(at / 64)) * 7 + i * 50) % 256) / 255));
    expect(Array.from(batch.image.data as Float32Array)).toEqual([...expected(3), ...expected(1)]);
    expect(Object.keys(await imageDataset(loaded, [0], { image: 'x', label: 'y' }).batch([0]))).toEqual(['x', 'y']);
  });

  it('varies an image by seed, epoch and item, whatever the batch or part', async () => {
    const loaded = await images(memoryLimit);
    const augmentation = { settings: defaultAugmentation, seed: 4, epoch: 2 };
    const image3 = async (dataset: ReturnType<typeof imageDataset>, indices: number[], at: number) =>
      ((await dataset.batch(indices, augmentation)).image.data as Float32Array).slice(at * 192, (at + 1) * 192);
    const expected = new Float32Array(192);
    createWarp(size)(await loaded.pixels(3), drawAugmentation(defaultAugmentation, 4, 2, 3), expected, 0);
    expect(await image3(imageDataset(loaded, [0, 2, 3]), [1, 2, 0], 1)).toEqual(expected);
    expect(await image3(imageDataset(loaded, [3]), [0], 0)).toEqual(expected);
    const part = subset(imageDataset(loaded, [0, 2, 3]), [2, 0]);
    expect((await part.batch([0], augmentation)).image.data as Float32Array).toEqual(expected);
    expect(part).toMatchObject({ size: 2, labels: Int32Array.from([1, 0]) });
    expect(imageDataset(loaded, [0, 2, 3]).paths).toEqual(['a/1.png', 'b/0.png', 'b/3.png']);
    expect(part.paths).toEqual(['b/3.png', 'a/1.png']);
    expect(subset({ ...part, groups: ['p1', null] }, [1, 0]).groups).toEqual([null, 'p1']);
  });
});

describe('openArrays', () => {
  const arrays = (tensors: Record<string, TensorData>) => {
    const file = join(temporaryFolder(), 'arrays.safetensors');
    writeFileSync(file, serializeSafetensors(new Map(Object.entries(tensors))));
    return file;
  };
  const signal: TensorData = { dtype: 'float32', shape: [3, 2, 2], data: Float32Array.from({ length: 12 }, (_, i) => i) };
  const label: TensorData = { dtype: 'int64', shape: [3], data: BigInt64Array.from([2n, 0n, 1n]) };

  it('takes rows of every array asked for, in its own type', async () => {
    const flag: TensorData = { dtype: 'uint8', shape: [3, 1], data: Uint8Array.from([7, 8, 9]) };
    const dataset = openArrays(
      arrays({ signal, label, flag, unused: { dtype: 'float64', shape: [], data: new Float64Array(1) } }),
      ['signal', 'label', 'flag'],
    );
    expect(dataset).toMatchObject({ size: 3, classes: null, labels: Int32Array.from([2, 0, 1]) });
    expect(subset(dataset, [2, 0]).paths).toEqual(['2', '0']);
    expect(await dataset.batch([2, 0, 2])).toEqual({
      signal: { dtype: 'float32', shape: [3, 2, 2], data: Float32Array.from([8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]) },
      label: { dtype: 'int64', shape: [3], data: BigInt64Array.from([1n, 2n, 1n]) },
      flag: { dtype: 'uint8', shape: [3, 1], data: Uint8Array.from([9, 7, 9]) },
    });
  });

  it('has no labels where they are not one integer each', () => {
    expect(openArrays(arrays({ signal }), ['signal']).labels).toBeNull();
    expect(openArrays(arrays({ label: signal }), ['label']).labels).toBeNull();
  });

  it.each<[string, Record<string, TensorData>, string]>([
    ['a missing array', { signal }, 'ARRAYS_INPUT_MISSING'],
    [
      'arrays of different lengths',
      { signal, label: { ...label, shape: [2], data: label.data.slice(1) as BigInt64Array } },
      'ARRAYS_LENGTHS_DIFFER',
    ],
    ['a scalar', { signal, label: { dtype: 'int64', shape: [], data: BigInt64Array.from([1n]) } }, 'ARRAYS_LENGTHS_DIFFER'],
    [
      'no examples',
      {
        signal: { ...signal, shape: [0, 2, 2], data: new Float32Array(0) },
        label: { ...label, shape: [0], data: new BigInt64Array(0) },
      },
      'DATA_EMPTY',
    ],
  ])('refuses %s', async (_, tensors, code) => {
    const file = arrays(tensors);
    const error = await errorOf(() => openArrays(file, ['signal', 'label']));
    expect(error).toMatchObject({ code, where: file });
    expect(error.hint).toBeTruthy();
  });

  // 2³² + 1 would be 1 as an int32.
  it.each([2n ** 32n + 1n, 65_536n, -1n])('refuses the class %s, where the array is one of classes', async (wrong) => {
    const file = arrays({ label: { ...label, data: BigInt64Array.of(0n, 65_535n, wrong) } });
    expect(await errorOf(() => openArrays(file, ['label']))).toMatchObject({
      code: 'DATA_LABEL',
      message: `the array "label" has an example of class ${wrong}, and classes are whole numbers from 0 to 65535 at most`,
      where: `${file}, example 2`,
    });
    expect(openArrays(file, ['label'], null).labels).toBeNull();
  });

  it('takes whole floating-point numbers as classes', async () => {
    const file = arrays({ label: { dtype: 'float32', shape: [3], data: Float32Array.of(2, 0, 1) } });
    const dataset = openArrays(file, ['label']);
    expect(dataset.labels).toEqual(Int32Array.of(2, 0, 1));
    expect((await dataset.batch([0, 2])).label).toEqual({ dtype: 'int64', shape: [2], data: BigInt64Array.of(2n, 1n) });
  });

  it.each([-2, 1.7, 65_536, Number.NaN, Number.POSITIVE_INFINITY])('refuses the floating-point class %s', async (wrong) => {
    const file = arrays({ label: { dtype: 'float64', shape: [3], data: Float64Array.of(0, 1, wrong) } });
    expect(await errorOf(() => openArrays(file, ['label']))).toMatchObject({
      code: 'DATA_LABEL',
      message: expect.stringContaining(`an example of class ${wrong}, and classes are whole numbers from 0`),
      where: `${file}, example 2`,
    });
  });

  it.each([
    ['float32', Number.NaN, 'NaN in example 1, and a loss needs finite numbers'],
    ['float32', Number.NEGATIVE_INFINITY, '-Infinity in example 1, and a loss needs finite numbers'],
    ['float64', 1e300, '1e+300 in example 1, beyond the largest float32'],
  ] as const)('refuses a %s array with %s', async (dtype, wrong, sentence) => {
    const values = [0, 1, 2, 3, wrong, 5, 6, 7, 8];
    const data = dtype === 'float32' ? Float32Array.from(values) : Float64Array.from(values);
    const file = arrays({ x: { dtype, shape: [3, 3], data } });
    expect(await errorOf(() => openArrays(file, ['x'], null))).toMatchObject({
      code: 'ARRAYS_NOT_FINITE',
      message: `the array "x" has ${sentence}`,
      where: `${file}, example 1`,
    });
    // An array that the model does not take may hold anything.
    const both = arrays({ label, x: { dtype, shape: [3, 3], data } });
    expect(openArrays(both, ['label']).size).toBe(3);
  });
});

describe('epochOrder', () => {
  it('is a permutation that depends on seed and epoch', () => {
    const order = epochOrder(1000, 1, 2);
    expect(epochOrder(1000, 1, 2)).toEqual(order);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    for (const other of [epochOrder(1000, 1, 3), epochOrder(1000, 2, 2)]) {
      // Two independent permutations agree in one place on average; ten or more happen once in a million.
      expect(order.filter((value, i) => value === other[i]).length).toBeLessThan(10);
    }
    expect(epochOrder(0, 1, 1)).toEqual([]);
  });
});
