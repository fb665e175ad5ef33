import { DdrcError } from '../../diagnostics/error.ts';
import { random } from '../../numeric/random.ts';

/** How images are varied in training. The defaults are {@link defaultAugmentation}; all zero and false leaves an image as it is. */
export interface AugmentationSettings {
  /** Largest rotation, either way, in degrees (0 to 180). */
  readonly rotate: number;
  /** Largest zoom, either way: the factor is e^u with u uniform in ±zoom (0 to 2). */
  readonly zoom: number;
  /** Largest shift, either way and in each direction, as a share of the width or height (0 to 1). */
  readonly shift: number;
  /** Mirror left and right, for half of the images. */
  readonly flipX: boolean;
  /** Mirror top and bottom, for half of the images. */
  readonly flipY: boolean;
  /** Largest change of contrast about the image's mean, either way: the factor is 1 ± contrast (0 to 1). */
  readonly contrast: number;
  /** Largest change of brightness, either way, where 1 is from black to white (0 to 1). */
  readonly brightness: number;
  /** Largest change of saturation, either way: the factor is 1 ± saturation (0 to 1). */
  readonly saturation: number;
  /** Largest turn of the hue, either way, in degrees (0 to 180). */
  readonly hue: number;
  /** Largest magnification about the middle: the picture is enlarged by a factor uniform from 1 to this (1 to 10; 1: not at all). */
  readonly magnify: number;
  /**
   * The share of the images that each change is applied to, drawn for each change by itself: rotation, zoom with magnification, shift, contrast, brightness,
   * saturation, hue (0 to 1). Flips are for half of the images whatever it is.
   */
  readonly share: number;
}

/** Rotation ±10°, zoom e^±0.2, shift ±5 %, both flips, contrast ±20 %, brightness ±0.1, for all images; colours stay. */
export const defaultAugmentation: AugmentationSettings = {
  rotate: 10,
  zoom: 0.2,
  shift: 0.05,
  flipX: true,
  flipY: true,
  contrast: 0.2,
  brightness: 0.1,
  saturation: 0,
  hue: 0,
  magnify: 1,
  share: 1,
};

const limits = {
  rotate: [0, 180],
  zoom: [0, 2],
  shift: [0, 1],
  contrast: [0, 1],
  brightness: [0, 1],
  saturation: [0, 1],
  hue: [0, 180],
  magnify: [1, 10],
  share: [0, 1],
} as const;
const flips: Record<string, readonly [boolean, boolean]> = {
  '0': [false, false],
  none: [false, false],
  '1': [true, true],
  both: [true, true],
  x: [true, false],
  y: [false, true],
};

/**
 * Reads `--augment`: `none`, or settings that replace defaults, as in `flip=x,rotate=15` (flip is `x`, `y`, `both` or `0`; an empty text is the defaults).
 *
 * @returns the settings, or null for none
 * @throws AUGMENT_OPTION
 */
export function parseAugmentation(text: string): AugmentationSettings | null {
  if (text.trim().toLowerCase() === 'none') return null;
  let settings: AugmentationSettings = defaultAugmentation;
  const given = new Set<string>();
  for (const part of text.split(',')) {
    const [name, value, ...rest] = part.split('=').map((piece) => piece.trim());
    if (value === undefined || rest.length > 0) throw optionError(`"${part.trim()}" is not of the form name=value`);
    if (given.has(name)) throw optionError(`${name} stands there twice`);
    given.add(name);
    if (name === 'flip') {
      const flip = Object.hasOwn(flips, value.toLowerCase()) ? flips[value.toLowerCase()] : undefined;
      if (!flip) throw optionError(`flip=${value} is none of x, y, both, 0`);
      settings = { ...settings, flipX: flip[0], flipY: flip[1] };
    } else if (Object.hasOwn(limits, name)) {
      const [least, most] = limits[name as keyof typeof limits];
      const number = value === '' ? Number.NaN : Number(value);
      if (!(number >= least && number <= most)) throw optionError(`${name}=${value} is not a number from ${least} to ${most}`);
      settings = { ...settings, [name]: number };
    } else {
      throw optionError(`there is no setting "${name}"`);
    }
  }
  return settings;
}

