/*
 * Looking elements up by index. x [A…,V,B…], indices [M…] into V, y [A…,M…,B…].
 *
 *   y = gather(x, i)     dx[a,v,b] = Σ over m with i[m] = v of dy[a,m,b]       (`gatherGrad`)
 *   z = gatherGrad(dy)   d(dy) = gather(dz, i)
 *
 * Indices are integers from 0; ONNX Runtime refuses one beyond the axis when it runs.
 */
import { DdrcError } from '../../diagnostics/error.ts';
import type { Emitter } from '../emit/emitter.ts';
import { needs } from '../emit/lowering.ts';
import { type NDArray, ndarray, scalar, zeros } from '../ir/ndarray.ts';
import { defineOp, type Site } from '../ir/op.ts';
import {
  type Dim,
  elementCount,
  formatShape,
  formatType,
  isStatic,
  type Shape,
  sameShape,
  type TensorType,
} from '../ir/types.ts';
import { wave } from './samples.ts';
import { normalizeAxis, shapeError } from './shapes.ts';

/** `axis` of x that is looked up in; may be negative. */
export type GatherAttrs = { axis: number };

/** Number of classes: the size of the new last axis. */
export type OneHotAttrs = { depth: number };

function fromStart(axis: number, shape: Shape): number {
  return axis < 0 ? axis + shape.length : axis;
}

function requireIndices(type: TensorType, site: Site, inputs: readonly TensorType[]): void {
  if (type.dtype !== 'int64' && type.dtype !== 'int32') {
    const sentence = `takes int64 or int32 indices, got ${formatType(type)}`;
    throw shapeError(site, 'DTYPE_MISMATCH', sentence, inputs, 'cast them to int64');
  }
}

function gatheredShape(x: Shape, indices: Shape, axis: number): Dim[] {
  return [...x.slice(0, axis), ...indices, ...x.slice(axis + 1)];
}

/** Calls `visit(offset in x, offset in y)` for each element of y = gather(x, indices). */
function forEachPair(x: readonly number[], indices: NDArray, axis: number, visit: (ofX: number, ofY: number) => void): void {
  const before = elementCount(x.slice(0, axis));
  const after = elementCount(x.slice(axis + 1));
  const many = indices.data.length;
  for (let a = 0; a < before; a++) {
    for (let m = 0; m < many; m++) {
      const index = indices.data[m];
      if (index < 0 || index >= x[axis]) {
        throw new DdrcError({
          code: 'SHAPE_ATTRIBUTE',
          message: `gather: index ${index} is out of range for axis ${axis} of ${formatShape(x)}`,
        });
      }
      for (let b = 0; b < after; b++) visit((a * x[axis] + index) * after + b, (a * many + m) * after + b);
    }
  }
}

/** 0, 1, … `count` − 1 as int32. */
function countUp(e: Emitter, count: number): string {
  return e.array(
    ndarray(
      [count],
      Array.from({ length: count }, (_, i) => i),
      'int32',
    ),
  );
}

/** float32: 1 where an element of `indices` equals that of `classes` along a new last axis, 0 elsewhere. */
function oneHotNode(e: Emitter, indices: string, rank: number, classes: string): string {
  // Compared as int32: WebGPU has no kernel for OneHot, nor for comparing int64.
  const column = e.node('Unsqueeze', [e.node('Cast', [indices], { to: 6 }), e.ints([rank])]);
  return e.node('Cast', [e.node('Equal', [column, classes])], { to: 1 });
}

const lookups = (shape: readonly number[], data: readonly number[], dtype: 'int64' | 'int32' = 'int64') =>
  ndarray(shape, data, dtype);

/** From about this size of the axis on, a scatter (25 ns an element) is faster than the product with a one-hot matrix. */
const LONG = 512;

