/** A bitmap whose pixel (row, column) is (10·row, 20·column, 5), or its header only. */
export function bitmap(width: number, height: number, bits: number, headerOnly = false): Uint8Array {
  const palette = bits === 8 ? 1024 : 0;
  const stride = Math.ceil((width * bits) / 32) * 4;
  const bytes = new Uint8Array(54 + palette + (headerOnly ? 100 : stride * height));
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(10, 54 + palette, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, bits, true);
  if (headerOnly) return bytes;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const colour = [5, 20 * column, 10 * row];
      const at = 54 + palette + stride * (height - 1 - row) + (column * bits) / 8;
      if (bits !== 8) bytes.set(colour, at);
      else {
        bytes[at] = row * width + column;
        bytes.set(colour, 54 + (row * width + column) * 4);
      }
    }
  }
  return bytes;
}
