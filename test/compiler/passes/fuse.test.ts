import { describe, expect, it } from 'vitest';
import { Graph, type Value } from '../../../compiler/ir/graph.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { fuse } from '../../../compiler/passes/fuse.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';
import { simplify } from '../../../compiler/passes/simplify.ts';
import { verify } from '../../../compiler/passes/verify.ts';
import { noise } from '../ops/run-graph.ts';

const epsilon = 1e-3;
const x = noise([2, 4, 5, 5], 0, 0.5, 1);
/** w, b, mean and variance [6] of a batch norm. */
const norm = (seed: number) => [
  noise([6], 1, 0.3, seed),
  noise([6], 0, 0.5, seed + 1),
  noise([6], 0.2, 0.4, seed + 2),
  ndarray([6], [0.5, 1, 2, 0.1, 3, 0.7]),
];

interface Shape {
  readonly groups?: number;
  readonly bias?: boolean;
  /** Batch norms behind the convolution. */
  readonly norms?: number;
  readonly trained?: boolean;
  /** What else reads the convolution. */
  readonly also?: (graph: Graph, conv: Value) => void;
}

function model({ groups = 1, bias = false, norms = 1, trained = true, also }: Shape) {
  const graph = new Graph('test', 'inference', operators);
  const input = graph.input('x', { dtype: 'float32', shape: x.shape }, 'data');
  const kernel = noise([6, 4 / groups, 3, 3], 0, 0.3, 7);
  const weight = trained ? graph.constant(kernel, 'weight') : graph.input('weight', { ...kernel }, 'parameter');
  const inputs = [input, weight, ...(bias ? [graph.constant(noise([6], 0, 1, 8))] : [])];
  const conv = graph.op('conv', inputs, { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups });
  also?.(graph, conv);
  let y = conv;
  for (let i = 0; i < norms; i++) {
    y = graph.op('batchNormInference', [y, ...norm(11 * (i + 1)).map((array) => graph.constant(array))], { epsilon });
  }
  graph.outputs.set('y', graph.op('relu', [y]));
  return { graph, kernel };
}

/** Names of the nodes after fusion, and the greatest difference that it makes. */
function fused(shape: Shape): { nodes: string[]; difference: number } {
  const { graph, kernel } = model(shape);
  const after = simplify(fuse(simplify(graph)));
  verify(after);
  const run = (of: Graph) => {
    const feeds = new Map(of.inputs.map((input) => [input, input.name === 'x' ? x : kernel]));
    return interpret(of, feeds, [...of.outputs.values()]);
  };
  const [before, now] = [run(graph), run(after)];
  const differences = before.flatMap((array, i) => [...array.data].map((value, k) => Math.abs(value - now[i].data[k])));
  return { nodes: after.nodes.map((node) => node.op.name), difference: Math.max(...differences) };
}

/** Weights that took the scale in are float32: 36 products of less than 3 each. */
const tolerance = 36 * 3 * 2 ** -24;

describe('fuse', () => {
  it.each<[string, Shape]>([
    ['without a bias', {}],
    ['with a bias', { bias: true }],
    ['with groups', { groups: 2, bias: true }],
    ['with two norms behind it', { norms: 2 }],
  ])('takes a batch norm into the convolution before it: %s', (_, shape) => {
    const { nodes, difference } = fused(shape);
    expect(nodes).toEqual(['conv', 'relu']);
    expect(difference).toBeLessThan(tolerance);
  });

  it.each<[string, Shape]>([
    ['whose result another node reads', { also: (graph, conv) => graph.outputs.set('z', graph.op('tanh', [conv])) }],
    ['whose result is an output', { also: (graph, conv) => graph.outputs.set('z', conv) }],
    ['whose weight is not constant', { trained: false }],
  ])('leaves a convolution alone %s', (_, shape) => {
    const { nodes, difference } = fused(shape);
    expect(nodes).toContain('batchNormInference');
    expect(difference).toBe(0);
  });

  it('leaves a batch norm alone whose statistics are not constant', () => {
    const { graph } = model({ norms: 0 });
    const variance = graph.input('variance', { dtype: 'float32', shape: [6] }, 'statistic');
    const constants = norm(3).map((array) => graph.constant(array));
    const conv = graph.nodes[0].outputs[0];
    graph.outputs.set('y', graph.op('batchNormInference', [conv, ...constants.slice(0, 3), variance], { epsilon }));
    expect(fuse(simplify(graph)).nodes.map((node) => node.op.name)).toEqual(['conv', 'batchNormInference']);
  });
});
