/*
 * What a user gets: the tarball of `npm pack`, installed as the dependency of a project that has nothing of this checkout's.
 *
 * Two things do not travel with a package, and the project here has them or does without:
 * - `.npmrc` and `allowScripts`. Without `onnxruntime-node-install=skip`, the postinstall script of onnxruntime-node fetches CUDA files from NuGet
 *   on Linux x64 (hundreds of MB), and `npm install` fails as a whole where NuGet cannot be reached. No setting of ddrc's own package changes that:
 *   a shrinkwrap does not stop the script, an optional dependency would be left out, a bundled one would carry the binaries of all systems.
 *   So a project needs the line in its `.npmrc` (`ddrc init` writes it), or `npm install ddrc --onnxruntime-node-install=skip`,
 *   or the environment variable ONNXRUNTIME_NODE_INSTALL=skip.
 * - `overrides`. There, onnx-proto gets the protobufjs 6 that it asks for, beside the 8 of ddrc's own; emitting and reading must work with both.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as node from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { random } from '../../numeric/random.ts';

const checkout = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'ddrc-package-'));
const project = join(folder, 'project');
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in the user's project, without what `npm test` adds to the environment. */
function run(command: string, args: readonly string[], cwd = project): Promise<Outcome> {
  const added = /^(npm_(package|lifecycle)_|npm_config_(local_prefix|onnxruntime)|ONNXRUNTIME_|INIT_CWD$|NODE_OPTIONS$|VITEST)/;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !added.test(name)));
  const shell = process.platform === 'win32';
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env, shell, maxBuffer: 1e8 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

const npx = (...args: string[]) => run('npx', ['--no', ...args]);

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

let packed: Packed;
beforeAll(async () => {
  if (!existsSync(join(checkout, 'dist', 'cli', 'main.js')))
    throw new Error('there is no dist/cli/main.js: npm run build makes it');
  const { code, stdout, stderr } = await run(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', folder],
    checkout,
  );
  if (code !== 0) throw new Error(stderr);
  [packed] = JSON.parse(stdout);
});

