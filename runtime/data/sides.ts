/** The smallest width and height of an image, in pixels. */
export const smallestSide = 4;
/** The largest width and height of an image, in pixels. */
export const largestSide = 16_384;
