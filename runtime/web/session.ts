import type * as Ort from 'onnxruntime-web';
import type { Manifest } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { fileOf } from '../manifest.ts';
import type { TensorData } from '../tensor.ts';
import { canHash, sha256 } from './hash.ts';
import type { LoadedOrt } from './ort.ts';

export type Feeds = Readonly<Record<string, TensorData>>;

/** What runs the graphs of a model. */
export interface GraphRunner {
  readonly manifest: Manifest;
  /** @param training whether nothing is to be rewritten: the compiler has put the nodes in order */
  run(name: string, feeds: Feeds, fetch: readonly string[], training?: boolean): Promise<Record<string, TensorData>>;
}

/** The files of a built model, and sessions of those that have been asked for. */
export class ModelFolder implements GraphRunner {
  private readonly sessions = new Map<string, Promise<Ort.InferenceSession>>();
  private readonly replaced = new Map<string, Uint8Array>();

  constructor(
    readonly manifest: Manifest,
    private readonly folder: string,
    readonly loaded: LoadedOrt,
  ) {}

  has(name: string): boolean {
    return Object.hasOwn(this.manifest.files, name);
  }

  /** @throws DdrcError FILE_UNREADABLE where it cannot be fetched, MANIFEST_FILE where it is not the one that the manifest means */
  async bytes(name: string): Promise<Uint8Array> {
    const replaced = this.replaced.get(name);
    if (replaced) return replaced;
    const { sha256: expected } = fileOf(this.manifest, name);
    const url = new URL(name, this.folder).href;
    const bytes = await fetchBytes(url, name);
    if (!canHash || (await sha256(bytes)) === expected) return bytes;
    throw new DdrcError({
      code: 'MANIFEST_FILE',
      message: `${name} is not the file that manifest.json describes`,
      where: url,
      hint: 'the site was renewed or is damaged: reload the page',
    });
  }

  /** Puts other bytes in the place of files; sessions of them are made anew. */
  async replace(files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    for (const [name, bytes] of files) this.replaced.set(name, bytes);
    await this.release([...files.keys()]);
  }

  /** Gives back what the sessions of these files hold, if there are any. */
  async release(names: readonly string[]): Promise<void> {
    const making = names.map((name) => this.sessions.get(name));
    for (const name of names) this.sessions.delete(name);
    const sessions = await Promise.allSettled(making);
    // One that cannot be released is not used again in any case.
    await Promise.allSettled(sessions.map((each) => (each.status === 'fulfilled' ? each.value?.release() : undefined)));
  }

  /** Makes the session of a graph ready. */
  async prepare(name: string, training = false): Promise<Ort.InferenceSession> {
    let making = this.sessions.get(name);
    if (!making) {
      making = this.open(name, training);
      this.sessions.set(name, making);
      // What failed may work another time.
      making.catch(() => {
        if (this.sessions.get(name) === making) this.sessions.delete(name);
      });
    }
    return making;
  }

  async run(name: string, feeds: Feeds, fetch: readonly string[], training = false): Promise<Record<string, TensorData>> {
    const session = await this.prepare(name, training);
    const { Tensor } = this.loaded.ort;
    const inputs = Object.fromEntries(
      session.inputNames.map((input) => {
        const { dtype, data, shape } = feeds[input];
        return [input, new Tensor(dtype as 'float32', data as Float32Array, shape)];
      }),
    );
    const outputs = await session.run(inputs, [...fetch]);
    const results: Record<string, TensorData> = {};
    for (const output of fetch) {
      const tensor = outputs[output];
      const data = (await tensor.getData()) as TensorData['data'];
      results[output] = { dtype: tensor.type as TensorData['dtype'], shape: [...tensor.dims], data };
      tensor.dispose();
    }
    return results;
  }

  private async open(name: string, training: boolean): Promise<Ort.InferenceSession> {
    return this.loaded.ort.InferenceSession.create(await this.bytes(name), {
      executionProviders: [this.loaded.device],
      graphOptimizationLevel: training ? 'disabled' : 'all',
      enableMemPattern: false,
    });
  }
}

export async function fetchBytes(url: string, what: string): Promise<Uint8Array> {
  const failed = (how: string, cause?: unknown) =>
    new DdrcError({
      code: 'FILE_UNREADABLE',
      message: `${what} cannot be loaded: ${how}`,
      where: url,
      hint: 'look whether the site is complete and the connection works',
      cause,
    });
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw failed('the connection failed', cause);
  }
  if (!response.ok) throw failed(`the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
