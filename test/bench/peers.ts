/*
 * `npm run bench`: ddrc against PyTorch on the same work, alternating, a process each, and a table of medians.
 *
 *   npm run bench -- [--rounds 5] [--steps 5] [--threads 2] [--cases ddrnet,resnet18,resnet50] [--write]
 *
 * The peer is the oracle's `bench` beside the checkout; where it or PyTorch is absent, ddrc's figures stand alone and the table says so. `--write`
 * puts the table into docs/performance.md.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '../..');
const oracle = join(root, '../shared/oracle/ddrnet_oracle.py');
const python = '/usr/bin/python3';

interface Case {
  readonly name: string;
  readonly file: string;
  readonly options: readonly string[];
  readonly batch: number;
}

const cases: readonly Case[] = [
  { name: 'ddrnet', file: 'models/ddrnet.ts', options: [], batch: 16 },
  { name: 'resnet18', file: 'models/resnet.ts', options: ['--option', 'depth=18'], batch: 16 },
  { name: 'resnet50', file: 'models/resnet.ts', options: ['--option', 'depth=50'], batch: 8 },
  { name: 'resnet101', file: 'models/resnet.ts', options: ['--option', 'depth=101'], batch: 8 },
];

/** What both programs report, in images a second and MB (2^20 bytes). */
type Figures = Readonly<Record<'train_img_s_median' | 'infer_img_s_median' | 'peak_rss_mb', number>> & {
  readonly blas?: string;
  readonly torch?: string;
  readonly onnxruntime?: string;
};

function lastJson(text: string): Figures {
  return JSON.parse(text.trim().split('\n').at(-1)!);
}

function ours({ file, options, batch }: Case, steps: string, threads: string): Figures {
  const sizes = ['--batch', String(batch), '--size', '224', '--threads', threads, '--steps', steps];
  const args = [join(root, 'dist/cli/main.js'), 'bench', join(root, file), ...sizes, ...options, '--json'];
  return lastJson(execFileSync(process.execPath, args, { encoding: 'utf8' }));
}

function theirs({ name, batch }: Case, steps: string, threads: string): Figures {
  const sizes = ['--batch', String(batch), '--size', '224', '--threads', threads, '--steps', steps];
  return lastJson(execFileSync(python, [oracle, 'bench', '--model', name, ...sizes], { encoding: 'utf8' }));
}

/** Why there is no peer, or null. */
function missingPeer(): string | null {
  if (!existsSync(oracle)) return 'the oracle is not beside the checkout (../shared/oracle)';
  try {
    execFileSync(python, ['-c', 'import torch, numpy'], { stdio: 'ignore' });
    return null;
  } catch {
    return `${python} has no PyTorch (Debian: python3-torch libopenblas0-pthread)`;
  }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const measures = [
  ['train_img_s_median', 'training, images/s'],
  ['infer_img_s_median', 'inference, images/s'],
  ['peak_rss_mb', 'peak memory, MB'],
] as const;

function tableOf(name: string, mine: readonly Figures[], peer: readonly Figures[]): string[] {
  return measures.map(([key, label]) => {
    const own = median(mine.map((figures) => figures[key]));
    if (peer.length === 0) return `| ${name} | ${label} | ${own.toFixed(1)} | – | – |`;
    const other = median(peer.map((figures) => figures[key]));
    return `| ${name} | ${label} | ${own.toFixed(1)} | ${other.toFixed(1)} | ${(own / other).toFixed(2)} |`;
  });
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    cases: { type: 'string', default: 'ddrnet,resnet18,resnet50' },
    write: { type: 'boolean', default: false },
  },
});
const missing = missingPeer();
if (missing) console.log(`no comparison with PyTorch: ${missing}`);
const lines = ['| model | what | ddrc | PyTorch | ratio |', '| --- | --- | --- | --- | --- |'];
let versions = '';
for (const one of cases.filter(({ name }) => values.cases.split(',').includes(name))) {
  const mine: Figures[] = [];
  const peer: Figures[] = [];
  for (let round = 1; round <= Number(values.rounds); round++) {
    mine.push(ours(one, values.steps, values.threads));
    if (!missing) peer.push(theirs(one, values.steps, values.threads));
    console.log(`${one.name} round ${round}: ${mine.at(-1)!.train_img_s_median} ${peer.at(-1)?.train_img_s_median ?? ''}`);
  }
  lines.push(...tableOf(`${one.name}, batch ${one.batch}`, mine, peer));
  versions = `onnxruntime-node ${mine[0].onnxruntime}${peer[0] ? `, PyTorch ${peer[0].torch} on ${peer[0].blas}` : ''}`;
}
console.log(`\n${lines.join('\n')}`);
if (values.write) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const text = `# Performance

Written by \`npm run bench -- --write\`: whole training steps (forward, backward, optimizer) and inference at 224 px, medians of ${values.rounds} alternating rounds, a
process each, ${values.threads} threads. A ratio above 1 means that ddrc does more images a second, or needs more memory.

${cpus()[0].model.trim()}, ${cpus().length} processors, Node ${process.versions.node}, ddrc ${version}, ${versions}.

${lines.join('\n')}
`;
  writeFileSync(join(root, 'docs/performance.md'), text);
}