/** Whether a value, as JSON has it, is settings within their limits. */
export function isAugmentation(value: unknown): value is AugmentationSettings {
  if (typeof value !== 'object' || value === null) return false;
  const settings = value as Record<string, unknown>;
  const inLimits = ([name, [least, most]]: [string, readonly [number, number]]) => {
    const number = settings[name];
    return typeof number === 'number' && number >= least && number <= most;
  };
  return Object.entries(limits).every(inLimits) && ['flipX', 'flipY'].every((name) => typeof settings[name] === 'boolean');
}

function optionError(problem: string): DdrcError {
  return new DdrcError({
    code: 'AUGMENT_OPTION',
    message: `augmentation: ${problem}`,
    hint: `the settings are ${Object.keys(limits).join(', ')} and flip, as in --augment flip=x,rotate=15; none switches it off`,
  });
}

/**
 * The change of one image. An output position (x, y), from the middle of the image in half widths and heights, shows the input at
 * (xx·x + xy·y + x0, yx·x + yy·y + y0); then saturation and hue change the colours ({@link colourMatrix}), and each value v becomes
 * (v - mean)·contrast + mean + brightness, clipped to [0,1].
 */
export interface Augmentation {
  xx: number;
  xy: number;
  x0: number;
  yx: number;
  yy: number;
  y0: number;
  contrast: number;
  brightness: number;
  /** Factor; 1 leaves colours, 0 makes them grey. */
  saturation: number;
  /** Angle in radians. */
  hue: number;
}

/**
 * Draws the change of an image: angle, zoom, flips, shift, contrast, brightness and magnification uniform in their ranges, from a generator of its own for
 * each (seed, epoch, index), and then which of them this image gets; saturation and hue in the same way after them. Eighteen numbers are drawn whatever the
 * settings are, so changing one setting leaves the others' draws alone.
 *
 * The map mirrors first and turns then, so it keeps the picture's angles and proportions whatever is drawn.
 */
export function drawAugmentation(
  settings: AugmentationSettings,
  seed: number | string,
  epoch: number,
  index: number,
): Augmentation {
  const next = random(seed, 'augment', epoch, index);
  const uniform = () => next() * 2 - 1;
  const [turn, scale, flipX, flipY, shiftX, shiftY, contrast, brightness] = Array.from({ length: 8 }, uniform);
  const factor = 1 + next() * (settings.magnify - 1);
  const [turned, scaled, shifted, contrasted, brightened] = Array.from({ length: 5 }, () => next() < settings.share);
  const [saturation, hue] = [uniform(), uniform()];
  const [saturated, hued] = [next() < settings.share, next() < settings.share];
  const angle = turned ? (turn * settings.rotate * Math.PI) / 180 : 0;
  const zoom = scaled ? Math.exp(scale * settings.zoom) / factor : 1;
  const mirrorX = flipX < 0 && settings.flipX ? -1 : 1;
  const mirrorY = flipY < 0 && settings.flipY ? -1 : 1;
  const cos = Math.cos(angle) * zoom;
  const sin = Math.sin(angle) * zoom;
  // A share of the width is twice as much in half widths.
  const shift = shifted ? settings.shift * 2 : 0;
  return {
    xx: cos * mirrorX,
    xy: -sin * mirrorY,
    x0: shiftX * shift,
    yx: sin * mirrorX,
    yy: cos * mirrorY,
    y0: shiftY * shift,
    contrast: contrasted ? 1 + contrast * settings.contrast : 1,
    brightness: brightened ? brightness * settings.brightness : 0,
    saturation: saturated ? 1 + saturation * settings.saturation : 1,
    hue: hued ? (hue * settings.hue * Math.PI) / 180 : 0,
  };
}

/**
 * The matrix [3,3], row by row, that changes red, green and blue by a factor of saturation and, after it, a turn of the hue by an angle in radians: `saturate`
 * and `hueRotate` of feColorMatrix (W3C, Filter Effects). Both leave greys as they are, and the luminance
 * 0.213·R + 0.715·G + 0.072·B to the three digits that the standard gives.
 */
export function colourMatrix(saturation: number, hue: number): number[] {
  const luminance = [0.213, 0.715, 0.072];
  // What the standard has beside the sine.
  const quarter = [-0.213, -0.715, 0.928, 0.143, 0.14, -0.283, -0.787, 0.715, 0.072];
  const [cos, sin] = [Math.cos(hue), Math.sin(hue)];
  return quarter.map((turned, i) => {
    const chroma = (i % 4 === 0 ? 1 : 0) - luminance[i % 3];
    return luminance[i % 3] + saturation * (cos * chroma + sin * turned);
  });
}
