/*
 * `ddrc report` and `ddrc compare` without a browser; `test/web/report.test.ts` has their pages in one.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { compareRuns } from '../../cli/report/comparison.ts';
import { figureRows } from '../../cli/report/comparison-rows.ts';
import { readRun } from '../../cli/report/run-record.ts';
import { writeReport } from '../../cli/report.ts';
import { readLines } from '../../runtime/files.ts';
import { runPaths } from '../../runtime/runfolder.ts';
import type { EpochLine } from '../../runtime/trainer.ts';
import { writeArrays } from './array-file.ts';
import { checkout, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { zeroWeights } from './zero-weights.ts';

/** The threads that engines of this process were asked for, in their order. */
const threads: (number | undefined)[] = [];
vi.mock('../../runtime/engine.ts', async (original) => {
  const real = await original<typeof import('../../runtime/engine.ts')>();
  class Engine extends real.Engine {
    constructor(options?: ConstructorParameters<typeof real.Engine>[0]) {
      super(options);
      threads.push(options?.threads);
    }
  }
  return { ...real, Engine };
});
vi.mock('ddrc', () => import('../../dsl/index.ts'));

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const page = (run: string) => readFileSync(at(run, 'report.html'), 'utf8');
const lines = (run: string) => readLines(at(run, 'metrics.jsonl')) as EpochLine[];

/** Test pictures of the run, the second half of them in the wrong class and with rising probability. */
function writePredictions(run: string, names: readonly string[]): void {
  const rows = names.map((name, i) => {
    const wrong = i >= names.length / 2;
    const probability = wrong ? 0.5 + i / 100 : 0.9;
    return `TEST/red/${name},red,${wrong ? 'blue' : 'red'},,${wrong ? probability : 1 - probability},${wrong ? 1 - probability : probability}`;
  });
  writeFileSync(at(run, 'predictions.csv'), `path,label,predicted,group,p:blue,p:red\n${rows.join('\n')}\n`);
}

/** A run folder like `arrays`, but for this. */
interface Made {
  readonly config?: object;
  readonly test?: object;
  readonly lines?: (epochs: EpochLine[], test: unknown) => unknown[];
  /** How many predictions are wrong; example i more surely than the one before. */
  readonly wrong?: number;
}

function make(name: string, { config, test, lines: edit = (epochs, test) => [...epochs, test], wrong }: Made): void {
  cpSync(at('arrays'), at(name), { recursive: true });
  const before = JSON.parse(readFileSync(at('arrays', 'config.json'), 'utf8'));
  writeFileSync(at(name, 'config.json'), JSON.stringify({ ...before, ...config }));
  const all = lines('arrays');
  const tested = { test: { ...(all.at(-1) as unknown as { test: object }).test, ...test } };
  writeFileSync(
    at(name, 'metrics.jsonl'),
    edit(all.slice(0, -1), tested)
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
  if (wrong === undefined) return;
  const rows = Array.from({ length: wrong }, (_, i) => `${i},2,0,,${0.5 + i / 100},${0.5 - i / 100},0\n`);
  writeFileSync(at(name, 'predictions.csv'), `path,label,predicted,group,p:0,p:1,p:2\n${rows.join('')}`);
}

const intervals = {
  groups: 1200,
  resamples: 2000,
  level: 0.95,
  accuracy: { estimate: 0.5, low: 0.4, high: 0.61 },
  macroF1: { estimate: 0.4, low: 0.3, high: 0.512 },
};

/** A test of so many classes with an image each, all of them right. */
function squareTest(count: number): object {
  const names = Array.from({ length: count }, (_, i) => `class-${i}`);
  const one = { precision: 1, recall: 1, f1: 1, mcc: 1, support: 1 };
  const confusion = names.map((_, i) => names.map((_, k) => Number(i === k)));
  return { images: count, names, classes: Object.fromEntries(names.map((name) => [name, one])), confusion };
}

const literally = (text: string) => new RegExp(text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));

