import { existsSync } from 'node:fs';
import { dirname, extname, resolve } from 'node:path';
import { DdrcError, isDdrcError } from '../../diagnostics/error.ts';
import { decodeFile } from '../../runtime/data/decode.ts';
import { readListing } from '../../runtime/data/layout.ts';
import { drawnSmears } from '../../runtime/data/synthetic.ts';
import { Explainer, isNothing } from '../explainer.ts';
import { openTrainedProgram } from '../trained-program.ts';
import { dataUrl, squarePicture, withAttention } from './pictures.ts';
import { type TestPrediction, testPredictions } from './predictions.ts';
import type { RunRecord } from './run-record.ts';

/** The most images that a report has room for. */
const most = 24;
/** Side in pixels of an image in a report. */
const side = 160;

/** A test image that was put into a wrong class. */
export interface WrongImage extends TestPrediction {
  /** Addresses that hold the image as the model sees it, and with what spoke for the predicted class; null where there is none. */
  readonly image: string | null;
  readonly attention: string | null;
  /** Whether nothing in the feature map spoke for the predicted class. */
  readonly nothingSpoke: boolean;
}

/** What is said of examples that are no images; nothing is missing there. */
const arraysOnly = 'The examples are arrays, so there are no images to show.';

export interface WrongImages {
  /** How many there are; null where the run does not tell. */
  readonly count: number | null;
  /** Those that the model was surest of, the surest first. */
  readonly shown: readonly WrongImage[];
  /** Why something is not there, a sentence each. */
  readonly notes: readonly string[];
  /** Those of the notes that name something which the page would have, were it where the run looks for it. */
  readonly missing: readonly string[];
}

/**
 * The test images that a run's best weights put into a wrong class. Whatever cannot be had is a note.
 * @param threads of one operator; by default one for each processor
 */
export async function wrongImages(run: RunRecord, threads?: number): Promise<WrongImages> {
  const notes: string[] = [];
  const found = await shownImages(run, notes, threads);
  return { ...found, notes, missing: notes.filter((note) => note !== arraysOnly) };
}

async function shownImages(run: RunRecord, notes: string[], threads?: number): Promise<Pick<WrongImages, 'count' | 'shown'>> {
  const rows = await orNote(notes, 'The predictions cannot be read', () => testPredictions(run.paths));
  if (!rows) {
    if (notes.length === 0) notes.push('The run has no predictions.csv, so the wrong images are not known.');
    return { count: null, shown: [] };
  }
  const wrong = rows.filter(({ label, predicted }) => label !== predicted);
  const surest = wrong.sort((a, b) => b.probability - a.probability).slice(0, most);
  if (surest.length === 0) return { count: 0, shown: [] };
  const pictures = await orNote(notes, 'The images are not shown', () => openPictures(run, surest));
  if (!pictures) {
    if (notes.length === 0) notes.push(arraysOnly);
    return {
      count: wrong.length,
      shown: surest.map((row) => ({ ...row, image: null, attention: null, nothingSpoke: false })),
    };
  }
  const explainer = await orNote(notes, 'There is no Grad-CAM', async () =>
    Explainer.open(await openTrainedProgram(run.paths.folder), { threads }),
  );
  try {
    const shown: WrongImage[] = [];
    for (const row of surest) {
      const size = explainer?.size ?? side;
      const pixels = await orNote(notes, `${row.path} is not shown`, () => pictures(row.path, size));
      const image = pixels && (await dataUrl(squarePicture(pixels, size), side));
      const label = explainer?.classes.indexOf(row.predicted) ?? -1;
      const map = pixels && explainer && label >= 0 ? await explainer.attention(pixels, label) : null;
      const attention = pixels && map && (await dataUrl(await withAttention(pixels, size, map), side));
      shown.push({ ...row, image, attention, nothingSpoke: map !== null && isNothing(map) });
    }
    return { count: wrong.length, shown };
  } finally {
    await explainer?.close();
  }
}

/** Gives the pixels uint8 [size,size,3] of a test image by its path within the data; null for data that are no images. */
function openPictures(
  { settings }: RunRecord,
  rows: readonly TestPrediction[],
): ((path: string, size: number) => Promise<Uint8Array>) | null {
  const { path: data } = settings.data;
  if (data === null) return drawnPictures(rows);
  if (extname(data).toLowerCase() === '.safetensors') return null;
  if (!existsSync(data)) {
    throw new DdrcError({
      code: 'DATA_MISSING',
      message: `there is no ${data}; where they are now is said by ddrc report --data PATH`,
      where: data,
    });
  }
  const { root } = readListing(data);
  // The root of a table is the table itself.
  const fileOf = (path: string) => [root, dirname(root)].map((place) => resolve(place, path)).find((file) => existsSync(file));
  return (path, size) => decodeFile(fileOf(path) ?? resolve(root, path), size);
}

/** Drawn cells are drawn again; the number at the end of a path says which one. */
function drawnPictures(rows: readonly TestPrediction[]): (path: string, size: number) => Promise<Uint8Array> {
  const numberOf = (path: string) => Number(/\d+$/.exec(path)?.[0] ?? 0);
  const count = Math.max(...rows.map(({ path }) => numberOf(path))) + 1;
  let drawn: { readonly size: number; readonly images: Uint8Array } | null = null;
  return async (path, size) => {
    if (drawn?.size !== size) drawn = { size, images: drawnSmears({ count, size, seed: 0, split: 'test' }).images };
    const length = 3 * size * size;
    return drawn.images.slice(numberOf(path) * length, (numberOf(path) + 1) * length);
  };
}

/** What `work` gives; null, and a sentence among the notes, where it fails as ddrc fails. */
async function orNote<T>(notes: string[], what: string, work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!isDdrcError(error)) throw error;
    notes.push(`${what}: ${error.message}.`);
    return null;
  }
}
