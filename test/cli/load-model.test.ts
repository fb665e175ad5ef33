import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ddrc, loadAll, smallModel, temporaryFolder } from './ddrc.ts';

// A folder outside any project, without a package.json: nothing but the command itself can find ddrc.
const folder = temporaryFolder();
const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
put('small.ts', smallModel);
put('part.ts', 'export const units: number = 4;\nexport enum Kind { A = 3 }\n');
put(
  'parts.mts',
  smallModel
    .replace("from 'ddrc';", "from 'ddrc';\nimport { Kind, units } from './part';")
    .replace('width: int(16', 'width: int(units * Kind.A'),
);
put(
  'plain.js',
  "import { array, defineModel } from 'ddrc';\nexport default defineModel({ name: 'plain', options: {}, inputs: () => ({ x: array([2]) }), forward: ({ x }) => ({ y: x }) });\n",
);
put('package.ts', "import { portable } from 'ddrc/compiler';\nexport const opset = portable.opset;\nexport default opset;\n");

const mistakes: readonly (readonly [name: string, text: string, code: string, sentence: string, where: string])[] = [
  ['syntax.ts', 'const a = 1;\nexport default a +;\n', 'MODEL_SYNTAX', 'Unexpected ";"', 'syntax.ts:2:19'],
  [
    'name.ts',
    "import { conv3d } from 'ddrc';\nexport default conv3d;\n",
    'MODEL_IMPORT',
    'ddrc has no export conv3d, did you mean',
    'name.ts:1',
  ],
  ['file.ts', "import { x } from './lost.ts';\nexport default x;\n", 'MODEL_IMPORT', 'there is no file lost.ts', 'file.ts'],
  [
    'pack.ts',
    "import { x } from 'no-such-package-here';\nexport default x;\n",
    'MODEL_IMPORT',
    'there is no package no-such-package-here',
    'pack.ts',
  ],
  [
    'throws.ts',
    '\ninterface A { b: number }\nconst a = null as unknown as A;\nexport default a.b;\n',
    'MODEL_FAILED',
    'the model file threw TypeError: Cannot read',
    'throws.ts:4',
  ],
  ['three.ts', 'throw 3;\n', 'MODEL_FAILED', 'the model file threw 3, which is not an Error', 'three.ts'],
  [
    'none.ts',
    "import { defineModel } from 'ddrc';\nvoid defineModel;\n",
    'MODEL_EXPORT',
    'none.ts exports no model: it exports nothing',
    'none.ts',
  ],
  ['other.ts', 'export const width = 3;\n', 'MODEL_EXPORT', 'it has no default export, only width', 'other.ts'],
  ['number.ts', 'export default 3;\n', 'MODEL_EXPORT', 'its default export is the number 3', 'number.ts'],
  [
    'named.ts',
    smallModel.replace('export default', 'export const model ='),
    'MODEL_EXPORT',
    'it has no default export, only model',
    'named.ts',
  ],
  [
    'late.ts',
    smallModel.replace("'head', { units: classes }", "'head', (null as never as { o: { units: number } }).o"),
    'MODEL_FAILED',
    'the model file threw TypeError',
    'late.ts:10',
  ],
  [
    'shape.ts',
    smallModel.replace(
      "logits: linear(hidden(x, width), 'head', { units: classes })",
      "logits:\n    relu(linear(linear(x, 'a', { units: classes }), 'a', { units: 5 }))",
    ),
    'PARAMETER_DUPLICATE',
    'a.weight',
    'shape.ts:11',
  ],
  [
    'noname.ts',
    smallModel.replace("'small'", "'9 lives'"),
    'MODEL_INVALID',
    "a model's name is letters, digits and dashes",
    'noname.ts',
  ],
  [
    'schedule.ts',
    smallModel.replace("name: 'small',", "name: 'small',\n  training: { schedule: 'one-cicle' },"),
    'MODEL_INVALID',
    `training.schedule: there is no schedule 'one-cicle', did you mean "one-cycle"?`,
    'schedule.ts',
  ],
  ['nested', '', 'MODEL_FILE', 'nested is a folder, not a model file', 'nested'],
  ['model.txt', smallModel, 'MODEL_FILE', 'model.txt is not a model file: it does not end in .ts, .mts, .js, .mjs', 'model.txt'],
];
for (const [name, text] of mistakes) if (text) put(name, text);
mkdirSync(join(folder, 'nested'));
put('nested/inner.ts', smallModel);

describe('a model file', () => {
  it.each(['small.ts', 'parts.mts', 'plain.js'])('%s is loaded without a build step, outside any project', async (name) => {
    const { code, stdout, stderr } = await ddrc(['summary', name, '--json'], { cwd: folder });
    expect([code, stderr]).toEqual([0, '']);
    const { total } = JSON.parse(stdout);
    // 8·w + w + 3·w + 3 with w = 16 and 12; the plain one has none.
    expect(total.parameters).toBe({ 'small.ts': 195, 'parts.mts': 147, 'plain.js': 0 }[name]);
  });

  it('may import the compiler, too', async () => {
    const { stderr } = await ddrc(['summary', 'package.ts'], { cwd: folder });
    expect(stderr).toContain('its default export is the number 17');
  });

  it('with a mistake is refused in one located sentence', async () => {
    const texts = await loadAll(
      mistakes.map(([name]) => name),
      folder,
    );
    for (const [name, , code, sentence, where] of mistakes) {
      const [first, ...rest] = texts[name]?.split('\n') ?? [''];
      expect(first, name).toMatch(new RegExp(`^${code}  `));
      expect(first, name).toContain(sentence);
      expect(
        rest.find((line) => line.startsWith('  at ')),
        name,
      ).toContain(where);
      expect(texts[name], name).not.toContain('node:internal');
    }
  });

  it('that is missing is looked for among its neighbours', async () => {
    const { code, stderr } = await ddrc(['summary', 'smal.ts'], { cwd: folder });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^FILE_MISSING {2}there is no model file smal\.ts, did you mean "small\.ts"\?\n/);
  });

  it('is DDRNet where none is named', async () => {
    const { code, stdout } = await ddrc(['summary', '--json'], { cwd: folder });
    expect(code).toBe(0);
    // ddrnet.md: 251,527 trainable parameters at the defaults.
    expect(JSON.parse(stdout)).toMatchObject({ model: 'ddrnet', total: { parameters: 251_527 } });
  });

  it('refuses channels that group norm cannot divide', async () => {
    const { code, stderr } = await ddrc(['summary', '--option', 'channels=48']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^OPTION_INVALID {2}option channels of ddrnet must be at most 32 or a multiple of 32/);
  });
});
