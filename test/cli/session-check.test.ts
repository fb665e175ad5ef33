import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { checkSessions } from '../../cli/session-check.ts';
import { temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();

/** y = MatMul(x, w) with x [2,`inner`] and w [3,4], in a node of the name `hidden.fc/MatMul`. */
function product(inner: number): Uint8Array {
  const { ModelProto } = onnxProto.onnx;
  const port = (name: string, ...sizes: number[]) => ({
    name,
    type: { tensorType: { elemType: 1, shape: { dim: sizes.map((size) => ({ dimValue: size })) } } },
  });
  return ModelProto.encode(
    ModelProto.create({
      irVersion: 8,
      opsetImport: [{ domain: '', version: 17 }],
      graph: {
        name: 'product',
        node: [{ opType: 'MatMul', name: 'hidden.fc/MatMul', input: ['x', 'w'], output: ['y'] }],
        input: [port('x', 2, inner), port('w', 3, 4)],
        output: [port('y', 2, 4)],
      },
    }),
  ).finish();
}

describe('checkSessions', () => {
  it('accepts what ONNX Runtime accepts', async () => {
    writeFileSync(join(folder, 'good.onnx'), product(3));
    await checkSessions(folder, ['good.onnx']);
  });

  it('turns a refusal into one that names the file and the scope', async () => {
    writeFileSync(join(folder, 'bad.onnx'), product(5));
    const refusal = checkSessions(folder, ['good.onnx', 'bad.onnx']);
    await expect(refusal).rejects.toMatchObject({ code: 'EMITTED_REFUSED', where: 'scope hidden.fc, operator MatMul' });
    await expect(refusal).rejects.toThrow('ONNX Runtime refuses bad.onnx');
  });

  it('refuses bytes that are no model', async () => {
    writeFileSync(
      join(folder, 'noise.onnx'),
      Uint8Array.from({ length: 64 }, (_, i) => 255 - i),
    );
    await expect(checkSessions(folder, ['noise.onnx'])).rejects.toMatchObject({ code: 'EMITTED_REFUSED' });
  });
});
