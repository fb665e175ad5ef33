import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { protocolNames, readProtocol, type TrainingProtocol } from '../../cli/experiment/protocol.ts';
import { readLines } from '../../runtime/files.ts';
import { readPredictions } from '../../runtime/predictions.ts';
import { isTraining, runPaths } from '../../runtime/runfolder.ts';
import { checkout, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { interrupted } from './signals.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const json = (...parts: string[]) => JSON.parse(readFileSync(at(...parts), 'utf8'));

const about = { title: 'A small one', source: 'this test', readings: ['It is small.'], leaks: 'Everything.' };
const train = { size: 32, epochs: 2, batch: 4, lr: 0.01, schedule: 'constant', augment: 'none' };
const small = { model: 'ddrnet', options: { channels: 4, drdb: false } };
const protocols = {
  tiny: { ...about, division: { by: 'image', test: 0.25 }, train, seeds: 2, variants: [{ name: 'Small', ...small }] },
  folds: {
    ...about,
    division: { by: 'group', folds: 2 },
    train: { ...train, epochs: 1 },
    variants: [{ name: 'Small', ...small }],
  },
  validated: {
    ...about,
    division: { by: 'group', val: 0.4, test: 0.2 },
    test: 'none',
    train,
    variants: [{ name: 'Small', ...small }],
  },
  untested: { ...about, division: { by: 'image', val: 0.2 }, train, variants: [{ name: 'Small', ...small }] },
  patient: {
    ...about,
    division: { by: 'image', val: 0.4 },
    test: 'none',
    train: { ...train, epochs: 40, patience: 1, lr: 3 },
    variants: [{ name: 'Small', ...small }],
  },
  clock: {
    ...about,
    time: { size: 32, batch: 2, steps: 1, rounds: 2 },
    variants: [
      { name: 'DDRNet', ...small },
      { name: 'ResNet-18', model: 'resnet', options: { width: 4 } },
    ],
  },
};

let data: string;
let grouped: string;

beforeAll(async () => {
  for (const [name, protocol] of Object.entries(protocols)) writeFileSync(at(`${name}.json`), JSON.stringify(protocol));
  data = await pictureFolder(at('pictures'), { classes: ['blue', 'red'], each: 16 });
  // Five groups of each class, of three pictures or four.
  const rows = ['blue', 'red'].flatMap((name) =>
    Array.from({ length: 16 }, (_, i) => `pictures/${name}/${String(i).padStart(3, '0')}.png,${name},${name}${i % 5}`),
  );
  grouped = at('grouped.csv');
  writeFileSync(grouped, `path,label,group\n${rows.join('\n')}\n`);
}, 60_000);

/** What the flags of all experiments here have in common. */
const means = ['--device', 'cpu', '--threads', '1'];

async function experiment(...args: string[]): Promise<Outcome> {
  const [outcome] = await ddrcInOneProcess([['experiment', ...args]], folder);
  return outcome;
}

describe('an experiment', () => {
  it('trains each seed, measures, and puts it all into results', async () => {
    const { code, stdout, stderr } = await experiment('tiny.json', '--data', data, '--run', 'tiny', '--jobs', '2', ...means);
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    expect(stdout).toBe('tiny/results.md\n');
    expect(stderr).toContain('2 trainings, 0 of them done; about ');
    expect(stderr).toContain(' of steps left, 2 side by side, besides starting, reading and reporting');
    const { results } = json('tiny', 'results.json');
    const [{ variant, runs, seeds, accuracy }] = results;
    expect(variant).toEqual({ name: 'Small', ...small });
    expect(runs.map((run: { name: string }) => run.name)).toEqual(['small-seed0', 'small-seed1']);
    const right = [0, 1].map((seed) => {
      const { labels, predicted } = readPredictions(at('tiny/runs', `small-seed${seed}`, 'predictions.csv'));
      expect(labels).toHaveLength(8);
      return labels.reduce((sum, label, n) => sum + Number(label === predicted[n]), 0) / 8;
    });
    expect(seeds.map((each: { report: { accuracy: number } }) => each.report.accuracy)).toEqual(right);
    expect(accuracy.mean).toBe((right[0] + right[1]) / 2);
    // Each seed has a division of its own.
    const tests = [0, 1].map((seed) => readFileSync(at('tiny/data', `seed${seed}`, 'manifest.csv'), 'utf8'));
    expect(tests[0]).not.toBe(tests[1]);
    const text = readFileSync(at('tiny', 'results.md'), 'utf8');
    expect(text).toContain('`ddrc experiment tiny.json --data pictures --seeds 2`, ddrc ');
    expect(text).toContain('**What leaks, by the protocol:** Everything.');
    expect(text).not.toContain('Departs from the protocol');
    expect(json('tiny', 'results.json').settings.contents).toBe(json('tiny', 'experiment.json').settings.contents);
    expect(text).toContain(`| Small | 2 | ${(100 * accuracy.mean).toFixed(2)} (`);
    expect(text).toMatch(/\| small-seed1 \| 2 \| .+ \| 8 \|/);
    const figures = [...text.matchAll(/!\[.*\]\((.+)\)/g)].map((match) => match[1]);
    expect(figures[0]).toBe('figures/curves.svg');
    expect(figures).toHaveLength(3);
    for (const figure of figures) expect(existsSync(at('tiny', figure))).toBe(true);
  }, 120_000);

  it('repeats nothing that is done, and takes more seeds', async () => {
    const model = at('tiny/runs/small-seed0/model.onnx');
    const before = statSync(model).mtimeMs;
    const again = await experiment('--run', 'tiny', ...means);
    expect(again.code).toBe(0);
    expect(again.stderr).toContain('2 trainings, all of them done');
    const more = await experiment('--run', 'tiny', '--seeds', '3', ...means);
    expect([more.code, more.code === 0 ? '' : more.stderr]).toEqual([0, '']);
    expect(more.stderr).toContain('3 trainings, 2 of them done');
    expect(statSync(model).mtimeMs).toBe(before);
    expect(json('tiny', 'results.json').results[0].accuracy.runs).toBe(3);
    const text = readFileSync(at('tiny', 'results.md'), 'utf8');
    expect(text).toContain('--seeds 3`');
    expect(text).toContain('**Departs from the protocol:** 3 seeds in place of 2.');
  }, 120_000);

  it('goes on where it was stopped, and ends as if it had not been', async () => {
    const args = ['experiment', 'tiny.json', '--data', data, '--seeds', '1', ...means];
    const stopped = await interrupted([...args, '--run', 'cut', '--epochs', '30'], [[/epoch \d/, 'SIGINT']], folder);
    expect(stopped.code).toBe(130);
    expect(stopped.stdout).toContain('stopped; go on with\n  npx ddrc experiment --run cut\n');
    expect(existsSync(at('cut/results.md'))).toBe(true);
    // Killed, it takes its training with it, which leaves a checkpoint.
    const killed = await interrupted(['experiment', '--run', 'cut', ...means], [[/epoch \d/, 'SIGKILL']], folder);
    expect(killed.code).toBe(-1);
    await expect.poll(() => isTraining(runPaths(at('cut/runs/small-seed0'))), { timeout: 20_000 }).toBe(false);
    for (const run of ['cut', 'whole']) {
      const rest = run === 'cut' ? [] : ['tiny.json', '--data', data, '--seeds', '1', '--epochs', '30'];
      const { code, stderr } = await experiment(...rest, '--run', run, ...means);
      expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    }
    const ends = ['cut', 'whole'].map((run) => readFileSync(at(run, 'runs/small-seed0/predictions.csv'), 'utf8'));
    expect(ends[0]).toBe(ends[1]);
    expect(readLines(at('cut/runs/small-seed0/metrics.jsonl'))).toHaveLength(31);
  }, 180_000);

  it('tests each group in one fold, and counts all folds of a seed together', async () => {
    const { code, stderr } = await experiment('folds.json', '--data', grouped, '--run', 'folds', ...means);
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    const { results } = json('folds', 'results.json');
    expect(results[0].runs.map((run: { fold: number }) => run.fold)).toEqual([0, 1]);
    const [{ report, intervals }] = results[0].seeds;
    expect([report.images, intervals.groups]).toEqual([32, 10]);
    const groups = [0, 1].map(
      (fold) => new Set(readPredictions(at('folds/runs', `small-seed0-fold${fold}`, 'predictions.csv')).groups),
    );
    expect([...groups[0]].filter((group) => groups[1].has(group))).toEqual([]);
  }, 120_000);

  it('looks at validation alone where a protocol says so', async () => {
    const { code, stderr } = await experiment(
      'validated.json',
      '--data',
      grouped,
      '--run',
      'validated',
      '--epochs',
      '1',
      ...means,
    );
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    expect(existsSync(at('validated/runs/small-seed0/predictions.csv'))).toBe(false);
    const { results } = json('validated', 'results.json');
    expect(results[0].accuracy).toBe(null);
    expect(results[0].valAccuracy.mean).toBe(results[0].runs[0].val.accuracy);
    const text = readFileSync(at('validated/results.md'), 'utf8');
    expect(text).toContain('validation accuracy %');
    expect(text).toContain('**Departs from the protocol:** epochs 1 in place of 2.');
  }, 120_000);

  it('counts a training that ran out of patience as done', async () => {
    const args = ['patient.json', '--data', data, '--run', 'patient', ...means];
    const first = await experiment(...args);
    expect([first.code, first.code === 0 ? '' : first.stderr]).toEqual([0, '']);
    const { results } = json('patient', 'results.json');
    expect(results[0].runs[0].epochs).toBeLessThan(40);
    expect((await experiment('--run', 'patient', ...means)).stderr).toContain('1 training, all of them done');
  }, 120_000);

  it('writes divisions again that were left half-written, and refuses other images', async () => {
    const args = ['folds.json', '--data', grouped, '--run', 'torn-data', '--epochs', '1', ...means];
    const { code } = await experiment(...args, '--plan');
    expect([code, existsSync(at('torn-data'))]).toEqual([0, false]);
    mkdirSync(at('torn-data/data'), { recursive: true });
    const { settings, ...rest } = json('folds', 'experiment.json');
    writeFileSync(at('torn-data/experiment.json'), JSON.stringify({ ...rest, settings }));
    cpSync(at('folds/data/seed0'), at('torn-data/data/seed0'), { recursive: true });
    rmSync(at('torn-data/data/seed0/fold-1.csv'));
    writeFileSync(at('torn-data/data/seed0/.fold-1.csv.0.partial'), '');
    const whole = await experiment(...args);
    expect([whole.code, whole.code === 0 ? '' : whole.stderr]).toEqual([0, '']);
    expect(existsSync(at('torn-data/data/seed0/fold-1.csv'))).toBe(true);
    const copy = readFileSync(grouped, 'utf8');
    writeFileSync(grouped, copy.replace('pictures/blue/001.png', 'pictures/blue/../../other.png'));
    cpSync(at('pictures/red/002.png'), at('other.png'));
    const more = await experiment('--run', 'torn-data', '--seeds', '2', ...means);
    writeFileSync(grouped, copy);
    expect(more.code).toBe(1);
    expect(more.stderr).toContain('RESUME_DIFFERS  the images are not those that the experiment was begun with');
  }, 120_000);

  it('does the others where one fails, and says so', async () => {
    const networks = `${join(checkout, 'models', 'ddrnet.ts')}:channels=4;drdb=false,resnet:width=4`;
    const args = ['tiny.json', '--data', data, '--models', networks, '--seeds', '1', '--epochs', '1', '--run', 'mixed', ...means];
    expect((await experiment(...args)).code).toBe(0);
    rmSync(at('mixed/runs'), { recursive: true });
    mkdirSync(at('mixed/runs/resnet-width-4-seed0'), { recursive: true });
    writeFileSync(at('mixed/runs/resnet-width-4-seed0/config.json'), '{}');
    const { code, stderr, stdout } = await experiment(...args);
    expect([code, stdout]).toEqual([1, 'mixed/results.md\n']);
    expect(stderr).toContain('EXPERIMENT_RUN  a training failed');
    expect(stderr).toContain('RUN_INVALID');
    const text = readFileSync(at('mixed/results.md'), 'utf8');
    expect(text).toContain('## Trainings that failed\n\n- resnet-width-4-seed0: RUN_INVALID');
    expect(json('mixed/results.json').failures['resnet-width-4-seed0']).toMatch(/^RUN_INVALID/);
    expect(text).toContain('| ddrnet:channels=4;drdb=false | 1 |');
    expect(text).toContain('the networks ddrnet:channels=4;drdb=false, resnet:width=4');
  }, 120_000);

  it('says what a division shares, and how many test images have no relative', async () => {
    // Divided by image, though the groups are known: nearly every test image has relatives.
    const args = ['tiny.json', '--data', grouped, '--seeds', '1', '--epochs', '1', '--run', 'leaky', ...means];
    expect((await experiment(...args)).code).toBe(0);
    const { notes, results } = json('leaky/results.json');
    const manifest = readFileSync(at('leaky/data/seed0/manifest.csv'), 'utf8').trim().split('\n').slice(1);
    const rows = manifest.map((line) => line.split(',')).map(([, , split, group]) => ({ split, group }));
    const trained = new Set(rows.flatMap(({ split, group }) => (split === 'train' ? [group] : [])));
    const alone = rows.filter(({ split, group }) => split === 'test' && !trained.has(group)).length;
    expect(results[0].seeds[0].unrelated.images).toBe(alone);
    const text = readFileSync(at('leaky/results.md'), 'utf8');
    expect(text).toContain(`**Of these data:**\n\n- ${notes[0]}`);
    expect(notes[0]).toMatch(/ share \d+ groups: \d+ images of (train|test) and \d+ of (train|test)\.$/);
    expect(text).toContain(alone === 0 ? '| no image is left |' : `, ${alone} image`);
  }, 120_000);

  it('takes another setting where no training has begun, and says how many test images were left out', async () => {
    cpSync(at('pictures'), at('broken'), { recursive: true });
    for (const name of ['blue', 'red'])
      for (let i = 20; i < 26; i++) writeFileSync(at('broken', name, `0${i}.png`), 'no picture');
    const failed = await experiment('tiny.json', '--data', 'broken', '--seeds', '1', '--epochs', '1', '--run', 'skips', ...means);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('--on-bad-image skip');
    const { code, stderr } = await experiment('--run', 'skips', '--on-bad-image', 'skip', ...means);
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    const manifest = readFileSync(at('skips/data/seed0/manifest.csv'), 'utf8').trim().split('\n');
    const tests = manifest.filter((line) => line.split(',')[2] === 'test');
    const unread = tests.filter((line) => /\/02\d\.png,/.test(line)).length;
    expect(unread).toBeGreaterThan(0);
    const text = readFileSync(at('skips/results.md'), 'utf8');
    expect(text).toContain(`- small-seed0: ${unread} of ${tests.length} test images could not be read and were left out.`);
    expect(text).toContain('--epochs 1 --on-bad-image skip`');
    expect(text).toContain('**Departs from the protocol:** epochs 1 in place of 2, on-bad-image skip, 1 seed in place of 2.');
  }, 120_000);

  it('times networks in rounds, beside the paper', async () => {
    const larger = await experiment('clock.json', '--run', 'clock', '--size', '48', '--plan');
    expect(larger.stderr).toContain('2 rounds of 1 step, 2 images of 48 px');
    const { code, stderr } = await experiment('clock.json', '--run', 'clock', '--threads', '1');
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    const lines = readLines(at('clock/timing.jsonl')) as { variant: string; round: number; train_img_s_median: number }[];
    expect(lines.map(({ variant, round }) => [variant, round])).toEqual([
      ['DDRNet', 1],
      ['ResNet-18', 1],
      ['DDRNet', 2],
      ['ResNet-18', 2],
    ]);
    const speed = (name: string) => {
      const own = lines.filter(({ variant }) => variant === name).map((line) => line.train_img_s_median);
      return (own[0] + own[1]) / 2;
    };
    const ratio = (speed('DDRNet') / speed('ResNet-18')).toFixed(2);
    expect(readFileSync(at('clock/results.md'), 'utf8')).toMatch(
      new RegExp(`\\| ResNet-18 \\| .+ \\| ${ratio.replace('.', '\\.')} \\| 2\\.48 \\|`),
    );
  }, 120_000);
});

describe('what cannot be carried out', () => {
  let outcomes: Record<string, Outcome>;
  const calls: Readonly<Record<string, readonly string[]>> = {
    none: [],
    misspelt: ['claen', '--data', 'pictures'],
    dataless: ['clean', '--run', 'new'],
    other: ['--run', 'tiny', '--epochs', '3'],
    fewer: ['--run', 'tiny', '--seeds', '1'],
    absent: ['--run', 'nowhere'],
    damaged: ['--run', 'torn'],
    model: ['tiny.json', '--data', 'pictures', '--models', 'dddrnet', '--run', 'new', '--plan'],
    collide: ['tiny.json', '--data', 'pictures', '--models', 'resnet:width=4,resnet:width=4;', '--run', 'new', '--plan'],
    rate: ['tiny.json', '--data', 'pictures', '--lr', 'fast', '--run', 'new', '--plan'],
    augment: ['tiny.json', '--data', 'pictures', '--augment', 'rotat=3', '--run', 'new', '--plan'],
    patience: ['tiny.json', '--data', 'pictures', '--patience', '2', '--run', 'new', '--plan'],
    untested: ['untested.json', '--data', 'pictures', '--run', 'new', '--plan'],
    option: ['tiny.json', '--data', 'pictures', '--models', 'ddrnet:channels', '--run', 'new', '--plan'],
    timed: ['timing', '--run', 'new', '--epochs', '3'],
    groups: ['folds.json', '--data', 'pictures', '--run', 'deep/new'],
    foreign: ['tiny.json', '--data', 'pictures', '--run', 'foreign'],
    inside: ['tiny.json', '--data', 'pictures', '--run', 'pictures/runs'],
    batch: ['tiny.json', '--data', 'pictures', '--batch', '1000', '--run', 'new', '--plan'],
    failing: ['tiny.json', '--data', 'pictures', '--run', 'failing', '--seeds', '1', '--lr', '1e30', '--epochs', '3', ...means],
  };

  beforeAll(async () => {
    mkdirSync(at('torn'));
    writeFileSync(at('torn/experiment.json'), '{"settings":');
    mkdirSync(at('foreign'));
    writeFileSync(at('foreign/thesis.txt'), 'a chapter');
    if (!existsSync(at('tiny'))) await experiment('tiny.json', '--data', data, '--run', 'tiny', '--jobs', '2', ...means);
    const results = await ddrcInOneProcess(
      Object.values(calls).map((args) => ['experiment', ...args]),
      folder,
    );
    outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]]));
  }, 120_000);

  it.each([
    ['none', 2, 'an experiment needs a protocol'],
    ['misspelt', 1, 'there is no protocol "claen", did you mean "clean"?'],
    ['dataless', 2, 'the protocol clean needs --data'],
    ['other', 2, 'the experiment in tiny was begun with epochs 2, not 3'],
    ['fewer', 2, 'not 1'],
    ['absent', 1, 'there is no experiment in nowhere'],
    ['damaged', 1, 'experiment.json is not the file of an experiment'],
    ['model', 1, 'there is no model "dddrnet"'],
    ['option', 2, '--models: "channels" is not of the form option=value'],
    ['timed', 2, '--epochs has no meaning for a timing'],
    ['groups', 1, 'no groups are known'],
    ['collide', 1, 'the variant "resnet:width=4;" has no folder of its own'],
    ['rate', 2, 'It must be a number from 0'],
    ['augment', 1, 'its "train" has a "augment" that cannot be used: augmentation: there is no setting "rotat"'],
    ['patience', 1, 'patience needs validation'],
    ['untested', 1, 'the division of the protocol has no test'],
    ['foreign', 1, 'foreign is not empty and holds no experiment: it has thesis.txt'],
    ['inside', 1, 'pictures/runs lies in the folder of the data, in which nothing is changed'],
    ['batch', 1, 'there are 24 images to train on, fewer than one batch of 1000'],
    ['failing', 1, 'a training failed'],
  ] as const)('%s', (name, code, message) => {
    expect(outcomes[name].stderr).toContain(message);
    expect(outcomes[name].stderr).toContain('hint: ');
    if (name === 'misspelt') expect(outcomes[name].stderr).toContain('PROTOCOL_UNKNOWN');
    expect(outcomes[name].code).toBe(code);
  });

  it('leaves no folder behind', () => {
    expect(readdirSync(folder)).not.toContain('new');
    expect(readdirSync(folder)).not.toContain('nowhere');
    expect(readdirSync(folder)).not.toContain('deep');
    expect(readdirSync(at('pictures'))).toEqual(['blue', 'red']);
    expect(readdirSync(at('foreign'))).toEqual(['thesis.txt']);
  });

  it('says what a training said that failed, and keeps what it left', () => {
    expect(outcomes.failing.stderr).toContain('EXPERIMENT_RUN');
    expect(outcomes.failing.stderr).toContain('LOSS_NOT_FINITE');
    expect(existsSync(at('failing/results.md'))).toBe(true);
  });
});

