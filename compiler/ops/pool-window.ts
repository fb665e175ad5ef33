import type { Emitter } from '../emit/emitter.ts';
import { needs } from '../emit/lowering.ts';
import type { Site } from '../ir/op.ts';
import { type Dim, formatShape, type Shape, type TensorType } from '../ir/types.ts';
import { requireDType, requireKnown, requireRank, requireWhole, shapeError } from './shapes.ts';

/** Window geometry, a value for each map axis (one for [N,C,L], two for [N,C,H,W]); pads: the begins, then the ends. */
export type PoolAttrs = {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly pads: readonly number[];
};

/** The shape rule of pooling: ⌊(size + pads − kernel) / stride⌋ + 1 on each map axis. */
export function inferPool(
  inputs: readonly TensorType[],
  { kernel, strides, pads }: PoolAttrs,
  site: Site,
): readonly TensorType[] {
  const [x] = inputs;
  requireDType(inputs, 'float32', site);
  requireRank(x, [3, 4], site, '[N,C,L] or [N,C,H,W]');
  const fail = (sentence: string, hint?: string) => shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, hint);
  requireKnown(x, 2, inputs, site);
  const map = x.shape.slice(2) as number[];
  for (const [label, list, length, least] of [
    ['kernel', kernel, map.length, 1],
    ['strides', strides, map.length, 1],
    ['pads', pads, 2 * map.length, 0],
  ] as const) {
    if (list.length !== length) throw fail(`${label} must have ${length} values, got ${list.length}`);
    requireWhole(label, list, least, inputs, site);
  }
  const wide = pads.findIndex((pad, i) => pad >= kernel[i % map.length]);
  if (wide >= 0) {
    const sentence = `pad ${pads[wide]} is not smaller than the kernel ${kernel[wide % map.length]}`;
    throw fail(sentence, 'a window of padding only has no value: pad less');
  }
  const padded = map.map((size, i) => size + pads[i] + pads[map.length + i]);
  const out = padded.map((size, i) => Math.floor((size - kernel[i]) / strides[i]) + 1);
  if (out.some((size) => size < 1)) {
    throw fail(
      `kernel ${kernel.join('x')} does not fit the padded input ${padded.join('x')}`,
      'add padding, or pool less before',
    );
  }
  return [{ dtype: 'float32', shape: [x.shape[0], x.shape[1], ...out] as Dim[] }];
}

/** The shape rule of a pooling's gradient from x and dy: the type of x. */
export function inferPoolGrad(inputs: readonly TensorType[], attrs: PoolAttrs, site: Site): readonly TensorType[] {
  const [x, dy] = inputs;
  const [y] = inferPool([x], attrs, site);
  requireDType(inputs, 'float32', site);
  if (formatShape(y.shape) !== formatShape(dy.shape)) {
    throw shapeError(site, 'SHAPE_MISMATCH', `dy is ${formatShape(dy.shape)}, expected ${formatShape(y.shape)}`, inputs);
  }
  return [x];
}

/** A pooling of maps with 1-D taken as 2-D of height 1. */
export interface Window {
  /** Sizes of the input's and the output's map. */
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** Padding before, and after. */
  readonly before: readonly [number, number];
  readonly after: readonly [number, number];
}

export function windowOf(shape: Shape, { kernel, strides, pads }: PoolAttrs): Window {
  const flat = shape.length === 3;
  const pair = (list: readonly number[], filler: number): readonly [number, number] =>
    flat ? [filler, list[0]] : [list[0], list[1]];
  const half = pads.length / 2;
  const window = {
    from: pair(shape.slice(2) as number[], 1),
    kernel: pair(kernel, 1),
    strides: pair(strides, 1),
    before: pair(pads.slice(0, half), 0),
    after: pair(pads.slice(half), 0),
  };
  const size = (i: 0 | 1) =>
    Math.floor((window.from[i] + window.before[i] + window.after[i] - window.kernel[i]) / window.strides[i]) + 1;
  return { ...window, to: [size(0), size(1)] };
}

