/*
 * Programs without a mistake, as a model's author writes them, with the types that the editor shows. `types.test.ts` has tsc check this
 * file, and builds them.
 */
import type { Shape } from '../../compiler/ir/types.ts';
import {
  add,
  array,
  concat,
  conv2d,
  defineModel,
  flatten,
  gather,
  globalAveragePool,
  groupNorm,
  linear,
  matmul,
  maxPool,
  mean,
  mul,
  normal,
  oneHot,
  pad,
  parameter,
  relu,
  reshape,
  resize,
  scope,
  shapedLike,
  slice,
  split,
  transpose,
} from '../../dsl/index.ts';
import { bool, choice, float, int, type OptionValues } from '../../dsl/options.ts';
import type { Tensor } from '../../dsl/tensor.ts';
import type { Make } from './wrong-programs.ts';

type equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** A block of any map size and of unknown padding, written once. */
function residual<X extends Tensor, C extends number>(x: X, name: string, channels: C, dilation: number) {
  return scope(x, name, (x) => {
    const options = { filters: channels, kernel: 3, pad: dilation, dilation } as const;
    const y = relu(groupNorm(conv2d(x, 'conv1', options), 'norm1', { groups: 32 }));
    return relu(add(x, groupNorm(conv2d(y, 'conv2', options), 'norm2', { groups: 32 })));
  });
}

/** Blocks in a loop inside a generic function: the loop's variable keeps one type. */
function chain<S extends Shape>(x: Tensor<S, 'float32'>) {
  let y = x;
  const outputs = [y];
  for (const dilation of [1, 2, 4]) {
    y = shapedLike(y, residual(y, `chain${outputs.length}`, 32, dilation));
    outputs.push(y);
  }
  return conv2d(concat(outputs), 'join', { filters: 32, kernel: 1 });
}

/** Many operators in one generic function: what a deferred answer costs must not grow with what it is made from. */
function tower<X extends Tensor>(x: X) {
  const a = residual(residual(residual(x, 'a', 32, 1), 'b', 32, 2), 'c', 32, 4);
  const b = add(residual(residual(residual(a, 'd', 32, 1), 'e', 32, 2), 'f', 32, 4), a);
  const c = concat([add(b, a), mul(b, a), relu(add(a, mul(a, b)))]);
  return add(conv2d(c, 'g', { filters: 32, kernel: 1 }), add(a, add(b, mul(x, add(a, b)))));
}

/** Attention over the channels of x, whatever they are. */
function attention<X extends Tensor>(x: X) {
  const channels = x.shape[1] as number;
  const pooled = concat([relu(linear(mean(x, [2, 3]), 'fc1', { units: 8 })), relu(linear(mean(x, [2, 3]), 'fc2', { units: 8 }))]);
  const weights = reshape(linear(pooled, 'fc3', { units: channels }), [x.shape[0], channels, 1, 1]);
  const y = mul(x, weights);
  return mul(y, conv2d(concat([mean(y, [1], true), mean(y, [1], true)]), 'spatial', { filters: 1, kernel: 5, pad: 2 }));
}

/** Two inputs whose fit is not known inside. */
export function merged<A extends Tensor, B extends Tensor>(a: A, b: B) {
  return flatten(concat([matmul(a, transpose(b, [0, 2, 1])), matmul(a, transpose(b, [0, 2, 1]))], 2));
}

interface Options {
  readonly deep: boolean;
  readonly wide: boolean;
  readonly attend: boolean;
}

