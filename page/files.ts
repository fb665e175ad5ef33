/** A file that was chosen or dropped, with its place below the folder that it came from. */
export interface ChosenFile {
  readonly file: File;
  /** `CLASS/cell-7.jpg`, or the name alone. */
  readonly path: string;
}

/** Endings that a picture may have; other files of a folder are passed over. */
const pictures = /\.(jpe?g|png|gif|webp|avif|bmp)$/i;

/** The files of a choice: all of them where they were chosen one by one, the pictures where a folder was. */
export function chosen(list: FileList | null): ChosenFile[] {
  const all = [...(list ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  return all.filter(({ file, path }) => path === file.name || pictures.test(path));
}

/** The files of a drop, those in folders among them. */
export async function dropped(transfer: DataTransfer): Promise<ChosenFile[]> {
  // The list is emptied when the event is over, so all is taken before anything is waited for.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return chosen(transfer.files);
  const files: ChosenFile[] = [];
  for (const entry of entries) await collect(entry, entry.isDirectory, files);
  return files;
}

async function collect(entry: FileSystemEntry, inFolder: boolean, files: ChosenFile[]): Promise<void> {
  if (entry.isFile) {
    if (inFolder && !pictures.test(entry.name)) return;
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    files.push({ file, path: entry.fullPath.replace(/^\//, '') });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // It gives a hundred at a time.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const each of some) await collect(each, true, files);
  }
}

/** The class that a file's folder names, or null. */
export function classOf(path: string, classes: readonly string[]): string | null {
  const folder = path.split('/').at(-2)?.toLowerCase();
  return classes.find((name) => name.toLowerCase() === folder) ?? null;
}
