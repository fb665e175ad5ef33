/*
 * `npm run bench`: ddrc against PyTorch on the same work, alternating, a process each, and a table of medians.
 *
 *   npm run bench -- [--rounds 5] [--steps 5] [--threads 2] [--cases ddrnet,resnet18,resnet50,resnet101] [--growth] [--write]
 *
 * The peer is the oracle's `bench` beside the checkout; where it or PyTorch is absent, ddrc's figures stand alone and the table says so. `--growth` also
 * measures DDRNet over batch and image size, one round each. `--write` puts all that was measured into docs/performance.md, and the curves beside it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Figures, median, missingPeer, networks, ours, theirs } from './figures.ts';
import { growthSection, measureGrowth } from './growth.ts';

const docs = join(import.meta.dirname, '../../docs');
/** The batch of each network: what the paper's comparison fits into a laptop's memory with. */
const batches: Readonly<Record<string, number>> = { ddrnet: 16, resnet18: 16, resnet34: 16, resnet50: 8, resnet101: 8 };
const measures = [
  ['train_img_s_median', 'training, images/s'],
  ['infer_img_s_median', 'inference, images/s'],
  ['peak_rss_mb', 'peak memory, MB'],
] as const;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    cases: { type: 'string', default: 'ddrnet,resnet18,resnet50' },
    growth: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});
const threads = Number(values.threads);
const missing = missingPeer();
if (missing) console.log(`no comparison with PyTorch: ${missing}`);

interface Measured {
  readonly name: string;
  readonly mine: readonly Figures[];
  readonly peer: readonly Figures[];
}

function measure(name: string): Measured {
  const network = networks[name];
  if (!network) throw new Error(`--cases: there is no ${name}; known are ${Object.keys(networks).join(', ')}`);
  const work = { network, batch: batches[name], size: 224, threads, steps: Number(values.steps) };
  const mine: Figures[] = [];
  const peer: Figures[] = [];
  for (let round = 1; round <= Number(values.rounds); round++) {
    mine.push(ours(work));
    if (!missing) peer.push(theirs(work));
    console.log(`${name} round ${round}: ${mine.at(-1)!.train_img_s_median} ${peer.at(-1)?.train_img_s_median ?? ''}`);
  }
  return { name, mine, peer };
}

function rowsOf({ name, mine, peer }: Measured): string[] {
  return measures.map(([key, label]) => {
    const start = `| ${name}, batch ${batches[name]} | ${label}`;
    const own = median(mine.map((figures) => figures[key]));
    if (peer.length === 0) return `${start} | ${own.toFixed(1)} | – | – |`;
    const other = median(peer.map((figures) => figures[key]));
    return `${start} | ${own.toFixed(1)} | ${other.toFixed(1)} | ${(own / other).toFixed(2)} |`;
  });
}

/** By how much DDRNet trains faster than the others, an image for an image, beside the paper's figures (its Table 4, times of whole trainings). */
function againstOthers(all: readonly Measured[]): string[] {
  const paper: Readonly<Record<string, number>> = { resnet18: 2.48, resnet50: 7.46, resnet101: 10.4 };
  const rate = (list: readonly Figures[]) =>
    list.length === 0 ? Number.NaN : median(list.map((figures) => figures.train_img_s_median));
  const ddrnet = all.find(({ name }) => name === 'ddrnet');
  const others = all.filter(({ name }) => name in paper);
  if (!ddrnet || others.length === 0) return [];
  const cell = (value: number) => (Number.isNaN(value) ? '–' : value.toFixed(2));
  return [
    '',
    'DDRNet trains faster than … by a factor of',
    '',
    '| network | ddrc | PyTorch | the paper |',
    '| --- | --- | --- | --- |',
    ...others.map(
      ({ name, mine, peer }) =>
        `| ${name} | ${cell(rate(ddrnet.mine) / rate(mine))} | ${cell(rate(ddrnet.peer) / rate(peer))} | ${paper[name]} |`,
    ),
  ];
}

const measured = values.cases.split(',').filter(Boolean).map(measure);
const table = ['| model | what | ddrc | PyTorch | ratio |', '| --- | --- | --- | --- | --- |', ...measured.flatMap(rowsOf)];
console.log(`\n${[...table, ...againstOthers(measured)].join('\n')}`);
const growth = values.growth ? measureGrowth(threads, missing === null) : null;
if (growth) console.log(`\n${growthSection(growth)}`);
if (values.write && measured.length > 0) {
  const { version } = JSON.parse(readFileSync(join(docs, '../package.json'), 'utf8'));
  const [{ mine, peer }] = measured;
  const peerVersion = peer[0] ? `, PyTorch ${peer[0].torch} on ${peer[0].blas}` : '';
  for (const [file, svg] of growth?.plots ?? []) writeFileSync(join(docs, file), svg);
  writeFileSync(
    join(docs, 'performance.md'),
    `# Performance

Written by \`npm run bench -- --growth --write\`: whole training steps (forward, backward, optimizer) and inference at 224 px, medians of ${values.rounds} alternating
rounds, a process each, ${values.threads} threads. A ratio above 1 means that ddrc does more images a second, or needs more memory.

${cpus()[0].model.trim()}, ${cpus().length} processors, Node ${process.versions.node}, ddrc ${version}, onnxruntime-node ${mine[0].onnxruntime}${peerVersion}.

${[...table, ...againstOthers(measured)].join('\n')}
${growth ? `\n${growthSection(growth)}\n` : ''}`,
  );
}
