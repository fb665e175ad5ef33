/*
 * `ddrc web` and `ddrc serve`, without a browser; `test/web` has the page itself.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeArrays } from './array-file.ts';
import { checkout, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const files = (place: string) =>
  readdirSync(at(place), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(at(place).length + 1))
    .sort();
const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Takes pictures and has no feature map. */
const flatModel = `import { classIndex, defineModel, image, int, linear, mean, softmaxCrossEntropy } from 'ddrc';
export default defineModel({
  name: 'flat',
  options: { classes: int(2, { min: 2 }), size: int(16, { min: 8 }) },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ image }, { classes }) => ({ logits: linear(mean(image, [2, 3]), 'head', { units: classes }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`;

const calls = {
  written: ['web', 'run', '--out', 'site'],
  again: ['web', 'run', '--out', 'site'],
  among: ['web', 'run', '--out', 'photographs'],
  file: ['web', 'run', '--out', 'note.txt'],
  none: ['web', 'nothing', '--out', 'new'],
  data: ['web', 'pictures', '--out', 'new'],
  unfinished: ['web', 'begun', '--out', 'new'],
  foreign: ['web', 'numbers', '--out', 'new'],
  noOut: ['web', 'run'],
  misspelt: ['web', 'run', '--ouut', 'x'],
  flat: ['web', 'flat', '--out', 'flat-site'],
  port: ['serve', 'run', '--port', '70000'],
  word: ['serve', 'run', '--port', 'http'],
  unserved: ['serve', 'pictures'],
} as const;
let outcomes: Record<keyof typeof calls, Outcome>;

beforeAll(async () => {
  const data = await pictureFolder(at('pictures'), { classes: ['blue', 'green'], each: 8 });
  const settings = ['--epochs', '1', '--batch', '4', '--device', 'cpu', '--cache', 'none'];
  writeFileSync(at('small.ts'), smallModel);
  writeFileSync(at('flat.ts'), flatModel);
  writeArrays(at('arrays.safetensors'));
  writeFileSync(at('note.txt'), 'mine');
  for (const name of ['photographs', 'temporary']) mkdirSync(at(name));
  writeFileSync(at('photographs', 'holiday.jpeg'), 'mine');
  const trained = await ddrcInOneProcess(
    [
      ['train', ...settings, '--data', data, '--size', '32', '--option', 'channels=4', '--run', 'run'],
      ['train', 'flat.ts', ...settings, '--data', data, '--run', 'flat'],
      ['train', 'small.ts', ...settings, '--data', 'arrays.safetensors', '--run', 'numbers'],
    ],
    folder,
  );
  for (const { code, stderr } of trained) expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
  mkdirSync(at('begun'));
  cpSync(at('run', 'config.json'), at('begun', 'config.json'));
  const results = await ddrcInOneProcess(Object.values(calls), folder);
  outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]])) as typeof outcomes;
}, 120_000);

