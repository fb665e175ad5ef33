import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Graph } from '../../compiler/ir/graph.ts';
import { operators } from '../../compiler/ops/index.ts';
import { isDdrcError } from '../../diagnostics/error.ts';
import { conv2d, gather, linear, relu, where } from '../../dsl/index.ts';
import { Context, tensor } from '../../dsl/tensor.ts';
import { rightPrograms } from './right-programs.ts';
import { type Make, wrongPrograms } from './wrong-programs.ts';

const folder = dirname(fileURLToPath(import.meta.url));
const root = join(folder, '../..').replaceAll('\\', '/');
const source = readFileSync(join(folder, 'wrong-programs.ts'), 'utf8').split('\n');
const mark = '// @ts-expect-error ';

/** Sentences of the wrong programs, and the lines that they are about (counted from 1). */
const expected = source.flatMap((line, i) =>
  line.trim().startsWith(mark) ? [{ line: i + 2, sentence: line.trim().slice(mark.length) }] : [],
);

interface Diagnostic {
  readonly file: string;
  readonly line: number;
  text: string;
}

/** What tsc says about the language's test programs, the wrong ones without their marks. */
function check(scratch: string): { diagnostics: Diagnostic[]; instantiations: number } {
  const copies = {
    'wrong-programs.ts': source.map((line) => line.replace(mark, '// ')).join('\n'),
    'shape-cases.ts': readFileSync(join(folder, 'shape-cases.ts'), 'utf8'),
    'right-programs.ts': readFileSync(join(folder, 'right-programs.ts'), 'utf8'),
  };
  for (const [name, text] of Object.entries(copies)) {
    writeFileSync(join(scratch, name), text.replaceAll("'../../", `'${root}/`));
  }
  writeFileSync(join(scratch, 'package.json'), '{ "type": "module" }');
  const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8'));
  const options = { ...compilerOptions, typeRoots: [join(root, 'node_modules/@types')], rewriteRelativeImportExtensions: false };
  writeFileSync(join(scratch, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: Object.keys(copies) }));
  const typescript = createRequire(import.meta.url).resolve('typescript/package.json');
  const tsc = join(dirname(typescript), JSON.parse(readFileSync(typescript, 'utf8')).bin.tsc);
  const args = [tsc, '-p', scratch, '--pretty', 'false', '--extendedDiagnostics', '--singleThreaded'];
  const { stdout } = spawnSync(process.execPath, args, { cwd: scratch, encoding: 'utf8' });
  const diagnostics: Diagnostic[] = [];
  for (const line of stdout.split('\n')) {
    const start = /^(\S.*)\((\d+),\d+\): error (TS\d+: .*)$/.exec(line);
    if (start) diagnostics.push({ file: start[1], line: Number(start[2]), text: start[3] });
    else if (line.startsWith('  ')) diagnostics.at(-1)!.text += `\n${line}`;
  }
  return { diagnostics, instantiations: Number(/Instantiations:\s+(\d+)/.exec(stdout)?.[1]) };
}

let scratch: string;
let checked: ReturnType<typeof check>;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'ddrc-types-'));
  checked = check(scratch);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A graph's inputs, for programs that are built. */
function maker(): Make {
  const context = new Context(new Graph('wrong', 'training', operators), 'N');
  let count = 0;
  return ((shape, dtype = 'float32' as never) =>
    tensor(context, context.graph.input(`x${count++}`, { shape, dtype }, 'data'))) as Make;
}

describe('the editor', () => {
  it('has nothing to say about right programs and the answers of the shape rules', () => {
    expect(checked.diagnostics.filter(({ file }) => /(right-programs|shape-cases)\.ts$|dsl\/types\//.test(file))).toEqual([]);
  });

  it.each(expected)('says $sentence', ({ line, sentence }) => {
    const here = checked.diagnostics.filter((found) => found.file.endsWith('wrong-programs.ts') && found.line === line);
    expect(here).toHaveLength(1);
    expect(here[0].text).toContain(`"${sentence}"`);
  });

  it('says nothing else about the wrong programs', () => {
    const lines = checked.diagnostics.filter(({ file }) => file.endsWith('wrong-programs.ts')).map(({ line }) => line);
    expect(lines).toEqual(expected.map(({ line }) => line));
  });

  it('stays within its budget of type instantiations', () => {
    expect(checked.instantiations).toBeGreaterThan(0);
    expect(checked.instantiations).toBeLessThan(250_000);
  });
});

describe('an operator of real numbers takes no other element types, in the editor and in the build:', () => {
  const ids = maker()(['N', 32], 'int64');
  const map = maker()(['N', 8, 4, 4], 'uint8');
  it('activations', () => {
    // @ts-expect-error Type '"int64"' is not assignable to type '"float32"'.
    expect(() => relu(ids)).toThrow('relu: takes float32, got int64[N,32]');
  });
  it('layers', () => {
    // @ts-expect-error Type '"uint8"' is not assignable to type '"float32"'.
    expect(() => conv2d(map, 'a', { filters: 8, kernel: 3 })).toThrow('conv: takes float32, got uint8[N,8,4,4]');
    // @ts-expect-error Type '"int64"' is not assignable to type '"float32"'.
    expect(() => linear(ids, 'b', { units: 8 })).toThrow('linear: takes float32, got int64[N,32]');
  });
  it('two numbers to choose from are float32', () => {
    const mask = maker()(['N', 32], 'bool');
    expect(relu(where(mask, 0, 1)).dtype).toBe('float32');
  });
  it('truth values are asked for where they are needed', () => {
    // @ts-expect-error Type '"int64"' is not assignable to type '"bool"'.
    expect(() => where(ids, 0, 1)).toThrow('where: takes a bool and two numbers');
  });
  it('a table is looked up at whole numbers', () => {
    const table = maker()([8, 4]);
    // @ts-expect-error Type '"float32"' is not assignable to type '"int64" | "int32"'.
    expect(() => gather(table, table)).toThrow('gather: ');
  });
});

it('the build gives the results of right programs the shapes that the editor shows', () => {
  let count = 0;
  rightPrograms(maker(), { deep: true, wide: true, attend: true }, (shape, expected) => {
    expect(shape).toEqual(expected);
    count++;
  });
  expect(count).toBeGreaterThan(20);
});

describe('the build says the same', () => {
  const count = wrongPrograms(maker()).length;

  it('has a sentence for each program', () => expect(expected).toHaveLength(count));

  expected.forEach(({ sentence }, i) => {
    it(sentence, () => {
      let message = 'nothing';
      try {
        wrongPrograms(maker())[i]();
      } catch (error) {
        message = isDdrcError(error) ? error.message : String(error);
      }
      expect(message).toBe(sentence);
    });
  });
});
