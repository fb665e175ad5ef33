import { describe, expect, it } from 'vitest';
import { blockSize, chooseProvider, parseDevice, probe, requireBlock } from '../../runtime/providers.ts';

describe('providers', () => {
  it('finds that the processor computes the test graph', async () => {
    const result = await probe('cpu');
    expect(result).toMatchObject({ provider: 'cpu', works: true, reason: '' });
    expect(result.milliseconds).toBeGreaterThan(0);
  });

  it('says in one sentence why a provider does not work, with a remedy', async () => {
    const cuda = await probe('cuda');
    if (cuda.works) {
      expect(await chooseProvider('auto')).toMatchObject({ provider: 'cuda' });
      return;
    }
    expect(cuda.reason).toMatch(/CUDA/);
    await expect(chooseProvider('cuda')).rejects.toMatchObject({
      code: 'PROVIDER_MISSING',
      message: `cuda does not work here: ${cuda.reason}`,
      hint: expect.stringContaining('--device cpu'),
    });
  });

  it('counts a provider that does not answer in time as not working', async () => {
    expect(await probe('cpu', 1)).toMatchObject({ works: false, reason: 'the test graph did not finish within 0.001 s' });
  });

  it('reads --device', () => {
    expect(parseDevice('CPU')).toBe('cpu');
    expect(parseDevice('auto')).toBe('auto');
    expect(() => parseDevice('cudda')).toThrow(`there is no device 'cudda', did you mean "cuda"?`);
  });

  it('finds the block of the blocked kernels', async () => {
    const block = await blockSize();
    expect([0, 4, 8, 16]).toContain(block);
    // Where x86 has AVX-512 or AVX2, ONNX Runtime uses it.
    const flags = process.platform === 'linux' ? (await import('node:fs')).readFileSync('/proc/cpuinfo', 'utf8') : '';
    if (flags.includes('avx512f')) expect(block).toBe(16);
    else if (flags.includes('avx2')) expect(block).toBe(8);
  });
});

it('a file built for the blocked kernels of another processor is refused, one for this or for every processor is not', async () => {
  const here = await blockSize();
  await requireBlock(0, 'model.onnx');
  await requireBlock(here, 'model.onnx');
  const other = here === 16 ? 8 : 16;
  await expect(requireBlock(other, 'model.onnx')).rejects.toMatchObject({
    code: 'MODEL_ELSEWHERE',
    message: `model.onnx was built for a processor whose blocked kernels take ${other} channels at a time, and this one's take ${here || 'none'}`,
  });
});
