/*
 * `npm run results -- FOLDER…`: takes what experiments came to into docs/results/, and writes the table of docs/results.md anew. Of the images nothing is taken: no picture, no path of a machine.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { kept, resultsTable } from './results-table.ts';

const root = join(import.meta.dirname, '..');
const results = join(root, 'docs', 'results');

/** Settings with every absolute path cut to its last two parts. */
function withoutPlaces(value: unknown): unknown {
  if (typeof value === 'string' && isAbsolute(value)) return value.split(/[\\/]/).slice(-2).join('/');
  if (Array.isArray(value)) return value.map(withoutPlaces);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withoutPlaces(each)]));
}

function copyJson(from: string, to: string): void {
  writeFileSync(to, `${JSON.stringify(withoutPlaces(JSON.parse(readFileSync(from, 'utf8'))), null, 2)}\n`);
}

/** The text of results.md without the pictures of images. */
function withoutPictures(text: string): string {
  const parts = text.trimEnd().split('\n\n');
  const isPicture = (part: string | undefined) => part?.startsWith('![') && !part.endsWith('.svg)');
  return `${parts.filter((part, i) => !isPicture(part) && !isPicture(parts[i + 1])).join('\n\n')}\n`;
}

function take(folder: string): void {
  const place = join(results, basename(folder));
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  for (const name of ['experiment.json', 'results.json']) copyJson(join(folder, name), join(place, name));
  writeFileSync(join(place, 'README.md'), withoutPictures(readFileSync(join(folder, 'results.md'), 'utf8')));
  for (const name of ['timing.jsonl', 'figures/curves.svg', 'figures/ablation.svg']) {
    if (!existsSync(join(folder, name))) continue;
    mkdirSync(join(place, name, '..'), { recursive: true });
    copyFileSync(join(folder, name), join(place, name));
  }
  const runs = join(folder, 'runs');
  for (const run of existsSync(runs) ? readdirSync(runs) : []) {
    if (!existsSync(join(runs, run, 'model.onnx'))) continue;
    mkdirSync(join(place, 'runs', run), { recursive: true });
    copyJson(join(runs, run, 'config.json'), join(place, 'runs', run, 'config.json'));
    copyFileSync(join(runs, run, 'metrics.jsonl'), join(place, 'runs', run, 'metrics.jsonl'));
  }
}

for (const folder of process.argv.slice(2)) take(resolve(folder));
const file = join(root, 'docs', 'results.md');
const text = readFileSync(file, 'utf8');
writeFileSync(
  file,
  text.replace(kept, (_, before, after) => `${before}${resultsTable(results)}${after}`),
);
