/*
 * Operators that view, permute or repeat elements.
 *
 *   y = reshape(x)          dx = reshape(dy) to the shape of x
 *   y = transpose(x, p)     dx = transpose(dy, p⁻¹)
 *   y = expand(x, like)     dx = Σ dy over the repeated axes
 *
 * A named dimension stays one dimension of its own: it can move and be repeated to, but not be joined with another or cut.
 */
import { broadcastStrides, forEachIndex, type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Site } from '../ir/op.ts';
import { type Dim, elementCount, formatShape, type Shape, sameShape, type TensorType } from '../ir/types.ts';
import { unbroadcast } from './elementwise.ts';
import { broadcastShapes, shapeError } from './shapes.ts';

/** The new shape; one dimension may be −1 (whatever is left), and named dimensions of the input are named again. */
export type ReshapeAttrs = { shape: readonly Dim[] };

/** Axis i of the output is axis `perm[i]` of the input. */
export type TransposeAttrs = { perm: readonly number[] };

/** 0, 0.25, 0.5, … */
function ramp(shape: readonly number[]): NDArray {
  return ndarray(
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => 0.25 * i),
  );
}

/** Names of `shape` that are not taken by `other`, each as often as it is left over. */
function namesBeyond(shape: Shape, other: Shape): string[] {
  const left = other.filter((dim) => typeof dim === 'string');
  return shape.filter((dim): dim is string => {
    if (typeof dim === 'number') return false;
    const at = left.indexOf(dim);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

function inferReshape(inputs: readonly TensorType[], target: readonly Dim[], site: Site): Dim[] {
  const from = inputs[0].shape;
  const refuse = (sentence: string, hint?: string) => shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, hint);
  const odd = target.find((dim) => typeof dim === 'number' && dim !== -1 && !(Number.isInteger(dim) && dim > 0));
  if (odd !== undefined) throw refuse(`${formatShape(target)} has the size ${odd}`, 'sizes are positive; one of them may be -1');
  const open = target.indexOf(-1);
  if (open !== target.lastIndexOf(-1))
    throw refuse(`${formatShape(target)} leaves more than one size open`, 'only one size may be -1');
  const mismatch = () => refuse(`${formatShape(from)} does not have the elements of ${formatShape(target)}`);
  if (namesBeyond(target, from).length > 0) throw mismatch();
  const names = namesBeyond(from, target);
  const have = elementCount(from);
  const want = elementCount(target.filter((dim) => dim !== -1));
  const shape = [...target];
  if (open < 0) {
    if (names.length > 0 || have !== want) throw mismatch();
  } else if (names.length === 0) {
    if (have % want !== 0) throw mismatch();
    shape[open] = have / want;
  } else {
    if (names.length > 1 || have !== want) {
      throw refuse(
        `${formatShape(from)} to ${formatShape(target)} would join ${names[0]} with another size`,
        `keep ${names[0]} as a dimension of its own`,
      );
    }
    shape[open] = names[0];
  }
  if (onnxReshape(from, shape).filter((dim) => dim === -1).length > 1) {
    throw refuse(
      `${formatShape(from)} to ${formatShape(shape)} moves more than one named size`,
      'use transpose to move dimensions',
    );
  }
  return shape;
}

/** The shape input of ONNX's Reshape: a named dimension is 0 where it stays in its place, and −1 elsewhere. */
function onnxReshape(from: Shape, to: Shape): number[] {
  return to.map((dim, axis) => (typeof dim === 'number' ? dim : from[axis] === dim ? 0 : -1));
}

export const reshape = defineOp<ReshapeAttrs>('reshape', {
  summary: 'y = the elements of x, in their order, in the shape `shape`; one size may be −1.',
  properties: { moves: true },
  infer(inputs, { shape }, site) {
    return [{ dtype: inputs[0].dtype, shape: inferReshape(inputs, shape, site) }];
  },
  vjp(graph, { inputs: [x], grads: [dy], wanted }) {
    return [wanted[0] ? graph.op('reshape', [dy!], { shape: x.type.shape }) : null];
  },
  lower: [
    {
      name: 'standard',
      emit(e, node, [x]) {
        const from = node.inputs[0].type.shape;
        const to = node.outputs[0].type.shape;
        return sameShape(from, to) ? x : e.reshape(x, onnxReshape(from, to));
      },
    },
  ],
  flops: () => 0,
  evaluate([x], { shape }) {
    const known = elementCount(shape.filter((dim) => dim !== -1));
    const sizes = (shape as readonly number[]).map((dim) => (dim === -1 ? x.data.length / known : dim));
    return [{ ...x, shape: sizes }];
  },
  samples: () => [
    { name: 'a map to a vector', inputs: [ramp([2, 3, 2, 2])], attrs: { shape: [2, 12] } },
    { name: 'an open size', inputs: [ramp([2, 3, 4])], attrs: { shape: [4, -1] } },
    { name: 'more axes', inputs: [ramp([4, 3])], attrs: { shape: [2, 2, 1, 3] } },
    { name: 'to a scalar', inputs: [ramp([1, 1])], attrs: { shape: [] } },
    { name: 'from a scalar', inputs: [ramp([])], attrs: { shape: [1, -1] } },
    { name: 'the same shape', inputs: [ramp([2, 3])], attrs: { shape: [2, 3] } },
  ],
});

export const transpose = defineOp<TransposeAttrs>('transpose', {
  summary: 'y = x with its axes in the order `perm`.',
  properties: { moves: true },
  infer(inputs, { perm }, site) {
    const [x] = inputs;
    if (perm.length !== x.shape.length || x.shape.some((_, axis) => !perm.includes(axis))) {
      const sentence = `[${perm.join(',')}] is not a permutation of the axes of ${formatShape(x.shape)}`;
      throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, `name each axis from 0 to ${x.shape.length - 1} once`);
    }
    return [{ dtype: x.dtype, shape: perm.map((axis) => x.shape[axis]) }];
  },
  vjp(graph, { grads: [dy], wanted }, { perm }) {
    return [wanted[0] ? graph.op('transpose', [dy!], { perm: perm.map((_, axis) => perm.indexOf(axis)) }) : null];
  },
  lower: [{ name: 'standard', emit: (e, _node, [x], { perm }) => e.transpose(x, perm) }],
  flops: () => 0,
  evaluate([x], { perm }) {
    const out = zeros(
      perm.map((axis) => x.shape[axis]),
      x.dtype,
    );
    const strides = broadcastStrides(x.shape, x.shape);
    forEachIndex(out.shape, (offset, index) => {
      out.data[offset] = x.data[index.reduce((sum, i, axis) => sum + i * strides[perm[axis]], 0)];
    });
    return [out];
  },
  samples: () => [
    { name: 'a matrix', inputs: [ramp([2, 3])], attrs: { perm: [1, 0] } },
    { name: 'channels last', inputs: [ramp([2, 3, 2, 4])], attrs: { perm: [0, 2, 3, 1] } },
    { name: 'a cycle that is not its own inverse', inputs: [ramp([2, 3, 4])], attrs: { perm: [2, 0, 1] } },
    { name: 'the identity', inputs: [ramp([2, 1, 3])], attrs: { perm: [0, 1, 2] } },
  ],
});

export const expand = defineOp('expand', {
  summary: 'y = x repeated to the shape of `like`, of which only the shape is used.',
  properties: { repeats: true },
  infer(inputs, _attrs, site) {
    const [x, like] = inputs;
    const shape = broadcastShapes(x.shape, like.shape);
    if (!shape || !sameShape(shape, like.shape)) {
      const sentence = `${formatShape(x.shape)} cannot be repeated to ${formatShape(like.shape)}`;
      throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, 'only sizes of 1 and missing leading axes are repeated');
    }
    return [{ dtype: x.dtype, shape }];
  },
  vjp(graph, { inputs: [x], grads: [dy], wanted }) {
    return [wanted[0] ? unbroadcast(graph, dy!, x.type.shape) : null, null];
  },
  lower: [
    {
      name: 'standard',
      emit(e, node, [x, like]) {
        const from = node.inputs[0].type.shape;
        const to = node.inputs[1].type.shape;
        if (sameShape(from, to)) return x;
        const lead = to.length - from.length;
        // Expand broadcasts both ways, so a 1 keeps the size that x has; only a name that x lacks must be read from `like`.
        const sizes = to.map((dim, axis) => (from[axis - lead] === dim ? 1 : dim));
        const known = sizes.every((dim) => typeof dim === 'number');
        return e.node('Expand', [x, known ? e.ints(sizes) : e.node('Shape', [like])]);
      },
    },
  ],
  flops: () => 0,
  evaluate([x, like]) {
    const out = zeros(like.shape, x.dtype);
    const strides = broadcastStrides(x.shape, like.shape);
    forEachIndex(out.shape, (offset, index) => {
      out.data[offset] = x.data[index.reduce((sum, i, axis) => sum + i * strides[axis], 0)];
    });
    return [out];
  },
  samples: () => [
    { name: 'a channel value over a map', inputs: [ramp([2, 3, 1, 1]), zeros([2, 3, 2, 2])] },
    { name: 'missing leading axes', inputs: [ramp([3]), zeros([2, 2, 3])] },
    { name: 'a scalar', inputs: [ramp([]), zeros([2, 3])] },
    { name: 'the same shape', inputs: [ramp([2, 3]), zeros([2, 3])] },
    { name: 'an axis in the middle, like an array of integers', inputs: [ramp([2, 1, 2]), zeros([2, 3, 2], 'int64')] },
  ],
});
