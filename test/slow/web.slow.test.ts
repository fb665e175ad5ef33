/*
 * The page on WebGPU, by the software adapter of Chromium: slow, but right.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder } from '../cli/ddrc.ts';
import { noBrowser, type ServedSite, serveFolder, startBrowser } from '../web/browser.ts';
import { addLibraryPage, openLibraryPage } from '../web/library-page.ts';
import { colours, makeSmallSite, run, type SmallSite } from '../web/run.ts';
import { expectStepsOfNode } from '../web/step-parity.ts';

const folder = temporaryFolder();
/** What makes Chromium offer a WebGPU adapter that is a program. */
const software = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
let made: SmallSite;
let served: ServedSite;

beforeAll(async () => {
  if (noBrowser) return;
  made = await makeSmallSite(folder);
  await addLibraryPage(made.site, folder);
  served = await serveFolder(made.site);
}, 120_000);

afterAll(() => served?.close());

it('classifies on WebGPU as in Node, and learns', { timeout: 300_000 }, async (test) => {
  if (noBrowser) return test.skip(noBrowser);
  const browser = await startBrowser(software);
  try {
    const page = await browser.newPage();
    await page.goto(`${served.url}?device=webgpu`);
    await expect.poll(() => page.textContent('#status'), { timeout: 60_000 }).toMatch(/^(ready|the model could not be loaded)/);
    if (!/WebGPU/.test((await page.textContent('#engine')) ?? ''))
      return test.skip(`this Chromium has no WebGPU: ${await page.textContent('#problem')}`);
    const files = colours.flatMap((name) => made.pictures[name].slice(0, 2));
    await page.setInputFiles('#files', files);
    const rows = page.locator('#rows > tr');
    await expect.poll(() => rows.count(), { timeout: 120_000 }).toBe(files.length);
    const predicted = JSON.parse(await run(folder, 'predict', 'run', ...files, '--json')) as {
      class: string;
      probabilities: Record<string, number>;
    }[];
    const texts = await rows.allTextContents();
    texts.forEach((text, i) => {
      const best = Math.max(...Object.values(predicted[i].probabilities));
      expect(text).toContain(predicted[i].class);
      expect(Math.abs(Number(/([\d.]+) %/.exec(text)![1]) / 100 - best)).toBeLessThan(2e-3);
    });
    for (let i = 0; i < files.length; i++)
      await rows
        .nth(i)
        .locator('select')
        .selectOption(colours[Math.floor(i / 2)]);
    await page.selectOption('#part', 'all');
    await page.fill('#epochs', '3');
    await page.fill('#batch', '3');
    await page.click('#start');
    await expect.poll(() => page.textContent('#learned'), { timeout: 200_000 }).toMatch(/^learned after \d+ steps/);
    expect(await page.textContent('#problem')).toBe('');
  } finally {
    await browser.close();
  }
});

it.for(['head', 'all'] as const)('steps that train %s on WebGPU are those of Node', { timeout: 300_000 }, async (part, test) => {
  if (noBrowser) return test.skip(noBrowser);
  const browser = await startBrowser(software);
  try {
    const page = await openLibraryPage(browser, served, { device: 'webgpu' });
    await expectStepsOfNode(page, made, part, 5);
  } finally {
    await browser.close();
  }
});