export const gather = defineOp<GatherAttrs>('gather', {
  summary: 'y = the elements of x at `indices` along `axis`: y[a…,m…,b…] = x[a…,indices[m…],b…].',
  properties: { moves: true },
  infer(inputs, attrs, site) {
    const [x, indices] = inputs;
    requireIndices(indices, site, inputs);
    const axis = normalizeAxis(attrs.axis, x.shape, site, [x]);
    return [{ dtype: x.dtype, shape: gatheredShape(x.shape, indices.shape, axis) }];
  },
  vjp(graph, { inputs: [x, indices], grads: [dy], wanted }, { axis }) {
    return [wanted[0] ? graph.op('gatherGrad', [x, indices, dy!], { axis }) : null, null];
  },
  lower: [
    {
      name: 'standard',
      emit: (e, node, [x, indices], { axis }) =>
        e.node('Gather', [x, indices], { axis: fromStart(axis, node.inputs[0].type.shape) }),
    },
  ],
  flops: () => 0,
  evaluate([x, indices], attrs) {
    const axis = fromStart(attrs.axis, x.shape);
    const y = zeros(gatheredShape(x.shape, indices.shape, axis) as number[], x.dtype);
    forEachPair(x.shape, indices, axis, (ofX, ofY) => {
      y.data[ofY] = x.data[ofX];
    });
    return [y];
  },
  samples: () => [
    { name: 'rows, one of them twice', inputs: [wave([4, 3]), lookups([3], [2, 0, 2])], attrs: { axis: 0 } },
    {
      name: 'a table of indices in the middle',
      inputs: [wave([2, 3, 2]), lookups([2, 2], [1, 1, 0, 2], 'int32')],
      attrs: { axis: 1 },
    },
    { name: 'the last axis, negative', inputs: [wave([2, 4]), lookups([2], [3, 1])], attrs: { axis: -1 } },
    { name: 'one index without axes', inputs: [wave([3, 2]), lookups([], [1])], attrs: { axis: 0 } },
    { name: 'size 1', inputs: [wave([1]), lookups([1], [0])], attrs: { axis: 0 } },
  ],
});

/** Reshapes to a shape with at most one named dimension. */
function reshapeKnown(e: Emitter, x: string, shape: readonly Dim[]): string {
  return e.reshape(
    x,
    shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  );
}

/** The product of `shape`; −1 where it has a name. */
function flat(shape: Shape): number {
  return shape.every((dim) => typeof dim === 'number') ? elementCount(shape) : -1;
}

/** 0, 1, … up to the size of an axis that is known only when the graph runs, as int32. */
function placesOf(e: Emitter, x: string, axis: number): string {
  const size = e.node('Cast', [e.node('Gather', [e.node('Shape', [x]), e.ints(axis)])], { to: 6 });
  const [zero, one] = [0, 1].map((value) => e.array(scalar(value, 'int32')));
  return e.node('Range', [zero, size, one]);
}

