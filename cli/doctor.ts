import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { blockSize, type ProbeResult, probe, providers } from '../runtime/providers.ts';
import { example } from './example.ts';
import { packageVersion } from './project.ts';
import { bytes } from './quantity.ts';
import { shown } from './shown-path.ts';
import { textTable } from './text-table.ts';

const require = createRequire(import.meta.url);

/** What `ddrc doctor --json` prints. */
interface Findings {
  readonly versions: Readonly<Record<string, string>>;
  readonly system: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly freeMemoryBytes: number;
  /** Channels in a block of ONNX Runtime's blocked kernels; 0 where this processor has none. */
  readonly block: number;
  readonly providers: readonly ProbeResult[];
  /** The command that fetches the CUDA files; null where they are there, or where there are none for this system. */
  readonly cudaCommand: string | null;
}

/** `ddrc doctor`: what this machine has, and which execution providers really run a test graph on it. */
export function add(program: Command): void {
  program
    .command('doctor')
    .description('show versions, processor and memory, and which execution providers really run a test graph here')
    .option('--json', 'one JSON object in place of the text')
    .addHelpText('after', example('ddrc doctor'))
    .action(async ({ json }: { readonly json?: boolean }) => {
      const found = await examine();
      process.stdout.write(json ? `${JSON.stringify(found)}\n` : asText(found));
      if (!found.providers.some(({ works }) => works)) process.exitCode = 1;
    });
}

async function examine(): Promise<Findings> {
  // One after the other: a test graph that shares the processor with another says little about either.
  const results: ProbeResult[] = [];
  for (const provider of providers) results.push(await probe(provider));
  const command = cudaCommand();
  const { versions } = require('sharp') as { readonly versions: Readonly<Record<'sharp' | 'vips', string>> };
  return {
    versions: {
      ddrc: packageVersion,
      node: process.versions.node,
      'onnxruntime-node': versionOf('onnxruntime-node'),
      sharp: `${versions.sharp} (libvips ${versions.vips})`,
    },
    system: `${platform()} ${arch()} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    freeMemoryBytes: freemem(),
    block: await blockSize(),
    providers: results.map((result) =>
      result.provider === 'cuda' && !result.works ? { ...result, remedy: cudaRemedy(command) } : result,
    ),
    cudaCommand: command,
  };
}

function versionOf(name: string): string {
  return JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')).version;
}

/** ONNX Runtime's own script fetches its CUDA files; there are some for Linux on x64 only. */
function cudaCommand(): string | null {
  const root = dirname(require.resolve('onnxruntime-node/package.json'));
  const script = join(root, 'script', 'install.js');
  const library = join(root, 'bin', 'napi-v6', 'linux', 'x64', 'libonnxruntime_providers_cuda.so');
  if (`${platform()}/${arch()}` !== 'linux/x64' || !existsSync(script) || existsSync(library)) return null;
  return `node ${shown(script)} --onnxruntime-node-install=cuda12`;
}

function cudaRemedy(command: string | null): string {
  if (command) return `with an NVIDIA card, its driver, CUDA 12 and cuDNN 9 in place, fetch them (hundreds of MB): ${command}`;
  if (`${platform()}/${arch()}` === 'linux/x64') return 'install the driver of the NVIDIA card, CUDA 12 and cuDNN 9';
  return 'onnxruntime-node has CUDA files for Linux on x64 only';
}

function asText(found: Findings): string {
  const block = found.block === 0 ? 'none on this processor' : `${found.block} channels a block`;
  const facts = [
    ...Object.entries(found.versions),
    ['system', found.system],
    ['processor', `${found.processor}, ${found.cores} ${found.cores === 1 ? 'core' : 'cores'}`],
    ['memory', `${bytes(found.memoryBytes)}, ${bytes(found.freeMemoryBytes)} free`],
    ['blocked kernels', block],
  ];
  const rows = found.providers.map(({ provider, works, milliseconds, reason }) => [
    provider,
    works ? 'works' : 'does not',
    works ? `test graph in ${milliseconds!.toFixed(1)} ms` : reason,
  ]);
  const remedies = found.providers
    .filter(({ works, remedy }) => !works && remedy !== '')
    .map(({ provider, remedy }) => `  ${provider}: ${remedy}\n`);
  return `${textTable(facts, ['left', 'left'])}\n\n${textTable([['provider', '', ''], ...rows], ['left', 'left', 'left'])}\n${
    remedies.length > 0 ? `\nWhat would help:\n${remedies.join('')}` : ''
  }`;
}
