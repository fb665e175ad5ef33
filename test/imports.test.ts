import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');
/** Folders whose files may be imported from everywhere: they import nothing of ours. */
const leaves = ['diagnostics', 'numeric', 'contract'];
/** Who may import whom, by folder. A folder may import itself and the leaves. */
const arrows: Record<string, readonly string[]> = {
  diagnostics: [],
  numeric: [],
  contract: [],
  'compiler/ir': [],
  'compiler/ops': ['compiler/ir', 'compiler/emit'],
  'compiler/passes': ['compiler/ir', 'compiler/ops'],
  'compiler/emit': ['compiler/ir', 'compiler/ops'],
  'compiler/artifacts': ['compiler/ir', 'compiler/ops', 'compiler/passes', 'compiler/emit'],
  compiler: ['compiler/ir', 'compiler/ops', 'compiler/passes', 'compiler/emit', 'compiler/artifacts'],
  dsl: ['compiler/ir', 'compiler/ops'],
  models: ['dsl'],
  runtime: [],
  cli: ['dsl', 'compiler', 'compiler/ir', 'compiler/ops', 'compiler/passes', 'compiler/emit', 'compiler/artifacts', 'runtime'],
};

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file));
}

/** The longest folder of `arrows` that holds the file. */
function roomOf(file: string): string {
  const folder = dirname(file);
  const rooms = Object.keys(arrows).filter((room) => folder === room || folder.startsWith(`${room}/`));
  return rooms.sort((a, b) => b.length - a.length)[0] ?? folder;
}

/** Imports of values; types may be named across an arrow in the other direction within the compiler, where no code follows. */
function importsOf(file: string): { target: string; typeOnly: boolean }[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = [...text.matchAll(/^(?:import|export)\s+(type\s+)?[^;'"]*?from\s+'([^']+)'/gm)];
  return found.flatMap(([, type, source]) => {
    if (source === 'ddrc') return [{ target: 'dsl/index.ts', typeOnly: false }];
    if (!source.startsWith('.')) return [];
    return [{ target: relative(root, resolve(root, dirname(file), source)), typeOnly: Boolean(type) }];
  });
}

describe('imports', () => {
  const files = [...new Set(Object.keys(arrows).map((room) => room.split('/')[0]))].flatMap(filesBelow);

  it('follow the arrows of ARCHITECTURE.md', () => {
    const wrong = files.flatMap((file) => {
      const from = roomOf(file);
      return importsOf(file).flatMap(({ target, typeOnly }) => {
        const to = roomOf(target);
        const inside = from.startsWith('compiler') && to.startsWith('compiler');
        const allowed = to === from || leaves.includes(to) || arrows[from].includes(to) || (typeOnly && inside);
        return allowed ? [] : [`${file} (${from}) imports ${target} (${to})`];
      });
    });
    expect(files.length).toBeGreaterThan(40);
    expect(wrong).toEqual([]);
  });

  it('would find a wrong arrow', () => {
    expect(roomOf('compiler/ops/conv.ts')).toBe('compiler/ops');
    expect(arrows[roomOf('runtime/data/dataset.ts')]).not.toContain('compiler');
  });
});
