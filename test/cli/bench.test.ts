import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkout, ddrc, smallModel, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
writeFileSync(join(folder, 'small.ts'), smallModel);
const ddrnet = [
  'bench',
  join(checkout, 'models', 'ddrnet.ts'),
  '--size',
  '32',
  '--option',
  'channels=4',
  '--batch',
  '2',
  '--steps',
  '3',
];

describe('ddrc bench', () => {
  it('prints one flat JSON object on one line', async () => {
    const { code, stdout, stderr } = await ddrc([...ddrnet, '--threads', '1', '--json'], { cwd: folder });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^\{[^\n]*\}\n$/);
    const result: Record<string, number | string> = JSON.parse(stdout);
    for (const value of Object.values(result)) expect(['number', 'string']).toContain(typeof value);
    const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'));
    // DDRNet's table with c = 4 and its 64 and 128 filters, summed by hand.
    const [c, classes] = [4, 4];
    const drdb = 6 * (2 * 9 * c * c + 4 * c) + 6 * c * c + c;
    const glfeb = 9 * (c * 64 + 64 * 128 + 128 * c) + 2 * (64 + 128 + c);
    const csab = 2 * c * (c / 2) + c / 2 + 2 * (c / 2) * 2 * c + 2 * c + 51;
    const head = 4 * c + classes * 2 * c + classes;
    const parameters = 27 * c + 2 * c + drdb + glfeb + csab + head;
    expect(result).toMatchObject({ model: 'ddrnet', parameters, batch: 2, size: 32, threads: 1, device: 'cpu', ddrc: version });
    for (const kind of ['train', 'infer']) {
      const [best, median] = [Number(result[`${kind}_img_s_best`]), Number(result[`${kind}_img_s_median`])];
      expect(median).toBeGreaterThan(0);
      expect(best).toBeGreaterThanOrEqual(median);
    }
    expect(result.peak_rss_mb).toBeGreaterThan(50);
    expect(result.peak_rss_mb).toBeLessThan(1000);
    expect(result.build_s).toBeGreaterThan(0);
    expect(result.session_s).toBeGreaterThan(0);
  });

  it('feeds a model that takes indices with some that it has', async () => {
    // Ten classes, of which three are in the table that the index chooses from.
    writeFileSync(
      join(folder, 'pick.ts'),
      `import { array, classIndex, concat, constantLike, defineModel, flatten, gather, linear, reshape, softmaxCrossEntropy } from 'ddrc';

export default defineModel({
  name: 'pick',
  options: {},
  inputs: () => ({ x: array([4]), index: array([2], 'int64') }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x, index }) => {
    const table = linear(reshape(constantLike(x, [1, 0, 0, 0, 1, 0, 0, 0, 1]), [3, 3]), 'table', { units: 4 });
    const picked = flatten(gather(table, index, 0));
    return { logits: linear(concat([x, picked]), 'fc', { units: 10 }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`,
    );
    const { code, stdout, stderr } = await ddrc(['bench', 'pick.ts', '--batch', '8', '--steps', '1', '--json'], { cwd: folder });
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout).infer_img_s_best).toBeGreaterThan(0);
  });

  it('prints a table, also of a model that takes no images', async () => {
    const { code, stdout } = await ddrc(['bench', 'small.ts', '--batch', '4', '--steps', '1'], { cwd: folder });
    expect(code).toBe(0);
    // 8·16 + 16 + 16·3 + 3
    expect(stdout).toMatch(/^parameters +195$/m);
    expect(stdout).not.toMatch(/^size/m);
    expect(stdout).toMatch(/^train_img_s_best +[\d.]+$/m);
  });
});
