import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { Emitter } from '../../../compiler/emit/emitter.ts';
import { encodeModel } from '../../../compiler/emit/encode.ts';
import { portable } from '../../../compiler/emit/lowering.ts';
import { Graph } from '../../../compiler/ir/graph.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import { operators } from '../../../compiler/ops/index.ts';

const emitter = () => new Emitter(portable, new Graph('test', 'inference', operators));
const { POSITIVE_INFINITY, NEGATIVE_INFINITY, NaN: nan } = Number;

describe('the emitter', () => {
  it('makes one node of equal ones and two of different ones', () => {
    const e = emitter();
    const node = (value: number, op = 'LeakyRelu') => e.node(op, ['x'], { alpha: { float: value } });
    expect(node(0.5)).toBe(node(0.5));
    const values = [0, -0, POSITIVE_INFINITY, NEGATIVE_INFINITY, nan];
    expect(new Set(values.map((value) => node(value))).size).toBe(values.length);
    for (const value of values) expect(node(value)).toBe(node(value));
    expect(node(0.5, 'Elu')).not.toBe(node(0.5));
  });

  it.each([1, 64, 65, 1000])('makes one constant of equal arrays of %i values and two of different ones', (length) => {
    const e = emitter();
    const array = (last: number, shape = [length]) => ndarray(shape, new Float64Array(length).with(length - 1, last));
    const values = [0, -0, 1, -1, POSITIVE_INFINITY, NEGATIVE_INFINITY, nan, Number.MIN_VALUE];
    const names = values.map((value) => e.array(array(value)));
    expect(new Set(names).size).toBe(values.length);
    expect(values.map((value) => e.array(array(value)))).toEqual(names);
    expect(names).not.toContain(e.array(array(0, [length, 1])));
    expect(names).not.toContain(e.array({ ...array(0), dtype: 'int64' }));
    expect(e.initializers.size).toBe(values.length + 2);
  });
});

describe('a serialised model', () => {
  it('has the nodes that its outputs need, whatever the scopes are called', () => {
    const e = emitter();
    e.scope = 'output';
    const dead = e.node('Exp', ['x']);
    const value = e.node('Neg', ['x']);
    expect(dead).toContain('output/Exp');
    const type = { dtype: 'float32', shape: [2] } as const;
    const bytes = encodeModel({
      name: 'test',
      emitter: e,
      inputs: [{ name: 'x', type }],
      outputs: [
        { name: 'y', type, value },
        { name: 'again', type, value },
      ],
    });
    const { graph } = onnxProto.onnx.ModelProto.decode(bytes);
    expect(graph!.node!.map(({ opType }) => opType)).toEqual(['Neg', 'Identity', 'Identity']);
    expect(graph!.node!.map(({ output }) => output)).toEqual([[value], ['y'], ['again']]);
  });
});
