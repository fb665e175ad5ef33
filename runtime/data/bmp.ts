/** Whether bytes begin like a Windows bitmap of a kind that {@link decodeBmp} reads: 8, 24 or 32 bits, not compressed. */
export function isBmp(bytes: Uint8Array): boolean {
  if (bytes.length < 62 || bytes[0] !== 0x42 || bytes[1] !== 0x4d) return false;
  const view = viewOf(bytes);
  const headerSize = view.getUint32(14, true);
  const bits = view.getUint16(28, true);
  const compression = view.getUint32(30, true);
  if (headerSize < 40 || headerSize > 124 || ![8, 24, 32].includes(bits)) return false;
  // Compression 3 gives masks of the colours; these are those of blue, green, red in bytes.
  const ordinaryMasks = bits === 32 && view.getUint32(54, true) === 0xff0000 && view.getUint32(58, true) === 0xff00;
  return compression === 0 || (compression === 3 && ordinaryMasks);
}

/** Size and mode of a Windows bitmap for which {@link isBmp} holds. */
export function bmpKind(bytes: Uint8Array): { width: number; height: number; mode: string } {
  const view = viewOf(bytes);
  const mode = `BMP ${view.getUint16(28, true)} bit`;
  return { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)), mode };
}

/**
 * Decodes a Windows bitmap for which {@link isBmp} holds (8 bits with a palette, 24 or 32 bits; sharp reads none)
 * to pixels uint8 [height,width,3], red, green, blue. The fourth byte of 32 bits is not used.
 *
 * @param check is called with the size before anything is allocated
 * @throws Error where bytes are missing
 */
export function decodeBmp(
  bytes: Uint8Array,
  check: (width: number, height: number) => void,
): { width: number; height: number; pixels: Uint8Array } {
  const view = viewOf(bytes);
  const dataAt = view.getUint32(10, true);
  const headerSize = view.getUint32(14, true);
  const width = view.getInt32(18, true);
  const signedHeight = view.getInt32(22, true);
  const bits = view.getUint16(28, true);
  const height = Math.abs(signedHeight);
  check(width, height);
  const stride = Math.ceil((width * bits) / 32) * 4;
  if (dataAt + stride * height > bytes.length) throw new Error('the bitmap ends early');
  const palette = 14 + headerSize;
  const step = bits / 8;
  const pixels = new Uint8Array(width * height * 3);
  for (let row = 0, to = 0; row < height; row++) {
    // Rows are stored from the bottom to the top unless the height is negative.
    let from = dataAt + stride * (signedHeight > 0 ? height - 1 - row : row);
    for (let column = 0; column < width; column++, from += step, to += 3) {
      const colour = bits === 8 ? palette + bytes[from] * 4 : from;
      pixels[to] = bytes[colour + 2];
      pixels[to + 1] = bytes[colour + 1];
      pixels[to + 2] = bytes[colour];
    }
  }
  return { width, height, pixels };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
