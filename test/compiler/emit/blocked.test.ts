import { onnx } from 'onnx-proto';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compile, portable, type Target } from '../../../compiler/index.ts';
import { add, concat, conv2d, defineModel, groupNorm, image, maxPool, mean, relu, tanh } from '../../../dsl/index.ts';
import { machineBlock } from '../lowering-check.ts';

const block = await machineBlock();
const target: Target = { provider: 'cpu', opset: 17, block };

/** Two residual blocks, one with norms, their maps side by side, pooled; 16 channels are one or two blocks on every machine. */
const model = defineModel({
  name: 'blocks',
  options: {},
  inputs: () => ({ image: image(3, 12, 12) }),
  forward({ image }) {
    const conv = { filters: 16, kernel: 3, pad: 1 } as const;
    const stem = maxPool(relu(conv2d(image, 'stem', conv)), { kernel: 3, stride: 2, pad: 1 });
    const inner = relu(groupNorm(conv2d(stem, 'first', conv), 'norm1', { groups: 16 }));
    const normed = relu(add(stem, groupNorm(conv2d(inner, 'second', conv), 'norm2', { groups: 4 })));
    const plain = relu(add(conv2d(normed, 'third', conv), normed));
    const both = concat([normed, tanh(plain)]);
    // Read twice: neither the sum nor the ReLU may become part of this convolution.
    const shared = conv2d(both, 'fourth', conv);
    // A number is no map to be summed up, and a convolution cannot be its own summand.
    const shifted = relu(add(conv2d(both, 'fifth', conv), 0.5));
    const sixth = conv2d(both, 'sixth', conv);
    const z = mean(add(shifted, add(sixth, sixth)), [2, 3]);
    return { y: mean(add(relu(shared), shared), [2, 3]), map: shared, z };
  },
});

async function run(bytes: Uint8Array): Promise<Record<string, Float32Array>> {
  const session = await InferenceSession.create(bytes, { graphOptimizationLevel: 'disabled', logSeverityLevel: 4 });
  const data = Float32Array.from({ length: 2 * 3 * 144 }, (_, i) => Math.sin(i * 0.37) + 0.2);
  const outputs = await session.run({ image: new Tensor('float32', data, [2, 3, 12, 12]) });
  await session.release();
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data as Float32Array]));
}

const compiled = (target: Target) =>
  compile(model.instantiate(), { artifacts: ['model'], target, inferenceBatch: 2 }).files.get('model.onnx')!;

describe.skipIf(block === 0)('the blocked layout (skipped where the processor has no blocked kernels)', () => {
  const { graph } = onnx.ModelProto.decode(compiled(target));
  const nodes = graph!.node!;
  const attribute = (node: onnx.INodeProto, name: string) => node.attribute!.find((one) => one.name === name);

  it('is kept from the first convolution to the outputs', () => {
    const count = (op: string) => nodes.filter(({ opType }) => opType === op).length;
    // The image is read planar; out go what the two means and the second output read.
    expect([count('ReorderInput'), count('ReorderOutput')]).toEqual([0, 3]);
    expect(nodes.filter(({ opType, domain }) => opType === 'MaxPool' && domain === 'com.microsoft.nchwc')).toHaveLength(1);
  });

  it('takes sums and ReLUs into the convolution before them, where nothing else reads it', () => {
    const convs = nodes.filter(({ opType }) => opType === 'Conv');
    const of = (scope: string) => convs.filter(({ name }) => name!.startsWith(`${scope}/`));
    const relus = convs.filter((node) => attribute(node, 'activation')).map(({ name }) => name!.split('/')[0]);
    expect(relus).toEqual(['stem', 'norm1', 'norm2', 'third']);
    expect(convs.filter(({ input }) => input!.length === 4).map(({ name }) => name!.split('/')[0])).toEqual(['norm2', 'third']);
    for (const scope of ['fourth', 'fifth', 'sixth']) expect(of(scope), scope).toHaveLength(1);
    expect(nodes.filter(({ opType }) => opType === 'Relu')).toHaveLength(2);
    expect(nodes.filter(({ opType, name }) => opType === 'Add' && !name!.startsWith('norm'))).toHaveLength(4);
  });

  it('gives the numbers of the portable graph, within 1e-5: a hundred roundings of sums of 144 terms', async () => {
    const expected = await run(compiled(portable));
    const found = await run(compiled(target));
    for (const [name, values] of Object.entries(expected)) {
      for (const [i, value] of found[name].entries())
        expect(Math.abs(value - values[i])).toBeLessThan(1e-5 * (1 + Math.abs(values[i])));
    }
  });
});
