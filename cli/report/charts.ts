/*
 * All charts, drawn as SVG by Observable Plot: the only file that knows that library and the document that it draws into.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom/worker';
import { printable } from '../../diagnostics/printable.ts';
import { Html, html } from './html.ts';

/** A line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart {
  /** What the vertical axis has. */
  readonly title: string;
  /** What the horizontal axis counts, in whole numbers. */
  readonly x: string;
  readonly series: readonly Series[];
}

/** One of the bins of a reliability curve: how many predictions it has, their mean probability, and how many of them are right. */
export interface ReliabilityBin {
  readonly count: number;
  readonly confidence: number;
  readonly accuracy: number;
}

/** Colours are the page's, so that they are others in the dark; dashes tell lines apart where there are none. */
const strokes = ['none', '6 3', '2 3', '10 3 2 3', '12 4', '4 2'];
const colours = 6;
const size = { width: 420, height: 260, marginTop: 12, marginLeft: 60, marginBottom: 38, style: { fontSize: '12px' } } as const;

const colourOf = (index: number) => `var(--line-${(index % colours) + 1})`;
/** Moves on by one where the colours begin again, so that lines of one colour have different dashes. */
const dashOf = (index: number) => strokes[(Math.floor(index / colours) + index) % strokes.length];

/** Lines over a count, with a legend where there are several. */
export function lineChart({ title, x, series }: LineChart): Html {
  const all = series.flatMap(({ points }) => points.map((point) => point.x));
  const svg = draw(title, {
    ...size,
    x: { label: x, ticks: wholeTicks(Math.min(...all), Math.max(...all)), tickFormat: 'd' },
    y: { label: null, grid: true, ticks: 5, nice: true, tickFormat: tickText },
    marks: series.flatMap(({ points }, i) => [
      Plot.lineY([...points], { x: 'x', y: 'y', stroke: colourOf(i), strokeWidth: 2, strokeDasharray: dashOf(i) }),
      Plot.dot(points.length <= 40 ? [...points] : [], { x: 'x', y: 'y', fill: colourOf(i), r: 2.5 }),
    ]),
  });
  return figure(title, svg, series.length > 1 ? series.map(({ name }) => name) : []);
}

/** Lines over a count as an SVG file of its own, black on white, each with its name at its end. */
export function lineChartFile({ title, x, series }: LineChart): string {
  const all = series.flatMap(({ points }) => points.map((point) => point.x));
  const longest = Math.max(...series.map(({ name }) => name.length));
  const svg = draw(title, {
    ...size,
    marginRight: 16 + 7 * longest,
    x: { label: x, ticks: wholeTicks(Math.min(...all), Math.max(...all)), tickFormat: 'd' },
    y: { label: title, grid: true, ticks: 5, nice: true, tickFormat: tickText },
    marginTop: 32,
    marks: series.flatMap(({ name, points }, i) => [
      Plot.lineY([...points], { x: 'x', y: 'y', stroke: fixedColours[i % colours], strokeWidth: 2, strokeDasharray: dashOf(i) }),
      Plot.text(points.slice(-1), {
        x: 'x',
        y: 'y',
        text: () => printable(name),
        textAnchor: 'start',
        dx: 6,
        fill: fixedColours[i % colours],
      }),
    ]),
  });
  return asFile(svg);
}

/** A bar of {@link barChartFile}: a value with its interval, if there is one, and what somebody else found. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly other: number | null;
}

/** A bar for each name as an SVG file of its own, with intervals as lines and what somebody else found as a tick. */
export function barChartFile(title: string, bars: readonly Bar[], other: string): string {
  const known = bars.filter(({ low, high }) => low !== null && high !== null);
  const others = bars.filter((bar) => bar.other !== null);
  const longest = Math.max(...bars.map(({ name }) => name.length));
  const svg = draw(title, {
    width: 640,
    height: 34 * bars.length + 60,
    marginLeft: 20 + 7 * longest,
    marginTop: 16,
    marginRight: 24,
    style: { fontSize: '12px' },
    x: { label: `${title}; ticks: ${other}`, grid: true, domain: [0, 100] },
    y: { domain: bars.map(({ name }) => name), tickFormat: printable, label: null, padding: 0.3 },
    marks: [
      Plot.barX([...bars], { x: 'value', y: 'name', fill: fixedColours[0] }),
      Plot.ruleY([...known], { x1: 'low', x2: 'high', y: 'name', stroke: 'black', strokeWidth: 1.5 }),
      Plot.tickX([...others], { x: 'other', y: 'name', stroke: fixedColours[1], strokeWidth: 3 }),
    ],
  });
  return asFile(svg);
}

