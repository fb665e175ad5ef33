import { expect, it } from 'vitest';
import { Graph } from '../../../compiler/ir/graph.ts';
import { full, ndarray } from '../../../compiler/ir/ndarray.ts';
import type { Attrs, Shape } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';

/* The references that judge gradients and lowerings, against closed forms and tables. */

function evaluate(name: string, x: readonly number[], attrs: Attrs = {}): number[] {
  return [...operators.get(name)!.evaluate([ndarray([x.length], x)], attrs)[0].data];
}

function expectClose(got: readonly number[], expected: readonly number[]): void {
  expect(got).toHaveLength(expected.length);
  got.forEach((value, i) => {
    expect(Math.abs(value - expected[i]), `${value} against ${expected[i]}`).toBeLessThanOrEqual(
      2e-15 * Math.max(1, Math.abs(expected[i])),
    );
  });
}

it('erf has the values of the tables', () => {
  const table = [0, 0.1124629160182849, 0.5204998778130465, 0.8427007929497149, 0.9953222650189527, 0.9999999845827421, 1];
  expectClose(evaluate('erf', [0, 0.1, 0.5, 1, 2, 4, 6]), table);
  expectClose(evaluate('erf', [-0.5, -1]), [-0.5204998778130465, -0.8427007929497149]);
});

it('activations have the values of their formulas', () => {
  expectClose(evaluate('relu', [-1, 0, 2]), [0, 0, 2]);
  expectClose(evaluate('leakyRelu', [-2, 0, 2], { alpha: 0.25 }), [-0.5, 0, 2]);
  expectClose(evaluate('sigmoid', [0, Math.log(3), -Math.log(3)]), [0.5, 0.75, 0.25]);
  expectClose(evaluate('tanh', [0, Math.log(3)]), [0, 0.8]);
  expectClose(evaluate('silu', [Math.log(3)]), [0.75 * Math.log(3)]);
  // Φ(1) = 0.841344746068543, Φ(−2) = 0.022750131948179
  expectClose(evaluate('gelu', [1, -2, 0], { approximate: 'none' }), [0.841344746068543, -2 * 0.0227501319481792, 0]);
  expectClose(evaluate('gelu', [1], { approximate: 'tanh' }), [0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * 1.044715))]);
});

it('softmax of logarithms is their shares', () => {
  const x = [0, Math.log(2), Math.log(3)];
  expectClose(evaluate('softmax', x, { axis: 0 }), [1 / 6, 2 / 6, 3 / 6]);
  expectClose(evaluate('logSoftmax', x, { axis: -1 }), [1 / 6, 2 / 6, 3 / 6].map(Math.log));
  const rows = operators.get('softmax')!.evaluate([ndarray([2, 2], [0, 5, Math.log(3), 5])], { axis: 0 })[0];
  expectClose([...rows.data], [0.25, 0.5, 0.75, 0.5]);
  expectClose(evaluate('logSoftmax', [10000, 0], { axis: 0 }), [0, -10000]);
});

it('bounds and powers have the values of their formulas', () => {
  expectClose(evaluate('clip', [-2, 0.5, 3], { min: -1, max: 1 }), [-1, 0.5, 1]);
  expectClose(evaluate('clip', [-2, 3], { max: 1 }), [-2, 1]);
  const pow = operators.get('pow')!.evaluate([ndarray([3], [2, 4, -3]), ndarray([3], [-1, 0.5, 3])], {});
  expectClose([...pow[0].data], [0.5, 2, -27]);
});

it('the gradient of relu is 0 where its result is 0', () => {
  const [dx] = operators.get('reluGrad')!.evaluate([ndarray([3], [0, 1e-30, 2]), full([3], 5)], {});
  expect([...dx.data]).toEqual([0, 5, 5]);
});

function refusal(name: string, shapes: readonly Shape[], attrs: Attrs = {}, dtype: 'float32' | 'int64' = 'float32') {
  const graph = new Graph('refusal', 'inference', operators);
  const inputs = shapes.map((shape, i) => graph.input(`x${i}`, { dtype, shape }, 'data'));
  return () => graph.op(name, inputs, attrs);
}

it('what does not fit is refused in one sentence', () => {
  const map: Shape = ['N', 32, 56, 56];
  expect(refusal('softmax', [map], { axis: 4 })).toThrow('softmax: axis 4 is out of range for [N,32,56,56]');
  expect(refusal('maximum', [map, ['N', 64, 56, 56]])).toThrow('maximum: [N,32,56,56] and [N,64,56,56] have different shapes');
  expect(refusal('exp', [[2]], {}, 'int64')).toThrow('exp: takes float32, got int64[2]');
  expect(refusal('relu', [[2]], {}, 'int64')).toThrow('relu: takes float32, got int64[2]');
  expect(refusal('clip', [[2]], { min: 2, max: 1 })).toThrow('clip: min 2 is greater than max 1');
  expect(refusal('reluGrad', [map, ['N', 32]])).toThrow('reluGrad: [N,32,56,56] and [N,32] have different shapes');
  expect(refusal('gelu', [map], { approximate: 'fast' })).toThrow('gelu: approximate is none or tanh, got fast');
  expect(refusal('less', [[2], [3]])).toThrow('less: [2] and [3] have different shapes');
  expect(refusal('and', [[2], [2]])).toThrow('and: takes bool, got float32[2]');
  expect(refusal('not', [[2]])).toThrow('not: takes bool, got float32[2]');
  expect(refusal('where', [[2], [2], [2]])).toThrow('where: takes a bool and two numbers, got float32, float32, float32');
  expect(refusal('cast', [[2]], { to: 'float64' })).toThrow('cast: float64 is not an element type');
});
