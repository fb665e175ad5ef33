import type { Initializer } from './initializers.ts';
import { type AnyTensor, check, contextOf, type Tensor, tensor } from './tensor.ts';

/**
 * A trainable parameter of the given shape, float32, called `name` in the current scope: what no layer makes, such as a table of
 * embeddings or a learned temperature. `x` is any tensor of the model.
 *
 *     const table = parameter(ids, 'table', [1000, 64], normal(0.02));
 *     const vectors = gather(table, ids);
 *
 * @throws DdrcError PARAMETER_DUPLICATE, SHAPE_ATTRIBUTE where a size is not a whole number of at least 1
 */
export function parameter<const S extends readonly number[]>(
  x: AnyTensor,
  name: string,
  shape: S,
  initializer: Initializer,
): Tensor<[...S], 'float32'>;
export function parameter(x: AnyTensor, name: string, shape: readonly number[], initializer: Initializer): Tensor {
  return check('parameter', [x], () => {
    const context = contextOf(x);
    return tensor(context, context.parameter(name, [...shape], initializer));
  });
}
