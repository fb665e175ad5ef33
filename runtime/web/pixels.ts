import { DdrcError } from '../../diagnostics/error.ts';
import { resizeBilinear } from '../data/resize.ts';
import { smallestSide } from '../data/sides.ts';

/** The most pixels of a picture: a canvas holds four bytes of each, and browsers have limits of their own from about 200 million on. */
const largestArea = 100e6;

/** A picture: a file, one that the browser has decoded, or its pixels. */
export type ImageSource = Blob | ImageBitmap | ImageData;

/**
 * The pixels of a picture as `ddrc predict` sees them: red, green and blue uint8 [size,size,3], the whole picture resized without keeping its proportions, transparent
 * parts laid on black, an EXIF orientation applied.
 * @throws DdrcError IMAGE_EMPTY, IMAGE_DAMAGED, IMAGE_TOO_SMALL, IMAGE_TOO_LARGE
 */
export async function pixelsOf(image: ImageSource, size: number): Promise<Uint8Array> {
  const { data, width, height } = image instanceof ImageData ? image : await drawn(image);
  checkSides(width, height);
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
    // What a canvas gives is not multiplied by its opacity.
    const opacity = data[from + 3] / 255;
    for (let channel = 0; channel < 3; channel++) pixels[to + channel] = Math.round(data[from + channel] * opacity);
  }
  return resizeBilinear(pixels, width, height, size);
}

/** Pixels uint8 [H,W,3] as planes float32 [3,H,W] in [0,1], written into `planes` from `start` on. */
export function writePlanes(pixels: Uint8Array, planes: Float32Array, start = 0): void {
  const area = pixels.length / 3;
  for (let place = 0; place < area; place++) {
    for (let channel = 0; channel < 3; channel++) planes[start + channel * area + place] = pixels[place * 3 + channel] / 255;
  }
}

/** The pixels of a picture, which is closed: a worker's bitmap is a copy of the page's. */
async function drawn(image: Blob | ImageBitmap): Promise<ImageData> {
  const bitmap = image instanceof ImageBitmap ? image : await decoded(image);
  try {
    const { width, height } = bitmap;
    checkSides(width, height);
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } finally {
    bitmap.close();
  }
}

async function decoded(file: Blob): Promise<ImageBitmap> {
  const where = file instanceof File ? file.name : 'the image';
  if (file.size === 0) {
    const message = `${where} is empty`;
    throw new DdrcError({ code: 'IMAGE_EMPTY', message, where, hint: 'copy it again' });
  }
  try {
    return await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch (cause) {
    const message = `${where} is no picture that this browser reads, or it is damaged`;
    throw new DdrcError({ code: 'IMAGE_DAMAGED', message, where, hint: 'JPEG, PNG, WebP, GIF, AVIF and BMP can be read', cause });
  }
}

function checkSides(width: number, height: number): void {
  const least = Math.min(width, height);
  if (least < smallestSide) {
    throw new DdrcError({
      code: 'IMAGE_TOO_SMALL',
      message: `the image is ${width}x${height} pixels, which shows nothing`,
      hint: `an image needs at least ${smallestSide} pixels each way`,
    });
  }
  if (width * height <= largestArea) return;
  throw new DdrcError({
    code: 'IMAGE_TOO_LARGE',
    message: `the image is ${width}x${height} pixels, which is too large for a page`,
    hint: `cut or shrink it to at most ${largestArea / 1e6} million pixels`,
  });
}
