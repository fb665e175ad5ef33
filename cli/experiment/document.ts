/*
 * The results of an experiment as results.json, and as results.md beside what the paper prints.
 */
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { counted } from '../../diagnostics/counted.ts';
import { writeFileAtomic } from '../../runtime/files.ts';
import type { Interval } from '../../runtime/metrics/bootstrap.ts';
import { median, type OverRuns } from '../../runtime/metrics/runs.ts';
import { onnxruntimeVersion, packageVersion } from '../project.ts';
import { bytes, duration, grouped } from '../quantity.ts';
import { divisionNotes } from './divided-data.ts';
import { drawFigures } from './figures.ts';
import { table3, table4, table5, table6 } from './paper.ts';
import type { TimingProtocol, TrainingProtocol } from './protocol.ts';
import { collectResults, type SeedResult, type VariantResult } from './results.ts';
import { allDepartures, commandOf, type ExperimentSettings } from './settings.ts';
import { readTimings } from './timing.ts';

/**
 * Writes the results of what is done so far.
 * @param failures what trainings said that failed, by name
 * @returns the path of results.md
 */
export async function writeResults(
  folder: string,
  protocol: TrainingProtocol,
  settings: ExperimentSettings,
  failures: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<string> {
  const results = collectResults(folder, protocol, settings);
  const figures = await drawFigures(folder, results, signal);
  const notes = [...divisionNotes(folder, protocol, settings.seeds), ...notesOf(protocol, results)];
  const failed = [...failures].map(([name, text]) => `- ${name}: ${text.replaceAll('\n', ' ')}`);
  const parts = [
    ...introduction(settings),
    notes.length > 0 ? `**Of these data:**\n\n${notes.map((note) => `- ${note}`).join('\n')}` : '',
    protocol.test === 'none' ? validationTable(results) : testTable(results),
    ...paperTables(results),
    runTable(results),
    failed.length > 0 ? `## Trainings that failed\n\n${failed.join('\n')}` : '',
    figures.length > 0 ? '## Figures' : '',
    ...figures.map(({ title, file }) => `${title}\n\n![${title}](${file})`),
  ];
  return writeBoth(folder, { settings, environment, notes, results, failures: Object.fromEntries(failures) }, parts);
}

/** Writes the timings that are there. @returns the path of results.md */
export function writeTimingResults(folder: string, protocol: TimingProtocol, settings: ExperimentSettings): string {
  const timings = readTimings(folder);
  const rows = protocol.variants.flatMap(({ name }) => {
    const own = timings.filter(({ variant }) => variant === name);
    if (own.length === 0) return [];
    const imagesPerSecond = median(own.map((each) => each.train_img_s_median))!;
    return [{ variant: name, rounds: own.length, threads: own[0].threads, parameters: own[0].parameters, imagesPerSecond }];
  });
  const reference = rows.find(({ variant }) => variant === 'DDRNet') ?? rows[0];
  const { size, batch, rounds } = protocol.time;
  const lines = rows.map(({ variant, parameters, imagesPerSecond, ...row }) => [
    variant,
    parameters.toLocaleString('en-US'),
    imagesPerSecond.toFixed(2),
    (reference.imagesPerSecond / imagesPerSecond).toFixed(2),
    timeOfPaper(variant),
    `${row.rounds} of ${rounds}`,
  ]);
  const parts = [
    ...introduction(settings),
    `## Table 4: how much longer a training takes, ${batch} images of ${size} px a step, ${reference?.threads ?? '?'} threads`,
    markdown(['network', 'parameters', 'images a second', `time, ${reference?.variant ?? ''} = 1`, 'the paper', 'rounds'], lines),
  ];
  return writeBoth(folder, { settings, environment, timings: rows }, parts);
}

/** How much longer than DDRNet's the training of a network took in the paper; empty where it has none. */
function timeOfPaper(name: string): string {
  return Object.hasOwn(table4, name) ? (table4[name as keyof typeof table4].minutes / table4.DDRNet.minutes).toFixed(2) : '';
}

const environment = {
  ddrc: packageVersion,
  onnxruntime: onnxruntimeVersion(),
  node: process.versions.node,
  processor: cpus()[0]?.model ?? 'unknown',
  processors: cpus().length,
  memory: totalmem(),
};

function writeBoth(folder: string, value: unknown, parts: readonly string[]): string {
  const encoded = (text: string) => new TextEncoder().encode(text);
  writeFileAtomic(join(folder, 'results.json'), encoded(`${JSON.stringify(value, null, 2)}\n`));
  const file = join(folder, 'results.md');
  writeFileAtomic(file, encoded(`${parts.filter((part) => part !== '').join('\n\n')}\n`));
  return file;
}

/** What a reader should know of the trainings beside the division, a sentence each. */
function notesOf({ division }: TrainingProtocol, results: readonly VariantResult[]): string[] {
  const runs = results.flatMap((result) => result.runs);
  const ownVal = division.by === 'given' && !division.val && runs.some(({ val }) => val !== null);
  return [
    ...(ownVal
      ? ['The data have a part for validation: the weights of the epoch with the lowest validation loss were tested.']
      : []),
    ...runs.flatMap(({ name, test, unread }) =>
      test && unread > 0
        ? [`${name}: ${unread} of ${counted(test.images + unread, 'test image')} could not be read and were left out.`]
        : [],
    ),
  ];
}

function introduction(settings: ExperimentSettings): string[] {
  const { processor, processors, memory, node, onnxruntime, ddrc } = environment;
  const { protocol } = settings;
  const train = 'train' in protocol ? protocol.train : {};
  const flags = Object.entries(train).map(([flag, value]) => (value === true ? flag : `${flag} ${value}`));
  const mixed = train.mixup !== undefined || train.cutmix !== undefined;
  const departures = allDepartures(settings);
  return [
    `# ${protocol.title}`,
    `\`${commandOf(settings)}\`, ddrc ${ddrc}, ONNX Runtime ${onnxruntime}, Node ${node}, ${processor} (${processors} processors), ${bytes(memory)} of memory.`,
    `Source: ${protocol.source}.`,
    protocol.readings.map((text) => `- ${text}`).join('\n'),
    `**What leaks, by the protocol:** ${protocol.leaks}`,
    flags.length > 0 ? `Trained with: ${flags.join(', ')}.` : '',
    mixed ? 'Training accuracy is of mixed images, and so no measure of the networks.' : '',
    departures.length > 0 ? `**Departs from the protocol:** ${departures.join(', ')}.` : '',
  ];
}

function testTable(results: readonly VariantResult[]): string {
  const unrelated = results.some(({ seeds }) => seeds.some((seed) => seed.unrelated !== null));
  const head = [
    'network',
    'seeds',
    'accuracy %',
    'interval over originals %',
    'macro F1 %',
    'MCC',
    'AUC',
    'ECE',
    ...(unrelated ? ['accuracy without relatives %'] : []),
  ];
  const rows = results.map((result) => {
    const { variant, seeds } = result;
    const mean = (value: (seed: SeedResult) => number | null | undefined, digits: number) => {
      const known = seeds.map(value).filter((each) => typeof each === 'number');
      return known.length > 0 ? (known.reduce((a, b) => a + b) / known.length).toFixed(digits) : '';
    };
    return [
      variant.name,
      String(seeds.length),
      overSeeds(result.accuracy),
      intervalsOf(seeds.map((seed) => seed.intervals?.accuracy ?? null)),
      overSeeds(result.macroF1),
      mean((seed) => seed.report.mcc, 3),
      mean((seed) => seed.report.macro.auc, 4),
      mean((seed) => seed.report.calibration?.ece, 3),
      ...(unrelated ? [withoutRelatives(result)] : []),
    ];
  });
  return `## Results

Accuracy and F1: mean over seeds and, from two seeds on, its 95 % interval by Student's t, cut off at 0 and 100. The interval over originals is of single seeds, by resampling the groups of related images: it
says how much the figure hangs on which cells happen to be in the test.

${markdown(head, rows)}`;
}

/** `83.98 (70.02 to 97.94), 2,259 images`; the images that are left are of each seed, where they differ. */
function withoutRelatives({ unrelated, seeds }: VariantResult): string {
  const left = [...new Set(seeds.map(({ report, unrelated: own }) => own?.images ?? report.images))];
  const images = left.length === 1 ? counted(left[0], 'image') : `${left.map(grouped).join(', ')} images`;
  return unrelated ? `${overSeeds(unrelated)}, ${images}` : `no image is left`;
}

function validationTable(results: readonly VariantResult[]): string {
  const rows = results.map((result) => [
    result.variant.name,
    String(result.runs.length),
    overSeeds(result.valAccuracy),
    overSeeds(result.trainAccuracy),
    result.runs.map(({ val }) => val?.loss.toFixed(3) ?? '').join(', '),
  ]);
  return `## Results\n\n${markdown(['network', 'runs', 'validation accuracy %', 'training accuracy %', 'validation loss of each'], rows)}`;
}

function runTable(results: readonly VariantResult[]): string {
  const rows = results.flatMap(({ runs }) =>
    runs.map(({ name, epochs, secondsPerEpoch, trainAccuracy, val, test }) => [
      name,
      String(epochs),
      secondsPerEpoch === null ? '' : duration(1000 * secondsPerEpoch),
      percent(trainAccuracy),
      percent(val?.accuracy ?? null),
      percent(test?.accuracy ?? null),
      test ? grouped(test.images) : '',
    ]),
  );
  if (rows.length === 0) return 'No training is done yet.';
  return `## Trainings\n\n${markdown(['run', 'epochs', 'time of one', 'training accuracy %', 'validation accuracy %', 'test accuracy %', 'test images'], rows)}`;
}

/** The paper's Tables 3 to 6 beside ours, as far as these results have to do with them. */
function paperTables(results: readonly VariantResult[]): string[] {
  const ddrnet = results.find(({ variant, seeds }) => variant.name === 'DDRNet' && seeds.length > 0);
  const names = results.map(({ variant }) => variant.name);
  return [
    ...(ddrnet ? [classTable(ddrnet), confusionTable(ddrnet)] : []),
    ...(names.includes('DDRNet') && names.some((name) => name.startsWith('ResNet')) ? [timeTable(results)] : []),
    ...(names.includes('+ DRDB + GLFEB') ? [ablationTable(results)] : []),
  ];
}

function classTable({ seeds }: VariantResult): string {
  const { names } = seeds[0].report;
  const measures = ['mcc', 'recall', 'precision', 'f1'] as const;
  const rows = names.map((name) => {
    const paper = Object.hasOwn(table3, name) ? table3[name as keyof typeof table3] : null;
    const mean = (measure: (typeof measures)[number]) =>
      (seeds.reduce((sum, { report }) => sum + report.classes[name][measure], 0) / seeds.length).toFixed(3);
    return [name, ...measures.flatMap((measure) => [mean(measure), paper ? paper[measure].toFixed(2) : ''])];
  });
  const head = ['class', ...measures.flatMap((measure) => [measure, 'the paper'])];
  return `## Table 3: by class\n\nMean over ${seeds.length === 1 ? 'one seed' : `${seeds.length} seeds`}.\n\n${markdown(head, rows)}`;
}

function confusionTable({ seeds }: VariantResult): string {
  const { names, confusion, images } = seeds[0].report;
  const rows = names.map((name, truth) => [name, ...confusion[truth].map(String)]);
  const head = ['truth \\ predicted', ...names];
  return `## Table 5: confusion matrix\n\nSeed ${seeds[0].seed}, ${images} images; the paper's has ${table5.images} (${table5.classes.join(', ')} of the classes).\n\n${markdown(head, rows)}`;
}

function timeTable(results: readonly VariantResult[]): string {
  const own = results.find(({ variant }) => variant.name === 'DDRNet')?.secondsPerEpoch ?? null;
  const rows = results.map(({ variant, secondsPerEpoch, accuracy }) => {
    const paper = Object.hasOwn(table4, variant.name) ? table4[variant.name as keyof typeof table4] : null;
    return [
      variant.name,
      secondsPerEpoch === null ? '' : duration(1000 * secondsPerEpoch),
      own !== null && secondsPerEpoch !== null ? (secondsPerEpoch / own).toFixed(2) : '',
      timeOfPaper(variant.name),
      overSeeds(accuracy),
      paper ? paper.accuracy.toFixed(2) : '',
    ];
  });
  const head = ['network', 'time of an epoch', 'DDRNet = 1', 'the paper', 'accuracy %', 'the paper %'];
  return `## Table 4: time and accuracy\n\n${markdown(head, rows)}`;
}

function ablationTable(results: readonly VariantResult[]): string {
  const paperOf = (name: string) => (Object.hasOwn(table6, name) ? table6[name as keyof typeof table6] : null);
  const places = placesOf(results.map(({ accuracy }) => accuracy?.mean ?? null));
  const placesInPaper = placesOf(results.map(({ variant }) => paperOf(variant.name)?.test ?? null));
  const rows = results.map(({ variant, trainAccuracy, accuracy, seeds }, i) => {
    const paper = paperOf(variant.name);
    return [
      variant.name,
      overSeeds(trainAccuracy),
      paper ? paper.train.toFixed(2) : '',
      overSeeds(accuracy),
      intervalsOf(seeds.map((seed) => seed.intervals?.accuracy ?? null)),
      paper ? paper.test.toFixed(2) : '',
      places[i],
      placesInPaper[i],
    ];
  });
  const head = ['modules', 'training %', 'the paper', 'test %', 'over originals %', 'the paper', 'place', 'place in the paper'];
  return `## Table 6: ablation\n\n${markdown(head, rows)}`;
}

/** The place of each value, the largest first; empty for none. */
function placesOf(values: readonly (number | null)[]): string[] {
  const known = values.filter((value) => value !== null).sort((a, b) => b - a);
  return values.map((value) => (value === null ? '' : String(known.indexOf(value) + 1)));
}

/** `87.21 (85.10 to 89.32)`, in %. */
function overSeeds(value: OverRuns | null): string {
  if (!value) return '';
  const { mean, low, high } = value;
  return low === null ? percent(mean) : `${percent(mean)} (${percent(Math.max(0, low))} to ${percent(Math.min(1, high!))})`;
}

function intervalsOf(intervals: readonly (Interval | null)[]): string {
  return intervals.flatMap((each) => (each ? [`${percent(each.low)} to ${percent(each.high)}`] : [])).join('; ');
}

function percent(share: number | null): string {
  return share === null ? '' : (100 * share).toFixed(2);
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
