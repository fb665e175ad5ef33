import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import { readOrtCheckpoint } from '../../runtime/ort-checkpoint.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import { writeArrays } from './array-file.ts';
import { ddrc, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const model = `import { array, batchNorm, classIndex, defineModel, dropout, linear, relu, softmaxCrossEntropy } from 'ddrc';

export default defineModel({
  name: 'small',
  options: {},
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }) => {
    const hidden = dropout(relu(batchNorm(linear(x, 'fc', { units: 16 }), 'norm')), 0.2);
    return { logits: linear(hidden, 'head', { units: 3 }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`;
const run = (...args: string[]) => ddrc(args, { cwd: folder });
const build = (out: string, ...args: string[]) => run('build', 'small.ts', '--out', out, ...args);
const own = ['checkpoint', 'eval_model.onnx', 'manifest.json', 'optimizer_model.onnx', 'training_model.onnx'];

beforeAll(() => {
  writeArrays(at('arrays.safetensors'));
  writeFileSync(at('small.ts'), model);
});

describe('ddrc build --artifacts', () => {
  it('ort-training writes the four files, whose checkpoint holds the weights of the start', async () => {
    expect((await build('stock')).code).toBe(0);
    expect((await build('ort', '--artifacts', 'ort-training')).code).toBe(0);
    expect(readdirSync(at('ort')).sort()).toEqual(own);
    const { trainable, frozen, optimizer, version } = readOrtCheckpoint(at('ort', 'checkpoint'));
    const initial = readSafetensors(at('stock', 'initial.safetensors')).tensors;
    expect([...trainable.keys()]).toEqual(['fc.weight', 'fc.bias', 'norm.weight', 'norm.bias', 'head.weight', 'head.bias']);
    expect([...frozen.keys()]).toEqual(['norm.running_mean', 'norm.running_var']);
    for (const [name, { data }] of [...trainable, ...frozen]) expect(data).toEqual(initial.get(name)!.data);
    expect([optimizer, version]).toEqual([null, 2]);
  });

  it('all writes both, and a later build without them removes them', async () => {
    const args = ['--artifacts', 'all', '--checkpoint-version', '1', '--freeze', 'fc'];
    expect((await build('both', ...args)).code).toBe(0);
    const stock = ['eval.onnx', 'grad.onnx', 'initial.safetensors', 'model.onnx', 'step.onnx'];
    expect(readdirSync(at('both')).sort()).toEqual([...own, ...stock].sort());
    const { files } = JSON.parse(readFileSync(at('both', 'manifest.json'), 'utf8'));
    expect(Object.keys(files).sort()).toEqual([...own, ...stock].filter((name) => name !== 'manifest.json').sort());
    const { version, frozen } = readOrtCheckpoint(at('both', 'checkpoint'));
    expect(version).toBe(1);
    expect([...frozen.keys()]).toEqual(['fc.weight', 'fc.bias', 'norm.running_mean', 'norm.running_var']);
    expect((await build('both')).code).toBe(0);
    expect(readdirSync(at('both')).sort()).toEqual(['manifest.json', ...stock].sort());
  });

  it.each([
    [['--artifacts', 'onnx'], 'It must be one of stock, ort-training, all.'],
    [['--lr', '0.1'], '--lr is for --artifacts ort-training'],
    [['--checkpoint-version', '1'], '--checkpoint-version is for --artifacts ort-training'],
    [['--artifacts', 'ort-training', '--checkpoint-version', '3'], 'a whole number from 1 to 2'],
    [['--artifacts', 'ort-training', '--opset', '22'], "ONNX Runtime's training API takes opset 13 to 21, not 22"],
    [['--artifacts', 'ort-training', '--schedule', 'cosine'], '--schedule cosine needs --steps'],
    [
      ['--artifacts', 'ort-training', '--schedule', 'one-cycle', '--steps', '9'],
      "one-cycle changes Adam's beta1 from step to step",
    ],
    [
      ['--artifacts', 'ort-training', '--schedule', 'cosine', '--steps', '1000000000'],
      'a schedule over 1000000000 steps is too long',
    ],
    [['--artifacts', 'ort-training', '--steps', '9'], '--steps is for a --schedule that changes the rate'],
    [
      ['--artifacts', 'ort-training', '--schedule', 'step', '--steps', '9', '--epochs', '2'],
      '--schedule step changes nothing in 9 steps of 2 epochs',
    ],
    [['--artifacts', 'ort-training', '--loop'], '--loop is a stock file'],
    [['--artifacts', 'ort-training', '--optimizer', 'rmsprop'], "ONNX Runtime's training API has no RMSprop"],
    [['--artifacts', 'all', '--freeze', 'hed'], 'small has no parameter and no scope \'hed\', did you mean "head"?'],
  ])('%j is refused, and nothing is written', async (args, sentence) => {
    const { code, stderr } = await build('refused', ...args);
    expect(stderr).toContain(sentence);
    expect(code).not.toBe(0);
    expect(existsSync(at('refused'))).toBe(false);
  });
});

describe('ddrc train --engine ort-training', () => {
  const train = (...args: string[]) =>
    run('train', 'small.ts', '--data', 'arrays.safetensors', '--epochs', '6', '--batch', '16', '--lr', '0.01', ...args);

  it('trains as the stock engine does, as far as rounding allows, and evaluates and exports the same', async () => {
    const settings = ['--schedule', 'cosine', '--clip', '1'];
    const outcome = await train(...settings, '--engine', 'ort-training', '--run', 'ort-run');
    expect(outcome.stderr).toContain("onnxruntime-web's training API");
    expect(outcome.code).toBe(0);
    expect((await train(...settings, '--device', 'cpu', '--threads', '1', '--run', 'stock-run')).code).toBe(0);
    const losses = (name: string) =>
      (readLines(at(name, 'metrics.jsonl')) as { train?: { loss: number }; val?: { loss: number } }[]).flatMap((line) =>
        line.train ? [line.train.loss, line.val!.loss] : [],
      );
    const [theirs, ours] = [losses('ort-run'), losses('stock-run')];
    expect(theirs).toHaveLength(12);
    theirs.forEach((loss, i) => {
      expect(Math.abs(loss / ours[i] - 1)).toBeLessThan(0.01);
    });
    expect(ours.at(-1)! / ours[1]).toBeLessThan(0.95);
    expect(readdirSync(at('ort-run')).sort()).toEqual(readdirSync(at('stock-run')).sort());
    // No moments: that API gives none.
    const names = [...readSafetensors(at('ort-run', 'last.safetensors')).tensors.keys()];
    expect(names.filter((name) => /^[mv]:/.test(name))).toEqual([]);
    expect((await run('eval', 'ort-run', '--data', 'arrays.safetensors')).code).toBe(0);
  });

  it.each([
    [['--schedule', 'one-cycle'], "one-cycle changes Adam's beta1 from step to step"],
    [['--device', 'webgpu'], '--engine ort-training runs on the processor, not on webgpu'],
    [['--accumulate', '2'], 'adds the gradients of several batches up and does not average them'],
    [['--loop', '2'], 'takes one step at a time'],
    [['--optimizer', 'sgd:momentum=0.9'], "ONNX Runtime's training API has no SGD with momentum"],
  ])('refuses %j', async (args, sentence) => {
    const { code, stderr } = await train('--schedule', 'constant', '--engine', 'ort-training', '--run', 'no', ...args);
    expect(stderr).toContain(sentence);
    expect(code).not.toBe(0);
    expect(existsSync(at('no'))).toBe(false);
  });

  it.each(['stock', 'ort-training'])('leaves what --freeze names as it is, with the engine %s', async (engine) => {
    const name = `frozen-${engine}`;
    const settings = ['--schedule', 'constant', '--optimizer', 'adamw:decay=0.1', '--device', 'cpu', '--threads', '1'];
    const outcome = await train(...settings, '--freeze', 'fc,norm', '--engine', engine, '--run', name);
    expect(outcome.code).toBe(0);
    const start = readSafetensors(at('stock', 'initial.safetensors')).tensors;
    const end = readSafetensors(at(name, 'best.safetensors')).tensors;
    const same = (array: string) => start.get(array)!.data.every((value, i) => value === end.get(array)!.data[i]);
    expect(['fc.weight', 'fc.bias', 'norm.weight', 'norm.bias'].map(same)).toEqual([true, true, true, true]);
    expect(['head.weight', 'head.bias', 'norm.running_mean'].map(same)).toEqual([false, false, false]);
  });

  it('a checkpoint made of a run knows what is frozen, and has no step that AdamW would misread', async () => {
    const settings = ['--schedule', 'constant', '--device', 'cpu', '--threads', '1', '--freeze', 'fc'];
    expect((await train(...settings, '--optimizer', 'adam', '--run', 'adam-run')).code).toBe(0);
    expect((await train(...settings, '--optimizer', 'sgd:momentum=0.9', '--run', 'sgd-run')).code).toBe(0);
    expect((await train(...settings, '--engine', 'ort-training', '--run', 'ort-frozen')).code).toBe(0);
    const free = ['norm.weight', 'norm.bias', 'head.weight', 'head.bias'];
    for (const [name, steps] of [
      ['adam-run', true],
      ['sgd-run', false],
      ['ort-frozen', false],
    ] as const) {
      expect((await run('convert', `${name}/last.safetensors`, `${name}.ckpt`)).code).toBe(0);
      const { trainable, frozen, optimizer } = readOrtCheckpoint(at(`${name}.ckpt`));
      expect([...trainable.keys()]).toEqual(free);
      expect([...frozen.keys()].sort()).toEqual(['fc.bias', 'fc.weight', 'norm.running_mean', 'norm.running_var']);
      expect(optimizer && [...optimizer.moments.keys()]).toEqual(steps ? free : null);
    }
  });

  it('does not resume, and says what to do', async () => {
    const outcome = await train('--schedule', 'constant', '--engine', 'ort-training', '--run', 'short');
    expect(outcome.code).toBe(0);
    const config = JSON.parse(readFileSync(at('short', 'config.json'), 'utf8'));
    writeFileSync(at('short', 'config.json'), JSON.stringify({ ...config, epochs: 9 }));
    const { code, stderr } = await run('train', '--resume', 'short');
    expect(stderr).toContain('cannot be resumed as if it had not stopped');
    expect(stderr).toContain('--weights short/last.safetensors');
    expect(code).not.toBe(0);
  });
});
