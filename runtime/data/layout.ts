import { type Dirent, existsSync, readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { counted } from '../../diagnostics/counted.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { systemCode } from '../files.ts';
import { isCnmcName, parseCnmcName } from './cnmc.ts';
import { type Candidate, isSplitName, type Listing, type ListingOptions, makeListing, splitRole } from './listing.ts';
import { type Origin, readOrigins, readTable } from './table.ts';

/** Extensions (lower case, without the dot) of the files that count as images in a folder. */
export const imageExtensions = ['jpg', 'jpeg', 'jpe', 'jfif', 'png', 'webp', 'gif', 'bmp', 'tif', 'tiff', 'avif'] as const;

const extensions = new Set<string>(imageExtensions);
/** Where Kaggle's blood-cell archive keeps the folders of this set. */
const nested = ['dataset2-master/dataset2-master/images', 'dataset2-master/images'];
const ignored = new Set(['__macosx', 'thumbs.db', 'desktop.ini']);

/**
 * Lists the images of a data set: Kaggle's layout (`TRAIN/`, `TEST/`, `TEST_SIMPLE/` of class folders; train, val, valid, validation and test in any case),
 * a folder of class folders, C-NMC 2019 (see {@link parseCnmcName}: folds, class folders or none, in splits or not), or a CSV (see {@link readTable}). The folder may lie inside the one given (`dataset2-master/dataset2-master/images`,
 * or a chain of single folders). Files with an image's extension count, also in folders below a class folder; hidden ones do not, others are
 * named in a note. An `originals.csv` in the folder gives groups (see {@link readOrigins}); those of C-NMC are its subjects. No image is opened.
 *
 * @throws DATA_MISSING, DATA_UNREADABLE, DATA_LAYOUT, DATA_EMPTY, DATA_CLASS_EMPTY, DATA_CLASSES_DIFFER, DATA_ONE_CLASS, DATA_FILE_NAME and those of a CSV
 */
export function readListing(path: string, options: ListingOptions = {}): Listing {
  const given = resolve(path);
  const stats = statOf(given);
  if (stats.isFile()) {
    if (/\.(csv|txt)$/i.test(given))
      return makeListing(
        given,
        onDisk(given, () => readTable(given)),
        [],
        options,
      );
    throw layoutError(given, 'the data is a file that is not a CSV', 'give a folder of class folders, or a CSV with path,label');
  }
  const root = findRoot(given);
  const folder = readFolder(root);
  const cnmc = isCnmc(root);
  const splits = splitFolders(root, folder, cnmc);
  if (cnmc) return readCnmc(root, splits, options);
  if (folder.folders.length === 0 && folder.files.some(({ image }) => image)) {
    throw layoutError(root, 'the folder holds images and no class folders', 'put the images into a folder for each class');
  }
  const other = new OtherFiles(root);
  other.add(folder.files.filter(({ name }) => name !== 'originals.csv').map(({ name }) => join(root, name)));
  const notes: string[] = [];
  const groupsFile = [root, given].map((place) => join(place, 'originals.csv')).find((file) => existsSync(file));
  const originOf = groupsFile === undefined ? (): Origin => ({ group: null }) : onDisk(groupsFile, () => readOrigins(groupsFile));
  const candidates: Candidate[] = [];
  const declared = new Map<string | null, string[]>();
  for (const split of splits ?? [null]) {
    const place = split === null ? root : join(root, split);
    const inside = split === null ? folder : readFolder(place);
    if (split !== null) other.add(inside.files.map(({ name }) => join(place, name)));
    declared.set(split, inside.folders);
    for (const className of inside.folders) {
      for (const name of imagesBelow(join(place, className), other)) {
        candidates.push({ path: join(place, className, name), className, split, ...originOf(split, className, name) });
      }
    }
  }
  if (splits === null) checkNotFolds(root, folder.folders);
  const left = splits === null ? [] : folder.folders.filter((name) => !splits.includes(name));
  if (left.length > 0) notes.push(`Not a split, left out: ${left.map((name) => `${name}/`).join(', ')} in ${root}.`);
  const ungrouped = candidates.filter(({ group }) => group === null).length;
  if (groupsFile !== undefined && ungrouped > 0)
    notes.push(
      `${counted(ungrouped, `of ${candidates.length} images is`, `of ${candidates.length} images are`)} not in ${groupsFile}.`,
    );
  return makeListing(root, candidates, [...notes, ...other.notes()], options, declared);
}

/** Whether the first folder with images, in alphabetical order, has one named as those of C-NMC 2019 are. */
function isCnmc(root: string): boolean {
  let place = root;
  for (let depth = 0; depth < 5; depth++) {
    const { folders, files } = readFolder(place);
    const images = files.filter(({ image }) => image);
    if (images.length > 0 || folders.length === 0) return images.some(({ name }) => isCnmcName(name));
    place = join(place, folders[0]);
  }
  return false;
}

/** C-NMC 2019: class and group of each image are in its name; folders below a split (folds, classes) have no meaning of their own. */
function readCnmc(root: string, splits: readonly string[] | null, options: ListingOptions): Listing {
  const other = new OtherFiles(root);
  const candidates = (splits ?? [null]).flatMap((split) => {
    const place = split === null ? root : join(root, split);
    return imagesBelow(place, other).map((name): Candidate => {
      const path = join(place, name);
      const { subject, className } = parseCnmcName(path);
      return { path, className, split, group: subject };
    });
  });
  const folds = readFolder(root).folders.filter((name) => /^fold[-_ ]?\d+$/i.test(name));
  const notes =
    folds.length > 0 ? [`Not splits, put together: ${folds.map((name) => `${name}/`).join(', ')} of C-NMC 2019.`] : [];
  return makeListing(root, candidates, [...notes, ...other.notes()], options);
}

/**
 * The image files that paths name: files as they are, folders with every image below them, in alphabetical order; each file once.
 *
 * @throws DATA_MISSING for a path that does not exist, DATA_EMPTY for a folder without images
 */
export function listImages(paths: readonly string[]): string[] {
  const files = new Set<string>();
  for (const path of paths) {
    if (statOf(path).isFile()) {
      files.add(path);
      continue;
    }
    const names = imagesBelow(path, new OtherFiles(path));
    if (names.length === 0) {
      throw new DdrcError({
        code: 'DATA_EMPTY',
        message: 'the folder holds no images',
        where: path,
        hint: `files ending in ${imageExtensions.map((extension) => `.${extension}`).join(', ')} count`,
      });
    }
    for (const name of names) files.add(join(path, name));
  }
  return [...files];
}

interface Folder {
  /** Names of visible folders, sorted. */
  readonly folders: string[];
  readonly files: { readonly name: string; readonly image: boolean }[];
}

function readFolder(place: string): Folder {
  const folders: string[] = [];
  const files: Folder['files'] = [];
  for (const entry of onDisk(place, () => readdirSync(place, { withFileTypes: true }))) {
    if (entry.name.startsWith('.') || ignored.has(entry.name.toLowerCase())) continue;
    if (isFolder(place, entry)) folders.push(entry.name);
    else
      files.push({
        name: entry.name,
        image: isReadable(place, entry) && extensions.has(entry.name.slice(entry.name.lastIndexOf('.') + 1).toLowerCase()),
      });
  }
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { folders: folders.sort(), files };
}

function isFolder(place: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  const target = join(place, entry.name);
  return onDisk(target, () => statSync(target, { throwIfNoEntry: false })?.isDirectory() ?? false);
}

/** Whether it is an ordinary file (or a link, which is looked at when it is read): a pipe or a device would be waited for. */
function isReadable(place: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isFile();
  const target = join(place, entry.name);
  return onDisk(target, () => statSync(target, { throwIfNoEntry: false })?.isFile() ?? true);
}

/** Names of the images below a folder, relative to it, with `/`. A folder that links back to one above it is entered once. */
function imagesBelow(place: string, other: OtherFiles): string[] {
  const images: string[] = [];
  const walk = (prefix: string, above: readonly string[]): void => {
    const here = join(place, prefix);
    const { folders, files } = readFolder(here);
    for (const { name, image } of files) {
      if (image) images.push(prefix + name);
      else other.add([join(here, name)]);
    }
    for (const name of folders) {
      const real = realPath(join(here, name));
      if (!above.includes(real)) walk(`${prefix}${name}/`, [...above, real]);
    }
  };
  walk('', [realPath(place)]);
  return images;
}

function realPath(path: string): string {
  return onDisk(path, () => realpathSync(path));
}

function findRoot(given: string): string {
  let place = given;
  for (let depth = 0; depth < 5; depth++) {
    const inside = nested.map((name) => join(place, name)).find((name) => existsSync(name));
    if (inside !== undefined) return inside;
    const { folders, files } = readFolder(place);
    if (folders.length !== 1 || files.some(({ image }) => image) || splitRole(folders[0]) !== null) return place;
    const below = join(place, folders[0]);
    const next = readFolder(below);
    if (next.folders.length === 0 || next.files.some(({ image }) => image)) return place;
    place = below;
  }
  return place;
}

/**
 * The split folders: train first, then val, test and the others; null where the folders are classes.
 * @param flat whether a split may hold images without class folders
 */
function splitFolders(root: string, { folders }: Folder, flat: boolean): string[] | null {
  if (!folders.some((name) => splitRole(name) !== null)) return null;
  const order = { train: 0, val: 1, test: 2 };
  const rank = (name: string) => order[splitRole(name) ?? 'test'] + (splitRole(name) === null ? 1 : 0);
  const splits = folders.filter(isSplitName).sort((a, b) => rank(a) - rank(b));
  for (const split of splits) {
    const { folders: classes, files } = readFolder(join(root, split));
    if (flat || classes.length > 0 || !files.some(({ image }) => image)) continue;
    throw layoutError(
      join(root, split),
      `the split folder ${split} holds images and no class folders`,
      'put the images into a folder for each class',
    );
  }
  const role = splits.map(splitRole);
  const twice = splits.find((_, i) => role[i] !== null && role.indexOf(role[i]) !== i);
  if (twice !== undefined) {
    const first = splits[role.indexOf(splitRole(twice))];
    throw layoutError(root, `the folders ${first} and ${twice} are both for the same split`, 'keep one of them');
  }
  return splits;
}

/** Refuses a folder of folds (`fold_0/{all,hem}`, `fold_1/{all,hem}`), which would be read as classes named after the folds. */
function checkNotFolds(root: string, folders: readonly string[]): void {
  if (folders.length < 2) return;
  const inside = folders.map((name) => readFolder(join(root, name)));
  const names = inside.map((folder) => folder.folders.join('/'));
  if (inside[0].folders.length < 2 || names.some((list) => list !== names[0])) return;
  if (inside.some((folder) => folder.files.some(({ image }) => image))) return;
  throw layoutError(
    root,
    `the folders ${folders.slice(0, 4).join(', ')} each hold the folders ${inside[0].folders.slice(0, 4).join(', ')}: which of them are the classes is not clear`,
    'name splits train, val and test, or list the images in a CSV with path,label,split,group',
  );
}

/** Counts files that are not images and remembers the first few. */
class OtherFiles {
  private readonly root: string;
  private count = 0;
  private readonly shown: string[] = [];

  constructor(root: string) {
    this.root = root;
  }

  add(paths: readonly string[]): void {
    for (const path of paths) {
      this.count++;
      if (this.shown.length < 3) this.shown.push(path.slice(this.root.length + 1));
    }
  }

  notes(): string[] {
    if (this.count === 0) return [];
    const more = this.count > this.shown.length ? ' and others' : '';
    return [
      `${counted(this.count, 'file is', 'files are')} not counted, not being an image in a class folder: ${this.shown.join(', ')}${more}.`,
    ];
  }
}

function statOf(path: string): Stats {
  const stats = onDisk(path, () => {
    try {
      return statSync(path);
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(systemCode(error))) return undefined;
      throw error;
    }
  });
  if (stats !== undefined) return stats;
  throw new DdrcError({
    code: 'DATA_MISSING',
    message: `there is no file or folder "${basename(path) || path}"`,
    where: path,
    hint: 'check the path',
  });
}

/** Runs a read from disk; a refusal of the operating system becomes DATA_UNREADABLE. */
function onDisk<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof DdrcError) throw cause;
    const code = systemCode(cause);
    if (code === '') throw cause;
    const where = (cause as NodeJS.ErrnoException).path ?? path;
    throw new DdrcError({
      code: 'DATA_UNREADABLE',
      message: `the data cannot be read (${code})`,
      where,
      hint: code === 'ELOOP' ? 'it is a link that leads back to itself: remove it' : 'check the rights on it',
      cause,
    });
  }
}

function layoutError(where: string, message: string, hint: string): DdrcError {
  return new DdrcError({ code: 'DATA_LAYOUT', message, where, hint });
}