describe('npm pack', () => {
  const paths = () => packed.files.map(({ path }) => path);
  const kinds = [
    /^dist\/[\w/-]+\.js$/,
    /^dist\/[\w/-]+\.d\.ts$/,
    /^dist\/page\/(index\.html|icon\.svg|assets\/[\w-]+\.(js|css))$/,
    /^models\/[\w-]+\.ts$/,
    /^models\/protocols\/[\w-]+\.json$/,
    /^docs\/[\w.-]+\.(md|json)$/,
    /^docs\/(web\/)?\w+\.webp$/,
    /^docs\/results\/[\w-]+\/(README\.md|figures\/\w+\.svg)$/,
    /^examples\/([\w-]+\/)?[\w-]+\.(md|mjs|html|py|cpp|cs|java)$/,
    /^(package\.json|README\.md|ARCHITECTURE\.md|CHANGELOG\.md|LICENSE)$/,
  ];

  it('holds compiled code, models, documents and examples, and nothing else', () => {
    expect(paths().filter((path) => !kinds.some((kind) => kind.test(path)))).toEqual([]);
  });

  it('holds something of every kind', () => {
    for (const kind of kinds) expect(paths().filter((path) => kind.test(path)).length, String(kind)).toBeGreaterThan(0);
    for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'models/ddrnet.ts', 'docs/manifest.schema.json']) {
      expect(paths()).toContain(name);
    }
  });

  it('holds what package.json refers to', () => {
    const { bin, exports } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'));
    // `ddrc-source` is this checkout's own condition, for its type check and tests.
    const entries = Object.values(exports as Record<string, string | Record<string, string>>).flatMap((entry) =>
      typeof entry === 'string' ? [entry] : [entry.types, entry.default],
    );
    const targets = [...Object.values(bin as Record<string, string>), ...entries].map((path) => path.replace(/^\.\//, ''));
    expect(targets.filter((target) => !paths().includes(target))).toEqual([]);
    expect(readFileSync(join(checkout, bin.ddrc), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });

  it('holds no compiled file whose source is gone (remove dist and build it again)', () => {
    const compiled = paths().filter((path) => path.startsWith('dist/') && !path.startsWith('dist/page/'));
    const sources = compiled.map((path) => path.slice('dist/'.length).replace(/(\.d\.ts|\.js)$/, '.ts'));
    expect(sources.filter((source) => !existsSync(join(checkout, source)))).toEqual([]);
  });
});

const model = `import {
  averagePool, classIndex, conv2d, defineModel, flatten, groupNorm, image, int, linear, maxPool, relu, scope, softmaxCrossEntropy, add,
  type Tensor,
} from 'ddrc';

const residual = <X extends Tensor>(x: X, name: string) =>
  scope(x, name, (x) => relu(groupNorm(conv2d(x, 'conv', { filters: 8, kernel: 3, pad: 1 }), 'norm', { groups: 4 })));

export default defineModel({
  name: 'cells',
  options: { classes: int(3, { min: 2 }) },
  inputs: () => ({ image: image(3, 16, 16) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { classes }) {
    const stem = residual(image, 'stem');
    const small = maxPool(add(stem, residual(stem, 'block')), { kernel: 3, stride: 2, pad: 1 });
    return { logits: linear(flatten(averagePool(small, { kernel: 2 })), 'head', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`;

/** A program that uses the three entries, and ONNX Runtime through them. */
const program = `import { array, defineModel, relu, sub } from 'ddrc';
import { compile } from 'ddrc/compiler';
import { Engine, inferenceSession, readOnnxMetadata } from 'ddrc/runtime';

declare const console: { log(text: string): void };

const model = defineModel({
  name: 'line',
  options: {},
  inputs: () => ({ x: array([2]) }),
  forward: ({ x }) => ({ y: relu(sub(x, 1)) }),
});
const bytes = compile(model.instantiate(), { artifacts: ['model'] }).files.get('model.onnx')!;
const engine = new Engine();
await engine.open('line', bytes, inferenceSession);
const { y } = await engine.run('line', { x: { dtype: 'float32', shape: [1, 2], data: Float32Array.of(0.5, 3.5) } });
await engine.close();
console.log(JSON.stringify([readOnnxMetadata(bytes, 'line').get('ddrc.model'), [...y.data].map(Number)]));
`;

const compilerOptions = { target: 'es2023', lib: ['es2023'], module: 'nodenext', strict: true, types: [], noEmit: true };

const files = {
  'package.json': JSON.stringify({ name: 'project', private: true, type: 'module', allowScripts: { 'onnxruntime-node': false } }),
  '.npmrc': 'onnxruntime-node-install=skip\n',
  'model.ts': model,
  'wrong.ts': model.replace("residual(stem, 'block')", 'maxPool(stem, { kernel: 2 })'),
  'program.ts': program,
};

/** Installs the tarball; the reason where the registry cannot be reached, null where all is well. */
async function install(): Promise<string | null> {
  mkdirSync(project);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text);
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=1', '--fetch-retry-mintimeout=1000'];
  const { code, stderr } = await run('npm', ['install', join('..', packed.filename), ...flags]);
  if (code === 0) return null;
  const unreachable =
    /code (E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH|NOTCACHED|SOCKETTIMEDOUT)|E403|E407|ERR_SOCKET_TIMEOUT)\b/.exec(
      stderr,
    );
  if (unreachable) return `the npm registry cannot be reached (${unreachable[1]})`;
  throw new Error(stderr);
}

