import { add, relu } from './operators.ts';
import { apply, type Tensor } from './tensor.ts';

/** log(1 + eˣ) without overflow: max(x, 0) + log(1 + e^−|x|). */
export function log1pExp(x: Tensor): Tensor {
  const decayed = apply('exp', [apply('neg', [apply('abs', [x])])]);
  return add(relu(x), apply('log', [add(decayed, 1)]));
}