/** Windows that are tiles: unpadded, each beginning where the one before ends. */
export const tiled = needs<PoolAttrs>('windows side by side, without pads', ({ inputs: [x] }, _target, attrs) => {
  const { kernel, strides, before, after } = windowOf(x.type.shape, attrs);
  return kernel.every((size, i) => size === strides[i] && before[i] === 0 && after[i] === 0);
});

/** Rows and columns at the ends of the padded map that no window reaches. */
export function unreached({ from, to, kernel, strides, before, after }: Window): [number, number] {
  const left = (i: 0 | 1) => from[i] + before[i] + after[i] - (to[i] - 1) * strides[i] - kernel[i];
  return [left(0), left(1)];
}

/** ONNX's attributes of MaxPool and AveragePool. */
export function onnxWindow({ kernel, strides, before, after }: Window) {
  return { kernel_shape: kernel, strides, pads: [...before, ...after] };
}

/** Visits each (output, input) pair of element offsets in row-major order of the windows; `n` counts maps, N·C of them. */
export function eachPair(maps: number, window: Window, visit: (y: number, x: number) => void): void {
  const { from, to, kernel, strides, before } = window;
  for (let y = 0; y < maps * to[0] * to[1]; y++) {
    const map = Math.floor(y / (to[0] * to[1]));
    const top = (Math.floor(y / to[1]) % to[0]) * strides[0] - before[0];
    const left = (y % to[1]) * strides[1] - before[1];
    for (let row = Math.max(top, 0); row < Math.min(top + kernel[0], from[0]); row++) {
      for (let column = Math.max(left, 0); column < Math.min(left + kernel[1], from[1]); column++) {
        visit(y, (map * from[0] + row) * from[1] + column);
      }
    }
  }
}

/** x [N,C,L] as maps [N,C,1,L]; a map as it is. */
export function asMaps(e: Emitter, x: string, shape: Shape): string {
  return shape.length === 4 ? x : e.reshape(x, [-1, shape[1] as number, 1, shape[2] as number]);
}

/** Maps [N,C,H,W], in any shape, as `shape`, whose named dimension is left to the run. */
export function fromMaps(e: Emitter, maps: string, shape: Shape): string {
  return e.reshape(
    maps,
    shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  );
}

/** Tiles [N,C,h·kh,w·kw] with zeros for the rows and columns that no tile reaches: [N,C,H,W]. */
export function padUnreached(e: Emitter, tiles: string, window: Window): string {
  const [rows, columns] = unreached(window);
  return rows === 0 && columns === 0 ? tiles : e.node('Pad', [tiles, e.ints([0, 0, 0, 0, 0, 0, rows, columns])]);
}

/** Each element of maps [N,C,h,w] as a tile of `kernel` elements: [N,C,h·kh,w·kw]. */
export function repeatTiles(e: Emitter, maps: string, { kernel }: Window): string {
  if (kernel[0] === 1 && kernel[1] === 1) return maps;
  // Both name the source ⌊i / k⌋. Halves and quarters are exact everywhere, and the first form has the faster kernel for them; for other sizes
  // the second one keeps away from whole numbers, where a processor whose divisions are not exact would take the neighbour.
  const exact = kernel.every((size) => Number.isInteger(Math.log2(size)));
  const rule = exact
    ? { coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }
    : { coordinate_transformation_mode: 'half_pixel', nearest_mode: 'round_prefer_floor' };
  return e.node('Resize', [maps, '', e.floats([1, 1, ...kernel])], { mode: 'nearest', ...rule });
}

/** Adds up windows [M,k,h,w], k values for each, where `taps` [k,1,kh,kw] says to which place of the window a value goes: [M,1,H,W]. */
export function addWindows(e: Emitter, windows: string, taps: string, window: Window): string {
  return e.node('ConvTranspose', [windows, taps], {
    kernel_shape: window.kernel,
    strides: window.strides,
    pads: [...window.before, ...window.after],
    output_padding: unreached(window),
  });
}
