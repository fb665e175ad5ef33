import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkout, ddrc, temporaryFolder } from '../cli/ddrc.ts';
import { pictureFolder } from '../cli/picture-folder.ts';
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

it('examples/inference/node.mjs gives the probabilities of ddrc predict', async () => {
  const data = await pictureFolder(join(folder, 'pictures'), { classes: ['red'], each: 1 });
  const picture = join(data, 'red', '000.png');
  const small = ['--size', '32', '--option', 'channels=8', '--classes', 'a,b,c,d', '--out', 'small'];
  expect(await ddrc(['build', join(checkout, 'models', 'ddrnet.ts'), ...small], { cwd: folder })).toMatchObject({ code: 0 });
  const program = join(checkout, 'examples', 'inference', 'node.mjs');
  const { code, stdout, stderr } = await node([program, 'small/model.onnx', picture, '32'], folder);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const found = [...stdout.matchAll(/^class \d: (\S+)$/gm)].map(([, text]) => Number(text));
  const predicted = await ddrc(['predict', 'small', picture, '--json'], { cwd: folder });
  const [{ probabilities }] = JSON.parse(predicted.stdout);
  // Another resizing than ddrc's, of a picture of noise.
  ['a', 'b', 'c', 'd'].forEach((name, k) => {
    expect(Math.abs(found[k] - probabilities[name])).toBeLessThan(0.02);
  });
});
