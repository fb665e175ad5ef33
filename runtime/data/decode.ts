import { readFile, stat } from 'node:fs/promises';
import sharp, { type Sharp } from 'sharp';
import { DdrcError, type ErrorCode } from '../../diagnostics/error.ts';
import { systemCode } from '../files.ts';
import { bmpKind, decodeBmp, isBmp } from './bmp.ts';
import { resizeBilinear } from './resize.ts';
import { largestSide, smallestSide } from './sides.ts';

/** Names this decoder in cache keys: another version, or another libvips, may give other pixels. */
export const decoderVersion = `2 vips ${sharp.versions.vips}`;

// Parallelism comes from decoding several images at once; one image is too small to divide, and none is decoded twice.
sharp.concurrency(1);
sharp.cache(false);

const signatures: readonly (readonly [format: string, bytes: readonly number[], at: number])[] = [
  ['JPEG', [0xff, 0xd8, 0xff], 0],
  ['PNG', [0x89, 0x50, 0x4e, 0x47], 0],
  ['GIF', [0x47, 0x49, 0x46, 0x38], 0],
  ['WebP', [0x57, 0x45, 0x42, 0x50], 8],
  ['TIFF', [0x49, 0x49, 0x2a, 0], 0],
  ['TIFF', [0x4d, 0x4d, 0, 0x2a], 0],
  ['AVIF', [0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69], 4],
];

/**
 * Reads an image file as pixels uint8 [size,size,3], red, green, blue: the whole picture, resized to a square without keeping its proportions.
 * See {@link decodeImage}.
 *
 * @throws those of {@link readImage} and {@link decodeImage}
 */
export async function decodeFile(path: string, size: number): Promise<Uint8Array> {
  return decodeImage(await readImage(path), size, path);
}

/**
 * The bytes of an image file.
 *
 * @throws DATA_MISSING, DATA_UNREADABLE, IMAGE_FORMAT for what is no ordinary file
 */
export async function readImage(path: string): Promise<Uint8Array> {
  try {
    const kind = await stat(path);
    // A pipe or a device would be waited for.
    if (!kind.isFile() && !kind.isDirectory()) {
      throw imageError('IMAGE_FORMAT', 'it is no ordinary file, so no image', path, 'give image files, or a folder of them');
    }
    return await readFile(path);
  } catch (cause) {
    const code = systemCode(cause);
    if (code === '') throw cause;
    if (code === 'ENOENT') throw imageError('DATA_MISSING', 'the image file does not exist', path, 'check the path', cause);
    throw imageError('DATA_UNREADABLE', `the image file cannot be read (${code})`, path, undefined, cause);
  }
}

/**
 * Decodes the bytes of a JPEG, PNG, WebP, GIF, TIFF, AVIF or BMP file to pixels uint8 [size,size,3], red, green, blue.
 *
 * Other kinds of picture are converted: grey, CMYK and colour profiles to sRGB, 16 bits to 8, transparent parts laid on black (the colour that augmentation
 * fills with), an EXIF orientation applied, of several frames or pages the first taken. Resizing is that of {@link resizeBilinear}.
 *
 * @param where the file's name for errors
 * @throws IMAGE_EMPTY, IMAGE_FORMAT, IMAGE_DAMAGED, IMAGE_TOO_SMALL, IMAGE_TOO_LARGE
 */
export async function decodeImage(bytes: Uint8Array, size: number, where: string): Promise<Uint8Array> {
  if (bytes.length === 0) throw imageError('IMAGE_EMPTY', 'the image file is empty', where, 'copy it again, or remove it');
  const bmp = isBmp(bytes);
  const format = bmp ? 'BMP' : formatOf(bytes);
  if (format === null) {
    throw imageError(
      'IMAGE_FORMAT',
      'the file is not an image that ddrc reads',
      where,
      'convert it to JPEG, PNG, WebP, GIF, TIFF, AVIF or BMP',
    );
  }
  try {
    const picture = bmp ? rawPicture(bytes, where) : await openPicture(bytes, where);
    const flat = picture.flatten({ background: '#000000' }).toColourspace('srgb').raw({ depth: 'uchar' });
    const { data, info } = await flat.toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`decoded to ${info.channels} channels`);
    // By our own code and not by libvips, so that a browser, which has another decoder, gets the same picture.
    return resizeBilinear(new Uint8Array(data.buffer, data.byteOffset, data.length), info.width, info.height, size);
  } catch (cause) {
    if (cause instanceof DdrcError) throw cause;
    throw imageError('IMAGE_DAMAGED', `the ${format} image is truncated or damaged`, where, 'copy it again, or remove it', cause);
  }
}

/** What an image is before it is decoded. */
export interface ImageKind {
  /** Width and height in pixels, an EXIF orientation applied. */
  readonly width: number;
  readonly height: number;
  /** Format and mode: `JPEG RGB`, `PNG grey with alpha`, `TIFF RGB 16 bit`, `BMP 24 bit`. */
  readonly mode: string;
}

/** Size and mode of the bytes of an image, for which {@link decodeImage} has succeeded. */
export async function imageKind(bytes: Uint8Array): Promise<ImageKind> {
  if (isBmp(bytes)) return bmpKind(bytes);
  const { autoOrient, space, hasAlpha, depth } = await sharp(bytes, { limitInputPixels: false }).metadata();
  const colours: Record<string, string> = { srgb: 'RGB', rgb16: 'RGB', 'b-w': 'grey', grey16: 'grey', cmyk: 'CMYK' };
  const mode = `${formatOf(bytes)} ${colours[space] ?? space}${hasAlpha ? ' with alpha' : ''}${depth === 'uchar' ? '' : depth === 'ushort' ? ' 16 bit' : ` ${depth}`}`;
  return { width: autoOrient.width, height: autoOrient.height, mode };
}

async function openPicture(bytes: Uint8Array, where: string): Promise<Sharp> {
  const picture = sharp(bytes, { failOn: 'error', limitInputPixels: false });
  const { autoOrient } = await picture.metadata();
  checkSides(autoOrient.width, autoOrient.height, where);
  return picture.autoOrient();
}

function rawPicture(bytes: Uint8Array, where: string): Sharp {
  const { width, height, pixels } = decodeBmp(bytes, (columns, rows) => checkSides(columns, rows, where));
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

function checkSides(width: number, height: number, where: string): void {
  if (width < smallestSide || height < smallestSide) {
    const hint = `an image needs at least ${smallestSide} pixels each way: remove it`;
    throw imageError('IMAGE_TOO_SMALL', `the image is ${width}x${height} pixels, which shows nothing`, where, hint);
  }
  if (width > largestSide || height > largestSide) {
    const hint = `cut or shrink it to at most ${largestSide} pixels each way`;
    throw imageError('IMAGE_TOO_LARGE', `the image is ${width}x${height} pixels, which is too large`, where, hint);
  }
}

/** The format that an image's first bytes tell; null for a bitmap (see {@link isBmp}) and for what is no image. */
function formatOf(bytes: Uint8Array): string | null {
  return signatures.find(([, signature, at]) => signature.every((byte, i) => bytes[at + i] === byte))?.[0] ?? null;
}

function imageError(code: ErrorCode, message: string, where: string, hint?: string, cause?: unknown): DdrcError {
  return new DdrcError({ code, message, where, hint, cause });
}
