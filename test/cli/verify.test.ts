import { createHash } from 'node:crypto';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import onnxProto from 'onnx-proto';
import { beforeAll, describe, expect, it } from 'vitest';
import { drawnDataset } from '../../cli/drawn-data.ts';
import { findEngines, usualPlaces } from '../../cli/engines/all.ts';
import type { OnnxEngine } from '../../cli/engines/engine.ts';
import { onnxruntimeWeb } from '../../cli/engines/onnxruntime-web.ts';
import { startProgram } from '../../cli/engines/program.ts';
import { modelFileOf, type Row, runsOf, verifyModel } from '../../cli/verification.ts';
import { openModel } from '../../runtime/predictor.ts';
import { checkout, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const { onnx } = onnxProto;
const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const small = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false'];

interface Findings {
  readonly data: string;
  readonly images: number;
  readonly engines: readonly Row[];
  readonly absent: readonly { readonly engine: string; readonly reason: string }[];
  readonly agrees: boolean;
}

/** Changes a model.onnx and signs it anew, as one who knows ddrc's hash could. */
function forge(path: string, change: (model: InstanceType<typeof onnx.ModelProto>) => void): void {
  const model = onnx.ModelProto.decode(readFileSync(path));
  change(model as InstanceType<typeof onnx.ModelProto>);
  const metadata = model.metadataProps.filter(({ key }) => key !== 'ddrc.sha256');
  const pairs = metadata.map(({ key, value }): [string, string] => [key!, value!]);
  const body = onnx.ModelProto.encode({ ...model, metadataProps: [] } as never).finish();
  const sha256 = createHash('sha256').update(body).update(JSON.stringify(pairs)).digest('hex');
  const metadataProps = [...pairs, ['ddrc.sha256', sha256]].map(([key, value]) => ({ key, value }));
  writeFileSync(path, onnx.ModelProto.encode({ ...model, metadataProps } as never).finish());
}

const calls = {
  built: ['built', '--images', '3', '--json'],
  bytes: [join('bytes', 'model.onnx'), '--images', '2', '--json'],
  pairs: ['pairs', '--data', 'data', '--images', '5', '--json'],
  run: ['run', '--data', 'data', '--images', '4', '--json'],
  table: ['run', '--images', '2'],
  forged: ['forged', '--images', '4', '--json'],
  forgedText: ['forged', '--images', '4'],
  lost: ['lost', '--images', '1'],
} as const satisfies Record<string, readonly string[]>;
const refusals = [
  [['nowhere'], 1, 'FILE_MISSING', 'nowhere does not exist'],
  [['note.onnx'], 1, 'ONNX_INVALID', 'note.onnx is not an ONNX model'],
  [['cut.onnx'], 1, 'ONNX_INVALID', 'cut.onnx is not an ONNX model'],
  [['damaged.onnx'], 1, 'MODEL_DAMAGED', 'damaged.onnx is not as ddrc wrote it'],
  [[join('built', 'step.onnx')], 1, 'MODEL_FOREIGN', 'does not say its classes'],
  [['swapped'], 1, 'MODEL_DAMAGED', 'names other classes, or in another order'],
  [['three.onnx'], 1, 'MODEL_FOREIGN', 'names 3 classes, but gives 2 scores'],
  [['built', '--data', 'other'], 1, 'DATA_CLASSES_DIFFER', 'green'],
  [['built', '--data', 'nothing'], 1, 'DATA_MISSING', 'nothing'],
  [['built', '--imges', '3'], 2, 'USAGE', 'unknown option --imges, did you mean --images?'],
  [['built', '--images', '0'], 2, 'USAGE', '--images'],
  [['built', '--split', 'test'], 2, 'USAGE', '--split needs --data'],
  [[], 2, 'USAGE', "missing required argument 'model'"],
] as const;
let outcomes: Readonly<Record<keyof typeof calls, Outcome>>;
let refused: readonly Outcome[];
const findings = (name: keyof typeof calls): Findings => JSON.parse(outcomes[name].stdout);
const rowOf = ({ engines }: Findings, part: string): Row | undefined => engines.find(({ engine }) => engine.includes(part));

beforeAll(async () => {
  await pictureFolder(at('data'), { each: 20 });
  await pictureFolder(at('other'), { classes: ['red', 'green'], each: 3 });
  const model = join(checkout, 'models', 'ddrnet.ts');
  const args = ['build', model, '--classes', 'blue,red', ...small];
  const prepared = await ddrcInOneProcess(
    [
      [...args, '--out', 'built'],
      [...args, '--out', 'bytes', '--input', 'uint8'],
      [...args, '--out', 'pairs', '--batch', '2'],
      ['train', model, '--data', 'data', '--epochs', '1', '--batch', '8', '--val', 'none', '--run', 'run', ...small],
    ],
    folder,
  );
  for (const outcome of prepared) expect(outcome).toMatchObject({ code: 0 });
  expect(prepared[3].stderr).toMatch(/^checked model\.onnx on \d examples?: .* the same within \de-\d+$/m);
  const bytes = readFileSync(at('built', 'model.onnx'));
  writeFileSync(at('note.onnx'), 'no model');
  writeFileSync(at('cut.onnx'), bytes.subarray(0, bytes.length / 2));
  const damaged = Buffer.from(bytes);
  damaged[damaged.length >> 1] ^= 16;
  writeFileSync(at('damaged.onnx'), damaged);
  for (const name of ['forged', 'swapped', 'lost']) cpSync(at('run'), at(name), { recursive: true });
  rmSync(at('lost', 'best.safetensors'));
  forge(at('forged', 'model.onnx'), ({ graph }) => {
    const head = graph!.node!.find(({ opType, name }) => opType === 'Gemm' && name!.startsWith('head'))!;
    const weight = graph!.initializer!.find(({ name }) => name === head.input![2])!;
    const data = Buffer.from(weight.rawData!);
    data.writeFloatLE(data.readFloatLE(0) + 0.01, 0);
    weight.rawData = data;
  });
  forge(at('swapped', 'model.onnx'), ({ metadataProps }) => {
    metadataProps!.find(({ key }) => key === 'ddrc.classes')!.value = '["red","blue"]';
  });
  cpSync(at('built', 'model.onnx'), at('three.onnx'));
  forge(at('three.onnx'), ({ metadataProps }) => {
    metadataProps!.find(({ key }) => key === 'ddrc.classes')!.value = '["a","b","c"]';
  });
  const all = [...Object.values(calls), ...refusals.map(([args]) => args)];
  const results = await ddrcInOneProcess(
    all.map((args) => ['verify', ...args]),
    folder,
  );
  outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]])) as typeof outcomes;
  refused = results.slice(Object.keys(calls).length);
}, 300_000);

