import { shapeError } from '../compiler/ops/shapes.ts';
import { apply, check, contextOf, graphValue, type Tensor, tensor } from './tensor.ts';

/** Inverted dropout: in training each element is 0 with probability `p`, and scaled by 1/(1 − p) otherwise; nothing in inference. */
export function dropout<X extends Tensor>(x: X, p: number): Tensor<X['shape'], X['dtype']>;
export function dropout(x: Tensor, p: number): Tensor {
  check('dropout', [x], (types, site) => {
    if (p >= 0 && p < 1) return;
    const hint = 'p is the part of the elements that is dropped';
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `p ${p} is not a probability below 1`, types, hint);
  });
  const context = contextOf(x);
  if (context.graph.mode === 'inference' || p === 0) return x;
  const { seed, salt } = context.seed();
  const mask = context.graph.op('dropoutMask', [graphValue(x), seed], { p, salt });
  return apply('mul', [x, tensor(context, mask)]);
}
