/*
 * `npm run bench:web`: how fast a page classifies and learns in Chromium on wasm, beside onnxruntime-node on the same files, and how soon it is there.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { copied, type Feeds } from '../../cli/feeds.ts';
import { decodeFile } from '../../runtime/data/decode.ts';
import { Engine, inferenceSession, trainingSession } from '../../runtime/engine.ts';
import { packState } from '../../runtime/flat-state.ts';
import { parseManifest } from '../../runtime/manifest.ts';
import { parseSafetensors } from '../../runtime/safetensors.ts';
import { engineState, stepScalars } from '../../runtime/step-inputs.ts';
import { writePlanes } from '../../runtime/web/pixels.ts';
import { pictureFolder } from '../cli/picture-folder.ts';
import { noBrowser, serveFolder, startBrowser } from '../web/browser.ts';
import { run } from '../web/run.ts';
import { median } from './figures.ts';

const threads = 2;
const colours = ['blue', 'green', 'red'] as const;

if (noBrowser) {
  console.log(noBrowser);
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'ddrc-bench-web-'));
try {
  const data = await pictureFolder(join(folder, 'pictures'), { classes: colours, each: 12 });
  for (const size of [224, 96]) {
    const settings = [
      '--size',
      String(size),
      '--epochs',
      '1',
      '--batch',
      '8',
      '--device',
      'cpu',
      '--cache',
      'none',
      '--augment',
      'none',
    ];
    await run(folder, 'train', '--data', data, ...settings, '--run', `run-${size}`);
    await run(folder, 'web', `run-${size}`, '--out', `site-${size}`);
  }
  const files = colours.flatMap((name) => readdirSync(join(data, name)).map((file) => join(data, name, file)));
  const cold = await inPage(join(folder, 'site-224'), async (page, opened) => {
    await page.setInputFiles('#files', files[0]);
    await page.waitForSelector('#rows tr');
    return performance.now() - opened;
  });
  const classify = await inPage(join(folder, 'site-224'), async (page) => {
    await page.setInputFiles('#files', files);
    await page.waitForFunction((count) => document.querySelectorAll('#rows tr').length === count, files.length);
    const times = await page
      .locator('#rows tr')
      .evaluateAll((rows) => rows.map((row) => Number((row as HTMLElement).dataset.milliseconds)));
    return median(times.slice(5));
  });
  const graph = await inPage(join(folder, 'site-224'), (page) =>
    page.evaluate(async (threads) => {
      const ort = await import(new URL('ort/ort.wasm.min.mjs', location.href).href);
      ort.env.wasm.wasmPaths = new URL('ort/', location.href).href;
      ort.env.wasm.numThreads = threads;
      const session = await ort.InferenceSession.create('model/model.onnx', { executionProviders: ['wasm'] });
      const image = new ort.Tensor('float32', new Float32Array(3 * 224 * 224).fill(0.5), [1, 3, 224, 224]);
      const times: number[] = [];
      for (let i = 0; i < 35; i++) {
        const start = performance.now();
        await session.run({ image });
        times.push(performance.now() - start);
      }
      return times.slice(5).sort((a, b) => a - b)[15];
    }, threads),
  );
  const learn = await inPage(join(folder, 'site-96'), async (page) => {
    await page.setInputFiles('#folder', data);
    await page.waitForFunction((count) => document.querySelectorAll('#rows tr').length === count, files.length);
    await page.selectOption('#part', 'all');
    await page.fill('#epochs', '5');
    await page.evaluate(() => {
      const times: number[] = [];
      Object.assign(globalThis, { times });
      new MutationObserver(() => times.push(performance.now())).observe(document.getElementById('curve-text')!, {
        childList: true,
      });
    });
    await page.click('#start');
    await page.waitForFunction(() => /^learned/.test(document.getElementById('learned')!.textContent!), null, {
      timeout: 120_000,
    });
    const times = await page.evaluate(() => (globalThis as unknown as { times: number[] }).times);
    return median(times.slice(2).map((time, i) => time - times[i + 1]));
  });
  const node = await classifyInNode(join(folder, 'site-224'), files);
  const learnOfNode = await learnInNode(join(folder, 'site-96'));
  const code = readdirSync(join(folder, 'site-224', 'assets')).reduce(
    (sum, name) => sum + gzipSync(readFileSync(join(folder, 'site-224', 'assets', name))).length,
    0,
  );
  const row = (what: string, page: number, other: number) =>
    `| ${what} | ${page.toFixed(1)} | ${other.toFixed(1)} | ${(page / other).toFixed(2)} |`;
  console.log(`
| Chromium on wasm, ${threads} threads | page, ms | onnxruntime-node, ms | ratio |
| --- | --- | --- | --- |
${row('model.onnx of DDRNet on one picture of 224 px', graph, node.graph)}
${row('the same, and decoding and resizing it', classify, node.picture)}
${row('a training step of all parameters, batch 8, 96 px', learn, learnOfNode)}

first classification after a cold start from loopback: ${Math.round(cold)} ms
code of the page, gzip: ${code} bytes`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Opens a site in a browser of its own. */
async function inPage<T>(site: string, work: (page: Page, opened: number) => Promise<T>): Promise<T> {
  const served = await serveFolder(site);
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    const opened = performance.now();
    await page.goto(served.url);
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'ready', null, { timeout: 60_000 });
    return await work(page, opened);
  } finally {
    await browser.close();
    await served.close();
  }
}

/** Of a picture's file, and of the graph alone, in ms. */
async function classifyInNode(site: string, files: readonly string[]): Promise<{ graph: number; picture: number }> {
  const engine = new Engine({ threads });
  await engine.open('model.onnx', readFileSync(join(site, 'model/model.onnx')), inferenceSession);
  const [shape, area] = [[1, 3, 224, 224], 224 * 224];
  const filled = { dtype: 'float32', shape, data: new Float32Array(3 * area).fill(0.5) } as const;
  const graph = await timed(30, () => engine.run('model.onnx', copied({ image: filled })));
  let index = 0;
  const picture = await timed(30, async () => {
    const data = new Float32Array(3 * area);
    writePlanes(await decodeFile(files[index++ % files.length], 224), data);
    await engine.run('model.onnx', { image: { dtype: 'float32', shape, data } });
  });
  await engine.close();
  return { graph, picture };
}

async function learnInNode(site: string): Promise<number> {
  const manifest = parseManifest(readFileSync(join(site, 'model/manifest.json'), 'utf8'), 'manifest.json');
  const { tensors } = parseSafetensors(readFileSync(join(site, 'model/initial.safetensors')), 'initial');
  const [parameters, statistics] = [manifest.parameters, manifest.statistics].map((table) => packState(table, tensors));
  const engine = new Engine({ threads });
  await engine.open('step.onnx', readFileSync(join(site, 'model/step.onnx')), trainingSession);
  await engine.load(engineState(manifest, { parameters, statistics }));
  const examples: Feeds = {
    image: { dtype: 'float32', shape: [8, 3, 96, 96], data: new Float32Array(8 * 3 * 96 * 96).fill(0.5) },
    label: { dtype: 'int64', shape: [8], data: BigInt64Array.from({ length: 8 }, (_, i) => BigInt(i % 3)) },
  };
  let step = 0;
  const times = await timed(30, () =>
    engine.step('step.onnx', copied({ ...examples, ...stepScalars(manifest, step++, { learningRate: 1e-3 }, 0) }), ['loss']),
  );
  await engine.close();
  return times;
}

/** Median of runs after five to warm up, in ms. */
async function timed(runs: number, work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < runs + 5; i++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return median(times.slice(5));
}
