/*
 * Order of execution as data flow: a value that cannot be read before another one is there.
 *
 *   y = after(x, z) = x          dx = dy          z gets none: y does not depend on its elements
 *
 * In ONNX y is x viewed in its own shape, by a Reshape whose shape is computed from the shape of z:
 *
 *   Concat(Slice(Shape(z), 0, 0), [0, …, 0])        the slice is empty, and a 0 keeps the size that x has
 *
 * so no element is copied or computed with, and an infinity or a NaN in z changes nothing. An engine that folds shapes (ONNX Runtime above
 * `graphOptimizationLevel: 'disabled'`) may run it earlier: the result is the same.
 */
import { ndarray, scalar, zeros } from '../ir/ndarray.ts';
import { defineOp } from '../ir/op.ts';

export const after = defineOp('after', {
  summary: 'y = x, which is there only once z is; of z nothing else is used.',
  properties: {},
  infer: ([x]) => [x],
  vjp: (_graph, { grads: [dy], wanted }) => [wanted[0] ? dy : null, null],
  lower: [
    {
      name: 'view',
      emit(e, node, [x, z]) {
        const nothing = e.node('Slice', [e.node('Shape', [z]), e.ints([0]), e.ints([0]), e.ints([0])]);
        const keep = e.ints(node.inputs[0].type.shape.map(() => 0));
        return e.node('Reshape', [x, e.node('Concat', [nothing, keep], { axis: 0 })]);
      },
    },
  ],
  flops: () => 0,
  evaluate: ([x]) => [x],
  samples: () => [
    { name: 'a map after a map', inputs: [ndarray([2, 1, 2], [1, -2, 0, 4]), zeros([2, 3])] },
    { name: 'a map after a scalar', inputs: [ndarray([2, 2], [1, -2, 0, 4]), scalar(7)] },
    { name: 'a scalar after a vector', inputs: [scalar(3), zeros([4])] },
    {
      name: 'integers after an infinity',
      inputs: [ndarray([3], [1, 2, 3], 'int64'), ndarray([2], [Number.POSITIVE_INFINITY, 0])],
    },
  ],
});