const calls = {
  complete: ['train', '--resume', 'early'],
  report: ['report', 'run'],
  elsewhere: ['report', 'run', '--out', 'elsewhere.html'],
  killed: ['report', 'killed'],
  begun: ['report', 'begun'],
  going: ['report', 'going'],
  gone: ['report', 'gone'],
  arrays: ['report', 'arrays'],
  silent: ['report', 'silent'],
  table: ['report', 'table'],
  moved: ['report', 'gone', '--data', 'data', '--out', 'moved.html'],
  nowhere: ['report', 'gone', '--data', 'nowhere', '--out', 'moved.html'],
  lost: ['report', 'lost'],
  damaged: ['report', 'damaged'],
  early: ['report', 'early'],
  unwritable: ['report', 'run', '--out', 'data'],
  none: ['report', 'nothing'],
  pictures: ['report', 'data'],
  compared: ['compare', 'run', 'other', '--json', '--out', 'compare.html'],
  text: ['compare', 'run', 'other', 'killed'],
  ended: ['compare', 'arrays', 'early', '--json'],
  classes: ['compare', 'run', 'arrays'],
  single: ['compare', 'run'],
  twice: ['compare', 'run', './run'],
  foreign: ['compare', 'run', 'data'],
} as const;
let outcomes: Record<keyof typeof calls, Outcome>;

beforeAll(async () => {
  await pictureFolder(at('data'), { split: 'TRAIN', each: 16 });
  await pictureFolder(at('data'), { split: 'TEST', each: 4 });
  writeFileSync(at('small.ts'), smallModel);
  writeArrays(at('arrays.safetensors'));
  const model = join(checkout, 'models', 'ddrnet.ts');
  const tiny = [
    '--size',
    '32',
    '--option',
    'channels=4',
    '--option',
    'drdb=false',
    '--batch',
    '8',
    '--device',
    'cpu',
    '--cache',
    'none',
  ];
  const trained = await ddrcInOneProcess(
    [
      ['train', model, '--data', 'data', '--run', 'run', '--epochs', '3', ...tiny],
      ['train', model, '--data', 'data', '--run', 'other', '--epochs', '2', '--seed', '7', ...tiny],
      [
        'train',
        'small.ts',
        '--data',
        'arrays.safetensors',
        '--test',
        '0.2',
        '--run',
        'arrays',
        '--device',
        'cpu',
        '--epochs',
        '2',
      ],
    ],
    folder,
  );
  for (const { code, stderr } of trained) {
    expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    expect(stderr).not.toContain('report.html was not written');
  }
  writePredictions('run', ['000.png', '001.png', '002.png', '003.png']);
  writeFileSync(at('arrays', 'predictions.csv'), 'path,label,predicted,group,p:0,p:1,p:2\n5,2,0,,0.6,0.3,0.1\n');
  for (const copy of ['killed', 'begun', 'going', 'gone', 'damaged', 'silent', 'table', 'lost'])
    cpSync(at('run'), at(copy), { recursive: true });
  for (const copy of ['killed', 'going']) {
    const text = readFileSync(at(copy, 'metrics.jsonl'), 'utf8');
    writeFileSync(at(copy, 'metrics.jsonl'), `${text.split('\n')[0]}\n{"epoch":2,"tra`);
  }
  for (const name of ['metrics.jsonl', 'best.safetensors', 'last.safetensors', 'model.onnx', 'predictions.csv'])
    rmSync(at('begun', name));
  rmSync(at('lost', 'best.safetensors'));
  rmSync(at('silent', 'predictions.csv'));
  writeFileSync(at('damaged', 'predictions.csv'), 'path,label\n"open');
  const config = JSON.parse(readFileSync(at('gone', 'config.json'), 'utf8'));
  writeFileSync(at('gone', 'config.json'), JSON.stringify({ ...config, data: { ...config.data, path: 'moved' } }));
  // A table names images relative to itself; what lies within it is said relative to its file or to its folder.
  writeFileSync(at('table.csv'), 'path,label\ndata/TEST/red/000.png,red\ndata/TEST/blue/000.png,blue\n');
  writeFileSync(at('table', 'config.json'), JSON.stringify({ ...config, data: { ...config.data, path: '../table.csv' } }));
  const places = ['../data/TEST/red/000.png', 'data/TEST/red/001.png'].map((path) => `${path},red,blue,,0.8,0.2\n`);
  writeFileSync(at('table', 'predictions.csv'), `path,label,predicted,group,p:blue,p:red\n${places.join('')}`);
  // A run without test data whose second epoch was the last for want of a lower validation loss.
  cpSync(at('arrays'), at('early'), { recursive: true });
  const [one, two] = lines('early');
  writeFileSync(at('early', 'metrics.jsonl'), `${JSON.stringify(one)}\n${JSON.stringify({ ...two, stoppedEarly: true })}\n`);
  for (const name of ['predictions.csv', 'report.html']) rmSync(at('early', name));
  const whole = JSON.parse(readFileSync(at('early', 'config.json'), 'utf8'));
  const examples = { ...whole.data.examples, test: 0 };
  const endsEarly = { ...whole, epochs: 20, patience: 1, data: { ...whole.data, test: 'none', examples } };
  writeFileSync(at('early', 'config.json'), JSON.stringify(endsEarly));
  writeFileSync(at('going', 'train.lock'), JSON.stringify({ pid: process.pid, host: hostname(), started: null, token: 'a' }));
  const results = await ddrcInOneProcess(Object.values(calls), folder);
  outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]])) as typeof outcomes;
}, 120_000);