/** The colours of files, which no page gives theirs. */
const fixedColours = ['#1d4ed8', '#c2410c', '#15803d', '#7e22ce', '#a16207', '#0e7490'];

function asFile(svg: string): string {
  const own = svg.replace('<svg', '<svg xmlns="http://www.w3.org/2000/svg"');
  return own.replace('>', ' color="black"><rect width="100%" height="100%" fill="white"/>');
}

/** Accuracy over mean probability by bin: on the diagonal, probabilities can be believed. Dots grow with the number of predictions. */
export function reliabilityChart(bins: readonly ReliabilityBin[]): Html {
  const title = 'Reliability';
  const svg = draw(title, {
    ...size,
    marginTop: 32,
    x: { label: 'probability', domain: [0, 1], ticks: 5 },
    y: { label: 'right', domain: [0, 1], ticks: 5, grid: true },
    r: { range: [2, 9] },
    marks: [
      Plot.line(
        [
          [0, 0],
          [1, 1],
        ],
        { stroke: 'currentColor', strokeOpacity: 0.6, strokeDasharray: '4 4' },
      ),
      Plot.line([...bins], { x: 'confidence', y: 'accuracy', stroke: colourOf(0), strokeWidth: 2 }),
      Plot.dot([...bins], { x: 'confidence', y: 'accuracy', r: 'count', fill: colourOf(0) }),
    ],
  });
  return figure(title, svg, []);
}

/** The most letters of a class that a bar's label has room for. */
const longestName = 16;

/** A bar for each class as SVG text of its own, for pictures: black on white. `marked` is drawn in another colour. */
export function scoreBars(scores: readonly { readonly name: string; readonly probability: number }[], marked: string): string {
  const shorter = (name: string) => (name.length > longestName ? `${name.slice(0, longestName - 1)}…` : name);
  const longest = Math.max(...scores.map(({ name }) => shorter(name).length));
  return draw('probabilities', {
    width: 320,
    height: 28 * scores.length + 36,
    marginLeft: 16 + 9 * longest,
    marginRight: 48,
    marginBottom: 30,
    style: { fontSize: '13px', fontFamily: 'sans-serif', color: 'black' },
    x: { domain: [0, 1], ticks: 3, label: null },
    y: {
      domain: scores.map(({ name }) => name),
      tickFormat: (name: string) => printable(shorter(name)),
      label: null,
      padding: 0.3,
    },
    marks: [
      Plot.barX([...scores], { x: 'probability', y: 'name', fill: (score) => (score.name === marked ? '#c2410c' : '#64748b') }),
      Plot.text([...scores], {
        x: 'probability',
        y: 'name',
        text: (score) => score.probability.toFixed(3),
        textAnchor: 'start',
        dx: 4,
        fill: 'black',
      }),
    ],
  }).replace('<svg', '<svg xmlns="http://www.w3.org/2000/svg"');
}

/** 256 colours, red, green and blue, from the least to the most: they also read in grey, and for the colour-blind. */
export function palette(scheme: 'inferno' | 'viridis'): Uint8Array {
  const { apply } = Plot.scale({ color: { type: 'linear', scheme, domain: [0, 255] } })!;
  return Uint8Array.from(Array.from({ length: 256 }, (_, i) => [...Buffer.from(String(apply(i)).slice(1), 'hex')]).flat());
}

function draw(label: string, options: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const svg = Plot.plot({ ...options, document, ariaLabel: label });
  svg.setAttribute('role', 'img');
  // A picture as a whole has a name; names within it are nothing that ARIA allows.
  for (const part of svg.querySelectorAll('g')) part.removeAttribute('aria-label');
  return svg.outerHTML;
}

function figure(title: string, svg: string, names: readonly string[]): Html {
  const keys = names.map(
    (name, i) =>
      html`<li><svg width="28" height="8" aria-hidden="true"><line x1="0" x2="28" y1="4" y2="4" stroke="${colourOf(i)}" stroke-width="2" stroke-dasharray="${dashOf(i)}" /></svg> ${name}</li>`,
  );
  const legend = keys.length > 0 ? html`<ul class="legend">${keys}</ul>` : null;
  return html`<figure class="chart"><figcaption>${title}</figcaption>${new Html(svg)}${legend}</figure>`;
}

/** A number beside an axis, short enough for its margin: `0.25`, `1500`, `2e11`, `5e-4`. */
function tickText(value: number): string {
  const rounded = Number(value.toPrecision(5));
  const size = Math.abs(rounded);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? rounded.toExponential().replace('e+', 'e') : String(rounded);
}

/** At most nine whole numbers from `from` to `to`, evenly. */
function wholeTicks(from: number, to: number): number[] {
  const step = Math.max(1, Math.ceil((to - from) / 8));
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
}
