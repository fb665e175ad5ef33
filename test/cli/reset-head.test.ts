import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { writeArrays } from './array-file.ts';
import { checkout, ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const resnet = join(checkout, 'models', 'resnet.ts');
const narrow = ['--option', 'depth=18', '--option', 'width=4', '--size', '32'];
const of = (path: string) => readSafetensors(at(path)).tensors;
const head = ['fc.weight', 'fc.bias'];

const build = (out: string, ...args: string[]) => ['build', resnet, ...narrow, '--out', out, ...args];
const buildWide = (out: string, ...args: string[]) => build(out, ...args).map((word) => (word === 'width=4' ? 'width=8' : word));
const train = (out: string, ...args: string[]) => [
  ...['train', resnet, ...narrow, '--data', 'pictures', '--val', 'none', '--test', 'none', '--device', 'cpu', '--cache', 'none'],
  ...['--batch', '4', '--epochs', '1', '--run', out, ...args],
];
const weights = (file: string) => ['--weights', file];
const reset = (file: string) => [...weights(file), '--reset-head'];
const lines = (inFile: number, inModel: number) =>
  `reset   fc.weight: [${inFile},32] in the file, [${inModel},32] in the model; initialised anew\n` +
  `reset   fc.bias: [${inFile}] in the file, [${inModel}] in the model; initialised anew\n`;

/** Commands that work, by the folder that they write. */
const calls: Record<string, string[]> = {
  // The file's own size: nothing to reset.
  same: build('same', '--option', 'classes=7', ...reset('torch.safetensors')),
  other: build('other', '--option', 'classes=3', ...reset('torch.safetensors'), '--seed', '5'),
  fresh: build('fresh', '--option', 'classes=3', '--seed', '5'),
  still: train('still', ...reset('torch.safetensors'), '--lr', '1e-30', '--optimizer', 'sgd', '--seed', '5'),
  // All in float64, as numpy has it.
  double: build('double', '--option', 'classes=7', ...weights('double.safetensors')),
  // From a checkpoint, with moments of the old head.
  tuned: train('tuned', ...reset('wide.safetensors')),
};
const checkpoint = ['--option', 'classes=2', ...weights('torch.safetensors'), '--reset-head'];
let outcomes: Record<string, Outcome>;

/** What torchvision saves of such a model with 7 classes: all that a build has, and a count of batches for each batch norm. */
function torchFile(initial: ReadonlyMap<string, TensorData>): Map<string, TensorData> {
  const tensors = new Map<string, TensorData>();
  for (const [name, { shape, data }] of initial) {
    const next = random('torch', name);
    const values = Float32Array.from(data as Float32Array, () => 0.2 + 0.3 * next());
    tensors.set(name, { dtype: 'float32', shape, data: values });
    if (!name.endsWith('running_var')) continue;
    const count = name.replace('running_var', 'num_batches_tracked');
    tensors.set(count, { dtype: 'int64', shape: [], data: BigInt64Array.of(30_000n) });
  }
  return tensors;
}

async function run(all: Readonly<Record<string, readonly string[]>>): Promise<Record<string, Outcome>> {
  const results = await ddrcInOneProcess(Object.values(all), folder);
  return Object.fromEntries(Object.keys(all).map((name, i) => [name, results[i]]));
}

beforeAll(async () => {
  await pictureFolder(at('pictures'), { classes: ['red', 'green', 'blue'], each: 4 });
  await pictureFolder(at('two'), { each: 4 });
  await run({ seven: build('seven', '--option', 'classes=7') });
  writeFileSync(at('torch.safetensors'), serializeSafetensors(torchFile(of('seven/initial.safetensors'))));
  const double = [...of('torch.safetensors')].map(([name, { dtype, shape, data }]): [string, TensorData] => [
    name,
    dtype === 'float32' ? { dtype: 'float64', shape, data: Float64Array.from(data as Float32Array) } : { dtype, shape, data },
  ]);
  writeFileSync(at('double.safetensors'), serializeSafetensors(new Map(double)));
  const two = train('two-run', ...checkpoint).map((arg) => (arg === 'pictures' ? 'two' : arg));
  expect((await run({ two })).two).toMatchObject({ code: 0 });
  writeFileSync(at('wide.safetensors'), readFileSync(at('two-run', 'last.safetensors')));
  outcomes = await run(calls);
}, 180_000);

describe('--reset-head', () => {
  it.each(Object.keys(calls))('%s: works', (name) => {
    expect(outcomes[name]).toMatchObject({ code: 0 });
  });

  it('says each parameter that it initialises anew, with both shapes, and nothing where all fit', () => {
    expect(outcomes.other.stderr).toBe(lines(7, 3));
    expect(outcomes.still.stderr).toContain(lines(7, 3));
    expect(outcomes.tuned.stderr).toContain(lines(2, 3));
    expect(outcomes.same.stderr).toBe('');
  });

  it("takes the initialisers' values of the seed for the head, and the file's for all else", () => {
    const torch = of('torch.safetensors');
    for (const [file, exact] of [
      ['other/initial.safetensors', true],
      // After a step of a rate of 1e-30: parameters have not moved, statistics have.
      ['still/last.safetensors', false],
    ] as const) {
      const made = of(file);
      const fresh = of('fresh/initial.safetensors');
      expect([...fresh.keys()].filter((name) => !made.has(name))).toEqual([]);
      for (const [name, { shape }] of fresh) {
        if (!exact && name.includes('running_')) continue;
        expect(made.get(name)!.shape).toEqual(shape);
        expect(made.get(name)!.data, name).toEqual((head.includes(name) ? fresh : torch).get(name)!.data);
      }
    }
    // The initialiser draws the weight, so that equal ones come from the seed.
    expect(new Set(of('other/initial.safetensors').get('fc.weight')!.data as Float32Array).size).toBeGreaterThan(90);
    const same = of('same/initial.safetensors');
    for (const [name, { data }] of same) expect(data, name).toEqual(torch.get(name)!.data);
  });

  it('is not needed for float64, which is rounded', () => {
    expect(of('double/initial.safetensors')).toEqual(of('same/initial.safetensors'));
    expect(outcomes.double.stderr).toBe('');
  });

  it('goes on with such a run, without saying it again', async () => {
    const config = JSON.parse(readFileSync(at('tuned', 'config.json'), 'utf8'));
    expect(config).toMatchObject({ weights: '../wide.safetensors', resetHead: true });
    writeFileSync(at('tuned', 'config.json'), JSON.stringify({ ...config, epochs: 2 }));
    const { code, stderr } = await ddrc(['train', '--resume', 'tuned', '--cache', 'none'], { cwd: folder });
    expect([code, stderr.includes('reset ')]).toEqual([0, false]);
    expect(Number(of('tuned/last.safetensors').get('step')!.data[0])).toBe(6);
  });
});

describe('a file that does not fit', () => {
  const hint = '--reset-head initialises them anew; or give the model file and the --option values that it was made with';
  const plain = /hint: give the model file and the --option values that it was made with$/m;
  const never = 'never';
  const three = ['--option', 'classes=3'];
  const small = ['--data', 'arrays.safetensors', '--device', 'cpu', '--run', never];
  const refusals: Record<string, [args: string[], code: 1 | 2, error: string, said: string | RegExp, more?: RegExp]> = {
    'a head of another size without the flag': [
      build(never, ...three, ...weights('torch.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      'different: fc.weight (float32 [7,32] in place of float32 [3,32]), fc.bias (float32 [7] in place of float32 [3])',
      new RegExp(`hint: ${hint}$`, 'm'),
    ],
    'the same in a training': [
      train(never, ...weights('torch.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      'different: fc.weight',
      new RegExp(`hint: ${hint}$`, 'm'),
    ],
    'a head of another size in a file that lacks something': [
      build(never, ...three, ...weights('lacking.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      'missing: bn1.bias; different: fc.weight',
      plain,
    ],
    'a parameter that is missing': [
      build(never, ...three, ...reset('lacking.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      /\(missing: bn1\.bias\)/,
      plain,
    ],
    'a name that is unknown': [
      build(never, ...three, ...reset('more.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      /\(unknown: aux\.weight, bn9\.num_batches_tracked\)/,
      plain,
    ],
    'another element type': [
      build(never, ...three, ...reset('whole-numbers.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      /\(different: fc\.bias \(int32 \[7\] in place of float32 \[3\]\)\)/,
      plain,
    ],
    'statistics of another shape': [
      build(never, ...three, ...reset('statistics.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      /\(different: bn1\.running_mean \(float32 \[5\] in place of float32 \[4\]\)\)/,
      plain,
    ],
    'another model': [
      buildWide(never, ...three, ...reset('torch.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      'is of another model: 62 of 62 parameters have another shape, more than a head (conv1.weight ([4,3,7,7] in place of [8,3,7,7]), ',
      plain,
    ],
    'another model without the flag': [
      buildWide(never, ...three, ...weights('torch.safetensors')),
      1,
      'CHECKPOINT_MODEL',
      'does not belong to this model (different: conv1.weight',
      plain,
    ],
    'a parameter with NaN beside the head': [
      build(never, ...three, ...reset('nan.safetensors')),
      1,
      'CHECKPOINT_NOT_FINITE',
      'conv1.weight is not finite',
    ],
    'the flag alone in a build': [build(never, '--reset-head'), 2, 'USAGE', '--reset-head needs --weights'],
    'the flag alone in a training': [['train', 'small.ts', ...small, '--reset-head'], 2, 'USAGE', '--reset-head needs --weights'],
    'the flag beside --resume': [
      ['train', '--resume', 'still', '--reset-head'],
      2,
      'USAGE',
      '--reset-head cannot stand beside it',
    ],
  };
  let refused: Record<string, Outcome>;

  beforeAll(async () => {
    writeFileSync(at('small.ts'), smallModel);
    writeArrays(at('arrays.safetensors'));
    const change = (file: string, edit: (tensors: Map<string, TensorData>) => void) => {
      const tensors = of('torch.safetensors');
      edit(tensors);
      writeFileSync(at(file), serializeSafetensors(tensors));
    };
    change('lacking.safetensors', (tensors) => tensors.delete('bn1.bias'));
    change('more.safetensors', (tensors) => {
      tensors.set('aux.weight', { dtype: 'float32', shape: [2], data: new Float32Array(2) });
      tensors.set('bn9.num_batches_tracked', { dtype: 'float32', shape: [], data: Float32Array.of(3) });
    });
    change('whole-numbers.safetensors', (tensors) =>
      tensors.set('fc.bias', { dtype: 'int32', shape: [7], data: new Int32Array(7) }),
    );
    change('statistics.safetensors', (tensors) =>
      tensors.set('bn1.running_mean', { dtype: 'float32', shape: [5], data: new Float32Array(5) }),
    );
    change('nan.safetensors', (tensors) => {
      for (const name of ['conv1.weight', 'fc.bias']) (tensors.get(name)!.data as Float32Array)[0] = Number.NaN;
    });
    refused = await run(Object.fromEntries(Object.entries(refusals).map(([name, [args]]) => [name, args])));
  });

  it.each(Object.keys(refusals))('%s', (name) => {
    const { code, stdout, stderr } = refused[name];
    const [, expected, error, said, more] = refusals[name];
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
    if (typeof said === 'string') expect(stderr).toContain(said);
    else expect(stderr).toMatch(said);
    if (more) expect(stderr).toMatch(more);
    expect(existsSync(at(never))).toBe(false);
  });
});
