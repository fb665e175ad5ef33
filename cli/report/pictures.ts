import sharp, { type Sharp } from 'sharp';
import type { PlaceMap } from '../explainer.ts';
import { palette } from './charts.ts';

/** How much of a picture stays to be seen below attention: much where there is none. */
const [leastCover, mostCover] = [0.25, 0.7];

const heat = palette('inferno');
const values = palette('viridis');

/** A square picture uint8 [size,size,3] that can be resized and encoded. */
export function squarePicture(pixels: Uint8Array, size: number): Sharp {
  return sharp(pixels, { raw: { width: size, height: size, channels: 3 } });
}

/** A square picture uint8 [size,size,3] with attention laid over it: dark where there is little, bright where there is much. */
export async function withAttention(pixels: Uint8Array, size: number, { width, height, data }: PlaceMap): Promise<Sharp> {
  const covers = Array.from(data, (value) => {
    const place = byte(value) * 3;
    return [...heat.subarray(place, place + 3), byte(leastCover + (mostCover - leastCover) * value)];
  });
  const cover = await sharp(Uint8Array.from(covers.flat()), { raw: { width, height, channels: 4 } })
    .resize(size, size, { fit: 'fill', kernel: 'cubic' })
    .png()
    .toBuffer();
  const blended = await squarePicture(pixels, size)
    .composite([{ input: cover }])
    .removeAlpha()
    .raw()
    .toBuffer();
  return squarePicture(blended, size);
}

/** A channel of a feature map in colour, each place a square, from its least value to its largest. */
export function channelPicture({ width, height, data }: PlaceMap, side: number): Sharp {
  const least = data.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const range = data.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY) - least || 1;
  const colours = Array.from(data, (value) => {
    const place = byte((value - least) / range) * 3;
    return [...values.subarray(place, place + 3)];
  });
  const raw = { width, height, channels: 3 } as const;
  return sharp(Uint8Array.from(colours.flat()), { raw }).resize(side, side, { fit: 'fill', kernel: 'nearest' });
}

/** A picture as an address that holds it: a small WebP. */
export async function dataUrl(picture: Sharp, side: number): Promise<string> {
  const bytes = await picture.resize(side, side, { withoutEnlargement: true }).webp({ quality: 80 }).toBuffer();
  return `data:image/webp;base64,${bytes.toString('base64')}`;
}

function byte(share: number): number {
  return Math.round(255 * Math.min(Math.max(share, 0), 1));
}