export const gatherGrad = defineOp<GatherAttrs>('gatherGrad', {
  summary: 'dx = dy added up at `indices` along `axis`, zeros elsewhere, in the shape of x; only the shape of x is used.',
  properties: {},
  infer(inputs, attrs, site) {
    const [x, indices, dy] = inputs;
    requireIndices(indices, site, inputs);
    const axis = normalizeAxis(attrs.axis, x.shape, site, [x]);
    const refuse = (sentence: string) => shapeError(site, 'SHAPE_MISMATCH', sentence, inputs);
    const shape = gatheredShape(x.shape, indices.shape, axis);
    if (!sameShape(dy.shape, shape)) throw refuse(`the gradient ${formatShape(dy.shape)} is not of ${formatShape(shape)}`);
    const crowded = [x.shape, shape].find((dims) => dims.filter((dim) => typeof dim === 'string').length > 1);
    if (crowded) throw refuse(`${formatShape(crowded)} has more than one named size`);
    return [{ dtype: dy.dtype, shape: x.shape }];
  },
  vjp(graph, { inputs: [, indices], grads: [dz], wanted }, { axis }) {
    return [null, null, wanted[2] ? graph.op('gather', [dz!, indices], { axis }) : null];
  },
  lower: [
    {
      // Row by row, additions in the order of the indices. ScatterND would be faster, but its threads race where an index is met twice.
      name: 'scatter',
      when: needs(
        'opset 16, no WebGPU and a known shape',
        ({ inputs: [x] }, { opset, provider }) => opset >= 16 && provider !== 'webgpu' && isStatic(x.type.shape),
      ),
      pays: needs(
        `more than ${LONG} rows to look up in`,
        ({ inputs: [x] }, _target, { axis }) => (x.type.shape[fromStart(axis, x.type.shape)] as number) > LONG,
      ),
      emit(e, node, [, indices, dy], attrs) {
        const shape = node.inputs[0].type.shape as readonly number[];
        const axis = fromStart(attrs.axis, shape);
        const [before, size, after] = [elementCount(shape.slice(0, axis)), shape[axis], elementCount(shape.slice(axis + 1))];
        const many = flat(node.inputs[1].type.shape);
        const rows = e.reshape(dy, [before, many, after]);
        const places = e.node('Expand', [e.reshape(indices, [1, many, 1]), e.ints([before, 1, after])]);
        const empty = e.node('ConstantOfShape', [e.ints([before, size, after])]);
        return e.reshape(e.node('ScatterElements', [empty, places, rows], { axis: 1, reduction: 'add' }), shape);
      },
    },
    {
      name: 'one-hot',
      emit(e, node, [x, indices, dy], attrs) {
        const { shape } = node.inputs[0].type;
        const axis = fromStart(attrs.axis, shape);
        const size = shape[axis];
        const many = flat(node.inputs[1].type.shape);
        const rows = e.reshape(dy, [flat(shape.slice(0, axis)), many, flat(shape.slice(axis + 1))]);
        const hot = oneHotNode(
          e,
          e.reshape(indices, [many]),
          1,
          typeof size === 'number' ? countUp(e, size) : placesOf(e, x, axis),
        );
        return reshapeKnown(e, e.node('MatMul', [e.transpose(hot, [1, 0]), rows]), shape);
      },
    },
  ],
  flops: (_inputs, [dx]) => elementCount(dx.shape),
  evaluate([x, indices, dy], attrs) {
    const dx = zeros(x.shape, dy.dtype);
    forEachPair(x.shape, indices, fromStart(attrs.axis, x.shape), (ofX, ofY) => {
      dx.data[ofX] += dy.data[ofY];
    });
    return [dx];
  },
  samples: () => [
    { name: 'a row that is met twice', inputs: [zeros([4, 3]), lookups([3], [2, 0, 2]), wave([3, 3])], attrs: { axis: 0 } },
    {
      name: 'a table of indices in the middle',
      inputs: [zeros([2, 3, 2]), lookups([2, 2], [1, 1, 0, 2], 'int32'), wave([2, 2, 2, 2])],
      attrs: { axis: 1 },
    },
    { name: 'one index without axes', inputs: [zeros([3, 2]), lookups([], [1]), wave([2])], attrs: { axis: 0 } },
    { name: 'a long table', inputs: [zeros([2, LONG + 1]), lookups([3], [LONG, 7, LONG]), wave([2, 3])], attrs: { axis: 1 } },
  ],
});

export const oneHot = defineOp<OneHotAttrs>('oneHot', {
  summary:
    'y = 1 where the new last axis, of size `depth`, is at the index, 0 elsewhere; an index outside gives zeros only. float32.',
  properties: {},
  infer(inputs, { depth }, site) {
    const [indices] = inputs;
    requireIndices(indices, site, inputs);
    if (!Number.isInteger(depth) || depth < 1) {
      throw shapeError(site, 'SHAPE_ATTRIBUTE', `depth ${depth} is not a number of classes`, inputs, 'give a positive integer');
    }
    return [{ dtype: 'float32', shape: [...indices.shape, depth] }];
  },
  vjp: { zero: 'its input is an index' },
  lower: [
    {
      name: 'standard',
      emit: (e, node, [indices], { depth }) => oneHotNode(e, indices, node.inputs[0].type.shape.length, countUp(e, depth)),
    },
  ],
  flops: () => 0,
  evaluate([indices], { depth }) {
    const y = zeros([...indices.shape, depth]);
    indices.data.forEach((index, i) => {
      if (index >= 0 && index < depth) y.data[i * depth + index] = 1;
    });
    return [y];
  },
  samples: () => [
    { name: 'labels', inputs: [lookups([4], [2, 0, 1, 2])], attrs: { depth: 3 } },
    { name: 'a table, int32, one outside', inputs: [lookups([2, 2], [1, -1, 0, 5], 'int32')], attrs: { depth: 2 } },
    { name: 'one class', inputs: [lookups([1], [0])], attrs: { depth: 1 } },
  ],
});
