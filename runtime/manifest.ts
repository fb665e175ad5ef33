import { type Manifest, type ManifestFile, type ManifestPort, type ManifestRole, manifestVersion } from '../contract/manifest.ts';
import { DdrcError } from '../diagnostics/error.ts';
import type { ExpectedState } from './flat-state.ts';

export type { Manifest, ManifestFile, ManifestPort, ManifestRole } from '../contract/manifest.ts';

/**
 * Reads the text of a manifest.json.
 * @param where the file's name, for messages
 * @throws DdrcError MANIFEST_INVALID
 */
export function parseManifest(text: string, where: string): Manifest {
  const invalid = (message: string, hint: string, cause?: unknown) =>
    new DdrcError({ code: 'MANIFEST_INVALID', message, where, hint, cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(`${where} is not JSON`, 'build the model again', cause);
  }
  const manifest = value as Manifest;
  if (typeof value !== 'object' || value === null || typeof manifest.ddrc !== 'number') {
    throw invalid(`${where} is not a manifest of ddrc`, 'name a folder that ddrc build wrote');
  }
  if (manifest.ddrc !== manifestVersion) {
    throw invalid(`${where} has version ${manifest.ddrc}, this ddrc reads version ${manifestVersion}`, 'build the model again');
  }
  const lists: (keyof Manifest)[] = ['parameters', 'statistics', 'slots', 'preprocessing'];
  const missing =
    lists.find((key) => !Array.isArray(manifest[key])) ??
    (isObject(manifest.files) && isObject(manifest.optimizer) ? null : 'files');
  if (missing) throw invalid(`${where} has no valid "${missing}"`, 'build the model again');
  return manifest;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * What the manifest says of a file.
 * @throws DdrcError MANIFEST_INVALID where it has none of that name
 */
export function fileOf(manifest: Manifest, name: string, where?: string): ManifestFile {
  if (Object.hasOwn(manifest.files, name)) return manifest.files[name];
  const message = `the model was built without ${name}`;
  throw new DdrcError({ code: 'MANIFEST_INVALID', message, where, hint: 'build it again with all files' });
}

/** The ports that have one of these roles, in their order. */
export function portsOf(ports: readonly ManifestPort[], ...roles: readonly ManifestRole[]): readonly ManifestPort[] {
  return ports.filter(({ role }) => roles.includes(role));
}

/** An output of scores [N, classes], whose largest entry is the predicted class. */
export interface Scores {
  readonly output: string;
  readonly classes: number;
  /** What makes probabilities of them. */
  readonly activation: 'softmax' | 'sigmoid';
}

/** The scores of a file's graph; null where the model does not classify: it has none, or its target is no class index [N]. */
export function scoresOf(manifest: Manifest, file: ManifestFile): Scores | null {
  const targets = portsOf(file.inputs, 'target');
  if (targets.length > 0 && !targets.some(({ dtype, shape }) => dtype === 'int64' && shape.length === 1)) return null;
  const { scores } = manifest;
  const port = file.outputs.find(({ name }) => name === scores?.output);
  const classes = port?.shape.length === 2 ? port.shape[1] : null;
  return typeof classes === 'number' ? { output: port!.name, classes, activation: scores!.activation } : null;
}

/** What checkpoints of this model have to hold. */
export function expectedState({ parameters, statistics, modelHash }: Manifest): ExpectedState {
  return { parameters, statistics, modelHash };
}