/** `built` is called with the shape of each result and with the one that it should have. */
export function rightPrograms(make: Make, options: Options, built: (shape: Shape, expected: Shape) => void): void {
  /** Takes a tensor of exactly the shape `S` in its type, and the shape that it has when it is built. */
  const shape =
    <S extends Shape>() =>
    <X extends Tensor>(x: equal<X['shape'], S> extends true ? X : S, expected: S) =>
      built((x as Tensor).shape, expected);

  const image = make(['N', 3, 224, 224]);
  const stem = relu(
    groupNorm(maxPool(conv2d(image, 'stem', { filters: 32, kernel: 3, stride: 2, pad: 1 }), { kernel: 2 }), 'norm', {
      groups: 32,
    }),
  );
  shape<['N', 32, 56, 56]>()(stem, ['N', 32, 56, 56]);

  let y = residual(stem, 'block0', 32, 1);
  shape<['N', 32, 56, 56]>()(y, ['N', 32, 56, 56]);
  const outputs = [y];
  for (const dilation of [1, 1, 2, 1, 4]) {
    y = residual(y, `block${outputs.length}`, 32, dilation);
    outputs.push(y);
  }
  const joined = concat(outputs);
  shape<['N', number, 56, 56]>()(joined, ['N', 192, 56, 56]);
  const fused = conv2d(joined, 'fuse', { filters: 32, kernel: 1 });
  shape<['N', 32, 56, 56]>()(fused, ['N', 32, 56, 56]);
  shape<['N', 32, 56, 56]>()(chain(stem), ['N', 32, 56, 56]);
  shape<['N', 32, 56, 56]>()(tower(stem), ['N', 32, 56, 56]);

  const deep = options.deep ? fused : stem;
  shape<['N', 32, 56, 56]>()(deep, ['N', 32, 56, 56]);
  const features = options.wide ? concat([stem, relu(conv2d(deep, 'local', { filters: 32, kernel: 3, pad: 1 }))]) : deep;
  shape<['N', 32, 56, 56] | ['N', 64, 56, 56]>()(features, ['N', 64, 56, 56]);
  const attended = options.attend ? add(features, attention(features)) : features;
  shape<['N', 32, 56, 56] | ['N', 64, 56, 56]>()(attended, ['N', 64, 56, 56]);
  shape<['N', 32, 1, 1] | ['N', 64, 1, 1]>()(globalAveragePool(attended), ['N', 64, 1, 1]);
  shape<['N', 4]>()(linear(mean(attended, [2, 3]), 'fc', { units: 4 }), ['N', 4]);

  shape<['N', 100352]>()(flatten(stem), ['N', 100352]);
  shape<['N', 32, 3136]>()(reshape(stem, ['N', 32, -1]), ['N', 32, 3136]);
  shape<['N', 56, 56, 32]>()(transpose(stem, [0, 2, 3, 1]), ['N', 56, 56, 32]);
  shape<['N', 32, 112, 112]>()(resize(stem, { scale: 2 }), ['N', 32, 112, 112]);
  shape<['N', 32, 58, 57]>()(pad(stem, [0, 0, 1, 0, 0, 0, 1, 1]), ['N', 32, 58, 57]);
  shape<['N', 32, 56, 8]>()(slice(stem, -1, 10, 18), ['N', 32, 56, 8]);
  const [a, b] = split(stem, [8, 24]);
  shape<['N', 8, 56, 56]>()(a, ['N', 8, 56, 56]);
  shape<['N', 24, 56, 56]>()(b, ['N', 24, 56, 56]);
  shape<['N', 16]>()(gather(make([100, 16]), make(['N'], 'int64')), ['N', 16]);
  shape<['N', 4]>()(oneHot(make(['N'], 'int64'), 4), ['N', 4]);
  shape<['N', 5, 5]>()(matmul(make(['N', 5, 7]), transpose(make(['N', 5, 7]), [0, 2, 1])), ['N', 5, 5]);
  shape<['N', 50]>()(merged(make(['N', 5, 7]), make(['N', 5, 7])), ['N', 50]);
  shape<['N', 32, 56, 56]>()(add(stem, 1), ['N', 32, 56, 56]);
  shape<['N', 32, 56, 56]>()(mul(2, stem), ['N', 32, 56, 56]);
  const table = parameter(stem, 'table', [100, 16], normal(0.02));
  shape<[100, 16]>()(table, [100, 16]);
  shape<['N', 5, 16]>()(gather(table, make(['N', 5], 'int64')), ['N', 5, 16]);

  // Nothing is known of a tensor whose type says nothing; the build checks it.
  const open: Tensor = stem;
  shape<readonly (number | string)[]>()(open, ['N', 32, 56, 56]);
  shape<(number | string)[]>()(add(conv2d(open, 'any', { filters: 32, kernel: 3, pad: 1 }), stem), ['N', 32, 56, 56]);
}

/** Arrays are float32 unless they say otherwise, also where the type of a definition is asked of them. */
export const model = defineModel({
  name: 'arrays',
  options: {},
  inputs: () => ({ x: array([5]), ids: array([5], 'int64') }),
  forward({ x, ids }) {
    const types: equal<[typeof x, typeof ids], [Tensor<['N', 5], 'float32'>, Tensor<['N', 5], 'int64'>]> = true;
    return { y: types ? x : x };
  },
});

const specs = { size: int(224), deep: bool(true), spatial: choice('pooled', ['pooled', 'equation']), dropout: float(0.2) };
type Values = { readonly size: 224; readonly deep: boolean; readonly spatial: 'pooled' | 'equation'; readonly dropout: number };
export const values: equal<OptionValues<typeof specs>, Values> = true;
