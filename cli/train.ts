import { existsSync, rmSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { isDdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { parseProgress } from '../runtime/checkpoint.ts';
import { readBytes } from '../runtime/files.ts';
import { formatReport, type Report } from '../runtime/metrics.ts';
import { describeModel } from '../runtime/predictor.ts';
import { createProgress, type ProgressDisplay } from '../runtime/progress.ts';
import { createRun, nextRunFolder, openRun, type Run, type RunPaths } from '../runtime/runfolder.ts';
import { readSafetensors } from '../runtime/safetensors-file.ts';
import { parseSchedule } from '../runtime/schedule.ts';
import { cannotResume } from '../runtime/train-request.ts';
import type { TrainResult } from '../runtime/trainer.ts';
import { checkpointFlag, loopFlag } from './compile-for-device.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { addModelFlags, decimal, list, oneOf, share, wholeNumber, written } from './flags.ts';
import { onInterrupt } from './interrupt.ts';
import { missingFolders, removeFolders } from './missing-folders.ts';
import { grouped } from './quantity.ts';
import { type RunRecord, readRun } from './report/run-record.ts';
import { earlyEnd } from './report/summary.ts';
import { shown } from './shown-path.ts';
import { type Prepared, prepareResumed, prepareTraining, type TrainFlags } from './train-prepare.ts';
import { carryOut, exportBest } from './train-run.ts';
import { configOf, settingsOf, type TrainSettings } from './train-settings.ts';
import { describeParts } from './training-data.ts';

/** The flags that may stand beside `--resume`: they say where a training runs, not what comes out. */
const besideResume = new Set(['resume', 'device', 'threads', 'loop', 'cache', 'json']);

/** `ddrc train [MODEL]`: trains a model into a run folder. */
export function add(program: Command): void {
  const command = program
    .command('train')
    .description('train a model on your images, or, without --data, on blood cells that ddrc draws itself')
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--data <path>', 'folder of class folders, CSV path,label[,split][,group], or safetensors file of arrays')
    .option('--val <part>', 'validation: a fraction of the training data, none, or the name of a split (default: 0.15)')
    .option('--test <part>', "test: none, the name of a split, or a fraction (default: the data's test split)")
    .option('--epochs <n>', "how often every example is seen (default: the model's)", wholeNumber(1))
    .option('--batch <n>', "examples of one step (default: the model's)", wholeNumber(1))
    .option(
      '--accumulate <n>',
      'cut each batch into n equal parts and average their gradients, where it does not fit into memory; batch norms see, and running statistics follow, one part at a time (default: 1)',
      wholeNumber(1),
    )
    .option('--lr <rate>', "learning rate (default: the model's)", decimal(0))
    .option('--schedule <text>', 'constant, step:every=10,gamma=0.1, cosine:floor=0, one-cycle:start=0.3, …+warmup=100')
    .option('--optimizer <text>', 'adam, adamw:decay=0.01, sgd:momentum=0.9,nesterov=true, rmsprop')
    .option('--clip <norm>', 'largest global norm of the gradient; 0 does not clip', decimal(0, true))
    .option('--patience <n>', 'early stopping: end after so many epochs without a lower validation loss', wholeNumber(1))
    .option(
      '--class-weights <text>',
      'weight of each class in the loss that is minimised: balanced, or CLASS=W,CLASS=W (others: 1)',
    )
    .option('--ema <decay>', 'validate, test and export moving averages of the weights, of this decay at most (0.999)', share)
    .option('--checkpoint-activations', checkpointFlag)
    .option('--freeze <a,b,c>', 'parameters, or scopes of them, that training leaves as they are', list)
    .option('--seed <n>', 'seed of weights, order, augmentation and dropout (default: 0)', wholeNumber(0))
    .option(
      '--augment <text>',
      'none, or settings as in rotate=15,flip=x,magnify=2,share=0.5 (default: flips, rotate, zoom, shift, contrast and brightness, for images)',
    )
    .option('--mixup <alpha>', 'mix each image and its loss with those of another, in shares of Beta(ALPHA, ALPHA)', decimal(0))
    .option(
      '--cutmix <alpha>',
      'put a rectangle of another image into each; with --mixup, one of the two for each batch',
      decimal(0),
    )
    .option('--weights <file>', 'safetensors file of parameters to start from')
    .option('--reset-head', 'with --weights: initialise anew what has another shape in the file, as a head for other classes')
    .option('--run <folder>', 'where the results go (default: runs/MODEL-N)')
    .option('--resume <folder>', 'go on with a run that was stopped')
    .option('--device <name>', 'auto, cpu, cuda or webgpu (default: auto)')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .addOption(
      new Option(
        '--engine <name>',
        "stock, or ort-training: ONNX Runtime's own training API, by the files of build --artifacts ort-training (default: stock)",
      ).argParser(oneOf('stock', 'ort-training')),
    )
    .option('--loop <n>', loopFlag, wholeNumber(1))
    .addOption(
      new Option('--on-bad-image <what>', 'stop at an image that cannot be read, or leave it out (default: stop)').argParser(
        oneOf('stop', 'skip'),
      ),
    )
    .option('--cache <folder>', "folder for decoded images, or none (default: the user's cache folder)")
    .option('--json', 'one JSON object on stdout at the end in place of the text');
  addModelFlags(command)
    .addHelpText(
      'after',
      example(
        'ddrc train',
        'ddrc train model.ts --data images --size 96 --epochs 20',
        'ddrc train --resume runs/ddrnet-1',
        'ddrc train models/ddrnet.ts --data data --val none --lr 3e-3',
        'ddrc train models/resnet.ts --data data --weights resnet18.safetensors --reset-head --batch 64 --accumulate 4',
      ),
    )
    .action((path: string | undefined, flags: TrainFlags) =>
      flags.resume === undefined ? startNew(path, flags) : goOn(path, flags.resume, flags),
    );
}

async function startNew(path: string | undefined, flags: TrainFlags): Promise<void> {
  const prepared = await prepareTraining(path, flags);
  const folder = flags.run ?? nextRunFolder(prepared.program.name);
  const made = missingFolders(resolve(folder));
  let run: Run;
  try {
    const notes = allNotes(prepared);
    const config = configOf(prepared.program.name, resolve(folder), prepared.settings);
    run = createRun(folder, notes.length > 0 ? { ...config, notes } : config);
  } catch (error) {
    removeFolders(made);
    throw error;
  }
  const discard = () => {
    run.release();
    rmSync(run.paths.config, { force: true });
    removeFolders(made);
  };
  await trainInto(run, prepared, false, flags, discard);
}

async function goOn(path: string | undefined, folder: string, flags: TrainFlags): Promise<void> {
  const others = Object.keys(flags).filter((name) => !besideResume.has(name));
  if (path !== undefined || others.length > 0) {
    const what = path === undefined ? written(others[0]) : `the model ${path}`;
    throw usageError(
      `--resume goes on with the settings of the run, so ${what} cannot stand beside it`,
      'train',
      'only --device, --threads, --loop, --cache and --json can; for other settings start a new run, with --weights if need be',
    );
  }
  const run = openRun(folder, { lock: true });
  try {
    const settings = settingsOf(run.config, run.paths.folder);
    const done = completed(readRun(folder, true));
    if (done) {
      if (!existsSync(run.paths.model)) exportBest(await prepareResumed(settings, run.paths.folder, flags), run.paths);
      if (!existsSync(run.paths.report))
        await writeReportOf(run, flags.threads ?? settings.threads, (line) => process.stderr.write(`${line}\n`));
      const early = done.stoppedEarly ? `, ended by --patience ${settings.patience}` : '';
      process.stderr.write(`the run in ${folder} is complete: ${done.epochs} of ${settings.epochs} epochs${early}\n`);
      report(run, settings, done, flags);
      return;
    }
    if (settings.engine !== 'stock') throw cannotResume(`${folder}/last.safetensors`);
    const prepared = await prepareResumed(settings, run.paths.folder, flags);
    await trainInto(run, prepared, true, flags, () => {});
  } finally {
    run.release();
  }
}

/** Trains into a locked run folder and reports; `discard` takes back what was made where the training did not even begin. */
async function trainInto(run: Run, prepared: Prepared, resume: boolean, flags: TrainFlags, discard: () => void): Promise<void> {
  const display = createProgress(process.stderr);
  const stop = new AbortController();
  let begun = false;
  let exitCode = 0;
  const giveBack = onInterrupt(
    (code) => {
      exitCode = code;
      if (begun) {
        stop.abort();
        const { loop } = prepared.settings;
        display.print(`stopping after ${loop > 1 ? `these ${loop} steps` : 'this step'}; Ctrl-C again stops at once`);
        return;
      }
      display.end();
      discard();
      run.release();
      process.exit(exitCode);
    },
    () => run.release(),
  );
  try {
    introduce(prepared, run.paths, display, resume);
    const cache = flags.cache ?? null;
    const onBegin = () => {
      begun = true;
    };
    const result = await carryOut({ prepared, paths: run.paths, resume, cache, signal: stop.signal, display, onBegin });
    display.end();
    await writeReportOf(run, prepared.settings.threads, display.print);
    report(run, prepared.settings, result, flags);
    if (result.stopped) process.exitCode = exitCode;
  } catch (error) {
    display.end();
    if (!existsSync(run.paths.last)) discard();
    else if (isDdrcError(error) && error.code === 'LOSS_NOT_FINITE')
      await writeReportOf(run, prepared.settings.threads, display.print);
    throw error;
  } finally {
    giveBack();
    run.release();
  }
}

/** Writes report.html; where that fails, a note says so. */
async function writeReportOf({ paths }: Run, threads: number, say: (line: string) => void): Promise<void> {
  // The charts' library is loaded by those only who draw.
  const { writeReport } = await import('./report.ts');
  const problem = await writeReport(paths, threads);
  if (problem) say(`note    ${problem}`);
}

function introduce(prepared: Prepared, paths: RunPaths, display: ProgressDisplay, resume: boolean): void {
  const { program, source, settings, why } = prepared;
  const options = Object.entries(settings.options).map(([name, value]) => `${name}=${value}`);
  if (source.kind === 'drawn')
    display.print('no --data was given: training on cells that ddrc draws itself; they are drawn, not real');
  display.print(`${program.name}  ${options.join(' ')}`);
  display.print(`data    ${describeParts(source)}`);
  if (source.classes) display.print(`classes ${source.classes.join(', ')}`);
  for (const note of allNotes(prepared)) display.print(`note    ${note}`);
  const threads = `${settings.threads} ${settings.threads === 1 ? 'thread' : 'threads'}`;
  display.print(`device  ${settings.provider}${settings.provider === 'cpu' ? `, ${threads}` : ''} (${why})`);
  display.print(`run     ${shown(paths.folder)}${resume ? ', resumed' : ''}`);
}

/** What a user should know about the data and the settings, a sentence each. */
function allNotes({ source, settings }: Prepared): string[] {
  return [...source.notes, ...notesOf(settings)];
}

/** What a user should know about settings that go together badly, a sentence each. */
function notesOf({ patience, schedule, epochs }: TrainSettings): string[] {
  const { kind } = parseSchedule(schedule);
  if (patience === null || (kind !== 'one-cycle' && kind !== 'cosine')) return [];
  return [
    `The ${kind} schedule is laid out for all ${epochs} epochs; where --patience ends the training, the end of it is cut off.`,
  ];
}

/** What a run that has nothing left to do came to; null where it has. */
function completed({ paths, state, stoppedEarly, epochs, best, test }: RunRecord): TrainResult | null {
  if (state !== 'complete' || best === null || !existsSync(paths.last)) return null;
  // The checkpoint of the last epoch's end is written after its line of metrics. One that is damaged is found out when it is loaded.
  const progress = parseProgress(readSafetensors(paths.last).metadata.progress);
  if (progress?.epoch !== epochs.length + 1) return null;
  const { epoch: bestEpoch, val } = best;
  return { stopped: false, stoppedEarly, epochs: epochs.length, bestEpoch, bestLoss: val?.loss ?? null, test };
}

function report({ paths }: Run, settings: TrainSettings, result: TrainResult, { json }: TrainFlags): void {
  const folder = shown(paths.folder);
  const { stopped, stoppedEarly, epochs, bestEpoch, bestLoss, test } = result;
  const drawn = settings.data.path === null;
  if (json) {
    const kind = drawn ? 'drawn' : 'own';
    const figures = { run: folder, data: kind, stopped, stoppedEarly, epochs, bestEpoch, bestLoss, test };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    return;
  }
  if (stopped) {
    const next =
      settings.engine === 'stock'
        ? `go on with\n  npx ddrc train --resume ${shellWord(folder)}`
        : `what ONNX Runtime's training API began cannot be resumed; its weights are in\n  ${folder}/last.safetensors`;
    process.stdout.write(`stopped after ${epochs} of ${settings.epochs} epochs; ${next}\n`);
    return;
  }
  const lines: string[] = [];
  if (stoppedEarly) lines.push(earlyEnd(settings, epochs));
  const best =
    bestLoss === null
      ? `epoch ${bestEpoch}, the last`
      : `epoch ${bestEpoch}, the one with the lowest validation loss, ${bestLoss.toPrecision(3)}`;
  if (test) {
    const what = drawn ? 'held-out drawn cells (drawn by ddrc, not real)' : 'test examples';
    lines.push(`${grouped(test.images)} ${what}, weights of ${best}`);
    lines.push(test.confusion ? formatReport(test as Report) : `loss ${test.loss}`);
  } else lines.push(`trained ${epochs} epochs, no test data; weights of ${best}`);
  const { model, best: weights, last, metrics, predictions, config, report } = paths;
  const files = [model, weights, last, metrics, predictions, config, report].filter((file) => existsSync(file));
  lines.push('', `${folder}  ${files.map((file) => basename(file)).join(', ')}`);
  const next = nextSteps(paths.model, folder, settings);
  if (next.length > 0) lines.push('next', ...next.map((line) => `  ${line}`));
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** The commands that a run's model.onnx is made for. */
function nextSteps(model: string, folder: string, { classes }: TrainSettings): string[] {
  if (!existsSync(model)) return [];
  const { scores, preprocessing } = describeModel(readBytes(model), model);
  if (scores === null) return [];
  const data = classes === null ? 'FILE.safetensors' : 'FOLDER';
  const run = shellWord(folder);
  const measure = `npx ddrc eval ${run} --data ${data}`;
  if (preprocessing.length === 0) return [measure];
  const [{ size }] = preprocessing;
  const pageable = preprocessing.length === 1 && size[0] === 3 && size[1] === size[2];
  return [`npx ddrc predict ${run} IMAGE…`, measure, ...(pageable ? [`npx ddrc serve ${run}`] : [])];
}
