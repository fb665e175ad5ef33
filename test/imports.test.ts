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
  'runtime/web': ['runtime'],
  page: [],
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

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

/** What a file imports: `import … from`, `export … from`, `import '…'` for its effects, `import('…')`. */
function importsOf(file: string, text: string): Import[] {
  const statements = text.matchAll(/^\s*(?:import|export)\s+(?:(type\s+)?[^;'"`]*?\sfrom\s+)?['"]([^'"]+)['"]/gm);
  const calls = text.matchAll(/()\bimport\(\s*['"`]([^'"`]+)['"`]/g);
  return [...statements, ...calls].flatMap(([, type, source]) => {
    if (source === 'ddrc') return [{ target: 'dsl/index.ts', typeOnly: false }];
    if (!source.startsWith('.')) return [];
    return [{ target: relative(root, resolve(root, dirname(file), source)), typeOnly: Boolean(type) }];
  });
}

/**
 * Imports of a file that follow no arrow, a sentence each. Within the compiler, types may be named across an arrow in the other direction, where no
 * code follows.
 */
function wrongArrows(file: string, text: string): string[] {
  const from = roomOf(file);
  return importsOf(file, text).flatMap(({ target, typeOnly }) => {
    const to = roomOf(target);
    const inside = from.startsWith('compiler') && to.startsWith('compiler');
    const allowed = to === from || leaves.includes(to) || arrows[from].includes(to) || (typeOnly && inside);
    return allowed ? [] : [`${file} (${from}) imports ${target} (${to})`];
  });
}

/** What a page loads: files that `from` imports, directly or through others, types apart. */
function reachable(from: readonly string[]): string[] {
  const seen = new Set<string>();
  const open = [...from];
  for (let file = open.pop(); file; file = open.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = readFileSync(join(root, file), 'utf8');
    open.push(
      ...importsOf(file, text)
        .filter(({ typeOnly }) => !typeOnly)
        .map(({ target }) => target),
    );
  }
  return [...seen];
}

it('what runs in a page needs no Node', () => {
  const files = reachable(filesBelow('runtime/web'));
  expect(files).toContain('runtime/step-inputs.ts');
  for (const file of files)
    expect(readFileSync(join(root, file), 'utf8'), file).not.toMatch(/from 'node:|from 'sharp'|from 'onnxruntime-node'/);
  expect(files.filter((file) => file.startsWith('compiler'))).toEqual([]);
});

describe('imports', () => {
  const files = [...new Set(Object.keys(arrows).map((room) => room.split('/')[0]))].flatMap(filesBelow);

  it('follow the arrows of ARCHITECTURE.md', () => {
    const texts = files.map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }));
    expect(files.length).toBeGreaterThan(40);
    // Most files import something: the patterns find it.
    expect(texts.flatMap(({ file, text }) => importsOf(file, text)).length).toBeGreaterThan(3 * files.length);
    expect(texts.flatMap(({ file, text }) => wrongArrows(file, text))).toEqual([]);
  });

  it.each([
    "import { compile } from '../../compiler/compile.ts';",
    "import {\n  type Compiled,\n  compile,\n} from '../../compiler/compile.ts';",
    "import type { Compiled } from '../../compiler/compile.ts';",
    'import * as compiler from "../../compiler/compile.ts";',
    "export { compile } from '../../compiler/compile.ts';",
    "export * from '../../compiler/compile.ts';",
    "import '../../compiler/compile.ts';",
    "const { compile } = await import('../../compiler/compile.ts');",
    'const later = () => import(\n  `../../compiler/compile.ts`,\n);',
    "let made: import('../../compiler/compile.ts').Compiled;",
  ])('would find a wrong arrow: %s', (text) => {
    const more = `import { join } from 'node:path';\nimport { DdrcError } from '../../diagnostics/error.ts';\n${text}\nexport const x = 1;\n`;
    expect(wrongArrows('runtime/data/dataset.ts', more)).toEqual([
      'runtime/data/dataset.ts (runtime) imports compiler/compile.ts (compiler)',
    ]);
    expect(wrongArrows('cli/build.ts', more.replaceAll('../../', '../'))).toEqual([]);
  });

  it('may name types against an arrow within the compiler, and import no code there', () => {
    const line = (type: string) => `import ${type}{ Emitter } from '../emit/emitter.ts';\n`;
    expect(wrongArrows('compiler/ir/op.ts', line('type '))).toEqual([]);
    expect(wrongArrows('compiler/ir/op.ts', line(''))).toHaveLength(1);
    expect(wrongArrows('models/ddrnet.ts', "import { conv2d } from 'ddrc';")).toEqual([]);
    expect(wrongArrows('compiler/ops/conv.ts', "import { conv2d } from 'ddrc';")).toHaveLength(1);
  });
});
