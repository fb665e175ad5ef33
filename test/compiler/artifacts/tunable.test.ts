import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it, vi } from 'vitest';
import { asTensors } from '../../../cli/compile-for-device.ts';
import { type Compiled, compile } from '../../../compiler/compile.ts';
import { elementCount } from '../../../compiler/ir/types.ts';
import { random } from '../../../numeric/random.ts';
import { readOnnxMetadata } from '../../../runtime/onnx-metadata.ts';
import { withWeights } from '../../../runtime/web/tunable.ts';

vi.mock('ddrc', () => import('../../../dsl/index.ts'));
const { default: ddrnet } = await import('../../../models/ddrnet.ts');
const { default: resnet } = await import('../../../models/resnet.ts');

const side = 32;
const pixels = Float32Array.from({ length: 2 * 3 * side * side }, random('pixels'));

async function probabilities(bytes: Uint8Array): Promise<Float32Array> {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const { probabilities } = await session.run({ image: new Tensor('float32', pixels.slice(), [2, 3, side, side]) });
  await session.release();
  return probabilities.data as Float32Array;
}

const tunable = ({ files }: Compiled) => files.get('tunable.onnx')!;

describe.each([
  ['DDRNet', ddrnet.instantiate({ size: side, channels: 8 })],
  ['ResNet-18', resnet.instantiate({ depth: 18, width: 8, size: side, classes: 4 })],
])('tunable.onnx of %s', (_, program) => {
  const [first, second] = [1, 2].map((seed) => compile(program, { artifacts: ['model', 'tunable'], seed }));

  it('gives what model.onnx gives, and says the same of itself', async () => {
    const [a, b] = [await probabilities(tunable(first)), await probabilities(first.files.get('model.onnx')!)];
    a.forEach((value, i) => {
      expect(Math.abs(value - b[i])).toBeLessThan(1e-5);
    });
    const described = (name: string) =>
      [...readOnnxMetadata(first.files.get(name)!, name)].filter(([key]) => key !== 'ddrc.sha256');
    expect(described('tunable.onnx')).toEqual(described('model.onnx'));
  });

  it('has every parameter and statistic at a place that the manifest tells', () => {
    const { parameters, statistics, files } = first.manifest;
    const tables = [...parameters, ...statistics];
    const { weights } = files['tunable.onnx'];
    expect(weights!.map(({ name }) => name).sort()).toEqual(tables.map(({ name }) => name).sort());
    const bytes = tunable(first);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const { name, offset } of weights!) {
      const { shape, data } = first.initial.get(name)!;
      const found = Array.from({ length: elementCount(shape) }, (_, i) => view.getFloat32(offset + 4 * i, true));
      expect(found).toEqual([...data].map(Math.fround));
    }
  });

  it('becomes the file of other weights when these are written there', async () => {
    const changed = tunable(first).slice();
    const view = new DataView(changed.buffer);
    for (const { name, offset } of first.manifest.files['tunable.onnx'].weights!) {
      for (const [i, value] of second.initial.get(name)!.data.entries()) view.setFloat32(offset + 4 * i, value, true);
    }
    // All but the hash, which is the last thing in the file.
    const others = changed.findIndex((byte, i) => byte !== tunable(second)[i]);
    expect(changed.length).toBe(tunable(second).length);
    expect(others).toBeGreaterThanOrEqual(changed.length - 64);
    const tensors = asTensors(second.initial);
    expect(await withWeights(first.manifest, 'tunable.onnx', tunable(first), tensors)).toEqual(tunable(second));
    expect(await probabilities(changed)).toEqual(await probabilities(tunable(second)));
    expect(await probabilities(changed)).not.toEqual(await probabilities(tunable(first)));
    const damaged = expect.objectContaining({ code: 'MODEL_DAMAGED' });
    expect(() => readOnnxMetadata(changed, 'changed')).toThrow(damaged);
  });
});
