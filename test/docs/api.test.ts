import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ddrc, type Outcome, temporaryFolder } from '../cli/ddrc.ts';
import { type CodeBlock, codeBlocks, drawPictures, install, node, typeErrors } from './code-blocks.ts';

const blocks = codeBlocks('docs/api.md');
const folder = temporaryFolder();
const outcomes = new Map<string, Outcome>();
const isProgram = ({ language, name }: CodeBlock) => language === 'ts' && name !== 'model.ts';

/** The numbers in a column of what a program prints. */
function column(name: string, index: number): number[] {
  const lines = outcomes.get(name)!.stdout.trim().split('\n');
  return lines.map((line) => Number(line.split(' ')[index]));
}

describe('docs/api.md', () => {
  beforeAll(async () => {
    install(folder, 'ddrc', 'onnxruntime-node', 'onnxruntime-common', '@types/node', 'undici-types');
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const colours = { blue: [60, 80, 200], green: [60, 180, 80], red: [200, 80, 60], yellow: [210, 210, 70] };
    for (const [name, colour] of Object.entries(colours)) await drawPictures(join(folder, 'images', name), colour, 12);
    for (const { language, name, text } of blocks) if (language === 'ts') writeFileSync(join(folder, name), text);
    for (const { name } of blocks.filter(isProgram)) outcomes.set(name, await node([name], folder));
  }, 120_000);

  it.each(blocks.filter(isProgram).map(({ name }) => name))('%s ends without an error', (name) => {
    expect(outcomes.get(name)).toMatchObject({ code: 0, stderr: '' });
  });

  it('has no type errors', async () => {
    expect(await typeErrors(folder)).toBe('');
  });

  it.each(blocks.filter(({ language }) => language === 'text').map(({ name, text }) => [name, text]))(
    '%s prints what is shown',
    (name, text) => {
      expect(outcomes.get(name)?.stdout).toBe(text);
    },
  );

  it('train.ts learns the four colours', () => {
    const losses = column('train.ts', 1).slice(0, 4);
    expect(losses[3]).toBeLessThan(losses[0] / 2);
  });

  it('predict.ts classifies with what train.ts left', () => {
    const { stdout } = outcomes.get('predict.ts')!;
    expect(stdout).toMatch(/^red /);
    expect(Number(stdout.trim().split('\n').at(-1))).toBeGreaterThan(0.9);
  });

  it('loop.ts brings the loss down with the step graph alone', () => {
    expect(column('loop.ts', 0)).toEqual([10, 20, 30]);
    const losses = column('loop.ts', 1);
    // ln 4 is the loss of a guess.
    expect(losses[2]).toBeLessThan(Math.log(4) / 2);
  });

  it('loop-of-steps.ts takes ten steps in one run, which bring the loss down', () => {
    expect(outcomes.get('loop-of-steps.ts')!.stdout).toMatch(/^10 /);
    const [[first], [last]] = [column('loop-of-steps.ts', 1), column('loop-of-steps.ts', 2)];
    expect(last).toBeLessThan(first / 2);
  });

  it('the run folder can be used with the commands that are named', async () => {
    const { code, stdout } = await ddrc(['predict', 'run', join('images', 'blue', '1.jpg'), '--json'], { cwd: folder });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)[0].class).toBe('blue');
    const evaluated = await ddrc(['eval', 'run', '--data', 'images', '--cache', 'none', '--json'], { cwd: folder });
    expect(evaluated).toMatchObject({ code: 0 });
    expect(JSON.parse(evaluated.stdout).images).toBe(48);
    const resumed = await ddrc(['train', '--resume', 'run'], { cwd: folder });
    expect(resumed.code).toBe(1);
    expect(resumed.stderr).toMatch(/^RUN_INVALID/);
  });
});
