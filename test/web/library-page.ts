/*
 * `ddrc/web` in a page, for calls from outside.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { expect } from 'vitest';
import { decodeFile } from '../../runtime/data/decode.ts';
import type { OpenOptions, WebModel } from '../../runtime/web/index.ts';
import type { ServedSite } from './browser.ts';

/** The library as a bundler makes it, with a page that loads it, in the folder `harness` of a site. */
export async function addLibraryPage(site: string, folder: string): Promise<void> {
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
    build: { outDir: join(site, 'harness'), emptyOutDir: true, target: 'es2022' },
    worker: { format: 'es' },
  });
}

/** A page with the library, and in it the site's model, opened as `model`. */
export async function openLibraryPage(
  browser: Browser,
  { url }: ServedSite,
  options: Partial<Record<keyof OpenOptions, string | number>> = {},
): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${url}harness/`);
  await expect
    .poll(() => page.evaluate(() => typeof (globalThis as { openModel?: unknown }).openModel), { timeout: 30_000 })
    .toBe('function');
  await page.evaluate(
    async ([url, options]) => {
      const { openModel } = globalThis as unknown as { openModel: (options: object) => Promise<WebModel> };
      const model = await openModel({ model: `${url}model/`, ort: `${url}ort/`, device: 'wasm', ...options });
      Object.assign(globalThis, { model });
    },
    [url, options] as const,
  );
  return page;
}

/** What such a page has for {@link Page.evaluate}. */
export interface InPage {
  readonly model: WebModel;
  /** Files that were given as {@link base64}. */
  blobsOf(files: readonly string[]): Blob[];
}

export const base64 = (path: string) => readFileSync(path).toString('base64');

/** Planes float32 [3,size,size] of a picture as Node decodes it. */
export async function planes(path: string, size: number): Promise<Float32Array> {
  const pixels = await decodeFile(path, size);
  const area = size * size;
  return Float32Array.from({ length: 3 * area }, (_, i) => pixels[(i % area) * 3 + Math.floor(i / area)] / 255);
}