describe('ddrc report', () => {
  it('is written by a training at its end, and again when asked', () => {
    expect(existsSync(at('other', 'report.html'))).toBe(true);
    expect(outcomes.report).toEqual({ code: 0, stdout: 'run/report.html\n', stderr: '' });
    expect(outcomes.elsewhere).toMatchObject({ code: 0, stdout: 'elsewhere.html\n' });
    expect(existsSync(at('elsewhere.html'))).toBe(true);
  });

  it('says what came out, and every figure of every epoch', () => {
    const text = page('run');
    const test = (lines('run').at(-1) as unknown as { test: { accuracy: number; confusion: number[][] } }).test;
    expect(text).toContain(`accuracy ${(100 * test.accuracy).toFixed(1)} % on 8 test examples`);
    for (const { train, val } of lines('run').slice(0, 3))
      for (const value of [train.loss, train.accuracy!, val!.loss]) expect(text).toContain(`<td>${value.toPrecision(4)}</td>`);
    const [[blue, mixed], [, red]] = test.confusion;
    for (const count of [blue, mixed, red]) expect(text).toContain(`>${count}<small>${((100 * count) / 4).toFixed(1)} %</small>`);
    expect(text).not.toContain('role="note"');
  });

  it('shows the wrong images, the surest first, with what spoke for the class', () => {
    const text = page('run');
    expect(text).toContain('2 test images were put into a wrong class');
    const captions = [
      ...text.matchAll(
        /<strong>red<\/strong>, taken for <strong>blue<\/strong> \((0\.\d+)\)<br><span class="quiet">(.*?)<\/span>/g,
      ),
    ];
    expect(captions.map(([, probability, path]) => [probability, path])).toEqual([
      ['0.530', 'TEST/red/003.png'],
      ['0.520', 'TEST/red/002.png'],
    ]);
    expect(text.match(/<img src="data:image\/webp;base64,/g)).toHaveLength(4);
  });

  it('says where nothing in the feature map spoke for a class', async () => {
    cpSync(at('run'), at('blind'), { recursive: true });
    zeroWeights(at('blind', 'best.safetensors'));
    expect(await writeReport(runPaths(at('blind')))).toBe(null);
    expect(page('blind').match(/<br>Nothing in the feature map spoke for blue\.<\/figcaption>/g)).toHaveLength(2);
    expect(page('run')).not.toContain('in the feature map spoke');
  });

  it('finds the images of a table', () => {
    expect(outcomes.table).toMatchObject({ code: 0, stderr: '' });
    expect(page('table').match(/<img src="data:image\/webp;base64,/g)).toHaveLength(4);
  });

  it('needs no script and fetches nothing', () => {
    for (const text of [page('run'), readFileSync(at('compare.html'), 'utf8')]) {
      expect(text).toContain(`content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"`);
      expect(text).not.toMatch(/<script|@import|url\((?!#)|https?:\/\/(?!www\.w3\.org)/);
      for (const [, address] of text.matchAll(/(?:src|href)="([^"]*)"/g)) expect(address).toMatch(/^data:/);
    }
  });

  it.each([
    ['killed', 'This training was stopped: 1 of 3 epochs are finished.'],
    ['begun', 'This training was stopped: 0 of 3 epochs are finished.'],
    ['going', 'This training is still going on: 1 of 3 epochs are finished.'],
  ] as const)('of a run that is %s shows what is there', (run, sentence) => {
    expect(outcomes[run]).toMatchObject({ code: 0, stderr: '' });
    expect(page(run)).toContain(sentence);
    expect(page(run)).toContain('learningRate');
    if (run === 'begun') expect(page(run)).toContain('No epoch is finished yet.');
    else expect(page(run)).toContain(`<td>${lines(run)[0].train.loss.toPrecision(4)}</td>`);
    expect(existsSync(at('going', 'train.lock'))).toBe(true);
  });

  it.each([
    ['gone', `The images are not shown: there is no ${at('gone', 'moved')}; `],
    ['arrays', 'The examples are arrays, so there are no images to show.'],
    ['silent', 'The run has no predictions.csv'],
    ['damaged', 'The predictions cannot be read: the CSV file cannot be read: a quoted cell is never closed.'],
  ] as const)('of a run whose images cannot be shown (%s) says why', (run, sentence) => {
    expect(outcomes[run]).toMatchObject({ code: 0 });
    // What a page would have, were it there, is also said to who writes it.
    expect(outcomes[run].stderr).toEqual(run === 'arrays' ? '' : expect.stringContaining(`note    ${sentence}`));
    expect(page(run)).toContain(sentence);
    expect(page(run)).not.toContain('<img');
    expect(page(run)).toContain('Confusion matrix');
  });

  it('takes images from where they have been moved to', () => {
    expect(outcomes.moved).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(at('moved.html'), 'utf8').match(/<img src="data:image\/webp;base64,/g)).toHaveLength(4);
  });

  it('says that weights are gone, and not that there were none yet', () => {
    expect(outcomes.lost).toMatchObject({ code: 0 });
    expect(outcomes.lost.stderr).toMatch(
      /^note {4}There is no Grad-CAM: the weights of the run in .* are gone: its best\.safetensors/,
    );
    expect(page('lost').match(/<img src="data:image\/webp;base64,/g)).toHaveLength(2);
  });

  it('of a run that --patience ended says so, and does not call it stopped', () => {
    // Resuming the complete run wrote the report that was missing, and says what is there; asked for, it is the same again.
    expect(outcomes.complete).toMatchObject({
      code: 0,
      stderr: 'the run in early is complete: 2 of 20 epochs, ended by --patience 1\n',
    });
    expect(outcomes.complete.stdout).toContain(
      '\nearly  model.onnx, best.safetensors, last.safetensors, metrics.jsonl, config.json, report.html\n',
    );
    expect(outcomes.early).toMatchObject({ code: 0 });
    expect(page('early')).toContain('ended after 2 of 20 epochs: no lower validation loss in 1 epochs (--patience)');
    expect(page('early')).toMatch(/validation loss \d.* in epoch \d, the best; no test/);
    expect(page('early')).not.toContain('role="note"');
    const { runs, notes } = JSON.parse(outcomes.ended.stdout);
    expect(runs.map(({ state }: { state: string }) => state)).toEqual(['complete', 'complete']);
    expect(notes.join()).not.toContain('Not complete');
    expect(notes).toContain('Ended early, by --patience: early after 2 of 20 epochs.');
  });

  it('takes measures that only some runs have', () => {
    cpSync(at('arrays'), at('rich'), { recursive: true });
    const all = lines('rich') as unknown as { test: Record<string, unknown> & { classes: Record<string, object> } }[];
    const { test } = all.at(-1)!;
    const classes = Object.fromEntries(
      Object.entries(test.classes).map(([name, row]) => [name, { ...row, specificity: 0.125, auc: 0.8765 }]),
    );
    const bins = [
      { count: 3, confidence: 0.55, accuracy: 0.5 },
      { count: 0, confidence: null, accuracy: null },
    ];
    writeFileSync(
      at('rich', 'metrics.jsonl'),
      [...all.slice(0, -1), { test: { ...test, classes, calibration: { ece: 0.0321, bins } } }]
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(''),
    );
    return writeReport(runPaths(at('rich'))).then((problem) => {
      expect(problem).toBe(null);
      expect(page('rich').match(/<td>0\.125<\/td><td>0\.876<\/td>/g)).toHaveLength(3);
      expect(page('rich')).toContain('Expected calibration error 0.0321');
      expect(page('rich')).toContain('<tr><th scope="row">0.550</th><td>0.500</td><td>3</td></tr>');
    });
  });

  it.each<[string, Made, there: readonly (string | RegExp)[], absent: readonly string[]]>([
    [
      'of a single epoch',
      { config: { epochs: 1 }, lines: ([one], test) => [one, test] },
      [/<tbody><tr><th scope="row">1<\/th>(<td>[\d.]+<\/td>){6}<\/tr>\n<\/tbody>/],
      ['role="note"'],
    ],
    [
      'of a test with intervals over groups',
      { test: { accuracy: 0.5, mcc: 0.3456, logLoss: 0.75, intervals } },
      [
        'Test; intervals by the bootstrap over 1,200 groups',
        '<th scope="row">accuracy</th><td>50.0 %</td><td>40.0 % to 61.0 %</td>',
        /<th scope="row">F1, macro mean<\/th><td>0\.\d{3}<\/td><td>0\.300 to 0\.512<\/td>/,
        '<th scope="row">MCC of all classes</th><td>0.346</td><td></td>',
        '<th scope="row">log loss</th><td>0.7500</td>',
      ],
      [],
    ],
    [
      'of mixed images',
      { config: { mix: { mixup: 0.2, cutmix: 0 } } },
      [
        'the training accuracy counts the label with the larger share of a mixed image, so it is no measure of the model.',
        'The training loss is with --mixup and --cutmix, and the losses of validation and test are without',
      ],
      [],
    ],
    [
      'with notes of its start',
      { config: { notes: ['Two splits share 3 groups.', 'Left out: <a>.png.'] } },
      ['<ul class="notes"><li>Two splits share 3 groups.</li><li>Left out: &#60;a&#62;.png.</li></ul>'],
      ['<th scope="row">notes</th>'],
    ],
    [
      'of weighted classes',
      { config: { classes: ['a', 'b', 'c'], classWeights: [0.5, 2, 1 / 3] } },
      [
        'The training loss is with --class-weights, and the losses of validation and test are without',
        '<th scope="row">classWeights</th><td>a=0.5000, b=2.000, c=0.3333</td>',
      ],
      [],
    ],
    [
      'of 51 classes',
      { test: squareTest(51) },
      ['That of 51 classes has no room here; it is in <code>metrics.jsonl</code>.', '<th scope="row">class-50</th>'],
      ['class="numbers confusion many crowded"'],
    ],
    ['of 50 classes', { test: squareTest(50) }, ['class="numbers confusion many crowded"', 'class-49'], ['has no room here']],
    [
      'of 30 wrong examples',
      { wrong: 30 },
      [
        '30 test images were put into a wrong class; these are the 24 that the model was surest of.',
        '<span class="quiet">29</span>',
      ],
      ['<span class="quiet">5</span>'],
    ],
  ])('%s', async (name, made, there, absent) => {
    make(name, made);
    expect(await writeReport(runPaths(at(name)))).toBe(null);
    const found = (part: string | RegExp) => [part, page(name).search(typeof part === 'string' ? literally(part) : part) >= 0];
    expect([...there, ...absent].map(found)).toEqual([
      ...there.map((part) => [part, true]),
      ...absent.map((part) => [part, false]),
    ]);
    if (name === 'of 30 wrong examples') expect(page(name).match(/<figcaption><strong>/g)).toHaveLength(24);
  });

  it('explains wrong images on as many threads as it is given', async () => {
    cpSync(at('run'), at('narrow'), { recursive: true });
    expect(await writeReport(runPaths(at('narrow')), 1)).toBe(null);
    expect(threads.at(-1)).toBe(1);
    expect(page('narrow').match(/<img src="data:image\/webp;base64,/g)).toHaveLength(4);
  });

  it('has what its document says it is made of', () => {
    make('documented', { test: { intervals } });
    const { test } = lines('documented').at(-1) as unknown as { test: object };
    const said = readFileSync(join(checkout, 'docs', 'report.md'), 'utf8').match(/`test\.[\w.]+`/g)!;
    expect(said.length).toBeGreaterThan(4);
    for (const path of said) {
      const keys = path.slice(1, -1).split('.').slice(1);
      expect([path, keys.reduce<unknown>((value, key) => (value as Record<string, unknown>)?.[key], test)]).toEqual([
        path,
        expect.anything(),
      ]);
    }
  });

  it('that cannot be written is a sentence, and no reason to fail', async () => {
    expect(await writeReport(runPaths(at('nothing')))).toMatch(/^report\.html was not written: there is no run folder /);
    cpSync(at('arrays'), at('blocked'), { recursive: true });
    rmSync(at('blocked', 'report.html'));
    mkdirSync(at('blocked', 'report.html'));
    expect(await writeReport(runPaths(at('blocked')))).toMatch(/^report\.html was not written: .*: it is a folder$/);
  });

  it.each([
    ['unwritable', 1, 'OUTPUT_UNWRITABLE'],
    ['nowhere', 1, 'DATA_MISSING'],
    ['none', 1, 'RUN_INVALID'],
    ['pictures', 1, 'RUN_INVALID'],
  ] as const)('refuses %s', (name, code, error) => {
    expect(outcomes[name]).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(new RegExp(`^${error} `)) });
  });
});

describe('ddrc compare', () => {
  it('has figures of each run, and the settings that differ', () => {
    const { runs, settings, notes } = JSON.parse(outcomes.compared.stdout);
    expect(settings).toEqual({ epochs: ['3', '2'], seed: ['0', '7'] });
    // The pictures of TEST are the same, whatever the seed.
    expect(notes).toEqual(['The training and validation figures are not of the same examples in all runs.']);
    for (const [i, name] of ['run', 'other'].entries()) {
      const { best, test } = readRun(at(name));
      expect(runs[i]).toMatchObject({
        run: name,
        state: 'complete',
        epochs: [3, 2][i],
        bestEpoch: best!.epoch,
        trainLoss: best!.train.loss,
        valLoss: best!.val!.loss,
        testAccuracy: test!.accuracy,
        testF1: test!.macro!.f1,
      });
    }
    expect(runs[0].parameters).toBe(runs[1].parameters);
    expect(runs[0].bestEpoch).toBe(
      lines('run')
        .slice(0, 3)
        .reduce((a, b) => (b.val!.loss < a.val!.loss ? b : a)).epoch,
    );
  });

  it('is a table of text, and a page of curves', () => {
    expect(outcomes.text.stdout).toMatch(/^ +run +other +killed\nstate +complete +complete +stopped\nepochs +3 +2 +1\n/);
    expect(outcomes.text.stdout).toContain('Not complete: killed was stopped.');
    const text = readFileSync(at('compare.html'), 'utf8');
    expect(text.match(/<figure class="chart">/g)).toHaveLength(5);
    for (const name of ['run', 'other']) expect(text).toContain(`</svg> ${name}</li>`);
  });

  it('has measures of the test beside its accuracy, and says where the training accuracy is of mixed images', async () => {
    make('rich one', {
      test: { accuracy: 0.5, mcc: 0.3456, logLoss: 0.75, intervals },
      config: { mix: { mixup: 1, cutmix: 0 } },
    });
    const { runs, notes } = await compareRuns([readRun(at('rich one')), readRun(at('arrays'))], ['rich one', 'arrays']);
    expect(runs[0]).toMatchObject({ testMcc: 0.3456, testLogLoss: 0.75, testAccuracyInterval: [0.4, 0.61] });
    const rows = Object.fromEntries(figureRows(runs).map(([name, first]) => [name, first]));
    expect(rows).toMatchObject({
      'test accuracy': '50.0 %',
      '95 % interval over groups': '40.0 % to 61.0 %',
      'test MCC, all classes': '0.346',
      'test log loss': '0.7500',
    });
    expect(notes).toEqual([
      expect.stringMatching(/^The training loss is with --mixup and --cutmix, .* \(rich one\)\.$/),
      expect.stringMatching(/^With --mixup and --cutmix the training .* \(rich one\)\.$/),
    ]);
  });

  it('says which figures are not of the same examples', async () => {
    const { data } = JSON.parse(readFileSync(at('arrays', 'config.json'), 'utf8'));
    const { partFingerprints, ...older } = data;
    const parts = (changed: object, more = {}) => ({
      config: { data: { ...data, ...more, fingerprint: 'another', partFingerprints: { ...partFingerprints, ...changed } } },
    });
    make('same parts', parts({}));
    make('other test', parts({ test: 'another' }));
    make('all other', parts({ train: 'a', val: 'b', test: 'c' }));
    make('no validation', parts({ val: 'none' }, { examples: { ...data.examples, val: 0 } }));
    make('before parts', { config: { data: { ...older, fingerprint: 'another' } } });
    const notesOf = async (name: string) =>
      (await compareRuns([readRun(at('arrays')), readRun(at(name))], ['arrays', name])).notes;
    expect(await notesOf('same parts')).toEqual([]);
    expect(await notesOf('other test')).toEqual(['The test figures are not of the same examples in all runs.']);
    expect(await notesOf('all other')).toEqual([
      'The training, validation and test figures are not of the same examples in all runs.',
    ]);
    expect(await notesOf('no validation')).toEqual([]);
    expect(await notesOf('before parts')).toEqual([expect.stringMatching(/their figures may not be of the same examples\.$/)]);
  });

  it('tells a run that failed from one that was stopped', async () => {
    const failed = 'the loss became NaN at step 3 (epoch 2)';
    make('failed', { lines: ([one]) => [one, { failed }] });
    const record = readRun(at('failed'));
    expect([record.state, record.epochs.length]).toEqual(['failed', 1]);
    expect(await writeReport(runPaths(at('failed')))).toBe(null);
    expect(page('failed')).toContain(`This training failed: ${failed}; 1 of 2 epochs are finished.`);
    const { runs, notes } = await compareRuns([readRun(at('arrays')), record], ['arrays', 'failed']);
    expect(runs[1].state).toBe('failed');
    expect(notes).toEqual([`Not complete: failed failed: ${failed}.`]);
  });

  it('compares classes that are known, and names three of them at most', async () => {
    make('untested', { lines: (epochs) => epochs });
    const both = ['arrays', 'untested'];
    const { notes } = await compareRuns(
      both.map((name) => readRun(at(name))),
      both,
    );
    expect(notes).toEqual(['Not complete: untested was stopped.']);
    make('wide', { test: squareTest(1000) });
    const more = ['arrays', 'wide', 'untested'];
    const compared = await compareRuns(
      more.map((name) => readRun(at(name))),
      more,
    );
    expect(compared.notes[0]).toMatch(/\(arrays: 0, 1, 2; wide: class-0, class-1, class-2 and 997 more\)\.$/);
  });

  it('says where classes differ, and compares what can be compared', () => {
    const { code, stdout } = outcomes.classes;
    expect(code).toBe(0);
    expect(stdout).toContain('The runs tell different classes apart');
    expect(stdout).toContain('(run: blue, red; arrays: 0, 1, 2)');
    expect(stdout).toMatch(/^test accuracy +\d+\.\d % +\d+\.\d %$/m);
  });

  it.each([
    ['single', 2, 'USAGE'],
    ['twice', 2, 'USAGE'],
    ['foreign', 1, 'RUN_INVALID'],
  ] as const)('refuses %s', (name, code, error) => {
    expect(outcomes[name]).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(new RegExp(`^${error} `)) });
  });
});
