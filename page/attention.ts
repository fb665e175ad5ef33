import type { AttentionMap } from 'ddrc/web';

/** Draws a picture over the whole canvas, as the model sees it: without its proportions, on black; and an attention map over it, if there is one. */
export async function drawPicture(canvas: HTMLCanvasElement, file: Blob, map: AttentionMap | null = null): Promise<void> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: 'from-image',
    resizeWidth: canvas.width,
    resizeHeight: canvas.height,
  });
  const context = canvas.getContext('2d')!;
  context.fillStyle = '#000';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  if (!map) return;
  context.imageSmoothingQuality = 'high';
  context.drawImage(coloured(map), 0, 0, canvas.width, canvas.height);
}

/** An attention map as a picture that can be looked through: blue where there is little, yellow where there is much. */
function coloured({ width, height, data }: AttentionMap): OffscreenCanvas {
  const canvas = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  data.forEach((value, place) => {
    pixels.data.set([...colourOf(value), 150], place * 4);
  });
  canvas.getContext('2d')!.putImageData(pixels, 0, 0);
  return canvas;
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
