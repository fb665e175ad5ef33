import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kept, resultsTable } from '../../scripts/results-table.ts';

const docs = join(import.meta.dirname, '..', '..', 'docs');
const results = join(docs, 'results');
const text = readFileSync(join(docs, 'results.md'), 'utf8');

describe('docs/results.md', () => {
  it('has the table of the results that are kept', () => {
    expect(text.match(kept)).not.toBe(null);
    expect(text).toBe(text.replace(kept, (_, before, after) => `${before}${resultsTable(results)}${after}`));
  });

  it.each(existsSync(results) ? readdirSync(results) : [])(
    '%s names no place of a machine, and keeps the settings of each training',
    (name) => {
      const files = readdirSync(join(results, name), { recursive: true, encoding: 'utf8' }).filter((path) =>
        /\.(json|jsonl|md)$/.test(path),
      );
      for (const path of files)
        expect([path, /"\/|\/(tmp|home|work|root)\//.test(readFileSync(join(results, name, path), 'utf8'))]).toEqual([
          path,
          false,
        ]);
      const { results: networks = [] } = JSON.parse(readFileSync(join(results, name, 'results.json'), 'utf8'));
      for (const { runs } of networks)
        for (const run of runs)
          for (const file of ['config.json', 'metrics.jsonl']) expect(files).toContain(join('runs', run.name, file));
    },
  );
});
