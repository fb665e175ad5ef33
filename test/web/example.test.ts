import { cpSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { checkout, temporaryFolder } from '../cli/ddrc.ts';
import { pictureFolder } from '../cli/picture-folder.ts';
import { noBrowser, serveFolder, startBrowser } from './browser.ts';
import { run } from './run.ts';

const folder = temporaryFolder();

it('examples/inference/index.html classifies with onnxruntime-web alone', { timeout: 60_000 }, async (test) => {
  if (noBrowser) return test.skip(noBrowser);
  const site = join(folder, 'site');
  mkdirSync(site);
  cpSync(join(checkout, 'examples/inference/index.html'), join(site, 'index.html'));
  cpSync(dirname(createRequire(import.meta.url).resolve('onnxruntime-web')), join(site, 'ort'), { recursive: true });
  await run(
    folder,
    'build',
    join(checkout, 'models/ddrnet.ts'),
    '--size',
    '96',
    '--option',
    'channels=8',
    '--classes',
    'a,b,c,d',
    '--out',
    'small',
  );
  cpSync(join(folder, 'small/model.onnx'), join(site, 'model.onnx'));
  const data = await pictureFolder(join(folder, 'pictures'), { classes: ['red'], each: 1 });
  const picture = join(data, 'red', '000.png');
  const served = await serveFolder(site);
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(served.url);
    await page.setInputFiles('input', picture);
    await expect.poll(() => page.textContent('pre'), { timeout: 30_000 }).toMatch(/^class 0: /);
    const found = [...(await page.textContent('pre'))!.matchAll(/class \d: (\S+)/g)].map(([, text]) => Number(text));
    const [{ probabilities }] = JSON.parse(await run(folder, 'predict', 'small', picture, '--json'));
    ['a', 'b', 'c', 'd'].forEach((name, k) => {
      expect(Math.abs(found[k] - probabilities[name])).toBeLessThan(0.02);
    });
  } finally {
    await browser.close();
    await served.close();
  }
});
