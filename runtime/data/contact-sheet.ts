import sharp from 'sharp';
import { counted } from '../../diagnostics/counted.ts';
import { isDdrcError } from '../../diagnostics/error.ts';
import { printable } from '../../diagnostics/printable.ts';
import { decodeFile } from './decode.ts';
import type { Listing } from './listing.ts';

/** Formats of a contact sheet, by the ending of its file's name. */
const encoders = {
  png: 'png',
  jpg: 'jpeg',
  jpeg: 'jpeg',
  webp: 'webp',
} as const;

/** Pictures in a row. */
const columns = 10;
/** Width and height of a small picture, of the gap between two, and the width of the labels, in pixels. */
const side = 96;
const gap = 4;
const labelWidth = 220;
/** Rows in a sheet; one of more would be higher than a WebP picture can be. */
const mostRows = 150;

/** A contact sheet. */
export interface ContactSheet {
  /** The file's bytes. */
  readonly bytes: Uint8Array;
  /** What a user should know, a sentence each. */
  readonly notes: readonly string[];
}

/** The format of a contact sheet of this name, or null for an ending that is none of png, jpg, jpeg and webp. */
export function sheetFormat(path: string): 'png' | 'jpeg' | 'webp' | null {
  const ending = path.slice(path.lastIndexOf('.') + 1).toLowerCase();
  return Object.hasOwn(encoders, ending) ? encoders[ending as keyof typeof encoders] : null;
}

/**
 * Draws pictures of each class and split, a row each: ten of them, taken evenly from its images ordered by group, resized to a square as training has them.
 * An image that does not decode is a crossed-out place.
 */
export async function contactSheet(
  listing: Listing,
  format: 'png' | 'jpeg' | 'webp',
  onProgress: (done: number, total: number) => void = () => {},
): Promise<ContactSheet> {
  const rows = rowsOf(listing);
  const shown = rows.slice(0, mostRows);
  const width = labelWidth + columns * (side + gap);
  const height = gap + shown.length * (side + gap);
  const canvas = Buffer.alloc(width * height * 3, 255);
  const crossed: string[] = [];
  for (const [row, { members }] of shown.entries()) {
    onProgress(row, shown.length);
    const top = gap + row * (side + gap);
    const chosen = evenly(members, columns).map((item) => listing.items[item].path);
    const pictures = await Promise.all(chosen.map(picture));
    pictures.forEach((pixels, column) => {
      const left = labelWidth + column * (side + gap);
      if (pixels === null) crossed.push(cross(left, top));
      else paste(canvas, width, pixels, left, top);
    });
  }
  onProgress(shown.length, shown.length);
  const texts = shown.map(({ names, members }, row) => labelText(names, members.length, gap + row * (side + gap)));
  const drawn = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${texts.join('')}${crossed.join('')}</svg>`;
  const bytes = await sharp(canvas, { raw: { width, height, channels: 3 } })
    .composite([{ input: Buffer.from(drawn) }])
    .toFormat(format)
    .toBuffer();
  const left = rows.length - shown.length;
  return { bytes, notes: left > 0 ? [`The contact sheet shows the first ${mostRows} of ${rows.length} rows.`] : [] };
}

interface Row {
  /** The split, where there is one, and the class. */
  readonly names: readonly string[];
  /** Indices of items, ordered by group. */
  readonly members: readonly number[];
}

function rowsOf({ items, classes, splits }: Listing): Row[] {
  const members = new Map<string, number[]>();
  const key = (split: string | null, label: number) => JSON.stringify([split, label]);
  items.forEach(({ split, label }, i) => {
    const place = key(split, label);
    if (!members.has(place)) members.set(place, []);
    members.get(place)!.push(i);
  });
  const groupOf = (i: number) => items[i].group ?? '';
  return (splits.length > 0 ? splits : [null]).flatMap((split) =>
    classes.flatMap((name, label) => {
      const own = members.get(key(split, label));
      if (own === undefined) return [];
      const ordered = own.toSorted((a, b) => (groupOf(a) < groupOf(b) ? -1 : groupOf(a) > groupOf(b) ? 1 : a - b));
      return [{ names: split === null ? [name] : [split, name], members: ordered }];
    }),
  );
}

function evenly<T>(list: readonly T[], count: number): T[] {
  if (list.length <= count) return [...list];
  return Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]);
}

async function picture(path: string): Promise<Uint8Array | null> {
  try {
    return await decodeFile(path, side);
  } catch (error) {
    if (isDdrcError(error)) return null;
    throw error;
  }
}

function paste(canvas: Uint8Array, width: number, pixels: Uint8Array, left: number, top: number): void {
  for (let y = 0; y < side; y++) canvas.set(pixels.subarray(y * side * 3, (y + 1) * side * 3), ((top + y) * width + left) * 3);
}

function labelText(names: readonly string[], count: number, top: number): string {
  const cut = (text: string) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);
  const lines = [...names.map(cut), counted(count, 'image')];
  const text = (line: string, i: number) =>
    `<text x="8" y="${top + 30 + i * 20}" font-family="sans-serif" font-size="15" fill="#222">${escaped(line)}</text>`;
  return lines.map(text).join('');
}

function cross(left: number, top: number): string {
  const [right, bottom] = [left + side, top + side];
  return `<path d="M${left} ${top}H${right}V${bottom}H${left}ZL${right} ${bottom}M${right} ${top}L${left} ${bottom}" stroke="#b00" fill="none"/>`;
}

/** Text for SVG; XML forbids control characters. */
function escaped(text: string): string {
  return printable(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
