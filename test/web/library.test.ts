/*
 * `ddrc/web` in a real Chromium, number by number against onnxruntime-node on the same files.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { temporaryFolder } from '../cli/ddrc.ts';
import { noBrowser, type ServedSite, serveFolder, startBrowser } from './browser.ts';
import { finetuneInNode } from './finetune-in-node.ts';
import { addLibraryPage, base64, type InPage, openLibraryPage, planes } from './library-page.ts';
import { colours, makeSmallSite, type SmallSite, size } from './run.ts';
import { expectStepsOfNode } from './step-parity.ts';

const folder = temporaryFolder();
let made: SmallSite;
let served: ServedSite;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  if (noBrowser) return;
  made = await makeSmallSite(folder);
  await addLibraryPage(made.site, folder);
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
  page = await openLibraryPage(browser, served);
});

it('explains as explain.onnx does in Node', async () => {
  const file = made.pictures.green[3];
  const maps = await page.evaluate(async (bytes) => {
    const { model, blobsOf } = globalThis as unknown as InPage;
    const [blob] = blobsOf([bytes]);
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
      image: new Tensor('float32', await planes(file, size), [1, 3, size, size]),
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
  (part) => expectStepsOfNode(page, made, part, 30),
  120_000,
);

it('a free run falls as it does in Node', { timeout: 120_000 }, async () => {
  const files = colours.flatMap((name) => made.pictures[name].slice(0, 8));
  const labels = files.map((_, i) => colours[Math.floor(i / 8)]);
  // Turned round, so that there is something to learn.
  const wrong = labels.map((name) => colours[(colours.indexOf(name) + 1) % 3]);
  const options = { part: 'all', epochs: 12, batch: 8, learningRate: 0.003, holdBack: 0.25, seed: 4 } as const;
  const inPage = await page.evaluate(
    async ([all, classes, options]) => {
      const { model, blobsOf } = globalThis as unknown as InPage;
      const losses: number[] = [];
      const pictures = blobsOf(all).map((image, i) => ({ image, class: classes[i] }));
      const onProgress = ({ loss }: { loss: number }) => losses.push(loss);
      const { after, before } = await model.finetune(pictures, { ...options, onProgress });
      return { losses, held: before!.images, before: before!.loss, after: after!.loss };
    },
    [files.map(base64), wrong, options] as const,
  );
  const inNode = await finetuneInNode(
    made.site,
    files,
    wrong.map((name) => colours.indexOf(name)),
    options,
  );
  expect(inPage.held).toBe(6);
  expect(inPage.losses).toHaveLength(24);
  expect(inNode).toHaveLength(24);
  // The first steps differ by rounding alone, which then adds up.
  for (let step = 0; step < 3; step++) expect(Math.abs(inPage.losses[step] / inNode[step] - 1)).toBeLessThan(1e-2);
  const mean = (losses: readonly number[]) => losses.reduce((a, b) => a + b) / losses.length;
  const ends = [inPage.losses, inNode].map((losses) => [mean(losses.slice(0, 2)), mean(losses.slice(-6))]);
  for (const [first, last] of ends) expect(last).toBeLessThan(0.65 * first);
  expect(Math.abs(ends[0][1] / ends[1][1] - 1)).toBeLessThan(2e-2);
  expect(inPage.after).toBeLessThan(0.8 * inPage.before);
});

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
        const { model, blobsOf } = globalThis as unknown as InPage;
        const pictures = blobsOf(all).map((image, i) => ({ image, class: classes[i] }));
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
      const { model } = globalThis as unknown as InPage;
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
        element: () => model.classify(document.createElement('img') as never),
        none: () => model.explain(null as never, 'red'),
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
  const kinds = 'a picture has to be a Blob (a File is one), an ImageBitmap or an ImageData, not';
  expect(await failure('element')).toEqual(['USAGE', `${kinds} HTMLImageElement`]);
  expect(await failure('none')).toEqual(['USAGE', `${kinds} null`]);
  expect(await failure('nothing')).toEqual(['DATA_EMPTY', 'there are no images to train on']);
  const probabilities = await page.evaluate(async () => {
    const { model } = globalThis as unknown as InPage;
    return (await model.classify(new ImageData(16, 16))).probabilities.map(({ probability }) => probability);
  });
  expect(Math.abs(probabilities.reduce((a, b) => a + b) - 1)).toBeLessThan(1e-5);
});

it('answers calls one after the other, and lets only a stop pass', { timeout: 60_000 }, async () => {
  const { same, moved, back, stopped, never } = await page.evaluate(async () => {
    const { model } = globalThis as unknown as InPage;
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
      Promise.all([model.undo(), model.undo()]),
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
    const { model } = globalThis as unknown as InPage;
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
  [{ learningrate: 1 }, 'there is no option \'learningrate\', did you mean "learningRate"?'],
])('refuses to learn with %o', async (options, message) => {
  const said = await page.evaluate(
    (options) =>
      (globalThis as unknown as InPage).model
        .finetune([{ image: new ImageData(8, 8), class: 'red' }], options as object)
        .catch((error: Error & { code: string }) => [error.code, error.message]),
    options,
  );
  expect(said).toEqual(['USAGE', message]);
});

it('keeps its weights where the loss is no number', async () => {
  const { said, same, undoable } = await page.evaluate(async () => {
    const { model } = globalThis as unknown as InPage;
    const likely = async () => (await model.classify(new ImageData(8, 8))).probabilities[0].probability;
    const before = await likely();
    const pictures = model.info.classes.map((name) => ({ image: new ImageData(8, 8), class: name }));
    const options = { part: 'all', learningRate: 1e30, epochs: 20, holdBack: 0 } as const;
    const said = await model.finetune(pictures, options).catch((error: Error & { code: string }) => [error.code, error.message]);
    return { said, same: (await likely()) === before, undoable: model.undoable };
  });
  expect(said).toEqual(['LOSS_NOT_FINITE', expect.stringMatching(/^the loss became NaN at step \d+$/)]);
  expect([same, undoable]).toEqual([true, 0]);
});

it('goes on where a listener throws, and its error is seen', async () => {
  const errors: string[] = [];
  page.on('pageerror', ({ message }) => errors.push(message));
  const steps = await page.evaluate(async () => {
    const { model } = globalThis as unknown as InPage;
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
    const { model } = globalThis as unknown as InPage;
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
      (globalThis as unknown as InPage).model.explain(new ImageData(8, 8), 'red').then(
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
      const { model } = globalThis as unknown as InPage;
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
