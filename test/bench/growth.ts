/* How time and memory of a DDRNet training step grow over batch and image size, as tables and plots. */
import { type Figures, networks, ours, theirs } from './figures.ts';

interface Point {
  /** Batch, or pixels a side. */
  readonly x: number;
  readonly batch: number;
  readonly mine: Figures;
  readonly peer: Figures | null;
}

export interface Growth {
  readonly byBatch: readonly Point[];
  readonly bySize: readonly Point[];
  /** SVG by file name. */
  readonly plots: ReadonlyMap<string, string>;
}

const batches = [1, 4, 16, 64];
const sizes = [96, 224, 448];

export function measureGrowth(threads: number, withPeer: boolean): Growth {
  const point = (x: number, batch: number, size: number): Point => {
    const work = { network: networks.ddrnet, batch, size, threads, steps: 3 };
    const mine = ours(work);
    const peer = withPeer ? theirs(work) : null;
    console.log(`ddrnet, batch ${batch}, ${size} px: ${mine.train_img_s_median} ${peer?.train_img_s_median ?? ''}`);
    return { x, batch, mine, peer };
  };
  const byBatch = batches.map((batch) => point(batch, batch, 224));
  const bySize = sizes.map((size) => point(size, 16, size));
  const plots = new Map<string, string>();
  for (const [name, points, label] of [
    ['batch', byBatch, 'batch size (224 px)'],
    ['size', bySize, 'pixels a side (batch 16)'],
  ] as const) {
    plots.set(
      `growth-${name}-time.svg`,
      plot(points, label, 'ms a step', (figures, { batch }) => (batch * 1000) / figures.train_img_s_median),
    );
    plots.set(
      `growth-${name}-memory.svg`,
      plot(points, label, 'peak memory, MB', (figures) => figures.peak_rss_mb),
    );
  }
  return { byBatch, bySize, plots };
}

export function growthSection({ byBatch, bySize }: Growth): string {
  const table = (points: readonly Point[], head: string) =>
    [
      `| ${head} | ddrc ms a step | PyTorch | ddrc MB | PyTorch |`,
      '| --- | --- | --- | --- | --- |',
      ...points.map(({ x, batch, mine, peer }) => {
        const time = (figures: Figures | null) => (figures ? ((batch * 1000) / figures.train_img_s_median).toFixed(0) : '–');
        const memory = (figures: Figures | null) => (figures ? figures.peak_rss_mb.toFixed(0) : '–');
        return `| ${x} | ${time(mine)} | ${time(peer)} | ${memory(mine)} | ${memory(peer)} |`;
      }),
    ].join('\n');
  return `## How it grows

A training step of DDRNet, one process each; both axes of the plots are logarithmic.

${table(byBatch, 'batch, 224 px')}

![ms a step over the batch](growth-batch-time.svg) ![memory over the batch](growth-batch-memory.svg)

${table(bySize, 'px, batch 16')}

![ms a step over the size](growth-size-time.svg) ![memory over the size](growth-size-memory.svg)`;
}

const width = 420;
const height = 300;
const margin = { left: 60, right: 80, top: 16, bottom: 44 };

/** Two lines on logarithmic axes. */
function plot(
  points: readonly Point[],
  xLabel: string,
  yLabel: string,
  value: (figures: Figures, point: Point) => number,
): string {
  const lines = [
    { name: 'ddrc', colour: '#1f6feb', at: points.map((point) => [point.x, value(point.mine, point)] as const) },
    {
      name: 'PyTorch',
      colour: '#d1651f',
      at: points.flatMap((point) => (point.peer ? [[point.x, value(point.peer, point)] as const] : [])),
    },
  ].filter(({ at }) => at.length > 0);
  const all = lines.flatMap(({ at }) => at);
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const scale = (list: readonly number[], from: number, to: number) => {
    const [low, high] = [Math.log(Math.min(...list)), Math.log(Math.max(...list))];
    return (v: number) => from + ((Math.log(v) - low) / (high - low || 1)) * (to - from);
  };
  const px = scale(xs, margin.left, width - margin.right);
  const py = scale(ys, height - margin.bottom, margin.top + 10);
  const text = (x: number, y: number, content: string, more = '') =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${content}</text>`;
  const ticksX = points.map(({ x }) => `${text(px(x), height - margin.bottom + 16, String(x), 'text-anchor="middle"')}`);
  const ticksY = [...new Set([Math.min(...ys), ...lines.map(({ at }) => at[Math.floor(at.length / 2)][1]), Math.max(...ys)])].map(
    (y) =>
      `<line x1="${margin.left}" x2="${width - margin.right}" y1="${py(y).toFixed(1)}" y2="${py(y).toFixed(1)}" stroke="#ddd"/>${text(margin.left - 6, py(y) + 4, y.toFixed(0), 'text-anchor="end"')}`,
  );
  const drawn = lines.map(({ name, colour, at }) => {
    const [lastX, lastY] = at.at(-1)!;
    const path = at.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(' ');
    const dots = at
      .map(([x, y]) => `<circle cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" r="3" fill="${colour}"/>`)
      .join('');
    const offset = name === 'ddrc' ? 12 : -2;
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>${dots}${text(px(lastX) + 8, py(lastY) + offset, name, `fill="${colour}"`)}`;
  });
  const middle = (margin.left + width - margin.right) / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">
<title>${yLabel}, over ${xLabel}</title>
<rect width="${width}" height="${height}" fill="white"/>
${ticksY.join('\n')}
${drawn.join('\n')}
${ticksX.join('\n')}
${text(middle, height - 10, xLabel, 'text-anchor="middle"')}
${text(14, height / 2, yLabel, `text-anchor="middle" transform="rotate(-90 14 ${height / 2})"`)}
</svg>
`;
}
