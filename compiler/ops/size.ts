/*
 * Sizes as numbers in the graph, for formulas that divide by a count that is known only when the graph runs.
 */
import { needs } from '../emit/lowering.ts';
import { scalar, zeros } from '../ir/ndarray.ts';
import { defineOp } from '../ir/op.ts';
import { elementCount, isStatic } from '../ir/types.ts';
import { normalizeAxes } from './shapes.ts';

type SizeAttrs = { readonly axes: readonly number[] };

export const axisSize = defineOp<SizeAttrs>('axisSize', {
  summary: 'Number of elements of x along `axes`, a float32 scalar.',
  properties: {},
  infer(inputs, { axes }, site) {
    normalizeAxes(axes, inputs[0].shape, site, inputs);
    return [{ dtype: 'float32', shape: [] }];
  },
  vjp: { zero: 'a size does not depend on values' },
  lower: [
    {
      name: 'constant',
      when: needs('known sizes', (node, _target, { axes }) => isStatic(axes.map((axis) => node.inputs[0].type.shape.at(axis)!))),
      emit: (e, node, _x, { axes }) => e.floats(elementCount(axes.map((axis) => node.inputs[0].type.shape.at(axis)!))),
    },
    {
      name: 'shape',
      emit(e, node, [x], { axes }) {
        const rank = node.inputs[0].type.shape.length;
        const sizes = e.node('Gather', [e.node('Shape', [x]), e.ints(axes.map((axis) => (axis + rank) % rank))], { axis: 0 });
        return e.node('ReduceProd', [e.node('Cast', [sizes], { to: 1 })], { keepdims: 0 });
      },
    },
  ],
  flops: () => 0,
  evaluate: ([x], { axes }) => [scalar(elementCount(axes.map((axis) => x.shape.at(axis)!)))],
  samples: () => [
    { name: 'all but the channels', inputs: [zeros([2, 3, 4, 5])], attrs: { axes: [0, 2, 3] } },
    { name: 'a negative axis', inputs: [zeros([2, 3])], attrs: { axes: [-1] } },
    { name: 'no axis', inputs: [zeros([2])], attrs: { axes: [] } },
  ],
});
