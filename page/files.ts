/** A file that was chosen or dropped, with its place below the folder that it came from. */
export interface ChosenFile {
  readonly file: File;
  /** `CLASS/cell-7.jpg`, or the name alone. */
  readonly path: string;
}

/** What was chosen or dropped. */
export interface Chosen {
  readonly files: ChosenFile[];
  /** Names of files of a folder that browsers do not show as pictures. */
  readonly passedOver: string[];
}

/** Endings that a picture may have. */
const pictures = /\.(jpe?g|png|gif|webp|avif|bmp)$/i;
/** Endings of pictures that browsers do not show. */
const otherPictures = /\.(tiff?|hei[cf]|svs|ndpi|czi|dcm|dng|jp2|psd)$/i;

/** The files of a choice: all of them where they were chosen one by one, the pictures where a folder was. */
export function chosen(list: FileList | null): Chosen {
  const taken: Chosen = { files: [], passedOver: [] };
  for (const file of list ?? [])
    sortOut({ file, path: file.webkitRelativePath || file.name }, file.webkitRelativePath !== '', taken);
  return taken;
}

/** The files of a drop, those in folders among them. */
export async function dropped(transfer: DataTransfer): Promise<Chosen> {
  // The list is emptied when the event is over, so all is taken before anything is waited for.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return chosen(transfer.files);
  const taken: Chosen = { files: [], passedOver: [] };
  for (const entry of entries) await collect(entry, entry.isDirectory, taken);
  return taken;
}

/** One sentence on files that were passed over. */
export function passedOverSentence(names: readonly string[]): string {
  const endings = [...new Set(names.map((name) => name.slice(name.lastIndexOf('.')).toLowerCase()))].sort();
  const many = names.length === 1 ? '1 file was' : `${names.length} files were`;
  return `${many} passed over, as browsers do not show ${endings.join(', ')}: save them as PNG or JPEG`;
}

/** Takes a file. Of a folder only pictures are taken, and no hidden files, which a system leaves there. */
function sortOut(chosen: ChosenFile, inFolder: boolean, { files, passedOver }: Chosen): void {
  const { name } = chosen.file;
  if (!inFolder || (pictures.test(name) && !name.startsWith('.'))) files.push(chosen);
  else if (otherPictures.test(name)) passedOver.push(name);
}

async function collect(entry: FileSystemEntry, inFolder: boolean, taken: Chosen): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    sortOut({ file, path: entry.fullPath.replace(/^\//, '') }, inFolder, taken);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // It gives a hundred at a time.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const each of some) await collect(each, true, taken);
  }
}

/** The class that a file's folder names, or null. */
export function classOf(path: string, classes: readonly string[]): string | null {
  const folder = path.split('/').at(-2)?.toLowerCase();
  return classes.find((name) => name.toLowerCase() === folder) ?? null;
}