describe("the package as a dependency of a user's project", () => {
  let missing: string | null;
  beforeAll(async () => {
    missing = await install();
  }, 300_000);
  const needs = (context: TestContext) => {
    if (missing) context.skip(missing);
  };

  it('brings protobufjs 8 for itself, whatever onnx-proto gets', (context) => {
    needs(context);
    const versionOf = (path: string) =>
      JSON.parse(readFileSync(join(project, 'node_modules', path, 'package.json'), 'utf8')).version;
    expect(versionOf('protobufjs')).toMatch(/^8\./);
    const nested = join('onnx-proto', 'node_modules', 'protobufjs');
    if (existsSync(join(project, 'node_modules', nested))) expect(versionOf(nested)).toMatch(/^6\./);
  });

  it("shows a summary of the user's model", async (context) => {
    needs(context);
    const { code, stdout, stderr } = await npx('ddrc', 'summary', 'model.ts', '--json');
    expect(code, stderr).toBe(0);
    // Two blocks: 3·8·9 + 8 + 16 and 8·8·9 + 8 + 16; head: (8·4·4)·3 + 3.
    expect(JSON.parse(stdout)).toMatchObject({ model: 'cells', total: { parameters: 240 + 600 + 387 } });
  });

  it.for<[of: string, args: string[], size: number]>([
    ["the user's model", ['model.ts'], 16],
    ['the DDRNet that it brings', ['--size', '32'], 32],
  ])('builds %s into a file that two engines run alike', async ([, args, size], context) => {
    needs(context);
    const { code, stderr } = await npx('ddrc', 'build', ...args, '--out', 'build');
    expect(code, stderr).toBe(0);
    const bytes = readFileSync(join(project, 'build', 'model.onnx'));
    const shape = [2, 3, size, size];
    const pixels = Float32Array.from({ length: 6 * size * size }, random(0, 'pixels'));
    const native = await (await node.InferenceSession.create(bytes)).run({ image: new node.Tensor('float32', pixels, shape) });
    web.env.wasm.numThreads = 1;
    const wasm = await (await web.InferenceSession.create(bytes)).run({ image: new web.Tensor('float32', pixels, shape) });
    for (const name of ['logits', 'probabilities']) {
      const expected = native[name].data as Float32Array;
      const got = wasm[name].data as Float32Array;
      expect(got.length).toBe(expected.length);
      // Sums of some hundred float32 terms, in another order.
      for (const [i, value] of got.entries()) {
        expect(Math.abs(value - expected[i])).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected[i])));
      }
      expect(new Set(expected).size).toBeGreaterThan(1);
    }
  });

  it('is used from a program by its three entries', async (context) => {
    needs(context);
    writeFileSync(join(project, 'program.ts'), program);
    const { code, stdout, stderr } = await npx('tsx', 'program.ts');
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual(['line', [0, 2.5]]);
  });

  it('has types that tsc accepts, and that refuse a shape mistake with its sentence', async (context) => {
    needs(context);
    const check = async (name: string, skipLibCheck: boolean) => {
      writeFileSync(
        join(project, 'tsconfig.json'),
        JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck }, files: [name] }),
      );
      const tsc = join(checkout, 'node_modules', 'typescript', 'bin', 'tsc');
      return (await run(process.execPath, [tsc, '-p', '.', '--pretty', 'false'])).stdout;
    };
    // A model needs no types but the language's own, which are checked too.
    expect(await check('model.ts', false)).toBe('');
    expect(await check('wrong.ts', false)).toContain('add: [N,8,16,16] and [N,8,8,8] have different shapes');
    // The runtime's types name those of Node and, through ONNX Runtime, of browsers.
    expect(await check('program.ts', true)).toBe('');
  });

  it('stops the build at the same mistake, with its line', async (context) => {
    needs(context);
    const { code, stdout, stderr } = await npx('ddrc', 'build', 'wrong.ts', '--out', 'wrong');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('SHAPE_MISMATCH  add: [N,8,16,16] and [N,8,8,8] have different shapes\n');
    const line = files['wrong.ts'].split('\n').findIndex((text) => text.includes('add(')) + 1;
    expect(stderr).toContain(`  at wrong.ts:${line}, scope (top)\n`);
    expect(existsSync(join(project, 'wrong'))).toBe(false);
  });

  it('makes a project of its own, which names it as the user does', async (context) => {
    needs(context);
    const { code, stderr } = await npx('ddrc', 'init', 'own');
    expect(code, stderr).toBe(0);
    const { dependencies } = JSON.parse(readFileSync(join(project, 'own', 'package.json'), 'utf8'));
    expect(dependencies.ddrc).toBe(`file:../../${packed.filename}`);
    expect(readFileSync(join(project, 'own', '.npmrc'), 'utf8')).toBe(files['.npmrc']);
  });
});
