import { Graph, type GraphMode, type Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray } from '../../compiler/ir/ndarray.ts';
import type { Dim, DType } from '../../compiler/ir/types.ts';
import { operators } from '../../compiler/ops/index.ts';
import { differentiate } from '../../compiler/passes/autodiff.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { formatDiagnosis, isDdrcError } from '../../diagnostics/error.ts';
import { type AnyTensor, Context, graphValue, type Tensor, tensor } from '../../dsl/tensor.ts';

/** A graph to write in the language, outside a model. */
export function writer(mode: GraphMode = 'training') {
  const context = new Context(new Graph('test', mode, operators), 'N');
  return {
    context,
    input: <D extends DType = 'float32'>(name: string, shape: readonly Dim[], dtype = 'float32' as D) =>
      tensor<D>(context, context.graph.input(name, { dtype, shape }, 'data')),
  };
}

/** Value of the scalar `loss` and its gradient by `by`, in double precision. `feeds` are arrays by input. */
export function valueAndGradient(
  { context }: ReturnType<typeof writer>,
  loss: Tensor,
  by: Tensor,
  feeds: readonly (readonly [AnyTensor, readonly number[]])[],
): { value: number; gradient: number[] } {
  const gradient = differentiate(context.graph, graphValue(loss), [graphValue(by)]).get(graphValue(by))!;
  const arrays = new Map<Value, NDArray>(
    feeds.map(([x, data]) => [graphValue(x), ndarray(x.shape as readonly number[], data, x.dtype)]),
  );
  const [value, slope] = interpret(context.graph, arrays, [graphValue(loss), gradient]);
  return { value: value.data[0], gradient: [...slope.data] };
}

/** The sentence that `body` is refused with, and its hint. */
export function refusal(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (!isDdrcError(error)) throw error;
    return formatDiagnosis(error);
  }
  return 'nothing was thrown';
}
