import { arch, availableParallelism, cpus, platform } from 'node:os';
import type { Interval } from '../../runtime/metrics/bootstrap.ts';
import type { CalibrationBin } from '../../runtime/metrics/calibration.ts';
import type { EpochLine } from '../../runtime/trainer.ts';
import { onnxruntimeVersion, packageVersion } from '../project.ts';
import { duration, grouped } from '../quantity.ts';
import { lineChart, type ReliabilityBin, reliabilityChart, type Series } from './charts.ts';
import { type Content, html } from './html.ts';
import { crowding, noteList, type Section, table, wide } from './page.ts';
import type { RunRecord, TestRecord } from './run-record.ts';
import { flatSettings, mixedAccuracy, readable, timings, trainingLoss } from './summary.ts';
import type { WrongImages } from './wrong-images.ts';

/** The most classes whose confusion matrix a page has room for. */
const widestConfusion = 50;

/** Loss, accuracy and learning rate by epoch. */
export function curves({ epochs, settings }: RunRecord): Section {
  if (epochs.length === 0) return { title: 'Training', content: html`<p>No epoch is finished yet.</p>` };
  const series = (name: string, of: (line: EpochLine) => number | undefined): Series => ({
    name,
    points: epochs.flatMap((line) => {
      const y = of(line);
      return y === undefined || y === null ? [] : [{ x: line.epoch, y }];
    }),
  });
  const chart = (title: string, lines: readonly Series[]) => {
    const there = lines.filter(({ points }) => points.length > 0);
    return there.length > 0 ? lineChart({ title, x: 'epoch', series: there }) : null;
  };
  const both = (train: (line: EpochLine) => number | undefined, val: (line: EpochLine) => number | undefined) => [
    series('training', train),
    series('validation', val),
  ];
  const digits = (value: number | null | undefined) => (typeof value === 'number' ? value.toPrecision(4) : '');
  const rows = epochs.map(({ epoch, train, val, learningRate, seconds }) => [
    String(epoch),
    ...[train.loss, train.accuracy, val?.loss, val?.accuracy, learningRate].map(digits),
    seconds.toFixed(1),
  ]);
  const head = ['epoch', 'training loss', 'accuracy', 'validation loss', 'accuracy', 'learning rate', 'seconds'];
  const mixed = settings.mix && epochs.some(({ train }) => train.accuracy !== undefined);
  const said = [trainingLoss(settings), mixed ? mixedAccuracy : null].filter((sentence) => sentence !== null);
  const content = html`${said.map((sentence) => html`<p>${sentence}.</p>`)}<div class="charts">${[
    chart(
      'Loss',
      both(
        (line) => line.train.loss,
        (line) => line.val?.loss,
      ),
    ),
    chart(
      'Accuracy',
      both(
        (line) => line.train.accuracy,
        (line) => line.val?.accuracy,
      ),
    ),
    chart('Learning rate', [series('learning rate', (line) => line.learningRate)]),
  ]}</div>
<details><summary>The same as numbers<span class="unprinted"> (closed, they are not printed)</span></summary>${table('Figures by epoch; the learning rate is that of the last step', head, rows)}</details>`;
  return { title: 'Training', content };
}

/** How the test came out as a whole, with intervals over groups where there are such; nothing for a model that does not classify. */
export function overallSection(test: TestRecord | null): readonly Section[] {
  if (typeof test?.accuracy !== 'number') return [];
  const { accuracy, macro, mcc, logLoss, intervals } = test;
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const three = (value: number) => value.toFixed(3);
  const row = (name: string, value: number | undefined, format: (value: number) => string, interval?: Interval) =>
    typeof value === 'number'
      ? [[name, format(value), ...(intervals ? [interval ? `${format(interval.low)} to ${format(interval.high)}` : ''] : [])]]
      : [];
  const rows = [
    ...row('accuracy', accuracy, percent, intervals?.accuracy),
    ...row('F1, macro mean', macro?.f1, three, intervals?.macroF1),
    ...row('MCC of all classes', mcc, three),
    ...row('log loss', logLoss, (value) => value.toPrecision(4)),
  ];
  const bounds = intervals ? [`${100 * intervals.level} % interval`] : [];
  const caption = intervals ? `Test; intervals by the bootstrap over ${grouped(intervals.groups)} groups` : 'Test';
  return [{ title: 'Overall', content: table(caption, ['measure', 'value', ...bounds], rows) }];
}

/** Measures of a class against the others, as a head of a table has them. */
const measureNames = {
  precision: 'precision',
  recall: 'recall',
  f1: 'F1',
  mcc: 'MCC',
  specificity: 'specificity',
  auc: 'AUC',
} as const;

/** Confusion matrix and measures by class; none where the run does not tell. */
export function classFigures(test: TestRecord | null): readonly Section[] {
  const { names, classes, confusion, macro } = test ?? {};
  if (!names || !classes || !confusion) return [];
  const measures = (Object.keys(measureNames) as (keyof typeof measureNames)[]).filter((key) =>
    names.some((name) => typeof classes[name][key] === 'number'),
  );
  const three = (value: number | null | undefined) => (typeof value === 'number' ? value.toFixed(3) : '');
  const rows = names.map((name) => [name, ...measures.map((key) => three(classes[name][key])), grouped(classes[name].support)]);
  rows.push(['macro mean', ...measures.map((key) => three(macro?.[key])), grouped(test!.images)]);
  return [
    { title: 'Confusion matrix', content: confusionTable(names, confusion) },
    {
      title: 'By class',
      content: table('Each class against the others', ['class', ...measures.map((key) => measureNames[key]), 'images'], rows),
    },
  ];
}

