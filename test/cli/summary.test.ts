import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { graphCost } from '../../cli/graph-cost.ts';
import { array, conv2d, defineModel, image, linear, mean, relu, reshape, scope } from '../../dsl/index.ts';
import { ddrc, smallModel, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
writeFileSync(join(folder, 'small.ts'), smallModel);

describe('the cost of a model', () => {
  const model = defineModel({
    name: 'counted',
    options: {},
    inputs: () => ({ image: image(3, 8, 8) }),
    forward({ image }) {
      const y = scope(image, 'stem', (x) => relu(conv2d(x, 'conv', { filters: 4, kernel: 3, pad: 1, stride: 2, bias: false })));
      return { y: linear(reshape(mean(y, [2, 3]), ['N', 4]), 'fc', { units: 2 }) };
    },
  });
  const costs = new Map(graphCost(model.instantiate()).map((cost) => [cost.scope, cost]));

  it('counts parameters and shapes by scope', () => {
    expect([...costs.keys()]).toEqual(['', 'stem', 'stem.conv', 'fc']);
    expect(costs.get('stem.conv')).toMatchObject({ parameters: 4 * 3 * 9, shape: ['N', 4, 4, 4] });
    expect(costs.get('stem')).toMatchObject({ parameters: 4 * 3 * 9, shape: ['N', 4, 4, 4] });
    expect(costs.get('fc')).toMatchObject({ parameters: 10, shape: ['N', 2] });
    expect(costs.get('')).toMatchObject({ parameters: 118, shape: ['N', 2] });
  });

  it('counts multiply-adds for one example', () => {
    // 4 filters of 27 taps at 16 places.
    expect(costs.get('stem.conv')!.macs).toBe(4 * 27 * 16);
  });

  it('counts the bytes of results, and not those of views', () => {
    const map = 4 * 4 * 4 * 4;
    expect(costs.get('stem.conv')!.activationBytes).toBe(map);
    expect(costs.get('stem')!.activationBytes).toBe(2 * map);
    // The mean's 4 numbers and the layer's 2; the reshape makes none.
    expect(costs.get('')!.activationBytes).toBe(2 * map + 4 * 4 + 2 * 4);
  });

  it('of a model without parameters is zero parameters', () => {
    const plain = defineModel({
      name: 'plain',
      options: {},
      inputs: () => ({ x: array([2]) }),
      forward: ({ x }) => ({ y: relu(x) }),
    });
    expect(graphCost(plain.instantiate())).toMatchObject([{ scope: '', parameters: 0, shape: ['N', 2], activationBytes: 8 }]);
  });
});

describe('ddrc summary', () => {
  it('is a table by scope with totals', async () => {
    const { code, stdout } = await ddrc(['summary', 'small.ts', '--option', 'width=4'], { cwd: folder });
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe('small');
    expect(lines).toContain('  options  classes=3  width=4');
    expect(lines.find((line) => line.startsWith('  fc '))).toMatch(/^ {2}fc +\[N,4\] +36 /);
    expect(lines.at(-1)).toMatch(/^total +\[N,3\] +51 /);
  });

  it('of DDRNet fits into 100 columns', async () => {
    const { code, stdout } = await ddrc(['summary']);
    expect(code).toBe(0);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^total +\[N,4\] +251,527 /);
  });
});