describe('ddrc web', () => {
  it('writes page, engine and model, and says how to look at it', () => {
    const { code, stdout } = outcomes.written;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^site {2}\d+ files, [\d.]+ MB\n.*npx ddrc serve site\n$/);
    const there = files('site');
    // And the list of them, by which ddrc knows its own.
    expect(stdout).toContain(`${there.length - 1} files`);
    for (const name of [
      'index.html',
      'sw.js',
      'ort/ort.wasm.min.mjs',
      'model/model.onnx',
      'model/head.onnx',
      'model/tunable.onnx',
    ])
      expect(there).toContain(name);
  });

  it('describes each file of the model by its hash, and classifies as the run does', () => {
    const manifest = JSON.parse(readFileSync(at('site/model/manifest.json'), 'utf8'));
    const names = files('site/model').filter((name) => name !== 'manifest.json');
    expect(Object.keys(manifest.files).sort()).toEqual(names);
    for (const name of names) expect([name, hash(at('site/model', name))]).toEqual([name, manifest.files[name].sha256]);
    expect(manifest.classes).toEqual(['blue', 'green']);
  });

  it('gives the same bytes again, over the site that is there', () => {
    expect(outcomes.again).toMatchObject({ code: 0, stdout: outcomes.written.stdout });
    const [version] = /"version":"\w+"/.exec(readFileSync(at('site/sw.js'), 'utf8'))!;
    expect(version).toMatch(/[0-9a-f]{16}/);
  });

  it.each([
    ['among', 'OUTPUT_UNWRITABLE', 'photographs is not empty and no site of ddrc: it holds holiday.jpeg'],
    ['file', 'OUTPUT_UNWRITABLE', 'note.txt cannot be written: it is a file, not a folder'],
    ['none', 'RUN_INVALID', 'there is no run folder nothing'],
    ['data', 'RUN_INVALID', 'pictures is not a run folder: it has no config.json'],
    ['unfinished', 'FILE_MISSING', 'the run in begun has no weights yet: it has not finished an epoch'],
    ['foreign', 'MODEL_FOREIGN', 'small does not take one square colour picture, so there is no page for it'],
  ] as const)('refuses %s and writes nothing', (name, code, message) => {
    expect(outcomes[name].code).not.toBe(0);
    expect(outcomes[name].stderr).toContain(code);
    expect(outcomes[name].stderr).toContain(message);
    expect(outcomes[name].stderr).toContain('hint: ');
    expect(outcomes[name].stdout).toBe('');
    expect(existsSync(at('new'))).toBe(false);
    expect(readFileSync(at('note.txt'), 'utf8')).toBe('mine');
    expect(readdirSync(at('photographs'))).toEqual(['holiday.jpeg']);
  });

  it('goes on where an earlier one was broken off, and leaves nothing of an older site', async () => {
    mkdirSync(at('half/assets'), { recursive: true });
    writeFileSync(at('half/assets/index-old.js'), '');
    writeFileSync(at('half/ddrc-site.json'), JSON.stringify({ files: ['index.html', 'assets/index-old.js'] }));
    const [{ code }] = await ddrcInOneProcess([['web', 'run', '--out', 'half']], folder);
    expect(code).toBe(0);
    expect(files('half')).toEqual(files('site'));
  });

  it.each([
    ['page', ['index.html']],
    ['bundle', ['index.html', 'assets/photo.jpg']],
    ['weights', ['model/best.safetensors']],
    ['beside', ['ddrc-site.json', 'model/photos/cell.jpg']],
    ['outside', ['ddrc-site.json', '../note.txt', 'cell.jpg']],
  ])('leaves the files of another one alone: %s', async (name, own) => {
    for (const path of own.filter((path) => !path.startsWith('..'))) {
      mkdirSync(dirname(at(name, path)), { recursive: true });
      writeFileSync(
        at(name, path),
        path === 'ddrc-site.json' ? JSON.stringify({ files: own.filter((each) => each.startsWith('..')) }) : 'mine',
      );
    }
    const before = files(name);
    const [{ code, stderr }] = await ddrcInOneProcess([['web', 'run', '--out', name]], folder);
    expect(code).toBe(1);
    expect(stderr).toContain(`${name} is not empty and no site of ddrc: it holds`);
    expect(files(name)).toEqual(before);
    expect(readFileSync(at('note.txt'), 'utf8')).toBe('mine');
  });

  it('needs a place, and says so of a misspelt flag', () => {
    expect([outcomes.noOut.code, outcomes.noOut.stderr]).toEqual([
      2,
      expect.stringContaining('required option --out <folder> not specified'),
    ]);
    expect([outcomes.misspelt.code, outcomes.misspelt.stderr]).toEqual([
      2,
      expect.stringContaining('unknown option --ouut, did you mean --out?'),
    ]);
  });

  it('leaves the explanation out where a model has no feature map', async () => {
    const manifest = JSON.parse(readFileSync(at('flat-site/model/manifest.json'), 'utf8'));
    expect(Object.keys(manifest.files)).not.toContain('explain.onnx');
    expect(files('flat-site/model')).toContain('tunable.onnx');
    expect(outcomes.flat.code).toBe(0);
  });
});

