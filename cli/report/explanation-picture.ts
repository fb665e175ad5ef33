import { basename } from 'node:path';
import sharp, { type OverlayOptions, type Sharp } from 'sharp';
import { printable } from '../../diagnostics/printable.ts';
import { isNothing, type PartFeatures, type PlaceMap } from '../explainer.ts';
import { scoreBars } from './charts.ts';
import { type Html, html } from './html.ts';
import { channelPicture, squarePicture, withAttention } from './pictures.ts';

/** What a model makes of an image, and why. */
export interface Explanation {
  readonly file: string;
  /** Side in pixels of what the model sees. */
  readonly size: number;
  /** uint8 [size,size,3] */
  readonly pixels: Uint8Array;
  readonly predicted: string;
  /** The class that the attention is of. */
  readonly explained: string;
  readonly scores: readonly { readonly name: string; readonly probability: number }[];
  readonly attention: PlaceMap;
  readonly features: readonly PartFeatures[];
  /** How many channels of each part are shown. */
  readonly channels: number;
}

/** Sizes in pixels. */
const margin = 16;
const side = 240;
const tile = 66;
const line = 22;
const width = 2 * side + 320 + 4 * margin;
const perRow = Math.floor((width - margin) / (tile + 4));
/** The most bars that fit beside the image. */
const mostBars = 7;

interface Piece {
  readonly layers: readonly OverlayOptions[];
  readonly texts: readonly Html[];
  readonly height: number;
}

/** One PNG: the image as the model sees it, what spoke for a class, the probabilities as bars; below, channels of feature maps. */
export async function explanationPicture(explanation: Explanation): Promise<Uint8Array> {
  const pieces = [await overview(explanation)];
  for (const part of explanation.features) {
    const top = pieces.reduce((sum, { height }) => sum + height, 0);
    pieces.push(await channelRows(part, explanation.channels, top));
  }
  const height = pieces.reduce((sum, piece) => sum + piece.height, margin);
  const texts = html`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="14">${pieces.flatMap((piece) => [...piece.texts])}</svg>`;
  const canvas = sharp({ create: { width, height, channels: 3, background: '#ffffff' } });
  const layers = pieces.flatMap((piece) => [...piece.layers]);
  return canvas
    .composite([...layers, { input: Buffer.from(texts.text), left: 0, top: 0 }])
    .png()
    .toBuffer();
}

async function overview({ file, size, pixels, predicted, explained, scores, attention }: Explanation): Promise<Piece> {
  const top = margin + line + 8;
  const right = 2 * margin + side;
  const bars = shownScores(scores, explained);
  const enlarge = (picture: Sharp) => picture.resize(side, side).png().toBuffer();
  const spoke = isNothing(attention) ? 'nothing in the feature map spoke for' : 'what speaks for';
  const probability = scores.find(({ name }) => name === predicted)!.probability;
  return {
    layers: [
      { input: await enlarge(squarePicture(pixels, size)), left: margin, top },
      { input: await enlarge(await withAttention(pixels, size, attention)), left: right, top },
      { input: Buffer.from(scoreBars(bars, explained)), left: right + side + margin, top },
    ],
    texts: [
      text(margin, margin + line - 6, `${basename(file)}: ${predicted}, probability ${probability.toFixed(3)}`, 'bold'),
      text(margin, top + side + line - 4, 'the image as the model sees it'),
      text(right, top + side + line - 4, `${spoke} ${explained}`),
    ],
    height: top + side + line + 8,
  };
}

/** All scores where there is room, otherwise the largest; that of the class which is explained is among them. */
export function shownScores(scores: Explanation['scores'], explained: string): Explanation['scores'] {
  if (scores.length <= mostBars) return scores;
  const rank = ({ name, probability }: Explanation['scores'][number]) => (name === explained ? 2 : probability);
  return [...scores].sort((a, b) => rank(b) - rank(a)).slice(0, mostBars);
}

/** The most active channels of a part, those with the largest mean absolute value, with their numbers. */
async function channelRows({ scope, channels }: PartFeatures, most: number, above: number): Promise<Piece> {
  const activity = channels.map(({ data }) => data.reduce((sum, value) => sum + Math.abs(value), 0));
  const order = channels.map((_, channel) => channel).sort((a, b) => activity[b] - activity[a]);
  const shown = order.slice(0, most);
  const { width: columns, height: rows } = channels[0];
  const top = above + line + 6;
  const step = { across: tile + 4, down: tile + line };
  const layers: OverlayOptions[] = [];
  const title = `${scope}: ${shown.length} of ${channels.length} channels, ${columns} × ${rows}`;
  const texts = [text(margin, above + line - 6, title, 'bold')];
  for (const [i, channel] of shown.entries()) {
    const left = margin + (i % perRow) * step.across;
    const y = top + Math.floor(i / perRow) * step.down;
    layers.push({ input: await channelPicture(channels[channel], tile).png().toBuffer(), left, top: y });
    texts.push(text(left, y + tile + 14, String(channel)));
  }
  return { layers, texts, height: top - above + Math.ceil(shown.length / perRow) * step.down };
}

/** The most letters of a line. */
const longest = 100;

function text(x: number, y: number, content: string, weight: 'normal' | 'bold' = 'normal'): Html {
  const line = printable(content);
  const shown = line.length > longest ? `${line.slice(0, longest)}…` : line;
  return html`<text x="${x}" y="${y}" font-weight="${weight}">${shown}</text>`;
}
