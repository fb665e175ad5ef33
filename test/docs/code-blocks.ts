import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { random } from '../../numeric/random.ts';
import { checkout, type Outcome } from '../cli/ddrc.ts';

/** A fenced block of a document: ```` ```ts model.ts ```` has the language `ts` and the name `model.ts`. */
export interface CodeBlock {
  readonly language: string;
  /** Empty where the fence names none. */
  readonly name: string;
  readonly text: string;
}

/** The fenced blocks of a document of the checkout, in their order. */
export function codeBlocks(document: string): CodeBlock[] {
  const text = readFileSync(join(checkout, document), 'utf8');
  return [...text.matchAll(/^```(\w+) ?(.*)\n([\s\S]*?)^```$/gm)].map(([, language, name, text]) => ({ language, name, text }));
}

/** The one block of a language and a name. */
export function codeBlock(blocks: readonly CodeBlock[], language: string, name: string): string {
  const found = blocks.filter((block) => block.language === language && block.name === name);
  if (found.length !== 1) throw new Error(`there are ${found.length} blocks \`\`\`${language} ${name}`);
  return found[0].text;
}

/** Puts these packages where `npm install` would: links to the checkout's. */
export function install(folder: string, ...packages: readonly string[]): void {
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  for (const name of packages) {
    const place = name === 'ddrc' ? checkout : join(checkout, 'node_modules', name);
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(place, link, 'junction');
  }
}

/** Runs Node, with tsx's loader, so that a `.ts` file is a program on every version. */
export function node(args: readonly string[], cwd: string): Promise<Outcome> {
  const loader = pathToFileURL(join(checkout, 'node_modules', 'tsx', 'dist', 'loader.mjs')).href;
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', loader, ...args], { cwd }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr });
    });
  });
}

const tsconfig = {
  target: 'es2023',
  lib: ['es2023'],
  types: ['node'],
  module: 'nodenext',
  moduleResolution: 'nodenext',
  strict: true,
  skipLibCheck: true,
  allowImportingTsExtensions: true,
  noEmit: true,
};

/** What tsc says of the `.ts` files in a folder, read as a user's project; empty where all is well. Needs the types of Node installed there. */
export async function typeErrors(folder: string): Promise<string> {
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: tsconfig, include: ['*.ts'] }));
  const compiler = join(checkout, 'node_modules', 'typescript', 'bin', 'tsc');
  return (await node([compiler, '-p', '.'], folder)).stdout;
}

/** Makes `count` JPEG files `FIRST.jpg`, … of noise about one colour, 80 by 60 pixels. */
export async function drawPictures(folder: string, colour: readonly number[], count: number, first = 0): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const next = random('pictures of a document', folder.split(/[\\/]/).slice(-2).join('/'));
  const [width, height] = [80, 60];
  for (let i = first; i < first + count; i++) {
    const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => colour[at % 3] + (next() - 0.5) * 60);
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .jpeg()
      .toFile(join(folder, `${i}.jpg`));
  }
}
