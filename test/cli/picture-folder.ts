import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { random } from '../../numeric/random.ts';

/** Colour of a class's pictures, red, green and blue in bytes. */
const colours: Readonly<Record<string, readonly [number, number, number]>> = {
  red: [200, 60, 60],
  green: [60, 190, 60],
  blue: [60, 60, 210],
};

/**
 * Writes a folder of class folders with pictures that a network tells apart within seconds: noise of one colour.
 * @param split a folder between, such as `TRAIN`
 */
export async function pictureFolder(
  folder: string,
  { classes = ['red', 'blue'], each = 20, split = '' }: { classes?: readonly string[]; each?: number; split?: string } = {},
): Promise<string> {
  const width = 24;
  for (const name of classes) {
    mkdirSync(join(folder, split, name), { recursive: true });
    for (let i = 0; i < each; i++) {
      const next = random('picture', split, name, i);
      const raw = Uint8Array.from({ length: width * width * 3 }, (_, at) => colours[name][at % 3] + 80 * (next() - 0.5));
      await sharp(raw, { raw: { width, height: width, channels: 3 } })
        .png()
        .toFile(join(folder, split, name, `${String(i).padStart(3, '0')}.png`));
    }
  }
  return folder;
}
