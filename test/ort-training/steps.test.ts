/*
 * Ten steps, each from the state that the stock engine is in, so that rounding does not add up, by both engines.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { adam, bound, compareSteps, rate } from './compare-steps.ts';
import { batch, difference, openPair, type Pair, peak } from './pair.ts';

vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { programs } = await import('./programs.ts');

/** The first three are run for ten steps, the others, which differ from them in few operators, for two; all for ten in test/slow. */
const long = ['an MLP', 'DDRNet', 'a narrow ResNet-18'];

let pair: Pair | null = null;
afterEach(async () => {
  await pair?.close();
  pair = null;
});

describe('a step by the training artifacts is a step by step.onnx', () => {
  it.each(Object.keys(programs))('%s', { timeout: 120_000 }, async (name) => {
    pair = await openPair(programs[name], { optimizer: adam, clipNorm: 0, rates: [rate] });
    await compareSteps(pair, long.includes(name) ? 10 : 2);
  });
});

it.each(['an MLP', 'DDRNet', 'a narrow ResNet-18'])(
  'the gradients of %s are those of grad.onnx',
  { timeout: 60_000 },
  async (name) => {
    // Plain SGD at a rate of 1 subtracts the gradient itself; from parameters of its size, so that little is rounded away.
    pair = await openPair(programs[name], {
      optimizer: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 },
      clipNorm: 0,
      rates: [1],
    });
    const before = await pair.stock.state();
    const ours = await pair.stockStep(0, 1);
    const theirs = await pair.ortStep(before, 0);
    const gradient = ours.outputs.gradients.data as Float32Array;
    expect(gradient).toHaveLength(before.parameters.length);
    const found = before.parameters.map((value, i) => value - theirs.state.parameters[i]);
    // What is rounded away is at most half a unit in the last place of a parameter, on each side.
    const rounding = 1.2e-7 * peak(before.parameters);
    expect(difference(found, gradient)).toBeLessThanOrEqual(bound(gradient) + rounding);
    expect(peak(gradient)).toBeGreaterThan(100 * rounding);
  },
);

describe('the optimizer', () => {
  it.each([
    ['clipping', { clipNorm: 0.05 }],
    ['AdamW with decay', { optimizer: { ...adam, kind: 'adamw', weightDecay: 0.1 } }],
    ['other betas and another epsilon', { optimizer: { ...adam, beta1: 0.8, beta2: 0.95, epsilon: 1e-4 } }],
  ] as const)('with %s', async (_, request) => {
    pair = await openPair(programs['an MLP'], { optimizer: adam, clipNorm: 0, rates: [0.01], ...request });
    let before = await pair.stock.state();
    for (let step = 0; step < 4; step++) {
      const ours = await pair.stockStep(step, 0.01);
      const theirs = await pair.ortStep(before, step);
      expect(difference(theirs.state.parameters, ours.state.parameters)).toBeLessThanOrEqual(5e-3 * 0.01);
      before = ours.state;
    }
  });

  it('follows a table of rates, and keeps the last one', async () => {
    const rates = [0.01, 0.04, 0.02];
    pair = await openPair(programs['an MLP'], { optimizer: adam, clipNorm: 0, rates });
    let before = await pair.stock.state();
    for (const [step, rate] of [...rates, 0.02, 0.02].entries()) {
      const ours = await pair.stockStep(step, rate);
      const theirs = await pair.ortStep(before, step);
      expect(difference(theirs.state.parameters, ours.state.parameters)).toBeLessThanOrEqual(5e-3 * rate);
      before = ours.state;
    }
  });
});

