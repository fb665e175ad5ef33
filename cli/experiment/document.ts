/*
 * The results of an experiment as results.json, and as results.md beside what the paper prints.
 */
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/files.ts';
import type { Interval } from '../../runtime/metrics/bootstrap.ts';
import type { OverRuns } from '../../runtime/metrics/runs.ts';
import { onnxruntimeVersion, packageVersion } from '../project.ts';
import { bytes, duration } from '../quantity.ts';
import { drawFigures } from './figures.ts';
import { table3, table4, table5, table6 } from './paper.ts';
import { departures, type ExperimentSettings } from './plan.ts';
import type { Protocol, TimingProtocol, TrainingProtocol } from './protocol.ts';
import { collectResults, type SeedResult, type VariantResult } from './results.ts';
import { readTimings } from './timing.ts';

/** Writes the results of what is done so far. @returns the path of results.md */
export async function writeResults(
  folder: string,
  protocol: TrainingProtocol,
  settings: ExperimentSettings,
  signal: AbortSignal,
): Promise<string> {
  const results = collectResults(folder, protocol, settings);
  const figures = await drawFigures(folder, results, signal);
  const parts = [
    ...introduction(protocol, settings, departures(protocol, settings)),
    protocol.test === 'none' ? validationTable(results) : testTable(results),
    ...paperTables(results),
    runTable(results),
    figures.length > 0 ? '## Figures' : '',
    ...figures.map(({ title, file }) => `${title}\n\n![${title}](${file})`),
  ];
  return writeBoth(folder, { protocol, settings, environment, results }, parts);
}

/** Writes the timings that are there. @returns the path of results.md */
export function writeTimingResults(folder: string, protocol: TimingProtocol, settings: ExperimentSettings): string {
  const timings = readTimings(folder);
  const rows = settings.variants.flatMap(({ name }) => {
    const own = timings.filter(({ variant }) => variant === name);
    return own.length === 0
      ? []
      : [
          {
            variant: name,
            rounds: own.length,
            parameters: own[0].parameters,
            imagesPerSecond: median(own.map((each) => each.train_img_s_median)),
          },
        ];
  });
  const [first] = rows;
  const paper = (name: string) => (Object.hasOwn(table4, name) ? table4[name as keyof typeof table4] : null);
  const { size, batch, rounds } = protocol.time;
  const lines = rows.map(({ variant, parameters, imagesPerSecond, ...row }) => [
    variant,
    parameters.toLocaleString('en-US'),
    imagesPerSecond.toFixed(2),
    (first.imagesPerSecond / imagesPerSecond).toFixed(2),
    paper(variant) ? (paper(variant)!.minutes / table4.DDRNet.minutes).toFixed(2) : '',
    `${row.rounds} of ${rounds}`,
  ]);
  const parts = [
    ...introduction(protocol, settings, []),
    `## Table 4: how much longer a training takes, ${batch} images of ${size} px a step`,
    markdown(['network', 'parameters', 'images a second', `time, ${first?.variant ?? ''} = 1`, 'the paper', 'rounds'], lines),
  ];
  return writeBoth(folder, { protocol, settings, environment, timings: rows }, parts);
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

function introduction(protocol: Protocol, { protocol: name, train }: ExperimentSettings, changed: readonly string[]): string[] {
  const { processor, processors, memory, node, onnxruntime, ddrc } = environment;
  const settings = Object.entries(train).map(([flag, value]) => `${flag} ${value}`);
  return [
    `# ${protocol.title}`,
    `\`ddrc experiment ${name}\`, ddrc ${ddrc}, ONNX Runtime ${onnxruntime}, Node ${node}, ${processor} (${processors} processors), ${bytes(memory)} of memory.`,
    `Source: ${protocol.source}.`,
    protocol.readings.map((text) => `- ${text}`).join('\n'),
    `**What leaks:** ${protocol.leaks}`,
    settings.length > 0 ? `Trained with: ${settings.join(', ')}.` : '',
    changed.length > 0 ? `**Departs from the protocol:** ${changed.join(', ')}.` : '',
  ];
}

function testTable(results: readonly VariantResult[]): string {
  const unrelated = results.some((result) => result.unrelated !== null);
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
      ...(unrelated ? [overSeeds(result.unrelated)] : []),
    ];
  });
  return `## Results

Accuracy and F1: mean over seeds and, from two seeds on, its 95 % interval by Student's t. The interval over originals is of single seeds, by resampling the groups of related images: it
says how much the figure hangs on which cells happen to be in the test.

${markdown(head, rows)}`;
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
    runs.map(({ name, epochs, seconds, trainAccuracy, val, test }) => [
      name,
      String(epochs),
      duration(1000 * seconds),
      percent(trainAccuracy),
      percent(val?.accuracy ?? null),
      percent(test?.accuracy ?? null),
    ]),
  );
  if (rows.length === 0) return 'No training is done yet.';
  return `## Trainings\n\n${markdown(['run', 'epochs', 'time', 'training accuracy %', 'validation accuracy %', 'test accuracy %'], rows)}`;
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
      paper ? (paper.minutes / table4.DDRNet.minutes).toFixed(2) : '',
      overSeeds(accuracy),
      paper ? paper.accuracy.toFixed(2) : '',
    ];
  });
  const head = ['network', 'time of an epoch', 'DDRNet = 1', 'the paper', 'accuracy %', 'the paper %'];
  return `## Table 4: time and accuracy\n\n${markdown(head, rows)}`;
}

function ablationTable(results: readonly VariantResult[]): string {
  const order = (values: readonly (number | null)[]) => {
    const known = values.filter((value) => value !== null).sort((a, b) => b - a);
    return values.map((value) => (value === null ? '' : String(known.indexOf(value) + 1)));
  };
  const ranks = order(results.map(({ accuracy }) => accuracy?.mean ?? null));
  const rows = results.map(({ variant, trainAccuracy, accuracy, seeds }, i) => {
    const paper = Object.hasOwn(table6, variant.name) ? table6[variant.name as keyof typeof table6] : null;
    return [
      variant.name,
      overSeeds(trainAccuracy),
      paper ? paper.train.toFixed(2) : '',
      overSeeds(accuracy),
      intervalsOf(seeds.map((seed) => seed.intervals?.accuracy ?? null)),
      paper ? paper.test.toFixed(2) : '',
      ranks[i],
      String(results.length - i),
    ];
  });
  const head = ['modules', 'training %', 'the paper', 'test %', 'over originals %', 'the paper', 'place', 'place in the paper'];
  return `## Table 6: ablation\n\n${markdown(head, rows)}`;
}

/** `87.21 (85.10 to 89.32)`, in %. */
function overSeeds(value: OverRuns | null): string {
  if (!value) return '';
  const { mean, low, high } = value;
  return low === null ? percent(mean) : `${percent(mean)} (${percent(low)} to ${percent(high)})`;
}

function intervalsOf(intervals: readonly (Interval | null)[]): string {
  return intervals.flatMap((each) => (each ? [`${percent(each.low)} to ${percent(each.high)}`] : [])).join('; ');
}

function percent(share: number | null): string {
  return share === null ? '' : (100 * share).toFixed(2);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
