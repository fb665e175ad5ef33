import { ndarray } from '../compiler/ir/ndarray.ts';
import { type AnyTensor, contextOf, type Tensor, tensor } from './tensor.ts';

/** A float32 vector of constants in the graph of `x`. */
export function constantLike(x: AnyTensor, values: readonly number[]): Tensor<[number], 'float32'> {
  const context = contextOf(x);
  return tensor(context, context.graph.constant(ndarray([values.length], values))) as Tensor<[number], 'float32'>;
}
