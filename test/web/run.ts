import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ddrc } from '../cli/ddrc.ts';
import { pictureFolder } from '../cli/picture-folder.ts';

export const colours = ['blue', 'green', 'red'] as const;
/** Side of the picture that the model of {@link makeSmallSite} sees, in pixels. */
export const size = 32;

/** A small DDRNet that tells coloured noise apart, trained within seconds, and the site of it. */
export interface SmallSite {
  readonly run: string;
  readonly site: string;
  /** Paths of the pictures, by class. */
  readonly pictures: Readonly<Record<string, readonly string[]>>;
}

export async function makeSmallSite(folder: string): Promise<SmallSite> {
  const data = await pictureFolder(join(folder, 'pictures'), { classes: colours, each: 24 });
  const settings = [
    '--option',
    'channels=8',
    '--size',
    String(size),
    '--epochs',
    '2',
    '--batch',
    '16',
    '--lr',
    '0.01',
    '--device',
    'cpu',
  ];
  await run(folder, 'train', '--data', data, ...settings, '--cache', 'none', '--run', 'run');
  await run(folder, 'web', 'run', '--out', 'site');
  const pictures = colours.map((name) => [name, readdirSync(join(data, name)).map((file) => join(data, name, file))]);
  return { run: join(folder, 'run'), site: join(folder, 'site'), pictures: Object.fromEntries(pictures) };
}

/** Runs the compiled `ddrc` in a folder. @returns what it wrote to stdout */
export async function run(folder: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ddrc(args, { cwd: folder });
  if (code !== 0) throw new Error(`ddrc ${args.join(' ')}: ${stderr}`);
  return stdout;
}