describe('ddrc verify', () => {
  it.each(['built', 'bytes', 'pairs', 'run'] as const)('%s: the engines that npm brings agree', (name) => {
    expect(outcomes[name]).toMatchObject({ code: 0 });
    const found = findings(name);
    expect(found.agrees).toBe(true);
    for (const part of ['no optimizations', 'all optimizations', 'onnxruntime-web']) {
      const row = rowOf(found, part)!;
      expect(row).toMatchObject({ loads: true, said: null, images: found.images, classesDiffer: 0, agrees: true });
      // Rounding of float32; the bar of the command is wider.
      expect(row.maxDifference).toBeLessThan(2e-6);
      expect(row.milliseconds).toBeGreaterThan(0);
    }
    expect(found.engines.map(({ agrees }) => agrees)).not.toContain(false);
  });

  it('takes drawn cells without --data, the images of the data with it, and as many as it is told', () => {
    expect([findings('built').data, findings('built').images]).toEqual(['cells drawn by ddrc, not real', 3]);
    expect([findings('pairs').data, findings('pairs').images]).toEqual(['images, data', 5]);
  });

  it("compares a run's model.onnx with its best weights", () => {
    expect(rowOf(findings('run'), 'best.safetensors')).toMatchObject({ images: 4, classesDiffer: 0, agrees: true });
    expect(rowOf(findings('built'), 'best.safetensors')).toBeUndefined();
  });

  it('says so where the best weights are gone, and compares the rest', () => {
    expect(outcomes.lost.code).toBe(0);
    expect(outcomes.lost.stdout).toMatch(/^It cannot be compared with the run's weights: .*best\.safetensors.* does not exist/m);
    expect(outcomes.lost.stdout).toMatch(/^lost.model\.onnx, 1 image: /);
  });

  it('finds one weight that was changed, though the file is signed', () => {
    const found = findings('forged');
    expect([outcomes.forged.code, found.agrees]).toEqual([1, false]);
    const row = rowOf(found, 'best.safetensors')!;
    expect(row).toMatchObject({ loads: true, agrees: false });
    // A bias of 0.01 moves a probability p by p (1 − p) / 100.
    expect(row.maxDifference).toBeGreaterThan(1e-4);
    expect(row.maxDifference).toBeLessThan(2.6e-3);
    expect(outcomes.forgedText.code).toBe(1);
    expect(outcomes.forgedText.stdout).toMatch(
      /^best\.safetensors in eval\.onnx \S+ disagrees: more than 0\.0001 in a probability/m,
    );
  });

  it('prints a table, and a sentence for each engine that is not here', () => {
    const { code, stdout } = outcomes.table;
    expect(code).toBe(0);
    const [head, empty, columns, ...rows] = stdout.split('\n');
    expect([head, empty]).toEqual([`${join('run', 'model.onnx')}, 2 images: cells drawn by ddrc, not real`, '']);
    expect(columns).toMatch(/^engine +version +loads +images +max \|Δ probability\| +classes that differ +ms per image$/);
    expect(rows[0]).toMatch(/^onnxruntime-node CPU, no optimizations +\S+ +yes +2 +the reference +[\d.]+$/);
    expect(stdout).toMatch(/^onnxruntime-web wasm +\S+ +yes +2 +\d\.\de[-+]\d+ +0 +[\d.]+$/m);
    for (const { engine, reason } of findings('run').absent) expect(stdout).toContain(`${engine} is not here: ${reason}\n`);
    expect(stdout.trimEnd()).toMatch(/No engine disagrees: probabilities within 0\.0001, classes the same\.$/);
  });

  it.each(refusals.map(([args, code, error, sentence], i) => [error, args.join(' '), code, sentence, i] as const))(
    'refuses: %s, %s',
    (error, _args, code, sentence, i) => {
      expect([refused[i].code, refused[i].stdout]).toEqual([code, '']);
      expect(refused[i].stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
      expect(refused[i].stderr).toContain(sentence);
    },
  );
});

describe('engines that do not come by npm', () => {
  const outside = [
    'OpenCV DNN (Python)',
    'OpenCV DNN (opencv-js)',
    'onnx checker, full shape inference',
    'onnx reference evaluator',
  ];

  it.for(outside)('%s', (name, context) => {
    for (const call of ['built', 'run'] as const) {
      const { engines, absent } = findings(call);
      const missing = absent.find(({ engine }) => engine === name);
      if (missing) return context.skip(`${name}: ${missing.reason}`);
      const rows = engines.filter(({ engine }) => engine === name);
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows)
        expect(row).toMatchObject({ loads: true, said: null, agrees: name.includes('checker') ? null : true });
    }
  });
});

describe('an engine that is here', () => {
  /** A model of two rows in a run, and what an engine that is made for the test says of it. */
  async function rowsWith(engine: OnnxEngine): Promise<Row[]> {
    const opened = await openModel(at('pairs'));
    const model = modelFileOf(opened);
    await opened.close();
    const dataset = drawnDataset('test', { model: 'ddrnet', names: [], label: 'label', image: { input: 'image', size: 32 } }, 5);
    return verifyModel({ model, runs: runsOf(model, dataset, 5), engines: [engine], seconds: 5 });
  }
  const answering = (values: readonly number[]): OnnxEngine => ({
    name: 'test',
    version: '1',
    open: async () => ({ run: async () => Float32Array.from(values), close: async () => {} }),
  });

  it.each([
    ['gives other classes', [0, 1, 1, 0], { loads: true, said: null, images: 5, agrees: false }],
    ['gives no numbers', [Number.NaN, 1, 1, 0], { loads: true, images: 5, maxDifference: null, agrees: false }],
    ['gives too few', [1, 0], { loads: true, said: 'it gives 2 probabilities where there are 4', images: 0, agrees: null }],
  ] as const)('%s', async (_title, values, expected) => {
    expect((await rowsWith(answering(values)))[1]).toMatchObject(expected);
  });

  it('refuses the file: its own words, on one line, without the place of the model', async () => {
    const open = async ({ path }: { path: string }) => {
      throw new Error(`OpenCV(4.6.0) ./modules/dnn.cpp:1040: error: (-2) in '${path}'\n> of opset 13\n`);
    };
    expect((await rowsWith({ name: 'test', version: '1', open }))[1]).toMatchObject({
      loads: false,
      said: "(-2) in 'model.onnx' of opset 13",
      agrees: null,
    });
  });

  it('ends in the middle: its process, with its last words', async () => {
    const opened = await openModel(at('built'));
    const model = modelFileOf(opened);
    await opened.close();
    const program = (text: string) => ({ file: process.execPath, args: ['-e', text] });
    await expect(startProgram(program('process.exit(3)'), model)).rejects.toThrow('its process ended with exit code 3');
    await expect(startProgram({ file: at('nothing'), args: [] }, model)).rejects.toThrow(/cannot be started: .*ENOENT/);
    const dying = `console.log('ddrc {"ready":true}'); process.stdin.once('data', () => { console.error('bye'); process.exit(4); });`;
    const loaded = await startProgram(program(dying), model);
    const image = { dtype: 'float32', shape: [1, 3, 32, 32], data: new Float32Array(3072) } as const;
    for (let run = 0; run < 2; run++)
      await expect(loaded.run({ image })).rejects.toThrow('its process ended with exit code 4: bye');
    await loaded.close();
  });

  it('says what it does not read, and why it is not here', async () => {
    const places = { ...usualPlaces, pythons: [] };
    const [web] = (await onnxruntimeWeb.find(places)) as readonly OnnxEngine[];
    const opened = await openModel(at('pairs'));
    const model = modelFileOf(opened);
    await opened.close();
    await expect(web.open({ ...model, path: at('note.onnx') })).rejects.toThrow(/protobuf|parse|model/i);
    expect(await onnxruntimeWeb.find({ folders: [folder], pythons: [] })).toBe(
      'npm package onnxruntime-web is not installed here',
    );
    const { engines, absent } = await findEngines({ folders: [folder], pythons: ['no-such-python'] });
    expect(engines.map(({ name }) => name)).toContain('onnxruntime-node CPU, all optimizations');
    for (const { reason } of absent) expect(reason).toMatch(/^(npm package|no Python|no graphics|onnxruntime-node)/);
  });
});
