/*
 * A small site in a browser, for tests of the page: made once for a file of tests, with a page of its own for each test.
 */
import { readFileSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { temporaryFolder } from '../cli/ddrc.ts';
import { noBrowser, type ServedSite, serveFolder, startBrowser, type Watched, watch } from './browser.ts';
import { makeSmallSite, type SmallSite } from './run.ts';

export const folder = temporaryFolder();
export let made: SmallSite;
export let served: ServedSite;
export let browser: Browser;
export let context: BrowserContext;
export let page: Page;
export let watched: Watched;

beforeAll(async () => {
  if (noBrowser) return;
  made = await makeSmallSite(folder);
  served = await serveFolder(made.site);
  browser = await startBrowser();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await served?.close();
});

beforeEach(async (test) => {
  if (noBrowser) return test.skip(noBrowser);
  await context?.close();
  context = await browser.newContext({ acceptDownloads: true });
  await lookAt(await context.newPage());
});

/** Goes on with another page. */
export async function lookAt(another: Page): Promise<void> {
  page = another;
  watched = await watch(page);
}

/** Opens the site, and waits until its model is there, or cannot be. */
export async function open(url = served.url): Promise<void> {
  await page.goto(url);
  await eventually(() => page.textContent('#status')).toMatch(/^(ready|the model could not be loaded)$/);
}

/** Polls, for as long as a machine with other things to do may need. */
export const eventually = <T>(value: () => T, options: { readonly timeout?: number; readonly interval?: number } = {}) =>
  expect.poll(value, { timeout: 30_000, ...options });

/** The rows of pictures, without those of details. */
export const rows = () => page.locator('#rows > tr:not(:has(td[colspan="6"]))');

/** Chooses files, and waits for their rows. */
export async function choose(files: readonly string[]): Promise<void> {
  const before = await rows().count();
  await page.setInputFiles('#files', [...files]);
  await eventually(() => rows().count(), { timeout: 60_000 }).toBe(before + files.length);
}

/** The content of the file that a button saves. */
export async function downloaded(button: string): Promise<Buffer> {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
  return readFileSync(await download.path());
}

/** Lines of a CSV file without quotes. */
export const cells = (csv: Buffer) =>
  csv
    .toString()
    .replace(/^\uFEFF/, '')
    .trim()
    .split('\r\n')
    .map((line) => line.split(','));
