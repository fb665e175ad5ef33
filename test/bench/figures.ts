/* What `ddrc bench` and the oracle's bench report, a process each, and how it is summed up. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const oracle = join(root, '../shared/oracle/ddrnet_oracle.py');
const python = '/usr/bin/python3';

/** A network as both programs call it. */
export interface Network {
  readonly name: string;
  readonly file: string;
  readonly options: readonly string[];
}

export const networks: Readonly<Record<string, Network>> = {
  ddrnet: { name: 'ddrnet', file: 'models/ddrnet.ts', options: [] },
  ...Object.fromEntries(
    [18, 34, 50, 101].map((depth) => {
      const name = `resnet${depth}`;
      return [name, { name, file: 'models/resnet.ts', options: ['--option', `depth=${depth}`] }];
    }),
  ),
};

export interface Work {
  readonly network: Network;
  readonly batch: number;
  /** Pixels a side. */
  readonly size: number;
  readonly threads: number;
  readonly steps: number;
}

/** Images a second, and MB (2^20 bytes) at the peak. */
export type Figures = Readonly<Record<'train_img_s_median' | 'infer_img_s_median' | 'peak_rss_mb', number>> & {
  readonly session_s?: number;
  readonly blas?: string;
  readonly torch?: string;
  readonly onnxruntime?: string;
};

const sizesOf = ({ batch, size, threads, steps }: Work) =>
  Object.entries({ batch, size, threads, steps }).flatMap(([name, value]) => [`--${name}`, String(value)]);

function lastJson(text: string): Figures {
  return JSON.parse(text.trim().split('\n').at(-1)!);
}

export function ours(work: Work): Figures {
  const { file, options } = work.network;
  const args = [join(root, 'dist/cli/main.js'), 'bench', join(root, file), ...sizesOf(work), ...options, '--json'];
  return lastJson(execFileSync(process.execPath, args, { encoding: 'utf8' }));
}

export function theirs(work: Work): Figures {
  return lastJson(execFileSync(python, [oracle, 'bench', '--model', work.network.name, ...sizesOf(work)], { encoding: 'utf8' }));
}

/** Why there is no peer, or null. */
export function missingPeer(): string | null {
  if (!existsSync(oracle)) return 'the oracle is not beside the checkout (../shared/oracle)';
  try {
    execFileSync(python, ['-c', 'import torch, numpy'], { stdio: 'ignore' });
    return null;
  } catch {
    return `${python} has no PyTorch (Debian: python3-torch libopenblas0-pthread)`;
  }
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
