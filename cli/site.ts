import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { canExplain } from '../compiler/artifacts/explain.ts';
import { type Artifact, compile } from '../compiler/compile.ts';
import { portable, type Target } from '../compiler/emit/lowering.ts';
import type { Program } from '../compiler/ir/program.ts';
import type { Manifest } from '../contract/manifest.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { makeFolder, partialSuffix, readBytes, writeFileAtomic } from '../runtime/files.ts';
import { serializeSafetensors } from '../runtime/safetensors.ts';
import { packageRoot } from './project.ts';
import { openTrainedProgram } from './trained-program.ts';

/** The page as Vite built it. */
const page = join(packageRoot, 'dist', 'page');
/** What a page needs of onnxruntime-web: a build for wasm and one that has WebGPU as well, each with its module. */
const ortFiles = [
  'ort.wasm.min.mjs',
  'ort-wasm-simd-threaded.mjs',
  'ort-wasm-simd-threaded.wasm',
  'ort.webgpu.min.mjs',
  'ort-wasm-simd-threaded.asyncify.mjs',
  'ort-wasm-simd-threaded.asyncify.wasm',
];

/** What isolates a page from others, so that wasm may have threads. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** The headers that a site wants: isolation, and the page's own policy, which its worker would not have otherwise. */
export function siteHeaders(index: string): Readonly<Record<string, string>> {
  const policy = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(index)?.[1];
  return { ...isolation, ...(policy !== undefined && { 'Content-Security-Policy': policy }) };
}

/** A page runs its graphs on WebGPU or on wasm, where the forms that WebGPU needs take no longer. */
const siteTarget: Target = { ...portable, provider: 'webgpu' };

/** A file of a site: its place, and its content or the file that is copied there. */
export interface SiteFile {
  readonly path: string;
  readonly content: Uint8Array | { readonly copyOf: string };
}

/**
 * The files of a site for a trained run: page, ONNX Runtime and model.
 * @throws DdrcError of runs, checkpoints and model files; MODEL_FOREIGN where the model takes no picture or gives no scores
 */
export async function siteFiles(folder: string): Promise<SiteFile[]> {
  if (!existsSync(page)) {
    const message = 'the page of ddrc has not been built';
    throw new DdrcError({ code: 'FILE_MISSING', message, where: page, hint: 'npm run build makes it; or install ddrc again' });
  }
  const model = await modelFiles(folder);
  const ort = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'));
  const files: SiteFile[] = [
    ...filesBelow(page).map((path) => ({ path, content: { copyOf: join(page, path) } })),
    ...ortFiles.map((name) => ({ path: `ort/${name}`, content: { copyOf: join(ort, name) } })),
    ...[...model].map(([name, content]) => ({ path: `model/${name}`, content })),
  ];
  return files.map((file) => (file.path === 'sw.js' ? serviceWorker(file, files) : file));
}

/**
 * The service worker with the list of files that it keeps for when there is no connection, the headers that it sends, and a version that changes with any
 * of them. Without a connection a page runs on wasm.
 */
function serviceWorker(file: SiteFile, files: readonly SiteFile[]): SiteFile {
  const kept = files.map(({ path }) => path).filter((path) => path !== 'sw.js' && !/webgpu|asyncify/.test(path));
  const hash = createHash('sha256');
  for (const each of files) hash.update(each.path).update(contentOf(each));
  const index = files.find(({ path }) => path === 'index.html')!;
  const headers = siteHeaders(new TextDecoder().decode(contentOf(index)));
  const settings = { version: hash.digest('hex').slice(0, 16), kept, headers };
  const text = new TextDecoder().decode(contentOf(file));
  return { path: file.path, content: new TextEncoder().encode(`const site = ${JSON.stringify(settings)};\n${text}`) };
}

function contentOf({ content }: SiteFile): Uint8Array {
  return 'copyOf' in content ? readBytes(content.copyOf) : content;
}

/** Bytes of a file of a site. */
export function sizeOf({ content }: SiteFile): number {
  return 'copyOf' in content ? statSync(content.copyOf).size : content.length;
}

/** The files of a site that are written last: the page, and before it the manifest, by whose hashes a page knows that its files belong together. */
const lastOf = ['model/manifest.json', 'sw.js', 'index.html'];

/** Whether a folder is a whole site. */
export function isSite(folder: string): boolean {
  return lastOf.every((name) => existsSync(join(folder, name)));
}

