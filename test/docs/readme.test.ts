import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkout, ddrc, temporaryFolder } from '../cli/ddrc.ts';
import { codeBlock, codeBlocks, install, node, typeErrors } from './code-blocks.ts';

const blocks = codeBlocks('README.md');
const model = codeBlock(blocks, 'ts', 'model.ts');

/** A project with the README's model, or another one, as its only file. */
function project(text: string): string {
  const folder = temporaryFolder();
  install(folder, 'ddrc', '@types/node', 'undici-types');
  writeFileSync(join(folder, 'model.ts'), text);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return folder;
}

describe("README's model", () => {
  const good = project(model);
  const wrong = project(model.replace("conv(x, 'second', channels)", "conv(x, 'second', 32)"));

  it('has the types that are said, and no error', async () => {
    writeFileSync(
      join(good, 'model.ts'),
      model.replace('    const y =', "    x satisfies Tensor<['N', 16, 16, 16], 'float32'>;\n    const y ="),
    );
    expect(await typeErrors(good)).toBe('');
  });

  it('builds', async () => {
    expect(await ddrc(['build', 'model.ts', '--out', 'build'], { cwd: good })).toMatchObject({ code: 0, stderr: '' });
  });

  it('runs in onnxruntime-web as in onnxruntime-node', async () => {
    install(good, 'onnxruntime-node', 'onnxruntime-web');
    const program = `
      import { readFileSync } from 'node:fs';
      import * as native from 'onnxruntime-node';
      import * as web from 'onnxruntime-web';
      const data = Float32Array.from({ length: 2 * 3 * 64 * 64 }, (_, i) => ((i * 37) % 256) / 255);
      for (const { InferenceSession, Tensor } of [native, web]) {
        const session = await InferenceSession.create(readFileSync('build/model.onnx'));
        const { probabilities } = await session.run({ image: new Tensor('float32', data, [2, 3, 64, 64]) });
        console.log(JSON.stringify([...probabilities.data]));
      }`;
    writeFileSync(join(good, 'both.mjs'), program);
    const { stdout, stderr } = await node(['both.mjs'], good);
    expect(stderr).toBe('');
    const [expected, got] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as number[]);
    expect(got).toHaveLength(6);
    // Sums of some hundred float32 terms, in another order.
    got.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5);
    });
  });

  it('with the mistake shows the sentence in the editor', async () => {
    const sentence = codeBlock(blocks, 'text', 'editor').trim().replaceAll('\n', ' ');
    expect(await typeErrors(wrong)).toContain(sentence);
  });

  it('with the mistake stops the build with the same sentence', async () => {
    const { code, stderr } = await ddrc(['build', 'model.ts', '--out', 'build'], { cwd: wrong });
    expect(code).toBe(1);
    expect(stderr).toContain(codeBlock(blocks, 'text', 'build'));
  });
});

describe("README's commands", () => {
  const text = readFileSync(join(checkout, 'README.md'), 'utf8');
  const commands = new Set([...text.matchAll(/^\| `ddrc (\w+)/gm)].map(([, name]) => name));

  it('are the commands that there are', async () => {
    const { stdout } = await ddrc(['--help']);
    const there = [...stdout.matchAll(/^ {2}(\w+) .*$/gm)].map(([, name]) => name).filter((name) => name !== 'help');
    expect([...commands].sort()).toEqual(there.filter((name) => !name.startsWith('-')).sort());
  });

  it('have the flags that its command lines use', async () => {
    const lines = blocks.filter(({ language }) => language === 'sh').flatMap(({ text }) => text.split('\n'));
    const calls = lines.map((line) => /npx ddrc (\w+)(.*)/.exec(line)).filter((call) => call !== null);
    expect(calls.length).toBeGreaterThan(2);
    for (const [, name, rest] of calls) {
      const { stdout } = await ddrc([name, '--help']);
      for (const [flag] of rest.matchAll(/--[a-z-]+/g)) expect(stdout).toContain(`${flag} `);
    }
  });
});

describe("README's promise that ddrc talks to no network", () => {
  it.each(['cli', 'compiler', 'contract', 'diagnostics', 'dsl', 'numeric', 'runtime'])('%s has no network code', (folder) => {
    const all = readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' });
    // `ddrc serve` listens on this machine for this machine, and what runs in a page fetches that page's own files; both are looked at below.
    const names = all.filter((name) => name.endsWith('.ts') && name !== 'serve.ts' && !name.startsWith('web/'));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const text = readFileSync(join(checkout, folder, name), 'utf8');
      expect(text, name).not.toMatch(
        /['"](node:)?(https?|http2|net|tls|dgram|undici)['"]|\bfetch\(|\bWebSocket\b|\bXMLHttpRequest\b/,
      );
    }
  });
});

it('ddrc serve listens on this machine only, and a page fetches files of its own site only', () => {
  const serve = readFileSync(join(checkout, 'cli/serve.ts'), 'utf8');
  expect(serve.match(/\.listen\([^)]*/g)).toEqual([".listen(port, '127.0.0.1', ("]);
  const web = readdirSync(join(checkout, 'runtime/web')).map((name) => readFileSync(join(checkout, 'runtime/web', name), 'utf8'));
  const page = readdirSync(join(checkout, 'page'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(checkout, 'page', name), 'utf8'));
  // One place fetches, and what it is asked for lies in the model's folder.
  expect([...web, ...page].flatMap((text) => text.match(/\bfetch\(\w*/g) ?? [])).toEqual(['fetch(url']);
  for (const text of [...web, ...page]) expect(text).not.toMatch(/\bWebSocket\b|\bXMLHttpRequest\b|sendBeacon|https?:\/\//);
});

describe('links between the documents', () => {
  it.each([
    'README.md',
    'ARCHITECTURE.md',
    'docs/tutorial.md',
    'docs/api.md',
    'docs/manifest.md',
    'docs/weights.md',
    'docs/web.md',
    'docs/report.md',
    'docs/ort-training.md',
    'examples/README.md',
  ])('%s', (document) => {
    const text = readFileSync(join(checkout, document), 'utf8');
    for (const [, target] of text.matchAll(/\]\(([^)#:]+)\)/g)) {
      expect(existsSync(join(checkout, dirname(document), target)), target).toBe(true);
    }
  });
});