/** `ddrc serve` until it can be asked. */
async function served(...args: string[]) {
  const child = spawn(process.execPath, [join(checkout, 'dist/cli/main.js'), 'serve', ...args], {
    cwd: folder,
    env: { ...process.env, TMPDIR: at('temporary') },
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const text = await new Promise<string>((resolve, reject) => {
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (data) => {
      stdout += data;
      if (stdout.includes('\n')) resolve(stdout);
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    child.on('close', () => reject(new Error(stderr)));
  });
  const { 1: url } = /^(http:\/\/127\.0\.0\.1:\d+\/) {2}Ctrl-C ends it\n$/.exec(text)!;
  return {
    url,
    end: (signal: NodeJS.Signals) => {
      child.kill(signal);
      return ended;
    },
  };
}

/** Asks for exactly this path, which `fetch` would tidy up. */
function ask(
  url: string,
  path: string,
  headers = {},
): Promise<{ status: number; headers: Record<string, unknown>; bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const asked = request({ hostname, port, path, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, bytes: Buffer.concat(parts) }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

const temporarySites = () => readdirSync(at('temporary')).filter((name) => name.startsWith('ddrc-site-'));

describe('ddrc serve', () => {
  it('serves a run from a folder that is gone afterwards, with the headers that give wasm threads', async () => {
    const { url, end } = await served('run', '--port', '0');
    const page = await ask(url, '/');
    expect(page.status).toBe(200);
    expect(page.headers).toMatchObject({
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'content-security-policy': expect.stringMatching(/^default-src 'none'; script-src 'self'/),
    });
    expect(page.bytes.toString()).toContain('<title>');
    const model = await ask(url, '/model/model.onnx');
    expect(createHash('sha256').update(model.bytes).digest('hex')).toBe(hash(at('site/model/model.onnx')));
    for (const path of ['/model/none.onnx', '/../note.txt', '/%2e%2e/note.txt', '/..%2fnote.txt', '//etc/passwd'])
      expect([path, (await ask(url, path)).status]).toEqual([path, 404]);
    expect(temporarySites()).toEqual([expect.stringMatching(/^ddrc-site-/)]);
    expect(await end('SIGINT')).toBe(0);
    expect(temporarySites()).toEqual([]);
  });

  it('serves a site that was written, and leaves it', async () => {
    const { url, end } = await served('site', '--port', '0');
    // No service worker that would keep this site for whoever is served at this port next.
    expect((await ask(url, '/sw.js')).bytes.toString()).toContain('registration.unregister()');
    for (const range of ['bytes=10-5', 'bytes=0-3', 'nonsense'])
      expect((await ask(url, '/index.html', { range })).bytes.toString()).toContain('<title>');
    // Written anew while it is served, a file is sent as it is now; one that is gone is not there.
    cpSync(at('site/icon.svg'), at('icon.svg'));
    writeFileSync(at('site/icon.svg'), '<svg/>');
    expect((await ask(url, '/icon.svg')).bytes.toString()).toBe('<svg/>');
    rmSync(at('site/icon.svg'));
    expect((await ask(url, '/icon.svg')).status).toBe(404);
    cpSync(at('icon.svg'), at('site/icon.svg'));
    expect(await end('SIGTERM')).toBe(143);
    expect(existsSync(at('site/index.html'))).toBe(true);
  });

  it('says that a port is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const [{ code, stderr }] = await ddrcInOneProcess([['serve', 'site', '--port', String(port)]], folder);
    other.close();
    expect(code).toBe(2);
    expect(stderr).toContain(`port ${port} is taken`);
    expect(stderr).toContain('give another --port, or 0 for a free one');
  });

  it('refuses ports that are none, and folders that are no run', () => {
    expect([outcomes.port.code, outcomes.word.code]).toEqual([2, 2]);
    expect(outcomes.unserved.code).not.toBe(0);
    expect(outcomes.unserved.stderr).toContain('RUN_INVALID  pictures is not a run folder');
  });

  it('says that a site has lost its page', async () => {
    cpSync(at('site'), at('torn'), { recursive: true });
    rmSync(at('torn', 'index.html'));
    const [{ code, stderr }] = await ddrcInOneProcess([['serve', 'torn']], folder);
    expect(code).not.toBe(0);
    expect(stderr).toContain('RUN_INVALID  torn is not a run folder');
  });
});