/** The file by which a folder is known as a site that was written or begun here: the paths of all that was. */
const listName = 'ddrc-site.json';

/** The files of a site that {@link writeSite} wrote or began; null where a folder is none. */
function writtenFiles(folder: string): readonly string[] | null {
  try {
    const { files } = JSON.parse(readFileSync(join(folder, listName), 'utf8')) as { files: unknown };
    const isInside = (path: unknown) => typeof path === 'string' && !isAbsolute(path) && !path.split(/[\\/]/).includes('..');
    return Array.isArray(files) && files.every(isInside) ? files : null;
  } catch {
    return null;
  }
}

/**
 * Something in a folder that no site put there: the first that would be written over, or lie among a site's files.
 * @returns its path; null where there is nothing
 */
export function strangerIn(folder: string): string | null {
  const own = new Set([listName, ...(writtenFiles(folder) ?? [])]);
  return filesBelow(folder).find((path) => !own.has(path) && !path.endsWith(partialSuffix)) ?? null;
}

/**
 * Writes a site, each file whole, and removes what an earlier one had more.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function writeSite(out: string, files: readonly SiteFile[]): void {
  const paths = files.map(({ path }) => path);
  const earlier = writtenFiles(out) ?? [];
  const list = (files: readonly string[]) => new TextEncoder().encode(`${JSON.stringify({ files }, null, 2)}\n`);
  makeFolder(out);
  writeFileAtomic(join(out, listName), list([...new Set([...earlier, ...paths])]));
  const place = ({ path }: SiteFile) => lastOf.indexOf(path);
  for (const file of [...files].sort((a, b) => place(a) - place(b))) {
    const target = join(out, file.path);
    makeFolder(dirname(target));
    writeFileAtomic(target, contentOf(file));
  }
  for (const path of earlier) if (!paths.includes(path)) rmSync(resolve(out, path), { force: true });
  writeFileAtomic(join(out, listName), list(paths));
}

/** Model, weights and training graphs of a run's best epoch, with their manifest. */
async function modelFiles(folder: string): Promise<Map<string, Uint8Array>> {
  const { program, settings, manifest: plain, weights } = await openTrainedProgram(folder);
  const problem = pageProblem(program);
  if (problem) throw new DdrcError({ code: 'MODEL_FOREIGN', ...problem });
  const classes = settings.classes ?? undefined;
  const { optimizer, clipNorm } = settings;
  const request = { weights, classes, optimizer, clipNorm, target: siteTarget };
  const artifacts: Artifact[] = ['model', 'tunable', 'step', ...(canExplain(program) ? (['explain'] as const) : [])];
  const { manifest, files } = compile(program, { ...request, artifacts });
  const all = new Map(files);
  const described: Record<string, Manifest['files'][string]> = { ...manifest.files };
  const freeze = allButHead(plain);
  if (freeze.length > 0) {
    const head = compile(program, { ...request, artifacts: ['step'], freeze });
    all.set('head.onnx', head.files.get('step.onnx')!);
    described['head.onnx'] = head.manifest.files['step.onnx'];
  }
  const initial = serializeSafetensors(weights, { model: manifest.model, modelHash: manifest.modelHash });
  all.set('initial.safetensors', initial);
  const sha256 = createHash('sha256').update(initial).digest('hex');
  described['initial.safetensors'] = { sha256, inputs: [], outputs: [] };
  all.set('manifest.json', new TextEncoder().encode(JSON.stringify({ ...manifest, files: described })));
  return all;
}

/** Why a model can have no page, and what to do; null where it can. */
export function pageProblem({ name, inputs, scores }: Program): { readonly message: string; readonly hint: string } | null {
  const [image] = inputs;
  const [, channels, height, width] = image.type.shape;
  if (inputs.length !== 1 || image.kind !== 'image' || channels !== 3 || height !== width)
    return {
      message: `${name} does not take one square colour picture, so there is no page for it`,
      hint: 'give it one input image(3, size, size)',
    };
  if (!scores)
    return {
      message: `${name} has no scores of classes, so there is nothing that a page could show`,
      hint: 'give defineModel scores',
    };
  return null;
}

/** Names of all parameters but those of the last layer that has some. */
function allButHead({ parameters }: Manifest): string[] {
  const last = parameters.at(-1)!.name;
  const head = last.slice(0, last.lastIndexOf('.') + 1);
  return parameters.map(({ name }) => name).filter((name) => (head === '' ? name !== last : !name.startsWith(head)));
}

/** Paths of the files below a folder, with `/`. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
}
