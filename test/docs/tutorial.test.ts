import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkout, ddrc, type Outcome, temporaryFolder } from '../cli/ddrc.ts';
import { codeBlock, codeBlocks, drawPictures, install, node, typeErrors } from './code-blocks.ts';

const blocks = codeBlocks('docs/tutorial.md');
const root = temporaryFolder();
const project = join(root, 'pollen');
const at = (...parts: string[]) => join(project, ...parts);

/** Every line of every `sh` block, with what came of it. */
const done: { readonly line: string; readonly outcome: Outcome }[] = [];

const fine: Outcome = { code: 0, stdout: '', stderr: '' };
let place = join(root, 'ddrc');

/** Runs a line as a shell would that has `npx ddrc` and `npm install`; the latter links what npm would fetch. */
async function run(line: string): Promise<Outcome> {
  const [program, ...args] = line.split(' ');
  if (program === 'cd') {
    place = resolve(place, args[0]);
    return fine;
  }
  if (program === 'npm' && args[0] === 'install') {
    const names =
      args.length > 1 ? args.slice(1) : Object.keys(JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')).dependencies);
    install(place, ...names);
    return fine;
  }
  if (program === 'npx' && args[0] === 'ddrc') {
    return ddrc(args.slice(1), { cwd: place, env: { XDG_CACHE_HOME: join(root, 'cache') } });
  }
  if (program === 'node') return node(args, place);
  throw new Error(`the test does not know how to run: ${line}`);
}

describe('docs/tutorial.md', () => {
  beforeAll(async () => {
    mkdirSync(place);
    const colours = { alder: [60, 80, 200], birch: [60, 180, 80], hazel: [200, 80, 60] };
    for (const { language, text, name } of blocks) {
      if (name !== '') writeFileSync(at(name), text);
      if (language !== 'sh') continue;
      for (const line of text.trim().split('\n')) {
        done.push({ line, outcome: await run(line) });
        if (line.startsWith('npm install') && !existsSync(at('data', 'TEST'))) {
          for (const [name, colour] of Object.entries(colours)) {
            await drawPictures(at('data', 'TRAIN', name), colour, 24, 1);
            await drawPictures(at('data', 'TEST', name), colour, 6, 1);
          }
        }
      }
    }
  }, 120_000);

  const outcomeOf = (start: string) => {
    const found = done.filter(({ line }) => line.startsWith(start));
    expect(found, start).toHaveLength(1);
    return found[0].outcome;
  };

  it('has commands that all succeed', () => {
    expect(done.filter(({ outcome }) => outcome.code !== 0)).toEqual([]);
    expect(done.length).toBeGreaterThan(10);
  });

  it('has a model without type errors, and shows the mistake that it names', async () => {
    install(project, '@types/node', 'undici-types');
    expect(await typeErrors(project)).toBe('');
    const model = codeBlock(blocks, 'ts', 'model.ts');
    writeFileSync(at('wrong.ts'), model.replace("conv(x, 'second', channels)", "conv(x, 'second', 32)"));
    const said = await typeErrors(project);
    expect(said).toContain('add: [N,16,16,16] and [N,32,16,16] have different shapes');
    expect(readFileSync(join(checkout, 'docs', 'tutorial.md'), 'utf8')).toContain(
      'add: [N,16,16,16] and [N,32,16,16] have different shapes',
    );
  });

  it('trains a model that tells the pictures apart, and leaves the files that it lists', () => {
    // 18 pictures of plain colours: one mistake at most.
    const lines = readFileSync(at('runs', 'first', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.at(-1).test.images).toBe(18);
    expect(lines.at(-1).test.accuracy).toBeGreaterThan(0.9);
    for (const [, name] of readFileSync(join(checkout, 'docs', 'tutorial.md'), 'utf8').matchAll(/^\| `(\S+)`(?:, `\S+`)? \|/gm)) {
      expect(existsSync(at('runs', 'first', name)), name).toBe(true);
    }
  });

  it('shows the finished run again where it is resumed', () => {
    expect(outcomeOf('npx ddrc train --resume').stdout).toContain('18 test examples');
  });

  it('predicts the class of a picture', () => {
    const [{ file, class: kind, probabilities }] = JSON.parse(
      outcomeOf('npx ddrc predict runs/first data/TEST/birch/1.jpg').stdout,
    );
    expect([file, kind]).toEqual(['data/TEST/birch/1.jpg', 'birch']);
    expect(Object.keys(probabilities)).toEqual(['alder', 'birch', 'hazel']);
  });

  it('classifies without ddrc, nearly as ddrc does', async () => {
    const [name, probability] = outcomeOf('node use.mjs').stdout.trim().split(' ');
    const { stdout } = await ddrc(['predict', 'runs/first', join('data', 'TEST', 'hazel', '1.jpg'), '--json'], { cwd: project });
    const [{ class: kind, probabilities }] = JSON.parse(stdout);
    expect([name, kind]).toEqual(['hazel', 'hazel']);
    // Two ways of shrinking a noisy picture.
    expect(Math.abs(Number(probability) - probabilities.hazel)).toBeLessThan(0.02);
  });

  it('sets 15 % aside for validation and for the test where the data name no splits, as it says', async () => {
    const args = ['train', 'model.ts', '--data', join('data', 'TRAIN'), '--epochs', '1', '--run', join('runs', 'folders')];
    const { code, stderr } = await ddrc(args, { cwd: project, env: { XDG_CACHE_HOME: join(root, 'cache') } });
    expect(code).toBe(0);
    expect(stderr).toMatch(/to validate \(15 % of all images by file\).*to test \(15 % of all images by file\)/);
  });
});
