import { describe, expect, it } from 'vitest';
import { asTensors } from '../../../cli/compile-for-device.ts';
import { type CompileRequest, compile } from '../../../compiler/compile.ts';
import type { OptimizerSpec } from '../../../compiler/ir/program.ts';
import { elementCount } from '../../../compiler/ir/types.ts';
import { array, classIndex, defineModel, layerNorm, linear, relu, softmaxCrossEntropy } from '../../../dsl/index.ts';
import { random } from '../../../numeric/random.ts';
import { Engine, trainingSession } from '../../../runtime/engine.ts';
import { packState } from '../../../runtime/flat-state.ts';
import { engineState, stepScalars } from '../../../runtime/step-inputs.ts';

const program = defineModel({
  name: 'layers',
  options: {},
  inputs: () => ({ x: array([6]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }) => ({ logits: linear(relu(layerNorm(linear(x, 'hidden', { units: 8 }), 'norm')), 'head', { units: 3 }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();
const batch = 4;

/** Parameters by name after some steps. */
async function trained(steps: number, request: CompileRequest): Promise<Map<string, number[]>> {
  const { manifest, files, initial } = compile(program, { artifacts: ['step'], batch, clipNorm: 0, ...request });
  const engine = new Engine({ threads: 1 });
  try {
    await engine.open('step.onnx', files.get('step.onnx')!, trainingSession);
    const parameters = packState(manifest.parameters, asTensors(initial));
    await engine.load(engineState(manifest, { parameters, statistics: new Float32Array(0) }));
    for (let step = 0; step < steps; step++) {
      await engine.step('step.onnx', {
        x: { dtype: 'float32', shape: [batch, 6], data: Float32Array.from({ length: batch * 6 }, random(step)) },
        label: { dtype: 'int64', shape: [batch], data: BigInt64Array.of(0n, 1n, 2n, 1n) },
        ...stepScalars(manifest, step, { learningRate: 0.05 }, 0),
      });
    }
    const flat = (await engine.state()).parameters;
    return new Map(
      manifest.parameters.map(({ name, shape, offset }) => [name, [...flat.slice(offset, offset + elementCount(shape))]]),
    );
  } finally {
    await engine.close();
  }
}

const optimizers: readonly OptimizerSpec[] = [
  { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 },
  { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 },
  { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.1 },
  { kind: 'rmsprop', alpha: 0.9, epsilon: 1e-8, momentum: 0.9, weightDecay: 0 },
];

describe('what is frozen', () => {
  it.each(optimizers)(
    'stays as it is with $kind and a decay of $weightDecay, and the rest moves as if nothing was',
    async (optimizer) => {
      const freeze = ['hidden', 'norm.bias'];
      const initial = await trained(0, { optimizer });
      const frozen = await trained(3, { optimizer, freeze });
      const frozenOnce = await trained(1, { optimizer, freeze });
      const freeOnce = await trained(1, { optimizer });
      for (const [name, values] of initial) {
        if (/^hidden|^norm\.bias$/.test(name)) {
          expect(frozen.get(name)).toEqual(values);
          expect(freeOnce.get(name)).not.toEqual(values);
        } else {
          expect(frozenOnce.get(name)).toEqual(freeOnce.get(name));
          expect(frozen.get(name)).not.toEqual(frozenOnce.get(name));
        }
      }
    },
  );

  it('counts nothing in the norm that is clipped', async () => {
    const optimizer = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
    const clipNorm = 0.01;
    const before = await trained(0, { optimizer });
    const after = await trained(1, { optimizer, clipNorm, freeze: ['hidden', 'norm'] });
    const moved = [...before].flatMap(([name, values]) => values.map((value, i) => after.get(name)![i] - value));
    // All of the clipped norm is that of the head.
    expect(Math.hypot(...moved)).toBeCloseTo(0.05 * clipNorm, 6);
  });

  it('needs no backward pass', () => {
    const nodes = (freeze?: readonly string[]) =>
      compile(program, { artifacts: ['grad'], freeze })
        .choices.get('grad.onnx')!
        .filter(({ phase }) => phase === 'backward').length;
    expect(nodes(['hidden', 'norm'])).toBeLessThan(nodes() / 2);
  });

  it.each([
    [['hiden'], 'FREEZE_UNKNOWN', 'layers has no parameter and no scope \'hiden\', did you mean "hidden"?'],
    [['hidden', 'norm', 'head'], 'FREEZE_ALL', 'every parameter of layers is frozen, so there is nothing to train'],
  ])('%j is refused', (freeze, code, message) => {
    expect(() => compile(program, { artifacts: ['step'], freeze })).toThrow(expect.objectContaining({ code, message }));
  });
});
