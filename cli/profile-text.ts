import type { KernelTimes, Share } from './kernel-times.ts';
import { grouped } from './quantity.ts';
import { textTable } from './text-table.ts';

/** What was run. */
export interface ProfiledRun {
  readonly model: string;
  readonly graph: 'step' | 'model';
  readonly batch: number;
  /** Side of the images in px, where there are images. */
  readonly size?: number;
  readonly threads: number;
}

/** Rows of a table of the heaviest; all are in the JSON. */
const rows = 12;
const scopeRows = 24;
const widestName = 36;

/** The tables of `ddrc profile`, at most 100 columns wide. */
export function profileText(run: ProfiledRun, times: KernelTimes): string {
  const { total, run_ms, runs } = times;
  const what = run.graph === 'step' ? 'training step' : 'inference';
  const size = run.size === undefined ? [] : [`${run.size} px`];
  const setting = [`batch ${run.batch}`, ...size, `${run.threads} thread${run.threads === 1 ? '' : 's'}`].join(', ');
  const heaviest = new Set([...times.scopes].sort((a, b) => b.ms - a.ms).slice(0, scopeRows));
  return `${[
    `${run.model}, ${what}, ${setting}; means of ${runs} run${runs === 1 ? '' : 's'} after one to warm up`,
    `${milliseconds(run_ms)} ms a run: ${milliseconds(total.ms)} in ${grouped(total.kernels)} kernels, ${milliseconds(run_ms - total.ms)} between them and in recording`,
    'GFLOP/s: convolutions and matrix products, with the time of all that their lowering needs',
    '',
    table(
      ['phase'],
      [...times.phases, { ...total, phase: 'all kernels' }].map((row) => [[row.phase], row]),
    ),
    '',
    table(
      ['operator'],
      top(times.operators).map((row) => [[row.operator], row]),
    ),
    '',
    table(
      ['kernels by ONNX operator'],
      top(times.kinds).map((row) => [[row.kind], row]),
    ),
    '',
    table(
      ['scope, with those in it', 'forward ms', 'backward ms'],
      times.scopes
        .filter((row) => heaviest.has(row))
        .map((row) => [[indented(row.scope), milliseconds(row.forward_ms), milliseconds(row.backward_ms)], row]),
      ['left', 'right', 'right'],
    ),
    '',
    table(
      ['product', 'phase', 'operator', 'lowering'],
      top(times.products).map((row) => [[row.scope, row.phase, row.operator, row.lowering], row]),
    ),
    '',
    table(
      ['kernel', 'phase', 'of operator'],
      top(times.kernels).map((row) => [[row.node, row.phase, row.operator ?? ''], row]),
    ),
  ].join('\n')}\n`;
}

type Row = readonly [labels: readonly string[], share: Share];

/** A table with these columns of text (or of numbers, where `align` says so) before the columns of times. */
function table(
  head: readonly string[],
  body: readonly Row[],
  align: readonly ('left' | 'right')[] = head.map(() => 'left'),
): string {
  const counts = body.some(([, { kernels }]) => kernels !== 1);
  const speeds = body.some(([, { gflop_s }]) => gflop_s !== null);
  const numbers = ['ms', 'share', ...(counts ? ['kernels'] : []), ...(speeds ? ['GFLOP/s'] : [])];
  const cells = body.map(([labels, { ms, share, kernels, gflop_s }]) => [
    ...labels.map(shortened),
    milliseconds(ms),
    `${(100 * share).toFixed(1)} %`,
    ...(counts ? [grouped(kernels)] : []),
    ...(speeds ? [gflop_s === null ? '' : gflop_s.toFixed(1)] : []),
  ]);
  return textTable([[...head, ...numbers], ...cells], [...align, ...numbers.map(() => 'right' as const)]);
}

function top<S>(list: readonly S[]): readonly S[] {
  return list.slice(0, rows);
}

/** The last part of a scope path, indented by its depth. */
function indented(scope: string): string {
  const parts = scope.split('.');
  return `${'  '.repeat(parts.length - 1)}${parts.at(-1)}`;
}

/** The end of a long name, which says more than its beginning. */
function shortened(name: string): string {
  return name.length <= widestName ? name : `…${name.slice(1 - widestName)}`;
}

function milliseconds(ms: number): string {
  return ms.toFixed(ms < 9.995 ? 2 : 1);
}
