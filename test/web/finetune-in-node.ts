import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { decodeFile } from '../../runtime/data/decode.ts';
import { packState } from '../../runtime/flat-state.ts';
import { parseManifest } from '../../runtime/manifest.ts';
import { parseSafetensors } from '../../runtime/safetensors.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { finetune, graphOf, holdBack, plannedSteps, startState } from '../../runtime/web/finetune.ts';
import type { FinetuneOptions } from '../../runtime/web/options.ts';
import { size } from './run.ts';

/** What a page does when it learns, on onnxruntime-node. @returns the loss of each step */
export async function finetuneInNode(
  site: string,
  files: readonly string[],
  labels: readonly number[],
  options: FinetuneOptions,
): Promise<number[]> {
  const model = join(site, 'model');
  const manifest = parseManifest(readFileSync(join(model, 'manifest.json'), 'utf8'), 'manifest.json');
  const { tensors } = parseSafetensors(readFileSync(join(model, 'initial.safetensors')), 'initial.safetensors');
  const [parameters, statistics] = [manifest.parameters, manifest.statistics].map((table) => packState(table, tensors));
  const session = await InferenceSession.create(join(model, graphOf[options.part]), { graphOptimizationLevel: 'disabled' });
  const run = async (_name: string, feeds: Readonly<Record<string, TensorData>>, fetch: readonly string[]) => {
    const inputs = session.inputNames.map((name) => {
      const { dtype, data, shape } = feeds[name];
      return [name, new Tensor(dtype as 'float32', data as Float32Array, shape)];
    });
    const outputs = await session.run(Object.fromEntries(inputs), [...fetch]);
    const results = fetch.map((name) => {
      const { type, dims, data } = outputs[name];
      return [name, { dtype: type, shape: [...dims], data: data.slice(0) }];
    });
    return Object.fromEntries(results) as Record<string, TensorData>;
  };
  const examples = await Promise.all(files.map(async (file, i) => ({ pixels: await decodeFile(file, size), label: labels[i] })));
  const { train } = holdBack(examples, options);
  const planned = plannedSteps(train.length, options);
  const losses: number[] = [];
  await finetune(
    { manifest, run },
    { ...options, ...planned },
    startState(manifest, { parameters, statistics }),
    train,
    async (progress) => {
      losses.push(progress.loss);
      return true;
    },
  );
  await session.release();
  return losses;
}
