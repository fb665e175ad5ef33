import type { Unary } from './elementwise.ts';
import { apply, type Tensor } from './tensor.ts';

const unary =
  (op: string) =>
  (x: Tensor): Tensor =>
    apply(op, [x]);

/** max(x, 0), with the gradient 0 at 0 */
export const relu = unary('relu') as Unary;
/** 1 / (1 + e⁻ˣ) */
export const sigmoid = unary('sigmoid') as Unary;
/** (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ) */
export const tanh = unary('tanh') as Unary;
/** x · sigmoid(x), also called swish */
export const silu = unary('silu') as Unary;

/** x where x ≥ 0, `alpha` · x elsewhere (0.01 by default, as in ONNX and PyTorch). */
export function leakyRelu<X extends Tensor>(x: X, alpha?: number): Tensor<X['shape'], X['dtype']>;
export function leakyRelu(x: Tensor, alpha = 0.01): Tensor {
  return apply('leakyRelu', [x], { alpha });
}

/** x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel 2016), or its approximation by tanh. */
export function gelu<X extends Tensor>(x: X, approximate?: 'none' | 'tanh'): Tensor<X['shape'], X['dtype']>;
export function gelu(x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor {
  return apply('gelu', [x], { approximate });
}

/** eˣ / Σ eˣ along `axis` (the last by default). */
export function softmax<X extends Tensor>(x: X, axis?: number): Tensor<X['shape'], X['dtype']>;
export function softmax(x: Tensor, axis = -1): Tensor {
  return apply('softmax', [x], { axis });
}

/** x − ln Σ eˣ along `axis` (the last by default). */
export function logSoftmax<X extends Tensor>(x: X, axis?: number): Tensor<X['shape'], X['dtype']>;
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return apply('logSoftmax', [x], { axis });
}
