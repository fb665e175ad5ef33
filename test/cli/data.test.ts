import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { readListing } from '../../runtime/data/layout.ts';
import { ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { interrupted } from './signals.ts';

const folder = temporaryFolder();
const within = (...names: string[]) => join(folder, ...names);

/** A CSV of the pictures of `pictures`, with a split and a group for each. */
function table(name: string, rowOf: (split: string, label: string, i: number) => readonly [split: string, group: string]): void {
  const rows = ['train', 'test'].flatMap((split) =>
    ['red', 'blue'].flatMap((label) =>
      [...Array(8).keys()].map((i) =>
        [`pictures/${split}/${label}/${String(i).padStart(3, '0')}.png`, label, ...rowOf(split, label, i)].join(','),
      ),
    ),
  );
  writeFileSync(within(name), `path,label,split,group\n${rows.join('\n')}\n`);
}

const calls: Record<string, readonly string[]> = {
  inspected: ['data', 'inspect', 'pictures', '--sheet', 'sheets/sheet.webp'],
  'inspected as JSON': ['data', 'inspect', 'crossing.csv', '--json'],
  prepared: [
    'data',
    'prepare',
    'whole.csv',
    '--out',
    'out',
    '--pool',
    'train,test',
    '--by',
    'group',
    '--test',
    '0.25',
    '--val',
    '0.25',
  ],
  'prepared as given': ['data', 'prepare', 'crossing.csv', '--out', 'given', '--json'],
  'prepared in folds': ['data', 'prepare', 'whole.csv', '--out', 'folds', '--folds', '4', '--seed', '5'],
  'prepared with copies': ['data', 'prepare', 'copies.csv', '--out', 'copies', '--json'],
  'prepared by original': ['data', 'prepare', 'originals.csv', '--out', 'originals', '--test', '0.25'],
  'inspected with little': ['data', 'inspect', 'little.csv'],
  'trained after a change': [
    'train',
    '--data',
    'changed/manifest.csv',
    '--size',
    '32',
    '--val',
    'none',
    '--run',
    'run-changed',
    '--cache',
    'none',
  ],
  'prepared after a change': ['data', 'prepare', 'changed/manifest.csv', '--out', 'never'],
  'inspected after a change': ['data', 'inspect', 'changed/manifest.csv'],
};

const refusals: Record<string, readonly [args: readonly string[], code: number, error: string, sentence: string]> = {
  'a folder that is not there': [['data', 'inspect', 'nowhere'], 1, 'DATA_MISSING', 'there is no file or folder "nowhere"'],
  'a sheet of another format': [
    ['data', 'inspect', 'pictures', '--sheet', 'a.gif'],
    2,
    'USAGE',
    '--sheet a.gif has no ending of a picture',
  ],
  'a CSV whose files are gone': [
    ['data', 'inspect', 'gone.csv'],
    1,
    'DATA_FILE_MISSING',
    'names "pictures/gone-1.png", which does not exist',
  ],
  'a group in two splits': [
    ['data', 'prepare', 'crossing.csv', '--out', 'never', '--by', 'group'],
    1,
    'DATA_GROUP_SPLIT',
    'the group "red 1" is in train and in test',
  ],
  'no --out': [['data', 'prepare', 'pictures'], 2, 'USAGE', 'required option --out <folder>'],
  'a folder that is not ours': [
    ['data', 'prepare', 'pictures', '--out', 'pictures/train'],
    1,
    'OUTPUT_UNWRITABLE',
    'pictures/train lies in the folder of the data',
  ],
  'a fraction of 1': [
    ['data', 'prepare', 'pictures', '--out', 'never', '--test', '1'],
    2,
    'USAGE',
    'It must be a fraction between 0 and 1',
  ],
  'folds and a test': [
    ['data', 'prepare', 'whole.csv', '--out', 'never', '--folds', '3', '--test', '0.2'],
    2,
    'USAGE',
    '--test and --folds',
  ],
  'folds as given': [
    ['data', 'prepare', 'whole.csv', '--out', 'never', '--folds', '3', '--by', 'given'],
    2,
    'USAGE',
    '--by given',
  ],
  'an unknown split': [
    ['data', 'prepare', 'whole.csv', '--out', 'never', '--pool', 'dev'],
    1,
    'DATA_SPLIT_UNKNOWN',
    'no split "dev"',
  ],
  'a file in two splits': [
    ['data', 'prepare', 'twice.csv', '--out', 'never'],
    1,
    'DATA_SPLIT',
    '"pictures/train/red/000.png" is listed twice and would be in train and in test',
  ],
  'an unknown flag of prepare': [['data', 'prepare', 'whole.csv', '--tset', '0.2'], 2, 'USAGE', 'see ddrc data prepare --help'],
  'an unknown flag of inspect': [['data', 'inspect', 'whole.csv', '--jsn'], 2, 'USAGE', 'see ddrc data inspect --help'],
  'a C-NMC name that does not parse': [['data', 'inspect', 'c-nmc'], 1, 'DATA_FILE_NAME', '"UID_11_1_all.bmp" is no name'],
};

let outcomes: Record<string, Outcome>;

beforeAll(async () => {
  await pictureFolder(within('pictures'), { each: 8, split: 'train' });
  await pictureFolder(within('pictures'), { each: 8, split: 'test' });
  table('whole.csv', (split, label, i) => [split, `${split} ${label} ${i >> 1}`]);
  table('crossing.csv', (split, label, i) => [split, i === 1 ? `${label} 1` : `${split} ${label} ${i}`]);
  writeFileSync(
    within('gone.csv'),
    'path,label\npictures/train/red/000.png,red\npictures/gone-1.png,blue\npictures/gone-2.png,blue\n',
  );
  const file = (split: string, label: string, i: number) => `pictures/${split}/${label}/00${i}.png`;
  for (const label of ['red', 'blue']) {
    mkdirSync(within('copies of', label), { recursive: true });
    cpSync(within(file('train', label, 0)), within('copies of', label, '0.png'));
  }
  const known = ['red', 'blue'].flatMap((label) => [0, 1, 2, 3].map((i) => [file('train', label, i), label] as const));
  const copies = ['red', 'blue'].map((label) => `copies of/${label}/0.png,${label},test`);
  writeFileSync(
    within('copies.csv'),
    ['path,label,split', ...known.map((row) => `${row.join(',')},train`), ...copies, ''].join('\n'),
  );
  const fromOriginals = known.map((row, i) => `${row.join(',')},o${i >> 1}`);
  writeFileSync(within('originals.csv'), ['path,label,original', ...fromOriginals, ''].join('\n'));
  const twice = [`${known[0].join(',')},train`, `${known[4].join(',')},train`, `${known[0].join(',')},test`];
  writeFileSync(within('twice.csv'), ['path,label,split', ...twice, ''].join('\n'));
  const little = [`${known[0].join(',')},train,g`, `${known[4].join(',')},train,h`, `${file('test', 'red', 0)},red,test,g`];
  writeFileSync(within('little.csv'), ['path,label,split,group', ...little, ''].join('\n'));
  mkdirSync(within('changed'));
  const [red, blue] = ['red', 'blue'].map((name) => `../pictures/train/${name}/000.png,${name},train,${'ab'.repeat(32)}`);
  writeFileSync(within('changed', 'manifest.csv'), `path,label,split,hash\n${red}\n${blue}\n`);
  mkdirSync(within('c-nmc', 'fold_0'), { recursive: true });
  for (const name of ['UID_11_1_1_all.bmp', 'UID_11_1_all.bmp']) writeFileSync(within('c-nmc', 'fold_0', name), '');
  const all = [...Object.entries(calls), ...Object.entries(refusals).map(([name, [args]]) => [name, args] as const)];
  const found = await ddrcInOneProcess(
    all.map(([, args]) => args),
    folder,
  );
  outcomes = Object.fromEntries(all.map(([name], i) => [name, found[i]]));
}, 120_000);

describe('ddrc data', () => {
  it('inspect prints a table and what is wrong, and draws a contact sheet', async () => {
    const { code, stdout } = outcomes.inspected;
    expect(code).toBe(0);
    expect(stdout).toContain('pictures: 32 images of 2 classes');
    expect(stdout).toMatch(
      /^split {2}class {2}images\ntrain {2}blue {8}8\ntrain {2}red {9}8\ntest {3}blue {8}8\ntest {3}red {9}8$/m,
    );
    expect(stdout).toContain('sizes: 24x24 (32)\nkinds: PNG RGB (32)');
    expect(stdout).toContain('images that cannot be read: none');
    expect(stdout).toContain('groups in two splits: not known, as the data name no groups');
    const { format, width, height } = await sharp(within('sheets', 'sheet.webp')).metadata();
    expect([format, width, height]).toEqual(['webp', 1220, 404]);
  });

  it('inspect --json has the counts and what splits share', () => {
    const { code, stdout } = outcomes['inspected as JSON'];
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      images: 32,
      splits: { train: { red: 8, blue: 8 }, test: { red: 8, blue: 8 } },
      groupsShared: [{ splits: ['train', 'test'], count: 2, names: ['red 1', 'blue 1'], images: { train: 2, test: 2 } }],
      nearDuplicates: [],
      unreadable: [],
      duplicates: [],
    });
  });

  it('inspect names files whose bytes are not those of the manifest', () => {
    expect(outcomes['inspected after a change'].stdout).toContain(
      'images whose bytes are not those that the CSV states: 2\n  ../pictures/train/red/000.png\n  ../pictures/train/blue/000.png\n',
    );
  });

  it.each(['prepared', 'trained'])('names a file whose bytes are not those of the manifest (%s)', (what) => {
    const { code, stdout, stderr } = outcomes[`${what} after a change`];
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^DATA_CHANGED {2}the image file does not have the SHA-256 that the CSV states/m);
    expect(stderr).toMatch(/^ {2}at .*000\.png$/m);
    expect(existsSync(within('never'))).toBe(false);
  });

  it('prepare writes a manifest by group, and says what is in it', () => {
    const { code, stdout } = outcomes.prepared;
    expect(code).toBe(0);
    expect(stdout).toBe(
      'out: 32 images\n\nmanifest.csv\nsplit  blue  red  images  groups\ntrain     8    8      16       8\nval       4    4       8       4\ntest      4    4       8       4\n',
    );
    expect(readListing(within('out', 'manifest.csv')).splits.toSorted()).toEqual(['test', 'train', 'val']);
  });

  it('prepare takes the given splits, with a warning of groups in two of them', () => {
    const { code, stdout, stderr } = outcomes['prepared as given'];
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(within('given', 'prepared.json'), 'utf8')));
    expect(JSON.parse(stdout)).toMatchObject({ data: '../crossing.csv', division: { by: 'given', seed: 0 }, images: 32 });
    expect(stderr).toContain('train and test share 2 groups: 2 images of train and 2 of test.\n');
  });

  it('prepare notes what train and test share by bytes, and shows no column of what is not known', () => {
    const note = 'train and test share 2 contents (same bytes): 2 images of train and 2 of test.';
    const { code, stdout, stderr } = outcomes['prepared with copies'];
    expect(code).toBe(0);
    expect(stderr.split('\n').slice(-2)).toEqual([note, '']);
    expect(JSON.parse(stdout)).toMatchObject({ notes: [note], files: { 'manifest.csv': { groups: null, originals: null } } });
  });

  it('prepare divides by original where no groups are known', () => {
    const { code, stdout, stderr } = outcomes['prepared by original'];
    expect(code).toBe(0);
    expect(stderr).toContain('\nNo groups are known, so originals serve as groups.\n');
    expect(stdout).toContain(
      'split  blue  red  images  originals\ntrain     2    2       4          2\ntest      2    2       4          2\n',
    );
  });

  it('inspect counts one in the singular', () => {
    expect(outcomes['inspected with little'].stdout).toContain('train and test: 1 group, 1 image of train and 1 of test (g)\n');
  });

  it('prepare --folds writes a manifest for each', () => {
    expect(outcomes['prepared in folds'].code).toBe(0);
    expect(readdirSync(within('folds')).toSorted()).toEqual([
      'fold-0.csv',
      'fold-1.csv',
      'fold-2.csv',
      'fold-3.csv',
      'manifest.csv',
      'prepared.json',
    ]);
    expect(outcomes['prepared in folds'].stdout).toContain(
      'fold-3.csv\nsplit  blue  red  images  groups\ntrain    12   12      24      12\ntest      4    4       8       4\n',
    );
  });

  it.each(Object.entries(refusals))('refuses %s', (name, [, code, error, sentence]) => {
    const { code: got, stdout, stderr } = outcomes[name];
    expect([got, stdout]).toEqual([code, '']);
    expect(stderr).toMatch(new RegExp(`^${error}  `));
    expect(stderr).toContain(sentence);
    expect(existsSync(within('never'))).toBe(false);
  });

  it('names the other files that are gone', () => {
    expect(outcomes['a CSV whose files are gone'].stderr).toMatch(/2 of 3 are missing +pictures\/gone-2\.png/);
  });

  it('train takes a manifest, and eval refuses one whose files have changed', async () => {
    const args = [
      'train',
      '--data',
      'out/manifest.csv',
      '--size',
      '32',
      '--epochs',
      '1',
      '--batch',
      '8',
      '--run',
      'run',
      '--cache',
      'none',
    ];
    const { code, stdout, stderr } = await ddrc([...args, '--json'], { cwd: folder });
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/16 images to train on \(train\), 8 to validate \(val\), 8 to test \(test\)/),
    ]);
    expect(JSON.parse(stdout)).toBeTruthy();
    const changed = ['eval', 'run', '--data', 'changed/manifest.csv', '--split', 'train', '--cache', 'none'];
    const refused = await ddrc(changed, { cwd: folder });
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toMatch(/^DATA_CHANGED {2}/m);
  }, 120_000);

  it.skipIf(process.platform === 'win32')(
    'ends by Ctrl-C with 130 and without a trace (skipped on Windows: no signals)',
    async () => {
      const many = within('many');
      for (const name of ['red', 'blue']) mkdirSync(join(many, name), { recursive: true });
      const big = await sharp({ create: { width: 2000, height: 1500, channels: 3, background: '#a45' } })
        .png()
        .toBuffer();
      for (let i = 0; i < 60; i++) writeFileSync(join(many, i % 2 === 0 ? 'red' : 'blue', `${i}.png`), big);
      const { code, stdout, stderr } = await interrupted(
        ['data', 'inspect', 'many', '--sheet', 'cut.png'],
        [[/reading images/, 'SIGINT']],
        folder,
      );
      expect([code, stdout]).toEqual([130, '']);
      expect(stderr).not.toMatch(/Error|defect/);
      expect(existsSync(within('cut.png'))).toBe(false);
      rmSync(many, { recursive: true });
      expect(statSync(within('pictures')).isDirectory()).toBe(true);
    },
  );
});
