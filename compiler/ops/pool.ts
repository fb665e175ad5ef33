/*
 * Max pooling of x [N,C,H,W] (or [N,C,L]) over windows i of the padded map; padding never wins.
 *
 *   y[i] = max x[j], j in window i          dx[j] = Σ dy[i] over the windows i of which j is the FIRST maximum in row-major order
 *
 * The gradient in ONNX:
 *
 *   tiled windows   y and dy repeated over their tiles; an element that equals y is a candidate. Its code counts down through the window (k … 1),
 *                   0 for others; a second max pool finds the code of the first candidate, whose element gets dy. All of it are passes without
 *                   indices: with MaxPool of [16,32,112,112] by 2x2 it takes 14 ms on one thread, where MaxPool with indices and MaxUnpool take 29.
 *   scatter         MaxPool's indices (the first maximum, offsets in the whole tensor) and a scatter-add
 *   by offset       for each offset of the window a strided slice of x is compared with y; what equals takes dy, and leaves 0 to the later
 *                   offsets; a transposed convolution with one-hot kernels puts them back and adds where windows overlap
 */
import { type Emitter, NCHWC } from '../emit/emitter.ts';
import { needs } from '../emit/lowering.ts';
import { type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { elementCount, type Shape } from '../ir/types.ts';
import { scattered } from './norm-inputs.ts';
import {
  addWindows,
  asMaps,
  eachPair,
  fromMaps,
  inferPool,
  inferPoolGrad,
  onnxWindow,
  type PoolAttrs,
  padUnreached,
  repeatTiles,
  tiled,
  unreached,
  type Window,
  windowOf,
} from './pool-window.ts';

/** Less than every finite value that a window may hold beside it. */
const LOWEST = -3.4028234663852886e38;

function emitMaxPool(e: Emitter, maps: string, window: Window): string {
  return e.node('MaxPool', [maps], onnxWindow(window));
}

/** x without the rows and columns at the end that no tile reaches. */
function reachedTiles(e: Emitter, maps: string, window: Window): string {
  const { from } = window;
  const [rows, columns] = unreached(window);
  if (rows === 0 && columns === 0) return maps;
  return e.node('Slice', [maps, e.ints([0, 0]), e.ints([from[0] - rows, from[1] - columns]), e.ints([2, 3])]);
}

/** The codes of a map's elements, [H,W]: k … 1 in each tile of k elements. */
function tileCodes(e: Emitter, { to, kernel }: Window): string {
  const [height, width] = [to[0] * kernel[0], to[1] * kernel[1]];
  const codes = Array.from({ length: height * width }, (_, i) => {
    const place = (Math.floor(i / width) % kernel[0]) * kernel[1] + ((i % width) % kernel[1]);
    return kernel[0] * kernel[1] - place;
  });
  return e.floats(codes, [height, width]);
}

function emitTiled(e: Emitter, shape: Shape, x: string, dy: string, window: Window): string {
  const maps = asMaps(e, x, shape);
  const y = emitMaxPool(e, maps, window);
  const equal = (a: string, b: string) => e.node('Cast', [e.node('Equal', [a, b])], { to: 1 });
  const candidates = equal(reachedTiles(e, maps, window), repeatTiles(e, y, window));
  const codes = e.node('Mul', [candidates, tileCodes(e, window)]);
  const first = e.node('MaxPool', [codes], onnxWindow(window));
  const mask = equal(codes, repeatTiles(e, first, window));
  const dx = e.node('Mul', [mask, repeatTiles(e, asMaps(e, dy, shapeAfter(shape, window)), window)]);
  return padUnreached(e, dx, window);
}

/** The shape of y. */
function shapeAfter(shape: Shape, { to }: Window): Shape {
  return [shape[0], shape[1], ...to.slice(4 - shape.length)];
}

function emitScatter(e: Emitter, shape: Shape, x: string, dy: string, window: Window): string {
  const [, indices] = e.multi('MaxPool', [asMaps(e, x, shape)], 2, onnxWindow(window));
  const none = e.node('ConstantOfShape', [e.node('Shape', [e.reshape(x, [-1])])]);
  return e.node('ScatterElements', [none, e.reshape(indices, [-1]), e.reshape(dy, [-1])], { axis: 0, reduction: 'add' });
}

function emitByOffset(e: Emitter, shape: Shape, x: string, dy: string, window: Window): string {
  const { to, kernel, strides, before, after } = window;
  const maps = asMaps(e, x, shape);
  const y = emitMaxPool(e, maps, window);
  const pads = [0, 0, ...before, 0, 0, ...after];
  const padded = pads.some((pad) => pad > 0) ? e.node('Pad', [maps, e.ints(pads), e.floats(LOWEST)]) : maps;
  let left = asMaps(e, dy, shapeAfter(shape, window));
  const parts: string[] = [];
  for (let row = 0; row < kernel[0]; row++) {
    for (let column = 0; column < kernel[1]; column++) {
      const ends = [row + (to[0] - 1) * strides[0] + 1, column + (to[1] - 1) * strides[1] + 1];
      const seen = e.node('Slice', [padded, e.ints([row, column]), e.ints(ends), e.ints([2, 3]), e.ints(strides)]);
      const part = e.node('Mul', [left, e.node('Cast', [e.node('Equal', [seen, y])], { to: 1 })]);
      parts.push(e.reshape(part, [-1, 1, ...to]));
      left = e.node('Sub', [left, part]);
    }
  }
  const count = parts.length;
  const taps = Array.from({ length: count * count }, (_, i) => (i % (count + 1) === 0 ? 1 : 0));
  const windows = count === 1 ? parts[0] : e.node('Concat', parts, { axis: 1 });
  return addWindows(e, windows, e.floats(taps, [count, 1, ...kernel]), window);
}

/** Offset in x of the first maximum of each window. */
function winners(x: NDArray, attrs: PoolAttrs): { window: Window; first: Int32Array } {
  const window = windowOf(x.shape, attrs);
  const maps = x.shape[0] * x.shape[1];
  const first = new Int32Array(maps * window.to[0] * window.to[1]).fill(-1);
  eachPair(maps, window, (i, j) => {
    if (first[i] < 0 || x.data[j] > x.data[first[i]]) first[i] = j;
  });
  return { window, first };
}

type PoolSample = Omit<Sample, 'attrs'> & { attrs: PoolAttrs };

/** x that ties in its windows: few distinct values. */
function tied(shape: readonly number[]): NDArray {
  return ndarray(
    shape,
    scattered(shape).data.map((value) => Math.round(value)),
  );
}

function pool(name: string, x: NDArray, kernel: number[], strides: number[], pads: number[]): PoolSample {
  return { name, inputs: [x], attrs: { kernel, strides, pads } };
}

function maxSamples(): PoolSample[] {
  return [
    pool('tiles', scattered([2, 2, 4, 4]), [2, 2], [2, 2], [0, 0, 0, 0]),
    pool('tiles of 3x2, rows and columns left over', scattered([1, 2, 7, 5]), [3, 2], [3, 2], [0, 0, 0, 0]),
    pool('overlapping windows, padded', scattered([2, 1, 6, 7]), [3, 3], [2, 2], [1, 1, 1, 1]),
    pool('asymmetric pads', scattered([1, 2, 5, 4]), [3, 2], [1, 2], [2, 0, 1, 1]),
    pool('strides beyond the kernel', scattered([1, 1, 7, 8]), [2, 1], [3, 3], [0, 0, 0, 0]),
    pool('sequences', scattered([2, 3, 9]), [3], [2], [0, 1]),
    pool('sequences in tiles', scattered([2, 2, 8]), [2], [2], [0, 0]),
    pool('size 1', scattered([1, 1, 1, 1]), [1, 1], [1, 1], [0, 0, 0, 0]),
    pool('all in one window', scattered([1, 3, 2, 3]), [2, 3], [2, 3], [0, 0, 0, 0]),
    pool('only values below 0, padded', scattered([1, 1, 3, 3], -9), [2, 2], [2, 2], [1, 1, 1, 1]),
  ];
}

/** Windows with ties; what a gradient of ones gives. */
function tieSamples(): PoolSample[] {
  const x = ndarray([1, 1, 4, 4], [1, 1, 0, 2, 1, 1, 2, 2, 3, 4, 0, 0, 4, 3, 0, 0]);
  const chain = ndarray([1, 1, 5], [2, 2, 2, 1, 2]);
  const grads = (shape: readonly number[], ones: readonly (readonly [number, number])[]) => {
    const dx = zeros(shape);
    for (const [place, value] of ones) dx.data[place] = value;
    return [dx];
  };
  return [
    {
      ...pool('ties in tiles', x, [2, 2], [2, 2], [0, 0, 0, 0]),
      kink: true,
      expectedGrads: grads(
        [1, 1, 4, 4],
        [
          [0, 1],
          [3, 1],
          [9, 1],
          [10, 1],
        ],
      ),
    },
    {
      ...pool('ties in overlapping windows', chain, [3], [1], [0, 0]),
      kink: true,
      expectedGrads: grads(
        [1, 1, 5],
        [
          [0, 1],
          [1, 1],
          [2, 1],
        ],
      ),
    },
  ];
}

export const maxPool = defineOp<PoolAttrs>('maxPool', {
  summary: 'Maximum over windows of x [N,C,H,W] or [N,C,L]; the gradient goes to the first maximum in row-major order.',
  properties: {},
  infer: inferPool,
  vjp: (graph, { inputs: [x], grads: [dy] }, attrs) => [graph.op('maxPoolGrad', [x, dy!], attrs)],
  lower: [
    {
      name: 'standard',
      emit(e, node, [x], attrs) {
        const { shape } = node.inputs[0].type;
        const window = windowOf(shape, attrs);
        if (e.isBlocked(node.inputs[0])) {
          e.setBlocked(node.outputs[0], e.node('MaxPool', [e.blocked(node.inputs[0])], onnxWindow(window), NCHWC));
          return '';
        }
        return fromMaps(e, emitMaxPool(e, asMaps(e, x, shape), window), node.outputs[0].type.shape);
      },
    },
  ],
  flops: (_types, [y], { kernel }) => elementCount(kernel) * elementCount(y.shape),
  evaluate([x], attrs) {
    const { first } = winners(x, attrs);
    const { kernel, strides, pads } = attrs;
    const half = kernel.length;
    const map = x.shape.slice(2).map((size, i) => Math.floor((size + pads[i] + pads[half + i] - kernel[i]) / strides[i]) + 1);
    return [
      ndarray(
        [x.shape[0], x.shape[1], ...map],
        Array.from(first, (place) => x.data[place]),
      ),
    ];
  },
  samples: () => [...maxSamples(), ...tieSamples()],
});

export const maxPoolGrad = defineOp<PoolAttrs>('maxPoolGrad', {
  summary: 'dx of maxPool, from x and dy.',
  properties: {},
  infer: inferPoolGrad,
  vjp: { none: 'second derivatives are not supported' },
  lower: [
    {
      name: 'tiled windows',
      when: tiled,
      emit(e, node, [x, dy], attrs) {
        const { shape } = node.inputs[0].type;
        return fromMaps(e, emitTiled(e, shape, x, dy, windowOf(shape, attrs)), shape);
      },
    },
    {
      name: 'scatter',
      when: needs('the CPU and opset 16', (_node, { provider, opset }) => provider === 'cpu' && opset >= 16),
      emit(e, node, [x, dy], attrs) {
        const { shape } = node.inputs[0].type;
        return fromMaps(e, emitScatter(e, shape, x, dy, windowOf(shape, attrs)), shape);
      },
    },
    {
      name: 'by offset',
      emit(e, node, [x, dy], attrs) {
        const { shape } = node.inputs[0].type;
        return fromMaps(e, emitByOffset(e, shape, x, dy, windowOf(shape, attrs)), shape);
      },
    },
  ],
  flops: ([x, dy], _outputs, { kernel }) => elementCount(x.shape) + elementCount(kernel) * elementCount(dy.shape),
  evaluate([x, dy], attrs) {
    const dx = zeros(x.shape);
    winners(x, attrs).first.forEach((place, i) => {
      dx.data[place] += dy.data[i];
    });
    return [dx];
  },
  samples: () =>
    [
      ...maxSamples(),
      pool('many ties in tiles', tied([2, 2, 6, 6]), [2, 2], [2, 2], [0, 0, 0, 0]),
      pool('many ties in tiles of 3x3', tied([1, 2, 6, 9]), [3, 3], [3, 3], [0, 0, 0, 0]),
      pool('many ties in overlapping windows', tied([2, 2, 7, 6]), [3, 3], [2, 2], [1, 1, 1, 1]),
    ].map(({ inputs: [x], ...sample }) => ({
      ...sample,
      inputs: [x, scattered(maxPool.evaluate([x], sample.attrs)[0].shape, 0, 1, 2)],
    })),
});
