import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkout, ddrc, temporaryFolder } from '../cli/ddrc.ts';
import { node } from './code-blocks.ts';

const folder = temporaryFolder();
const examples = join(checkout, 'examples', 'ort-training');

it('examples/ort-training/web.mjs trains what build writes', async () => {
  const small = ['--size', '32', '--option', 'channels=8', '--artifacts', 'ort-training', '--out', 'artifacts'];
  expect(await ddrc(['build', join(checkout, 'models', 'ddrnet.ts'), ...small], { cwd: folder })).toMatchObject({ code: 0 });
  const { code, stdout, stderr } = await node([join(examples, 'web.mjs'), 'artifacts', '30'], folder);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const losses = [...stdout.matchAll(/^step \d+ loss (\S+)$/gm)].map(([, loss]) => Number(loss));
  expect(losses).toHaveLength(30);
  // It begins near log 4, as four classes do that are not told apart, and falls to about 0.75.
  expect(Math.abs(losses[0] - Math.log(4))).toBeLessThan(0.2);
  expect(Math.max(...losses.slice(-5))).toBeLessThan(0.75 * losses[0]);
  expect(Number(/^evaluation loss (\S+)$/m.exec(stdout)![1])).toBeLessThan(losses[0]);
});

it('the other examples say in their first line that they were not run', () => {
  const others = readdirSync(examples).filter((name) => name !== 'web.mjs');
  expect(others.sort()).toEqual(['Train.cs', 'Train.java', 'train.cpp', 'train.py']);
  for (const name of others) {
    expect(readFileSync(join(examples, name), 'utf8').split('\n')[0], name).toMatch(
      /^(\/\/|#) Not run here: no build of ONNX Runtime/,
    );
  }
});
