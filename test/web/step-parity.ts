/*
 * Training steps in a page, number by number against onnxruntime-node on the same file.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { random } from '../../numeric/random.ts';
import { parseManifest } from '../../runtime/manifest.ts';
import { stepScalars } from '../../runtime/step-inputs.ts';
import { graphOf } from '../../runtime/web/finetune.ts';
import { base64, type InPage, planes } from './library-page.ts';
import { colours, type SmallSite, size } from './run.ts';

/**
 * How far parameters are from those of a step of Adam in Node, in what is allowed. Adam divides by the root of the mean square of the gradients so far, so an error of
 * e in a gradient moves a parameter by about 2·rate·e / root, and by 2·rate at most.
 */
function shareOf(
  results: InferenceSession.OnnxValueMapType,
  before: Record<string, Float32Array>,
  parameters: Float32Array,
  rate: number,
  step: number,
): number {
  const [expected, first, second] = ['parameters_out', 'moment1_out', 'moment2_out'].map(
    (name) => results[name].data as Float32Array,
  );
  const gradient = first.map((m, i) => (m - 0.9 * before.moment1[i]) / 0.1);
  const error = 1e-4 * gradient.reduce((most, g) => Math.max(most, Math.abs(g)), 0) + 1e-7;
  const shares = parameters.map((value, i) => {
    const root = Math.sqrt(second[i] / (1 - 0.999 ** (step + 1)));
    const allowed = 5e-3 * rate + 2e-7 * Math.abs(expected[i]) + 2 * rate * Math.min(1, error / root);
    return Math.abs(value - expected[i]) / allowed;
  });
  return shares.reduce((a, b) => Math.max(a, b));
}

/** Steps on four pictures each, in a page of {@link openLibraryPage}, are those of Node, each from the state that the page is in. */
export async function expectStepsOfNode(page: Page, made: SmallSite, part: 'head' | 'all', steps: number): Promise<void> {
  const manifest = parseManifest(readFileSync(join(made.site, 'model/manifest.json'), 'utf8'), 'manifest.json');
  const graph = graphOf[part];
  const session = await InferenceSession.create(join(made.site, 'model', graph), { graphOptimizationLevel: 'disabled' });
  const learningRate = 0.002;
  const files = colours.flatMap((name) => made.pictures[name].slice(0, 10));
  const images = await Promise.all(files.map((file) => planes(file, size)));
  await page.evaluate((all) => {
    Object.assign(globalThis, { blobs: (globalThis as unknown as InPage).blobsOf(all) });
  }, files.map(base64));
  const state = async (): Promise<Record<string, Float32Array>> => {
    const texts = await page.evaluate(async () => {
      const vectors = await (globalThis as unknown as InPage).model.state();
      const asText = (data: Float32Array) => {
        let text = '';
        for (const byte of new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) text += String.fromCharCode(byte);
        return btoa(text);
      };
      return Object.fromEntries(Object.entries(vectors).map(([name, data]) => [name, asText(data)]));
    });
    const vector = (text: string) => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer);
    return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, vector(text)]));
  };
  let before = await state();
  const worst: number[] = [];
  for (let step = 0; step < steps; step++) {
    const chosen = [0, 1, 2, 3].map((i) => (step * 7 + i * 8) % files.length);
    const loss = await page.evaluate(
      ([chosen, classes, part, learningRate]) => {
        const { model, blobs } = globalThis as unknown as InPage & { blobs: Blob[] };
        const pictures = chosen.map((index, i) => ({ image: blobs[index], class: classes[i] }));
        return model.step(pictures, { part, learningRate, seed: 5 });
      },
      [chosen, chosen.map((index) => colours[Math.floor(index / 10)]), part, learningRate] as const,
    );
    const after = await state();
    const tensors = Object.entries({
      ...stepScalars(manifest, step, { learningRate }, 5, graph),
      image: {
        dtype: 'float32',
        shape: [4, 3, size, size],
        data: Float32Array.from(chosen.flatMap((index) => [...images[index]])),
      },
      label: { dtype: 'int64', shape: [4], data: BigInt64Array.from(chosen, (index) => BigInt(Math.floor(index / 10))) },
      ...Object.fromEntries(
        Object.entries(before).map(([name, values]) => [name, { dtype: 'float32', shape: [values.length], data: values }]),
      ),
    });
    const nodeStep = async (parameters: Float32Array) => {
      const feeds = tensors.map(([name, { dtype, data, shape }]) => [
        name,
        new Tensor(dtype as 'float32', (name === 'parameters' ? parameters : data) as Float32Array, shape),
      ]);
      return session.run(Object.fromEntries(feeds));
    };
    const results = await nodeStep(before.parameters);
    expect(Math.abs(loss - Number(results.loss.data[0]))).toBeLessThanOrEqual(1e-4 * Math.abs(loss) + 1e-7);
    const tries = [shareOf(results, before, after.parameters, learningRate, step)];
    // Where a ReLU's input is zero but for rounding, or two elements tie for a maximum, the gradient jumps, and rounding decides to which side: from parameters
    // that are off by a few units in the last place, Node jumps too.
    for (let nudge = 0; nudge < 12 && Math.min(...tries) > 1; nudge++) {
      const next = random('nudge', nudge);
      const nudged = before.parameters.map((value) => value * (1 + 2e-6 * (next() - 0.5)));
      tries.push(shareOf(await nodeStep(nudged), before, after.parameters, learningRate, step));
    }
    worst.push(Math.min(...tries));
    before = after;
  }
  expect(Math.max(...worst)).toBeLessThanOrEqual(1);
  await session.release();
}
