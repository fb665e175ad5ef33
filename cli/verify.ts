import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { OpenModel } from '../runtime/predictor.ts';
import { createProgress, type ProgressDisplay } from '../runtime/progress.ts';
import { drawnDataset } from './drawn-data.ts';
import { type Absence, findEngines, shipped, usualPlaces } from './engines/all.ts';
import { checkpointEngine, checkpointName } from './engines/checkpoint.ts';
import { type Examples, openExamples } from './eval.ts';
import { example } from './example.ts';
import { portsOfModel } from './example-ports.ts';
import { usageError } from './failure.ts';
import { wholeNumber } from './flags.ts';
import { shown } from './shown-path.ts';
import { textTable } from './text-table.ts';
import { openTrained } from './trained-model.ts';
import { bar, modelFileOf, type Row, runsOf, verifyModel } from './verification.ts';

/** Seconds that an engine has: one that takes seconds an image is stopped early, which its number of images shows. */
const patience = 20;

interface VerifyFlags {
  readonly data?: string;
  readonly split?: string;
  readonly images: number;
  readonly json?: boolean;
}

/** What `ddrc verify --json` prints. */
interface Findings {
  readonly model: string;
  readonly data: string;
  readonly images: number;
  readonly engines: readonly Row[];
  readonly absent: readonly Absence[];
  readonly agrees: boolean;
}

/** `ddrc verify RUN|MODEL.onnx`: whether the inference engines that are here give the same probabilities. */
export function add(program: Command): void {
  program
    .command('verify')
    .description('run a model.onnx in every inference engine that is here, and compare their probabilities')
    .argument('<model>', 'run folder, build folder, or model.onnx')
    .option('--data <path>', 'folder of class folders, CSV, or safetensors file of arrays (default: cells that ddrc draws)')
    .option('--split <name>', 'split of the data, or all (default: test, or all where the data have no splits)')
    .option('--images <n>', 'how many images', wholeNumber(1, 100_000), 32)
    .option('--json', 'one JSON object in place of the table')
    .addHelpText('after', example('ddrc verify runs/ddrnet-1', 'ddrc verify build/ddrnet/model.onnx --data images --images 200'))
    .action(verify);
}

async function verify(path: string, flags: VerifyFlags): Promise<void> {
  if (flags.split !== undefined && flags.data === undefined) throw usageError('--split needs --data', 'verify');
  const display = createProgress(process.stderr);
  const opened = await openTrained(path, {});
  try {
    // Names for other scores than there are would make every engine's class a wrong one.
    void opened.classes;
    const model = modelFileOf(opened);
    const isRun = existsSync(join(path, 'config.json'));
    const ofRun = isRun ? [checkpointEngine(path, opened.description)] : [];
    const examples = await openImages(opened, flags, display);
    try {
      display.count('looking for engines', 0, 1);
      const { engines, absent } = await findEngines(usualPlaces);
      const runs = runsOf(model, examples.dataset, flags.images);
      const rows = await verifyModel({
        model,
        runs,
        engines: [...ofRun, ...engines],
        seconds: patience,
        onProgress: (engine, done, total) => display.count(engine, done, total),
      });
      display.end();
      const must = new Set(shipped.map(({ name }) => name));
      const agrees = rows.every((row) => row.agrees !== false && (row.said === null || !must.has(row.engine)));
      const { images } = runs;
      const found: Findings = { model: shown(model.path), data: examples.name, images, engines: rows, absent, agrees };
      process.stdout.write(flags.json ? `${JSON.stringify(found)}\n` : asText(found));
      if (!agrees) process.exitCode = 1;
    } finally {
      await examples.close();
    }
  } finally {
    display.end();
    await opened.close();
  }
}

/** Images of the data, or drawn ones. */
function openImages(opened: OpenModel, { data, split, images }: VerifyFlags, display: ProgressDisplay): Promise<Examples> {
  if (data !== undefined) return openExamples('', opened, { data, split, most: images, onBadImage: 'stop' }, display);
  const ports = portsOfModel(opened);
  if (!ports.image || ports.label === null) {
    const message = `${ports.model} does not take just one square colour image, so no cells can be drawn for it`;
    throw usageError(message, 'verify', `give it arrays: --data FILE.safetensors with ${ports.names.join(', ')}`);
  }
  const dataset = drawnDataset('test', ports, images);
  return Promise.resolve({ dataset, name: 'cells drawn by ddrc, not real', close: async () => {} });
}

function asText({ model, data, images, engines, absent, agrees }: Findings): string {
  const head = ['engine', 'version', 'loads', 'images', 'max |Δ probability|', 'classes that differ', 'ms per image'];
  const rows = engines.map((row, i) => [
    row.engine,
    row.version,
    row.loads ? 'yes' : 'no',
    row.images === 0 ? '' : String(row.images),
    i === 0 ? 'the reference' : differenceText(row),
    i === 0 || row.classesDiffer === null ? '' : String(row.classesDiffer),
    row.milliseconds === null ? '' : row.milliseconds.toFixed(row.milliseconds < 100 ? 1 : 0),
  ]);
  const table = textTable([head, ...rows], ['left', 'left', 'left', 'right', 'right', 'right', 'right']);
  const refused = engines
    .filter(({ said }) => said !== null)
    .map(({ engine, version, loads, said }) =>
      engine === checkpointName
        ? `It cannot be compared with the run's weights: ${said}\n`
        : `${engine} ${version} ${loads ? 'does not run' : 'refuses'} it: ${said}\n`,
    );
  const missing = absent.map(({ engine, reason }) => `${engine} is not here: ${reason}\n`);
  const wrong = engines.filter((row) => row.agrees === false).map(({ engine, version }) => `${engine} ${version}`);
  const verdict = agrees
    ? `No engine disagrees: probabilities within ${bar}, classes the same.`
    : wrong.length > 0
      ? `${wrong.join(', ')} ${wrong.length === 1 ? 'disagrees' : 'disagree'}: more than ${bar} in a probability, or another class.`
      : 'What has to run it does not.';
  return `${model}, ${images} ${images === 1 ? 'image' : 'images'}: ${data}\n\n${table}\n\n${refused.join('')}${missing.join('')}${verdict}\n`;
}

function differenceText({ maxDifference, images }: Row): string {
  if (maxDifference !== null) return maxDifference.toExponential(1);
  return images > 0 ? 'no number' : '';
}
