import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkout, ddrc, type Outcome, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
const env = { XDG_CACHE_HOME: join(folder, 'cache') };
const model = join(checkout, 'models', 'ddrnet.ts');
const sizes = ['--batch', '2', '--size', '32', '--option', 'channels=8', '--threads', '1'];
const build = ['build', model, '--target', 'cpu', '--batch', '2', '--size', '32', '--option', 'channels=8', '--explain'];
let before: Outcome;
let tuned: Outcome;

beforeAll(async () => {
  before = await ddrc([...build, '--out', 'before'], { cwd: folder, env });
  tuned = await ddrc(['tune', model, ...sizes, '--rounds', '1', '--json'], { cwd: folder, env });
});

describe('ddrc tune', () => {
  it('times every form of every operator that has several, and keeps the fastest', () => {
    expect(tuned).toMatchObject({ code: 0, stderr: expect.stringContaining('timing operators') });
    const { file, lowerings, step_ms } = JSON.parse(tuned.stdout);
    expect(step_ms.best).toBeLessThanOrEqual(step_ms.rules);
    expect(JSON.parse(readFileSync(file, 'utf8')).lowerings).toEqual(lowerings);
    const ops = new Set(Object.keys(lowerings).map((signature) => signature.split(' ')[0]));
    for (const op of ['convWeightGrad', 'convInputGrad', 'groupNorm', 'reluGrad']) expect([...ops]).toContain(op);
    // Forms that keep no moments for the gradient are no candidates of a training step.
    const norms = Object.entries<{ milliseconds: object }>(lowerings).filter(([signature]) => signature.startsWith('groupNorm '));
    for (const [, { milliseconds }] of norms) expect(Object.keys(milliseconds)).toEqual(expect.arrayContaining(['rows']));
    for (const [, { milliseconds }] of norms) expect(Object.keys(milliseconds)).not.toContain('InstanceNormalization');
    for (const { best, milliseconds } of Object.values<{ best: string; milliseconds: Record<string, number> }>(lowerings)) {
      const [rule] = Object.keys(milliseconds);
      expect(Object.keys(milliseconds).length).toBeGreaterThan(1);
      const least = Math.min(...Object.values(milliseconds));
      expect(best === rule || milliseconds[best] === least).toBe(true);
    }
  });

  it('changes what is built for this processor, says so, and keeps the numbers', async () => {
    const { file } = JSON.parse(tuned.stdout);
    const kept = JSON.parse(readFileSync(file, 'utf8'));
    // As if the form that the rules like least had been the fastest everywhere; with all threads, which build compiles for.
    const all = await ddrc(['tune', model, ...sizes.slice(0, -2), '--rounds', '1', '--json'], { cwd: folder, env });
    const target = JSON.parse(all.stdout).file;
    const worst = Object.entries<{ milliseconds: Record<string, number> }>(kept.lowerings).map(
      ([signature, { milliseconds }]) => [signature, { best: Object.keys(milliseconds).at(-1), milliseconds }],
    );
    writeFileSync(target, JSON.stringify({ lowerings: Object.fromEntries(worst) }));
    const after = await ddrc([...build, '--out', 'after'], { cwd: folder, env });
    expect([before.code, after.code]).toEqual([0, 0]);
    expect(before.stdout).not.toContain('was not faster when measured here');
    expect(after.stdout).toContain('was not faster when measured here');
    const step = (name: string) => readFileSync(join(folder, name, 'step.onnx'));
    expect(step('before').equals(step('after'))).toBe(false);
  });

  it('is not needed: a file that is no JSON is measured anew, not stumbled over', async () => {
    const { file } = JSON.parse(tuned.stdout);
    writeFileSync(file, '{"lowerings": {"conv');
    const again = await ddrc(['tune', model, ...sizes, '--rounds', '1'], { cwd: folder, env });
    expect([again.code, again.stdout.includes(`kept in ${file}; remove it to go back to the rules`)]).toEqual([0, true]);
    expect(Object.keys(JSON.parse(readFileSync(file, 'utf8')).lowerings).length).toBeGreaterThan(5);
  });

  it('says so in a sentence where a model leaves nothing to choose, and keeps nothing', async () => {
    const scale = `import { array, constant, defineModel, meanSquaredError, mul, parameter } from 'ddrc';

export default defineModel({
  name: 'scale',
  options: {},
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ y: array([8]) }),
  forward: ({ x }) => ({ scaled: mul(x, parameter(x, 'scale', [8], constant(1))) }),
  loss: ({ scaled }, { y }) => meanSquaredError(scaled, y),
});
`;
    writeFileSync(join(folder, 'scale.ts'), scale);
    const empty = { XDG_CACHE_HOME: join(folder, 'none') };
    const [text, json] = await Promise.all(
      [[], ['--json']].map((more) => ddrc(['tune', 'scale.ts', '--batch', '2', ...more], { cwd: folder, env: empty })),
    );
    const sentence = 'there is nothing to choose for scale: every operator of its training step has one form only\n';
    expect(text).toEqual({ code: 0, stdout: sentence, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({ batch: 2, file: null, step_ms: null, lowerings: {} });
    expect(existsSync(empty.XDG_CACHE_HOME)).toBe(false);
  });
});
