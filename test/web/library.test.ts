/*
 * `ddrc/web` in a real Chromium, number by number against onnxruntime-node on the same files.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { decodeFile } from '../../runtime/data/decode.ts';
import { parseManifest } from '../../runtime/manifest.ts';
import { stepScalars } from '../../runtime/step-inputs.ts';
import type { OpenOptions, WebModel } from '../../runtime/web/index.ts';
import { temporaryFolder } from '../cli/ddrc.ts';
import { noBrowser, type ServedSite, serveFolder, startBrowser } from './browser.ts';
import { colours, makeSmallSite, type SmallSite } from './run.ts';

const folder = temporaryFolder();
const size = 32;
let made: SmallSite;
let served: ServedSite;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  if (noBrowser) return;
  made = await makeSmallSite(folder);
  await bundle(join(made.site, 'harness'));
  served = await serveFolder(made.site);
  browser = await startBrowser();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await served?.close();
});

beforeEach(async (test) => {
  if (noBrowser) return test.skip(noBrowser);
  await page?.close();
  page = await browser.newPage();
  await page.goto(`${served.url}harness/`);
  await expect
    .poll(() => page.evaluate(() => typeof (globalThis as { openModel?: unknown }).openModel), { timeout: 30_000 })
    .toBe('function');
  await openIt({});
});

/** The library as a bundler makes it, with a page that loads it. */
async function bundle(out: string): Promise<void> {
  const source = join(folder, 'harness');
  mkdirSync(source);
  writeFileSync(
    join(source, 'index.html'),
    '<!doctype html><title>harness</title><script type="module" src="./harness.ts"></script>',
  );
  writeFileSync(join(source, 'harness.ts'), readFileSync(join(import.meta.dirname, 'harness.ts')));
  const root = join(import.meta.dirname, '../..');
  await build({
    root: source,
    base: './',
    configFile: false,
    logLevel: 'error',
    resolve: { alias: { 'ddrc/web': join(root, 'dist/runtime/web/index.js'), comlink: join(root, 'node_modules/comlink') } },
    build: { outDir: out, emptyOutDir: true, target: 'es2022' },
    worker: { format: 'es' },
  });
}

/** Opens the site's model in the page, as `model`. */
async function openIt(options: Partial<Record<keyof OpenOptions, string | number>>): Promise<void> {
  await page.evaluate(
    async ([url, options]) => {
      const { openModel } = globalThis as unknown as { openModel: (options: object) => Promise<WebModel> };
      const model = await openModel({ model: `${url}model/`, ort: `${url}ort/`, device: 'wasm', ...options });
      Object.assign(globalThis, { model });
    },
    [served.url, options] as const,
  );
}

const base64 = (path: string) => readFileSync(path).toString('base64');

/** Planes float32 [3,size,size] of a picture as Node decodes it. */
async function planes(path: string): Promise<Float32Array> {
  const pixels = await decodeFile(path, size);
  const area = size * size;
  return Float32Array.from({ length: 3 * area }, (_, i) => pixels[(i % area) * 3 + Math.floor(i / area)] / 255);
}

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

