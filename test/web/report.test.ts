/*
 * The pages of `ddrc report` and `ddrc compare` in a real Chromium: opened from the disk, as their readers open them.
 */
import { cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { writeArrays } from '../cli/array-file.ts';
import { checkout, smallModel, temporaryFolder } from '../cli/ddrc.ts';
import { ddrcInOneProcess } from '../cli/one-process.ts';
import { pictureFolder } from '../cli/picture-folder.ts';
import { axeSource, noBrowser, startBrowser, watch } from './browser.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
/** Class names, as folders may have them, that would be markup. */
const [red, blue] = ['<img src=x onerror=alert(1)>', `"&'b`];
const pages = {
  complete: at('run', 'report.html'),
  killed: at('killed', 'report.html'),
  arrays: at('arrays', 'report.html'),
  compared: at('compare.html'),
};
let browser: Browser;

beforeAll(async () => {
  if (noBrowser) return;
  const data = await pictureFolder(at('pictures'), { each: 20 });
  renameSync(join(data, 'red'), join(data, red));
  renameSync(join(data, 'blue'), join(data, blue));
  writeFileSync(at('small.ts'), smallModel);
  writeArrays(at('arrays.safetensors'));
  const model = join(checkout, 'models', 'ddrnet.ts');
  const tiny = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false', '--batch', '8', '--cache', 'none'];
  const run = async (...calls: string[][]) => {
    for (const { code, stderr } of await ddrcInOneProcess(calls, folder))
      expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
  };
  await run(
    ['train', model, '--data', data, '--test', '0.2', '--run', 'run', '--epochs', '2', '--device', 'cpu', ...tiny],
    ['train', 'small.ts', '--data', 'arrays.safetensors', '--test', '0.2', '--run', 'arrays', '--epochs', '2', '--device', 'cpu'],
  );
  cpSync(at('run'), at('killed'), { recursive: true });
  const lines = readFileSync(at('run', 'metrics.jsonl'), 'utf8').trim().split('\n');
  writeFileSync(at('killed', 'metrics.jsonl'), `${lines[0]}\n`);
  const { test } = JSON.parse(lines.at(-1)!);
  const bins = [0.6, 0.8].map((confidence, i) => ({ count: 2 + i, confidence, accuracy: confidence - 0.1 }));
  writeFileSync(
    at('run', 'metrics.jsonl'),
    [...lines.slice(0, -1), JSON.stringify({ test: { ...test, calibration: { ece: 0.1, bins } } }), ''].join('\n'),
  );
  const row = `${quoted(`${red}/000.png`)},${quoted(red)},${quoted(blue)},,0.75,0.25`;
  writeFileSync(
    at('run', 'predictions.csv'),
    `path,label,predicted,group,${quoted(`p:${blue}`)},${quoted(`p:${red}`)}\n${row}\n`,
  );
  await run(
    ['report', 'run'],
    ['report', 'killed'],
    ['report', 'arrays'],
    ['compare', 'run', 'killed', 'arrays', '--out', 'compare.html'],
  );
  browser = await startBrowser();
}, 120_000);

afterAll(async () => {
  await browser?.close();
});

const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;

/** Opens a page, lets `look` look at it, and expects that it did nothing that it should not. */
async function opened(
  name: keyof typeof pages,
  look: (page: Page) => Promise<void>,
  settings: { colorScheme?: 'light' | 'dark'; width?: number } = {},
) {
  const { colorScheme = 'light', width = 1100 } = settings;
  const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
  const page = await context.newPage();
  const watched = await watch(page);
  const address = pathToFileURL(pages[name]).href;
  await page.goto(address);
  await look(page);
  expect(watched.problems).toEqual([]);
  expect(watched.outside.filter((url) => url !== address && !url.startsWith('data:'))).toEqual([]);
  await context.close();
}

describe('reports in Chromium', () => {
  beforeEach((test) => {
    if (noBrowser) test.skip(noBrowser);
  });

  it.each(
    (['complete', 'killed', 'arrays', 'compared'] as const).flatMap((name) =>
      (['light', 'dark'] as const).map((colorScheme) => ({ name, colorScheme, width: colorScheme === 'light' ? 1100 : 375 })),
    ),
  )('$name, $colorScheme, $width px: axe finds nothing, nothing sticks out', async ({ name, colorScheme, width }) => {
    await opened(
      name,
      async (page) => {
        await page.evaluate(axeSource());
        const { violations } = await page.evaluate(async () => {
          const { axe } = globalThis as unknown as {
            axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
          };
          return axe.run();
        });
        expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      },
      { colorScheme, width },
    );
  });

  it('shows class names with markup as text, and pictures that decode', async () => {
    await opened('complete', async (page) => {
      const heads = await page.locator('.confusion thead th').allTextContents();
      expect(heads).toEqual(['class', `→ ${blue}`, `→ ${red}`]);
      expect(await page.locator('.wrong figcaption').allTextContents()).toEqual([
        `${red}, taken for ${blue} (0.750)${red}/000.png`,
      ]);
      const images = await page
        .locator('img')
        .evaluateAll((all) =>
          (all as HTMLImageElement[]).map(({ alt, naturalWidth, naturalHeight }) => ({ alt, naturalWidth, naturalHeight })),
        );
      expect(images).toEqual([
        { alt: `${red}: ${red}/000.png`, naturalWidth: 32, naturalHeight: 32 },
        { alt: `The same image; bright is what spoke for ${blue}`, naturalWidth: 32, naturalHeight: 32 },
      ]);
      expect(await page.locator('figure.chart svg[role=img]').count()).toBe(4);
    });
  });

  it('says that a run was stopped, and has a report for one of arrays', async () => {
    await opened('killed', async (page) => {
      expect(await page.textContent('.banner')).toBe('This training was stopped: 1 of 2 epochs are finished.');
      expect(await page.locator('.confusion').count()).toBe(0);
    });
    await opened('arrays', async (page) => {
      expect(await page.locator('.banner').count()).toBe(0);
      expect(await page.locator('.confusion tbody tr').count()).toBe(3);
      expect(await page.locator('img').count()).toBe(0);
    });
  });

  it('prints dark text on white, whatever the screen has', async () => {
    await opened(
      'complete',
      async (page) => {
        await page.emulateMedia({ media: 'print' });
        const look = await page.evaluate(() => {
          const { color, backgroundColor } = getComputedStyle(document.body);
          return { color, backgroundColor };
        });
        expect(look).toEqual({ color: 'rgb(0, 0, 0)', backgroundColor: 'rgb(255, 255, 255)' });
        const paper = await page.pdf({ format: 'A4' });
        expect(paper.subarray(0, 5).toString()).toBe('%PDF-');
        const sheets = paper.toString('latin1').match(/\/Type\s*\/Page\b/g);
        expect(sheets!.length).toBeGreaterThanOrEqual(1);
        expect(sheets!.length).toBeLessThanOrEqual(6);
      },
      { colorScheme: 'dark' },
    );
  });
});
