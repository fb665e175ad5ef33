import { type AnyTensor, contextOf } from './tensor.ts';

/**
 * Runs `body` with `name` appended to the scope path: parameters made in it are called `name.…`.
 * `scope(x, 'stem', (x) => …)` hands `x` on and returns what `body` returns.
 */
export function scope<X extends AnyTensor, R>(x: X, name: string | number, body: (x: X) => R): R {
  return contextOf(x).graph.within(String(name), () => body(x));
}
