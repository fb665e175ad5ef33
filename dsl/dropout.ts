import { apply, contextOf, graphValue, type Tensor, tensor } from './tensor.ts';

/** Inverted dropout: in training each element is 0 with probability `p`, and scaled by 1/(1 − p) otherwise; nothing in inference. */
export function dropout<X extends Tensor>(x: X, p: number): Tensor<X['shape'], X['dtype']>;
export function dropout(x: Tensor, p: number): Tensor {
  const context = contextOf(x);
  if (context.graph.mode === 'inference' || p === 0) return x;
  const { seed, salt } = context.seed();
  const mask = context.graph.op('dropoutMask', [graphValue(x), seed], { p, salt });
  return apply('mul', [x, tensor(context, mask)]);
}
