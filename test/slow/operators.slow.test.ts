import { expect, it } from 'vitest';
import type { Target } from '../../compiler/emit/lowering.ts';
import type { OpDefinition } from '../../compiler/ir/op.ts';
import { operators } from '../../compiler/ops/index.ts';
import { checkLowerings, formsOf } from '../compiler/lowering-check.ts';
import { needsWebgpu } from './adapter.ts';

needsWebgpu();

const target: Target = { provider: 'webgpu', opset: 17, block: 0 };

for (const op of operators.values()) {
  it(`${op.name}: lowerings for webgpu agree with the reference on WebGPU`, async () => {
    const forms = op.samples().flatMap((sample) => formsOf(op, sample));
    const { problems, ran } = await checkLowerings(op, target, forms, undefined, 'webgpu');
    expect(problems).toEqual([]);
    expect(ran.size).toBeGreaterThan(0);
  });
}

it('a lowering that WebGPU computes wrongly is found', async () => {
  const conv = operators.get('conv')!;
  // Groups of six filters: what the lowering for webgpu cuts apart.
  const grouped = conv.samples().filter(({ name }) => name === 'two groups of six');
  expect(grouped).toHaveLength(1);
  const wrong: OpDefinition = {
    ...conv,
    lower: [
      { name: 'wrong', emit: (e, _node, x) => e.node('Conv', [x[0], e.node('Neg', [x[1]])], { group: 2, pads: [1, 1, 1, 1] }) },
    ],
  };
  const forms = formsOf(wrong, grouped[0]);
  expect((await checkLowerings(wrong, target, forms, undefined, 'webgpu')).problems).toHaveLength(forms.length);
});