it('gradients of several batches add up until the optimizer has taken them', async () => {
  const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
  pair = await openPair(programs['an MLP'], { optimizer: sgd, clipNorm: 0, rates: [1] });
  const { ort, examples, seedOf } = pair;
  const before = await pair.stock.state();
  const gradient = (await pair.stockStep(0, 1)).outputs.gradients.data as Float32Array;
  const moved = async () => (await ort.state()).parameters.map((value, i) => before.parameters[i] - value);
  const feeds = () => ({ ...examples(), ...seedOf(0) });
  await ort.load(before);
  // A run leaves the gradient in the buffers, a step hands it to the optimizer and lets the next one begin anew.
  for (let batches = 1; batches < 3; batches++) await ort.run('training_model.onnx', feeds());
  expect(peak(await moved())).toBe(0);
  await ort.step('training_model.onnx', feeds());
  const tripled = gradient.map((g) => 3 * g);
  expect(difference(await moved(), tripled)).toBeLessThanOrEqual(bound(tripled) + 1.2e-7 * peak(before.parameters));
  await ort.load(before);
  await ort.step('training_model.onnx', feeds());
  expect(difference(await moved(), gradient)).toBeLessThanOrEqual(bound(gradient) + 1.2e-7 * peak(before.parameters));
  const once = await ort.state();
  await ort.step('training_model.onnx', feeds());
  await pair.stock.load(once);
  const next = (await pair.stockStep(1, 1)).outputs.gradients.data as Float32Array;
  const again = (await ort.state()).parameters.map((value, i) => once.parameters[i] - value);
  expect(difference(again, next)).toBeLessThanOrEqual(bound(next) + 1.2e-7 * peak(before.parameters));
});

it('what the runtime throws as a number comes as its sentence', async () => {
  pair = await openPair(programs['an MLP'], { optimizer: adam, clipNorm: 0 });
  await pair.ort.load(await pair.stock.state());
  const label = { dtype: 'int64', shape: [2, 2], data: new BigInt64Array(4) } as const;
  await expect(pair.ort.step('training_model.onnx', { ...pair.examples(), label })).rejects.toMatchObject({
    code: 'ENGINE_FAILED',
    message: expect.stringMatching(
      /^ONNX Runtime cannot run training_model\.onnx: Invalid rank for input: label Got: 2 Expected: 1/,
    ),
  });
  // And the session goes on.
  expect((await pair.ort.step('training_model.onnx', pair.examples())).loss.shape).toEqual([]);
});

it('parameters that are frozen stay, the others move as before', async () => {
  pair = await openPair(programs['an MLP'], { optimizer: adam, clipNorm: 0, rates: [0.01], freeze: ['hidden'] });
  const { parameters: table } = pair.compiled.manifest;
  const before = await pair.stock.state();
  const ours = await pair.stockStep(0, 0.01);
  const theirs = await pair.ortStep(before, 0);
  for (const { name, shape, offset } of table) {
    const end = offset + shape.reduce((a, b) => a * b, 1);
    const [was, is, free] = [before, theirs.state, ours.state].map(({ parameters }) => parameters.slice(offset, end));
    if (name.startsWith('hidden')) expect(is).toEqual(was);
    else expect(difference(is, free)).toBeLessThanOrEqual(5e-3 * 0.01);
  }
});

it('evaluation has no dropout and the statistics of the state', async () => {
  pair = await openPair(programs.DDRNet, { optimizer: adam, clipNorm: 0 });
  await pair.ort.load(await pair.stock.state());
  const examples = () => pair!.examples();
  const first = await pair.ort.run('eval_model.onnx', examples());
  const second = await pair.ort.run('eval_model.onnx', examples());
  expect(second).toEqual(first);
  expect(first.logits.shape).toEqual([batch, 4]);
  const { files } = pair.compiled;
  const { compile } = await import('../../compiler/compile.ts');
  const { files: evaluating } = compile(programs.DDRNet, { artifacts: ['eval'], inferenceBatch: batch });
  expect(files.has('eval_model.onnx')).toBe(true);
  await pair.stock.open('eval.onnx', evaluating.get('eval.onnx')!);
  const stock = await pair.stock.run('eval.onnx', examples());
  for (const name of ['loss', 'logits']) {
    const [a, b] = [first[name].data as Float32Array, stock[name].data as Float32Array];
    expect(difference(a, b)).toBeLessThanOrEqual(bound(b));
  }
});
