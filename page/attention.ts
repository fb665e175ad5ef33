import type { AttentionMap } from 'ddrc/web';

/** Draws a picture over the whole canvas, as the model sees it: without its proportions. */
export async function drawPicture(canvas: HTMLCanvasElement, file: Blob): Promise<void> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: 'from-image',
    resizeWidth: canvas.width,
    resizeHeight: canvas.height,
  });
  canvas.getContext('2d')!.drawImage(bitmap, 0, 0);
  bitmap.close();
}

/** Lays an attention map over a picture: blue where there is little, yellow where there is much. */
export function drawAttention(canvas: HTMLCanvasElement, { width, height, data }: AttentionMap): void {
  const small = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  data.forEach((value, place) => {
    pixels.data.set([...colourOf(value), 150], place * 4);
  });
  small.getContext('2d')!.putImageData(pixels, 0, 0);
  const context = canvas.getContext('2d')!;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** Points of a colour map that also reads in grey and for the colour-blind, from 0 to 1. */
const stops = [
  [20, 20, 110],
  [90, 60, 150],
  [190, 90, 110],
  [250, 160, 60],
  [255, 240, 120],
] as const;

function colourOf(value: number): number[] {
  const at = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(at), stops.length - 2);
  return stops[below].map((from, channel) => from + (stops[below + 1][channel] - from) * (at - below));
}