it('explains as explain.onnx does in Node', async () => {
  const file = made.pictures.green[3];
  const maps = await page.evaluate(async (bytes) => {
    const { model } = globalThis as unknown as { model: WebModel };
    const blob = await (await fetch(`data:image/png;base64,${bytes}`)).blob();
    const results = [];
    for (const name of model.info.classes) {
      const { width, height, data } = await model.explain(blob, name);
      results.push({ width, height, data: [...data] });
    }
    return results;
  }, base64(file));
  const session = await InferenceSession.create(join(made.site, 'model/explain.onnx'));
  for (const [k, { width, height, data }] of maps.entries()) {
    const { attention } = await session.run({
      image: new Tensor('float32', await planes(file), [1, 3, size, size]),
      class: new Tensor('int64', BigInt64Array.of(BigInt(k)), [1]),
    });
    expect([1, height, width]).toEqual([...attention.dims]);
    const expected = attention.data as Float32Array;
    expect(Math.max(...data.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(1e-3);
  }
  await session.release();
});

it.each(['head', 'all'] as const)(
  '30 steps that train %s are those of Node, each from the state that the page is in',
  async (part) => {
    const manifest = parseManifest(readFileSync(join(made.site, 'model/manifest.json'), 'utf8'), 'manifest.json');
    const graph = part === 'head' ? 'head.onnx' : 'step.onnx';
    const session = await InferenceSession.create(join(made.site, 'model', graph), { graphOptimizationLevel: 'disabled' });
    const learningRate = 0.002;
    const files = colours.flatMap((name) => made.pictures[name].slice(0, 10));
    const images = await Promise.all(files.map(planes));
    await page.evaluate(async (all) => {
      const blobs = await Promise.all(all.map(async (bytes) => (await fetch(`data:image/png;base64,${bytes}`)).blob()));
      Object.assign(globalThis, { blobs });
    }, files.map(base64));
    const state = async (): Promise<Record<string, Float32Array>> => {
      const texts = await page.evaluate(async () => {
        const vectors = await (globalThis as unknown as { model: WebModel }).model.state();
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
    for (let step = 0; step < 30; step++) {
      const chosen = [0, 1, 2, 3].map((i) => (step * 7 + i * 8) % files.length);
      const loss = await page.evaluate(
        ([chosen, classes, part, learningRate]) => {
          const { model, blobs } = globalThis as unknown as { model: WebModel; blobs: Blob[] };
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
  },
  120_000,
);

it('memory stays flat over 200 steps', { timeout: 120_000 }, async () => {
  const files = colours.map((name) => made.pictures[name][0]);
  const control = await browser.newBrowserCDPSession();
  /** Bytes of memory that the pages' processes hold. */
  const held = async () => {
    const { processInfo } = await control.send('SystemInfo.getProcessInfo');
    const pages = processInfo.filter(({ type }) => type === 'renderer');
    return pages.reduce((sum, { id }) => sum + 4096 * Number(readFileSync(`/proc/${id}/statm`, 'utf8').split(' ')[1]), 0);
  };
  const learn = (epochs: number) =>
    page.evaluate(
      async ([all, classes, epochs]) => {
        const { model } = globalThis as unknown as { model: WebModel };
        const pictures = await Promise.all(
          all.map(async (bytes, i) => ({
            image: await (await fetch(`data:image/png;base64,${bytes}`)).blob(),
            class: classes[i],
          })),
        );
        const { steps } = await model.finetune(pictures, { part: 'all', epochs, batch: 3, holdBack: 0 });
        await model.undo();
        return steps;
      },
      [files.map(base64), [...colours], epochs] as const,
    );
  expect(await learn(50)).toBe(50);
  const before = await held();
  expect(await learn(200)).toBe(200);
  expect((await held()) - before).toBeLessThan(30e6);
});

it('says of a class, a picture or a worker what is wrong, and the page lives', async () => {
  const failure = (work: string) =>
    page.evaluate(async (work) => {
      const { model } = globalThis as unknown as { model: WebModel };
      const blob = new Blob(['no picture'], { type: 'image/png' });
      const pixels = new ImageData(2, 40);
      const works: Record<string, () => Promise<unknown>> = {
        explain: async () => model.explain(new ImageData(8, 8), 'purple'),
        classify: () => model.classify(blob),
        small: () => model.classify(pixels),
        learn: () =>
          model.finetune([
            { image: new ImageData(8, 8), class: 'red' },
            { image: blob, class: 'red' },
          ]),
        nothing: () => model.finetune([]),
      };
      return works[work]().then(
        () => null,
        (error: Error & { code: string }) => [error.code, error.message],
      );
    }, work);
  expect(await failure('explain')).toEqual(['DATA_LABEL', "the model has no class 'purple'"]);
  expect(await failure('classify')).toEqual([
    'IMAGE_DAMAGED',
    'the image is no picture that this browser reads, or it is damaged',
  ]);
  expect(await failure('small')).toEqual(['IMAGE_TOO_SMALL', 'the image is 2x40 pixels, which shows nothing']);
  expect(await failure('learn')).toEqual(['IMAGE_DAMAGED', 'the image is no picture that this browser reads, or it is damaged']);
  expect(await failure('nothing')).toEqual(['DATA_EMPTY', 'there are no images to train on']);
  const probabilities = await page.evaluate(async () => {
    const { model } = globalThis as unknown as { model: WebModel };
    return (await model.classify(new ImageData(16, 16))).probabilities.map(({ probability }) => probability);
  });
  expect(Math.abs(probabilities.reduce((a, b) => a + b) - 1)).toBeLessThan(1e-5);
});

it('answers calls one after the other, and lets only a stop pass', { timeout: 60_000 }, async () => {
  const { same, moved, back, stopped, never } = await page.evaluate(async () => {
    const { model } = globalThis as unknown as { model: WebModel };
    const picture = new ImageData(
      Uint8ClampedArray.from({ length: 24 * 24 * 4 }, (_, i) => (i * 37) % 256),
      24,
      24,
    );
    const pictures = [...model.info.classes, 'red'].map((name) => ({ image: picture, class: name }));
    const options = { part: 'all', epochs: 4, batch: 2, holdBack: 0.5 } as const;
    const likely = async () => (await model.classify(picture)).probabilities[0].probability;
    const start = await likely();
    const control = new AbortController();
    const calls = await Promise.all([
      model.finetune(pictures, options),
      model.state(),
      model.step(pictures, { part: 'all' }),
      model.state(),
      likely(),
      model.explain(picture, 'red'),
      model.undo(),
      likely(),
      model.finetune(pictures, { ...options, epochs: 1000, signal: control.signal, onProgress: () => control.abort() }),
      // Aborted before it begins, and before it is called.
      model.finetune(pictures, { ...options, signal: control.signal }),
      model.finetune(pictures, { ...options, signal: AbortSignal.abort() }),
    ]);
    return {
      moved: calls[1].parameters.some((value, i) => value !== calls[3].parameters[i]),
      same: [start, calls[4]],
      back: [start, calls[7]],
      stopped: calls[8],
      never: calls.slice(9).map((result) => (result as { steps: number }).steps),
    };
  });
  expect(moved).toBe(true);
  expect(same[0]).not.toBe(same[1]);
  expect(Math.abs(back[0] - back[1])).toBeLessThan(1e-5);
  expect(stopped.finished).toBe(false);
  expect(stopped.steps).toBeGreaterThan(0);
  expect(never).toEqual([0, 0]);
});

it('takes back the last ten trainings', { timeout: 60_000 }, async () => {
  const { learned, undone, left } = await page.evaluate(async () => {
    const { model } = globalThis as unknown as { model: WebModel };
    const learned: number[] = [];
    for (let i = 0; i < 12; i++) {
      await model.finetune([{ image: new ImageData(8, 8), class: 'red' }], { epochs: 1, holdBack: 0 });
      learned.push(model.undoable);
    }
    const undone: boolean[] = [];
    for (let i = 0; i < 11; i++) undone.push(await model.undo());
    return { learned, undone, left: model.undoable };
  });
  expect(learned).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]);
  expect(undone).toEqual([...Array(10).fill(true), false]);
  expect(left).toBe(0);
});

it.each([
  [{ epochs: 0 }, 'epochs has to be a whole number from 1 on, not 0'],
  [{ batch: 0 }, 'batch has to be a whole number from 1 on, not 0'],
  [{ batch: Number.NaN }, 'batch has to be a whole number from 1 on, not NaN'],
  [{ learningRate: Number.NaN }, 'learningRate has to be a number above 0, not NaN'],
  [{ learningRate: -1 }, 'learningRate has to be a number above 0, not -1'],
  [{ holdBack: 1 }, 'holdBack has to be a share from 0 to below 1, not 1'],
  [{ seed: 0.5 }, 'seed has to be a whole number, not 0.5'],
  [{ part: 'tail' }, 'part has to be head or all, not tail'],
])('refuses to learn with %o', async (options, message) => {
  const said = await page.evaluate(
    (options) =>
      (globalThis as unknown as { model: WebModel }).model
        .finetune([{ image: new ImageData(8, 8), class: 'red' }], options as object)
        .catch((error: Error & { code: string }) => [error.code, error.message]),
    options,
  );
  expect(said).toEqual(['USAGE', message]);
});

it('goes on where a listener throws, and its error is seen', async () => {
  const errors: string[] = [];
  page.on('pageerror', ({ message }) => errors.push(message));
  const steps = await page.evaluate(async () => {
    const { model } = globalThis as unknown as { model: WebModel };
    const onProgress = () => {
      throw new Error('a mistake of the page');
    };
    const { steps } = await model.finetune([{ image: new ImageData(8, 8), class: 'red' }], {
      epochs: 3,
      holdBack: 0,
      onProgress,
    });
    await model.classify(new ImageData(8, 8));
    return steps;
  });
  expect(steps).toBe(3);
  expect(errors).toEqual(Array(3).fill('a mistake of the page'));
});

it('tells calls that wait when the model is closed', async () => {
  const codes = await page.evaluate(async () => {
    const { model } = globalThis as unknown as { model: WebModel };
    const code = (error: { code: string }) => error.code;
    const waiting = [model.classify(new ImageData(8, 8)), model.exportOnnx()].map((call) =>
      (call as Promise<unknown>).catch(code),
    );
    model.close();
    return Promise.all([...waiting, model.classify(new ImageData(8, 8)).catch(code)]);
  });
  expect(codes).toEqual(['ENGINE_STOPPED', 'ENGINE_STOPPED', 'ENGINE_STOPPED']);
});

it('does not run a file of another build', async () => {
  const explain = () =>
    page.evaluate(() =>
      (globalThis as unknown as { model: WebModel }).model.explain(new ImageData(8, 8), 'red').then(
        ({ width }) => (width > 0 ? 'done' : 'empty'),
        (error: Error & { code: string; hint: string }) => [error.code, error.message, error.hint],
      ),
    );
  await page.route('**/explain.onnx', (route) => route.fulfill({ path: join(made.site, 'model/model.onnx') }));
  expect(await explain()).toEqual([
    'MANIFEST_FILE',
    'explain.onnx is not the file that manifest.json describes',
    'the site was renewed or is damaged: reload the page',
  ]);
  // A training whose weights cannot be put into every file changes none.
  const learn = () =>
    page.evaluate(async () => {
      const { model } = globalThis as unknown as { model: WebModel };
      const likely = async () => (await model.classify(new ImageData(8, 8))).probabilities[0].probability;
      const before = await likely();
      const said = await model.finetune([{ image: new ImageData(8, 8), class: 'red' }], { epochs: 2, holdBack: 0 }).then(
        ({ steps }) => steps,
        (error: { code: string }) => error.code,
      );
      return { said, undoable: model.undoable, changed: (await likely()) !== before };
    });
  expect(await learn()).toEqual({ said: 'MANIFEST_FILE', undoable: 0, changed: false });
  await page.unroute('**/explain.onnx');
  expect(await explain()).toBe('done');
  expect(await learn()).toEqual({ said: 2, undoable: 1, changed: true });
});