describe('a protocol', () => {
  it.each(protocolNames())('%s of the package can be used', (name) => {
    const protocol = readProtocol(name);
    expect(protocol.name).toBe(name);
    expect(protocol.readings.length).toBeGreaterThan(0);
  });

  it('has the published figures of the paper', () => {
    const { train, division } = readProtocol('paper') as TrainingProtocol;
    expect(train).toMatchObject({ size: 224, epochs: 30, batch: 128, lr: 0.01, schedule: 'constant' });
    expect(division).toEqual({ by: 'image', pool: ['TRAIN', 'TEST', 'TEST_SIMPLE'], test: 0.3 });
    expect(readProtocol('ablation').variants.map(({ options }) => [options.drdb, options.glfeb, options.csab])).toEqual([
      [false, false, false],
      [true, false, false],
      [true, false, true],
      [false, true, false],
      [false, true, true],
      [true, true, false],
      [true, true, true],
    ]);
  });

  it.each([
    ['it is not JSON', '{'],
    ['it is no object', '[]'],
    ['it has an unknown "sedes"', { ...protocols.tiny, sedes: 2 }],
    ['its "title" is no text', { ...protocols.tiny, title: '' }],
    ['its "readings" are no list of sentences', { ...protocols.tiny, readings: 'one' }],
    ['its "train" has an unknown "epohcs", did you mean "epochs"?', { ...protocols.tiny, train: { ...train, epohcs: 2 } }],
    ['its "train" has a "augment" that is no text', { ...protocols.tiny, train: { ...train, augment: true } }],
    ['it needs either "train" or "time"', { ...protocols.tiny, train: undefined }],
    ['its "division" needs a "by": given, group or image', { ...protocols.tiny, division: { by: 'groups', test: 0.2 } }],
    ['its "division" has an unknown "vall", did you mean "val"?', { ...protocols.tiny, division: { by: 'group', vall: 0.2 } }],
    ['its "folds" is no whole number from 2 up', { ...protocols.tiny, division: { by: 'group', folds: '5' } }],
    ['splits that are "given" have no pool, test or folds', { ...protocols.tiny, division: { by: 'given', folds: 5 } }],
    ['its division\'s "test" is no fraction', { ...protocols.tiny, division: { by: 'image', test: 20 } }],
    ['its "train" has no "batch"', { ...protocols.tiny, train: { size: 32, epochs: 1 } }],
    ['its "train" has a "epochs" that is no whole number from 1 up', { ...protocols.tiny, train: { ...train, epochs: '20' } }],
    ['its "seeds" is no whole number from 1 up', { ...protocols.tiny, seeds: 0 }],
    ['its "test" can only be none', { ...protocols.tiny, test: 'TEST' }],
    ['its "variants" are no list', { ...protocols.tiny, variants: [] }],
    ['a variant needs a "name" and a "model"', { ...protocols.tiny, variants: [{ name: 'A' }] }],
    [
      'the variant "- A" has no folder of its own',
      { ...protocols.tiny, variants: ['A', '- A'].map((name) => ({ name, ...small })) },
    ],
    ['its "time" needs size, batch, steps and rounds', { ...protocols.clock, time: { size: 32 } }],
  ] as const)('%s', (message, value) => {
    writeFileSync(at('wrong.json'), typeof value === 'string' ? value : JSON.stringify(value));
    expect(() => readProtocol(at('wrong.json'))).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_INVALID', message: expect.stringContaining(message) }),
    );
  });
});