function confusionTable(names: readonly string[], confusion: readonly (readonly number[])[]): Content {
  if (names.length > widestConfusion)
    return html`<p>That of ${names.length} classes has no room here; it is in <code>metrics.jsonl</code>.</p>`;
  const rows = names.map((name, truth) => {
    const total = confusion[truth].reduce((a, b) => a + b, 0);
    const cells = confusion[truth].map((count, predicted) => {
      const share = total === 0 ? 0 : count / total;
      const kind = predicted === truth ? 'right' : 'other';
      return html`<td class="${kind}" style="--share:${share.toFixed(3)}">${grouped(count)}<small>${(100 * share).toFixed(1)} %</small></td>`;
    });
    return html`<tr><th scope="row">${name}</th>${cells}</tr>\n`;
  });
  const caption = html`Rows: the true class; columns: what was predicted<span>; percent of the row</span>`;
  const head = names.map((name) => html`<th scope="col">→ ${name}</th>`);
  return wide(
    'Confusion matrix',
    html`<table class="numbers confusion${crowding(names.length + 1)}"><caption>${caption}</caption><thead><tr><th scope="col">class</th>${head}</tr></thead><tbody>${rows}</tbody></table>`,
  );
}

/** Whether probabilities can be believed; nothing where the run does not tell. */
export function calibrationSection(test: TestRecord | null): readonly Section[] {
  const bins = test?.calibration?.bins.filter(isFilled) ?? [];
  if (bins.length === 0) return [];
  const { ece } = test!.calibration!;
  const rows = bins.map(({ count, confidence, accuracy }) => [confidence.toFixed(3), accuracy.toFixed(3), grouped(count)]);
  const error = html`<p>Expected calibration error ${ece.toFixed(4)}: how far the probability of the predicted class and the share of right predictions lie apart, on average.</p>`;
  const content = html`${error}<div class="charts">${reliabilityChart(bins)}${table('Bins of predictions', ['mean probability', 'right', 'images'], rows)}</div>`;
  return [{ title: 'Calibration', content }];
}

const isFilled = (bin: CalibrationBin): bin is CalibrationBin & ReliabilityBin => bin.count > 0;

/** The images that the model was surest of and wrong. */
export function wrongSection({ count, shown, notes }: WrongImages): Section {
  const figures = shown.map(({ path, label, predicted, probability, image, attention, nothingSpoke }) => {
    const says = nothingSpoke ? 'nothing in the feature map spoke' : 'bright is what spoke';
    const pictures = [
      image && html`<img src="${image}" alt="${label}: ${path}">`,
      attention && html`<img src="${attention}" alt="The same image; ${says} for ${predicted}">`,
    ];
    const sure = probability === null ? '' : ` (${probability.toFixed(3)})`;
    return html`<figure>${image ? html`<div class="pair">${pictures}</div>` : null}<figcaption><strong>${label}</strong>, taken for <strong>${predicted}</strong>${sure}<br><span class="quiet">${path.replace(/^(\.\.\/)+/, '')}</span>${nothingSpoke ? html`<br>Nothing in the feature map spoke for ${predicted}.` : null}</figcaption></figure>\n`;
  });
  const counted =
    count === null
      ? null
      : count === 0
        ? html`<p>Every test image was put into its class.</p>`
        : html`<p>${grouped(count)} test ${count === 1 ? 'image was' : 'images were'} put into a wrong class${count > shown.length ? `; these are the ${shown.length} that the model was surest of` : ''}.${shown.some(({ attention }) => attention) ? ' The second picture is Grad-CAM: what is bright in it spoke for the class that was predicted.' : ''}</p>`;
  return { title: 'Wrong images', content: html`${counted}${noteList(notes)}<div class="wrong">${figures}</div>` };
}

/** How long the training took. */
export function timingSection(run: RunRecord): Section {
  const { seconds, perEpoch, imagesPerSecond } = timings(run);
  if (perEpoch === null) return { title: 'Time', content: html`<p>No epoch is finished yet.</p>` };
  const { provider, threads } = run.settings;
  const rows = [
    ['all epochs', duration(1000 * seconds)],
    ['an epoch (median)', duration(1000 * perEpoch)],
    ['training examples a second', imagesPerSecond!.toFixed(1)],
    ['device', `${provider}${provider === 'cpu' ? `, ${threads} ${threads === 1 ? 'thread' : 'threads'}` : ''}`],
  ];
  return { title: 'Time', content: table('Epochs with their validation', ['what', 'value'], rows, 'texts') };
}

/** Everything that the training was asked for. */
export function configuration({ config }: RunRecord): Section {
  const rows = flatSettings(readable(config)).map(([name, value]) => [name, value]);
  return { title: 'Configuration', content: table('config.json', ['setting', 'value'], rows, 'texts') };
}

/** What wrote this page. */
export function environment(): Section {
  const rows = [
    ['ddrc', packageVersion],
    ['node', process.versions.node],
    ['onnxruntime-node', onnxruntimeVersion()],
    ['system', `${platform()} ${arch()}`],
    ['processor', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`],
    ['written', new Date().toISOString().slice(0, 16).replace('T', ' ')],
  ];
  return { title: 'Environment', content: table('What this page was written with', ['what', 'value'], rows, 'texts') };
}
