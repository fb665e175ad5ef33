/*
 * `npm run compatibility`: trains DDRNet and ResNet-18 shortly, builds each model.onnx that docs/compatibility.md speaks of, runs them in every engine that is
 * here, and writes that page. It takes half an hour on two cores.
 *
 *   --data FOLDER     images as Kaggle has the blood cells (default: ../shared/data/blood-cells beside the checkout, drawn cells where it is not there)
 *   --runs FOLDER     where the trained runs are or go, ddrnet and resnet (default: a temporary folder)
 *   --images N        images for the two models at the default opset (default: 1000)
 *   --few N           images for the other files (default: 10)
 *   --seconds N       what an engine may take for the images of one of the two; the others get a tenth (default: 120)
 *   --packages A,B    folders whose node_modules hold further engines
 *   --pythons A,B     further commands that start a Python
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { drawnDataset } from '../cli/drawn-data.ts';
import { findEngines, usualPlaces } from '../cli/engines/all.ts';
import type { OnnxEngine } from '../cli/engines/engine.ts';
import { openExamples } from '../cli/eval.ts';
import { portsOfModel } from '../cli/example-ports.ts';
import { modelFileOf, runsOf, verifyModel } from '../cli/verification.ts';
import { newestOpset, oldestOpset, portable } from '../compiler/emit/lowering.ts';
import type { Dataset } from '../runtime/data/dataset.ts';
import { readListing } from '../runtime/data/layout.ts';
import { itemsOfSplit } from '../runtime/data/listing.ts';
import { openModel } from '../runtime/predictor.ts';
import { createProgress } from '../runtime/progress.ts';
import { compatibilityDocument, type Measured } from './compatibility.ts';

const root = join(import.meta.dirname, '..');
const size = 96;
const opsets = [oldestOpset, portable.opset, newestOpset];

/** A model and what a reader calls it; `run` names the run whose weights it has. */
interface Variant {
  readonly title: string;
  readonly file: string;
  readonly options: readonly string[];
  readonly run: string | null;
}

const ddrnet = join(root, 'models', 'ddrnet.ts');
const variants: readonly Variant[] = [
  { title: 'DDRNet', file: ddrnet, options: [], run: 'ddrnet' },
  { title: 'ResNet-18', file: join(root, 'models', 'resnet.ts'), options: [], run: 'resnet' },
  ...['csab=false', 'glfeb=false', 'drdb=false', 'spatial=equation', 'scores=sigmoid'].map((option) => ({
    title: `DDRNet, ${option}`,
    file: ddrnet,
    options: [option],
    run: null,
  })),
];

const { values: flags } = parseArgs({
  options: {
    data: { type: 'string' },
    runs: { type: 'string' },
    images: { type: 'string', default: '1000' },
    few: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '120' },
    packages: { type: 'string', default: '' },
    pythons: { type: 'string', default: '' },
  },
});
const listed = (text: string) => text.split(',').filter((item) => item !== '');
const given = flags.data ?? join(root, '..', 'shared', 'data', 'blood-cells');
const data = flags.data !== undefined || existsSync(given) ? given : null;

function ddrc(...args: string[]): void {
  execFileSync(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** How many images the models are trained on: weights are to be other than random ones, not to be good. */
const trainingImages = 640;

/** The weights of a run, trained if it is not there. */
function weightsOf(runs: string, { file, run }: Variant): string {
  const folder = join(runs, run!);
  const source = data === null ? [] : ['--data', trainingList(data)];
  const all = ['--val', 'none', '--test', 'none', '--size', `${size}`, '--epochs', '1', '--batch', '16', '--run', folder];
  if (!existsSync(join(folder, 'best.safetensors'))) ddrc('train', file, ...source, ...all);
  return join(folder, 'best.safetensors');
}

/** A CSV of some of the data's training images. */
function trainingList(folder: string): string {
  const listing = readListing(folder);
  const { items, classes } = listing;
  const own = itemsOfSplit(listing, 'train').map((item) => items[item]);
  const some = Array.from({ length: trainingImages }, (_, i) => own[Math.floor((i * own.length) / trainingImages)]);
  const path = join(temporary, 'training.csv');
  writeFileSync(path, `path,label\n${some.map(({ path, label }) => `${resolve(path)},${classes[label]}\n`).join('')}`);
  return path;
}

const temporary = mkdtempSync(join(tmpdir(), 'ddrc-compatibility-'));
const display = createProgress(process.stderr);
try {
  const runs = resolve(flags.runs ?? join(temporary, 'runs'));
  const folders = [...usualPlaces.folders, ...listed(flags.packages)];
  const { engines, absent } = await findEngines({ folders, pythons: [...usualPlaces.pythons, ...listed(flags.pythons)] });
  let images: { readonly dataset: Dataset; close(): Promise<void> } | null = null;
  const measured: Measured[] = [];
  for (const variant of variants) {
    for (const opset of opsets) {
      const out = join(temporary, `${variants.indexOf(variant)}-${opset}`);
      const options = [...variant.options, 'classes=4'].flatMap((option) => ['--option', option]);
      const weights = variant.run === null ? [] : ['--weights', weightsOf(runs, variant)];
      ddrc('build', variant.file, '--out', out, '--size', `${size}`, '--opset', `${opset}`, ...options, ...weights);
      const opened = await openModel(join(out, 'model.onnx'));
      const model = modelFileOf(opened);
      const most = Number(flags.images);
      images ??=
        data === null
          ? { dataset: drawnDataset('test', portsOfModel(opened), most), close: async () => {} }
          : await openExamples('', opened, { data, split: 'test', most, onBadImage: 'stop' }, display);
      await opened.close();
      const whole = variant.run !== null && opset === portable.opset;
      // A software adapter takes many seconds to make a session.
      const quick = (engine: OnnxEngine) => whole || !engine.name.includes('WebGPU');
      const rows = await verifyModel({
        model,
        runs: runsOf(model, images.dataset, whole ? most : Number(flags.few)),
        engines: engines.filter(quick),
        seconds: whole ? Number(flags.seconds) : Number(flags.seconds) / 10,
        onProgress: (engine, done, total) => display.count(`${variant.title}, opset ${opset}: ${engine}`, done, total),
      });
      display.end();
      for (const row of rows) process.stdout.write(`${JSON.stringify({ model: variant.title, opset, ...row })}\n`);
      measured.push({ model: variant.title, opset, trained: variant.run !== null, rows });
    }
  }
  await images?.close();
  const count = images?.dataset.size ?? 0;
  const what =
    data === null ? 'cells drawn by ddrc, not real' : "of the test split of Kaggle's blood cells, spread\nevenly over it";
  const sentence = `${count} images ${what}, for DDRNet and ResNet-18 at opset ${portable.opset}, and ${flags.few} of them for the other files`;
  writeFileSync(join(root, 'docs', 'compatibility.md'), compatibilityDocument({ images: sentence, size, measured, absent }));
} finally {
  display.end();
  rmSync(temporary, { recursive: true, force: true });
}
