/*
 * Average pooling over windows i of the padded map: y[i] = Σ x[j] / k[i], where k[i] is the size of the kernel (padding counted as zeros), or the
 * number of elements of window i inside the map.
 *
 *   dx[j] = Σ dy[i] / k[i] over the windows i that hold j
 *
 * In ONNX that is dy / k repeated over tiles, or its transposed convolution with a kernel of ones.
 */
import { type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { elementCount } from '../ir/types.ts';
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
  type Window,
  windowOf,
} from './pool-window.ts';

/** `countIncludePad`: whether padding counts as zeros in the average. */
export type AveragePoolAttrs = PoolAttrs & { readonly countIncludePad: boolean };

/** 1/k of each window of a map, [h,w]. */
function shares(window: Window, countIncludePad: boolean): NDArray {
  const { kernel, to } = window;
  const counts = new Float64Array(to[0] * to[1]);
  eachPair(1, window, (i) => {
    counts[i]++;
  });
  return ndarray(
    to,
    counts.map((count) => 1 / (countIncludePad ? kernel[0] * kernel[1] : count)),
  );
}

function sample(name: string, shape: number[], kernel: number[], strides: number[], pads: number[], countIncludePad: boolean) {
  return { name, inputs: [scattered(shape)], attrs: { kernel, strides, pads, countIncludePad } };
}

function averageSamples(): (Omit<Sample, 'attrs'> & { attrs: AveragePoolAttrs })[] {
  return [
    sample('tiles', [2, 2, 4, 4], [2, 2], [2, 2], [0, 0, 0, 0], true),
    sample('tiles of 3x2, rows and columns left over', [1, 2, 7, 5], [3, 2], [3, 2], [0, 0, 0, 0], false),
    sample('overlapping windows, padding counted', [2, 1, 6, 7], [3, 3], [2, 2], [1, 1, 1, 1], true),
    sample('overlapping windows, padding not counted', [2, 1, 6, 7], [3, 3], [2, 2], [1, 1, 1, 1], false),
    sample('asymmetric pads, counted', [1, 2, 5, 4], [3, 2], [1, 2], [2, 0, 1, 1], true),
    sample('asymmetric pads, not counted', [1, 2, 5, 4], [3, 2], [1, 2], [2, 0, 1, 1], false),
    sample('strides beyond the kernel', [1, 1, 7, 8], [2, 1], [3, 3], [0, 0, 0, 0], true),
    sample('sequences', [2, 3, 9], [3], [2], [0, 1], false),
    sample('size 1', [1, 1, 1, 1], [1, 1], [1, 1], [0, 0, 0, 0], true),
  ];
}

export const averagePool = defineOp<AveragePoolAttrs>('averagePool', {
  summary: 'Mean over windows of x [N,C,H,W] or [N,C,L], with or without the padding in the count.',
  properties: {},
  infer: inferPool,
  vjp: (graph, { inputs: [x], grads: [dy] }, attrs) => [graph.op('averagePoolGrad', [x, dy!], attrs)],
  lower: [
    {
      name: 'standard',
      emit(e, node, [x], attrs) {
        const { shape } = node.inputs[0].type;
        const count = { count_include_pad: attrs.countIncludePad ? 1 : 0 };
        const y = e.node('AveragePool', [asMaps(e, x, shape)], { ...onnxWindow(windowOf(shape, attrs)), ...count });
        return fromMaps(e, y, node.outputs[0].type.shape);
      },
    },
  ],
  flops: (_types, [y], { kernel }) => elementCount(kernel) * elementCount(y.shape),
  evaluate([x], attrs) {
    const window = windowOf(x.shape, attrs);
    const { kernel, strides, pads } = attrs;
    const map = x.shape.slice(2).map((size, i) => {
      return Math.floor((size + pads[i] + pads[kernel.length + i] - kernel[i]) / strides[i]) + 1;
    });
    const y = zeros([x.shape[0], x.shape[1], ...map]);
    const share = shares(window, attrs.countIncludePad).data;
    eachPair(x.shape[0] * x.shape[1], window, (i, j) => {
      y.data[i] += x.data[j] * share[i % share.length];
    });
    return [y];
  },
  samples: averageSamples,
});

export const averagePoolGrad = defineOp<AveragePoolAttrs>('averagePoolGrad', {
  summary: 'dx of averagePool, from x (only its shape) and dy.',
  properties: {},
  infer: inferPoolGrad,
  vjp: { none: 'second derivatives are not supported' },
  lower: [
    {
      name: 'tiled windows',
      when: tiled,
      emit(e, node, [, dy], attrs) {
        const { shape } = node.inputs[0].type;
        const window = windowOf(shape, attrs);
        const part = e.node('Mul', [dy, e.floats(1 / elementCount(attrs.kernel))]);
        return fromMaps(e, padUnreached(e, repeatTiles(e, asMaps(e, part, node.inputs[1].type.shape), window), window), shape);
      },
    },
    {
      name: 'transposed convolution',
      emit(e, node, [, dy], attrs) {
        const { shape } = node.inputs[0].type;
        const window = windowOf(shape, attrs);
        const maps = e.reshape(dy, [-1, 1, ...window.to]);
        const part = e.node('Mul', [maps, e.array(shares(window, attrs.countIncludePad))]);
        const ones = e.floats(Array<number>(elementCount(window.kernel)).fill(1), [1, 1, ...window.kernel]);
        return fromMaps(e, addWindows(e, part, ones, window), shape);
      },
    },
  ],
  flops: (_types, [dx], { kernel }) => elementCount(kernel) * elementCount(dx.shape),
  evaluate([x, dy], attrs) {
    const window = windowOf(x.shape, attrs);
    const dx = zeros(x.shape);
    const share = shares(window, attrs.countIncludePad).data;
    eachPair(x.shape[0] * x.shape[1], window, (i, j) => {
      dx.data[j] += dy.data[i] * share[i % share.length];
    });
    return [dx];
  },
  samples: () =>
    averageSamples().map(({ inputs: [x], ...rest }) => ({
      ...rest,
      inputs: [x, scattered(averagePool.evaluate([x], rest.attrs)[0].shape, 0, 1, 2)],
    })),
});
