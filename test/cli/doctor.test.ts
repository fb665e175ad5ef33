import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkout, ddrc } from './ddrc.ts';

let found: {
  versions: Record<string, string>;
  cores: number;
  memoryBytes: number;
  block: number;
  providers: { provider: string; works: boolean; milliseconds: number | null; reason: string; remedy: string }[];
  cudaCommand: string | null;
};

describe('ddrc doctor', () => {
  beforeAll(async () => {
    const { code, stdout, stderr } = await ddrc(['doctor', '--json']);
    expect([code, stderr]).toEqual([0, '']);
    found = JSON.parse(stdout);
  });

  it('knows versions and the machine', () => {
    const { version } = JSON.parse(readFileSync(join(checkout, 'node_modules', 'onnxruntime-node', 'package.json'), 'utf8'));
    expect(found.versions).toMatchObject({ node: process.versions.node, 'onnxruntime-node': version });
    expect(found.cores).toBe(availableParallelism());
    expect(found.memoryBytes).toBeGreaterThan(1e8);
    expect([0, 4, 8, 16]).toContain(found.block);
  });

  it('says of every provider that it ran a test graph, or why not', () => {
    expect(found.providers.map(({ provider }) => provider)).toEqual(['cpu', 'cuda', 'webgpu']);
    expect(found.providers[0]).toMatchObject({ works: true, reason: '' });
    for (const { works, milliseconds, reason } of found.providers) {
      expect(works).toBe(milliseconds !== null);
      expect(works).toBe(reason === '');
    }
  });

  it.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
    'names the script that fetches CUDA files (Linux on x64 only)',
    () => {
      // Null where they have been fetched.
      if (found.cudaCommand === null) return;
      const [, script, flag] = found.cudaCommand.split(' ');
      expect(readFileSync(join(checkout, script), 'utf8')).toContain(flag);
    },
  );
});
