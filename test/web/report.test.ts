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
import { accessViolations, noBrowser, startBrowser, watch } from './browser.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
/** Class names, as folders may have them, that would be markup. */
const [red, blue] = ['<img src=x onerror=alert(1)>', `"&'b`];
const pages = {
  complete: at('run', 'report.html'),
  killed: at('killed', 'report.html'),
  arrays: at('arrays', 'report.html'),
  compared: at('compare.html'),
  classes: at('classes', 'report.html'),
  named: at('named', 'report.html'),
  twelve: at('twelve.html'),
};
/** What A4 has room for beside margins of 1 cm, in CSS pixels. */
const paperWidth = Math.round((190 / 25.4) * 96);
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
  square('classes', (i) => `CLASS NUMBER ${i}`, 50);
  square('named', (i) => `${'X'.repeat(40)}_${'Y'.repeat(60 * i)}`, 3);
  const twelve = Array.from({ length: 12 }, (_, i) => `a-run-with-a-long-name-${i}`);
  const config = JSON.parse(readFileSync(at('run', 'config.json'), 'utf8'));
  for (const [i, name] of twelve.entries()) {
    cpSync(at('killed'), at(name), { recursive: true });
    writeFileSync(at(name, 'config.json'), JSON.stringify({ ...config, seed: i, optimizer: { ...config.optimizer, i } }));
  }
  await run(['report', 'classes'], ['report', 'named'], ['compare', ...twelve, '--out', 'twelve.html']);
  browser = await startBrowser();
}, 120_000);

afterAll(async () => {
  await browser?.close();
});

/** A run whose test has so many classes, each with 1,234 images that are all right. */
function square(name: string, nameOf: (i: number) => string, count: number): void {
  cpSync(at('run'), at(name), { recursive: true });
  const lines = readFileSync(at(name, 'metrics.jsonl'), 'utf8').trim().split('\n');
  const { test } = JSON.parse(lines.at(-1)!);
  const names = Array.from({ length: count }, (_, i) => nameOf(i));
  const one = { precision: 1, recall: 1, f1: 1, mcc: 1, specificity: 1, auc: 1, support: 1234 };
  const classes = Object.fromEntries(names.map((name) => [name, one]));
  const confusion = names.map((_, i) => names.map((_, k) => (i === k ? 1234 : 0)));
  const line = { test: { ...test, images: 1234 * count, names, classes, confusion } };
  writeFileSync(at(name, 'metrics.jsonl'), [...lines.slice(0, -1), JSON.stringify(line), ''].join('\n'));
}

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
        expect(await accessViolations(page)).toEqual([]);
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

  it.each(['complete', 'classes', 'named', 'compared', 'twelve'] as const)(
    'fits %s on A4, with what is closed on the screen',
    async (name) => {
      await opened(
        name,
        async (page) => {
          await page.emulateMedia({ media: 'print' });
          const beyond = await page.locator('th, td, caption').evaluateAll((cells, width) => {
            const range = document.createRange();
            const rightOf = (cell: Element) => {
              range.selectNodeContents(cell);
              return Math.max(cell.getBoundingClientRect().right, range.getBoundingClientRect().right);
            };
            return cells.filter((cell) => rightOf(cell) > width + 1).map((cell) => `${cell.textContent}: ${rightOf(cell)}`);
          }, paperWidth);
          expect(beyond).toEqual([]);
          const overlapping = await page.locator('.confusion td').evaluateAll((cells) => {
            const range = document.createRange();
            return cells.filter((cell) => {
              range.selectNodeContents(cell);
              return range.getBoundingClientRect().width > cell.getBoundingClientRect().width + 0.5;
            }).length;
          });
          expect(overlapping).toBe(0);
          const broken = await page.locator('.numbers:not(.confusion) td').evaluateAll((cells) => {
            const range = document.createRange();
            const lines = (cell: Element) => {
              range.selectNodeContents(cell);
              return range.getClientRects().length;
            };
            return cells.filter((cell) => /^[\d.,]+$/.test(cell.textContent!) && lines(cell) > 1).map((cell) => cell.textContent);
          });
          expect(broken).toEqual([]);
          for (const table of await page.locator('details table').all())
            expect((await table.boundingBox())!.height).toBeGreaterThan(20);
          if (name === 'complete') expect(await page.locator('details table').count()).toBe(1);
          if (name === 'classes') expect(await page.locator('.confusion tbody td').count()).toBe(2500);
          if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/print-${name}.png`, fullPage: true });
        },
        { width: paperWidth },
      );
    },
  );

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
