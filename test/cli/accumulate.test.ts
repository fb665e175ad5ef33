import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import { writeArrays } from './array-file.ts';
import { ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { interrupted } from './signals.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);

describe('ddrc train --accumulate', () => {
  const start = ['train', 'small.ts', '--data', 'arrays.safetensors', '--device', 'cpu', '--epochs', '60', '--batch', '16'];
  const parts = [...start, '--accumulate', '4'];
  const remains = (run: string) => {
    const bytes = (name: string) => readFileSync(at(run, name)).toString('base64');
    const lines = readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[];
    return {
      lines: lines.map(({ seconds, ...line }) => line),
      files: ['last.safetensors', 'best.safetensors', 'model.onnx'].map(bytes),
    };
  };

  beforeAll(async () => {
    writeArrays(at('arrays.safetensors'));
    writeFileSync(at('small.ts'), smallModel);
    expect(await ddrc([...parts, '--run', 'whole'], { cwd: folder })).toMatchObject({ code: 0, stderr: expect.any(String) });
  });

  it('writes the number into config.json, and learns', () => {
    expect(JSON.parse(readFileSync(at('whole', 'config.json'), 'utf8'))).toMatchObject({ batch: 16, accumulate: 4 });
    const { test } = (readLines(at('whole', 'metrics.jsonl')) as { test: { accuracy: number } }[]).at(-1)!;
    expect(test.accuracy).toBeGreaterThan(0.9);
  });

  it('ends in the same bytes after Ctrl-C and --resume', async () => {
    const { code, stderr } = await interrupted([...parts, '--run', 'stopped'], [[/^epoch 2\/60 /m, 'SIGINT']], folder);
    expect([code, stderr]).toEqual([130, expect.stringContaining('stopping after this step')]);
    expect(await ddrc(['train', '--resume', 'stopped'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(remains('stopped')).toEqual(remains('whole'));
  });

  describe('refuses', () => {
    const never = ['--run', 'never'];
    const refusals: Record<string, [args: string[], code: 1 | 2, error: string, sentence: string]> = {
      'parts that are not equal': [
        [...start, ...never, '--accumulate', '3'],
        2,
        'USAGE',
        'a batch of 16 cannot be cut into 3 equal parts\n  at --accumulate\n  hint: give an --accumulate that divides --batch',
      ],
      'more parts than examples': [
        [...start, ...never, '--accumulate', '32'],
        2,
        'USAGE',
        'a batch of 16 cannot be cut into 32 equal parts',
      ],
      "parts of the model's own batch": [
        ['train', 'small.ts', '--data', 'arrays.safetensors', ...never, '--accumulate', '7'],
        2,
        'USAGE',
        'cannot be cut into 7 equal parts',
      ],
      'no parts': [[...start, ...never, '--accumulate', '0'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      'half a part': [[...start, ...never, '--accumulate', '1.5'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      'it beside --resume': [
        ['train', '--resume', 'whole', '--accumulate', '2'],
        2,
        'USAGE',
        '--accumulate cannot stand beside it',
      ],
      'a config.json that cannot be cut': [['train', '--resume', 'edited'], 1, 'RUN_INVALID', 'no usable "accumulate"'],
      'a run that was started with another number': [
        ['train', '--resume', 'other'],
        1,
        'RESUME_DIFFERS',
        'compiles to another training step now',
      ],
    };
    let outcomes: readonly Outcome[];

    beforeAll(async () => {
      for (const [run, accumulate] of [
        ['edited', 3],
        ['other', 2],
      ] as const) {
        cpSync(at('whole'), at(run), { recursive: true });
        const config = JSON.parse(readFileSync(at(run, 'config.json'), 'utf8'));
        writeFileSync(at(run, 'config.json'), JSON.stringify({ ...config, epochs: 61, accumulate }));
      }
      outcomes = await ddrcInOneProcess(
        Object.values(refusals).map(([args]) => args),
        folder,
      );
    });

    it.each(Object.keys(refusals))('%s', (name) => {
      const { code, stdout, stderr } = outcomes[Object.keys(refusals).indexOf(name)];
      const [, expected, error, sentence] = refusals[name];
      expect([code, stdout]).toEqual([expected, '']);
      expect(stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
      expect(stderr).toContain(sentence);
      expect(existsSync(at('never'))).toBe(false);
    });
  });

  it('goes on with a run of before there was the flag', async () => {
    const run = [...start, '--run', 'before', '--epochs', '3'];
    expect(await ddrc(run, { cwd: folder })).toMatchObject({ code: 0 });
    const { accumulate, resetHead, ...config } = JSON.parse(readFileSync(at('before', 'config.json'), 'utf8'));
    expect([accumulate, resetHead]).toEqual([1, false]);
    writeFileSync(at('before', 'config.json'), JSON.stringify(config));
    rmSync(at('before', 'model.onnx'));
    expect(await ddrc(['train', '--resume', 'before'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(existsSync(at('before', 'model.onnx'))).toBe(true);
  });
});
