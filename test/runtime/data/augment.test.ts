import { describe, expect, it } from 'vitest';
import { random } from '../../../numeric/random.ts';
import {
  type Augmentation,
  type AugmentationSettings,
  defaultAugmentation,
  drawAugmentation,
  isAugmentation,
  parseAugmentation,
} from '../../../runtime/data/augment.ts';
import { createWarp, toPlanes } from '../../../runtime/data/warp.ts';
import { errorOf } from './files.ts';

const nothing: AugmentationSettings = {
  rotate: 0,
  zoom: 0,
  shift: 0,
  flipX: false,
  flipY: false,
  contrast: 0,
  brightness: 0,
  saturation: 0,
  hue: 0,
  magnify: 1,
  share: 1,
};
const identity: Augmentation = { xx: 1, xy: 0, x0: 0, yx: 0, yy: 1, y0: 0, contrast: 1, brightness: 0, saturation: 1, hue: 0 };

function noise(size: number): Uint8Array {
  const next = random(size, 'noise');
  return Uint8Array.from({ length: size * size * 3 }, () => Math.floor(next() * 256));
}

/** affine_grid, grid_sample, contrast, brightness and clipping as their documents define them, in double precision. */
function reference(pixels: Uint8Array, size: number, change: Augmentation): Float64Array {
  const at = (channel: number, row: number, column: number) =>
    row < 0 || column < 0 || row >= size || column >= size ? 0 : pixels[(row * size + column) * 3 + channel] / 255;
  const sampled = new Float64Array(3 * size * size);
  for (let channel = 0; channel < 3; channel++) {
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        const u = (2 * column + 1) / size - 1;
        const v = (2 * row + 1) / size - 1;
        const x = ((change.xx * u + change.xy * v + change.x0 + 1) * size - 1) / 2;
        const y = ((change.yx * u + change.yy * v + change.y0 + 1) * size - 1) / 2;
        let value = 0;
        for (const [r, wr] of [
          [Math.floor(y), 1 - (y - Math.floor(y))],
          [Math.floor(y) + 1, y - Math.floor(y)],
        ]) {
          for (const [c, wc] of [
            [Math.floor(x), 1 - (x - Math.floor(x))],
            [Math.floor(x) + 1, x - Math.floor(x)],
          ])
            value += wr * wc * at(channel, r, c);
        }
        sampled[(channel * size + row) * size + column] = value;
      }
    }
  }
  recolour(sampled, change);
  const mean = sampled.reduce((a, b) => a + b, 0) / sampled.length;
  return sampled.map((value) => Math.min(1, Math.max(0, (value - mean) * change.contrast + mean + change.brightness)));
}

/** saturate, then hueRotate, of feColorMatrix (W3C, Filter Effects), one after the other, on planes of red, green and blue. */
function recolour(planes: Float64Array, { saturation: s, hue }: Augmentation): void {
  const [c, n] = [Math.cos(hue), Math.sin(hue)];
  const saturate = [
    [0.213 + 0.787 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s],
    [0.213 - 0.213 * s, 0.715 + 0.285 * s, 0.072 - 0.072 * s],
    [0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 + 0.928 * s],
  ];
  const hueRotate = [
    [0.213 + c * 0.787 - n * 0.213, 0.715 - c * 0.715 - n * 0.715, 0.072 - c * 0.072 + n * 0.928],
    [0.213 - c * 0.213 + n * 0.143, 0.715 + c * 0.285 + n * 0.14, 0.072 - c * 0.072 - n * 0.283],
    [0.213 - c * 0.213 - n * 0.787, 0.715 - c * 0.715 + n * 0.715, 0.072 + c * 0.928 + n * 0.072],
  ];
  const plane = planes.length / 3;
  for (let i = 0; i < plane; i++) {
    for (const matrix of [saturate, hueRotate]) {
      const colour = [planes[i], planes[i + plane], planes[i + 2 * plane]];
      for (const [row, weights] of matrix.entries())
        planes[i + row * plane] = weights.reduce((sum, weight, column) => sum + weight * colour[column], 0);
    }
  }
}

function largestError(size: number, change: Augmentation): number {
  const pixels = noise(size);
  const out = new Float32Array(3 * size * size + 7).fill(-1);
  createWarp(size)(pixels, change, out, 5);
  expect([...out.slice(0, 5), ...out.slice(-2)]).toEqual(new Array(7).fill(-1));
  return reference(pixels, size, change).reduce((worst, value, i) => Math.max(worst, Math.abs(value - out[5 + i])), 0);
}

describe('the warp', () => {
  // Sampled values are stored as float32 in 0 to 255 before contrast, so the error is a few units of 2^-24 times the contrast.
  const tolerance = 3e-7;

  it.each([1, 2, 7, 96])('equals the definition in double precision at %i px, over many draws', (size) => {
    const settings = {
      ...nothing,
      rotate: 180,
      zoom: 1,
      shift: 0.6,
      flipX: true,
      flipY: true,
      contrast: 1,
      brightness: 0.5,
      saturation: 1,
      hue: 180,
    };
    for (let index = 0; index < (size > 50 ? 6 : 60); index++) {
      expect(largestError(size, drawAugmentation(defaultAugmentation, 1, 2, index))).toBeLessThan(tolerance);
      expect(largestError(size, drawAugmentation(settings, 1, 2, index))).toBeLessThan(tolerance);
    }
  });

  it.each<[string, Partial<Augmentation>]>([
    ['a quarter turn', { xx: 0, xy: -1, yx: 1, yy: 0 }],
    ['a mirror', { xx: -1 }],
    ['a shift by whole pixels', { x0: 0.25, y0: -0.5 }],
    ['a shift out of the picture', { x0: 5 }],
    ['a map to one point', { xx: 0, yy: 0 }],
    ['no contrast', { contrast: 0 }],
    ['clipping at both ends', { contrast: 4 }],
    ['grey', { saturation: 0 }],
    ['a third of a turn of the hue', { hue: (2 * Math.PI) / 3, contrast: 0.5 }],
  ])('equals it for %s', (_, change) => {
    expect(largestError(16, { ...identity, ...change })).toBeLessThan(tolerance);
  });

  it('moves pixels where one expects', () => {
    const pixels = Uint8Array.from([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]);
    const red = (change: Partial<Augmentation>) => {
      const out = new Float32Array(12);
      createWarp(2)(pixels, { ...identity, ...change }, out, 0);
      return Array.from(out.slice(0, 4), (value) => Math.round(value * 255));
    };
    expect(red({ xx: -1 })).toEqual([40, 10, 100, 70]);
    expect(red({ yy: -1 })).toEqual([70, 100, 10, 40]);
    expect(red({ x0: 1 })).toEqual([40, 0, 100, 0]);
    expect(red({ brightness: 0.5 })).toEqual([138, 168, 198, 228].map((value) => expect.closeTo(value, -0.5)));
  });

  it('is pixel / 255 exactly where nothing is varied', () => {
    const pixels = noise(33);
    const out = new Float32Array(3 * 33 * 33);
    createWarp(33)(pixels, drawAugmentation(nothing, 'seed', 3, 4), out, 0);
    const planes = new Float32Array(out.length);
    toPlanes(pixels, 33, planes, 0);
    expect(out).toEqual(planes);
    expect(out).toEqual(Float32Array.from(out, (_, i) => pixels[(i % 1089) * 3 + Math.floor(i / 1089)] / 255));
  });

  it('keeps nothing of the image before', () => {
    const warp = createWarp(8);
    const change = drawAugmentation(defaultAugmentation, 0, 0, 0);
    const [first, again] = [new Float32Array(192), new Float32Array(192)];
    warp(noise(8), change, first, 0);
    warp(new Uint8Array(192).fill(255), change, again, 0);
    warp(noise(8), change, again, 0);
    expect(again).toEqual(first);
  });
});

describe('drawAugmentation', () => {
  it('depends on seed, epoch and index, and on nothing else', () => {
    const draw = (seed: number, epoch: number, index: number) => drawAugmentation(defaultAugmentation, seed, epoch, index);
    expect(draw(1, 2, 3)).toEqual(draw(1, 2, 3));
    const others = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)].map(({ brightness }) => brightness);
    expect(new Set(others).size).toBe(4);
  });

  it('leaves the other draws alone when one setting changes', () => {
    const all = drawAugmentation(defaultAugmentation, 5, 1, 9);
    const unflipped = drawAugmentation({ ...defaultAugmentation, flipX: false, flipY: false, brightness: 0 }, 5, 1, 9);
    const [mirrorX, mirrorY] = [Math.sign(all.xx), Math.sign(all.yy)];
    const { xx, xy, yx, yy } = unflipped;
    expect({ ...unflipped, xx: mirrorX * xx, xy: mirrorY * xy, yx: mirrorX * yx, yy: mirrorY * yy }).toEqual({
      ...all,
      brightness: 0,
    });
  });

  it('keeps angles and proportions, however far it turns and mirrors', () => {
    for (let index = 0; index < 200; index++) {
      const { xx, xy, yx, yy } = drawAugmentation({ ...defaultAugmentation, rotate: 180 }, 0, 0, index);
      expect(xx * xy + yx * yy).toBeCloseTo(0, 12);
      expect(Math.hypot(xx, yx)).toBeCloseTo(Math.hypot(xy, yy), 12);
    }
  });

  it('fills the ranges of the protocol evenly', () => {
    const draws = Array.from({ length: 4000 }, (_, index) => drawAugmentation(defaultAugmentation, 0, 0, index));
    const span = (of: (draw: Augmentation) => number) => {
      const values = draws.map(of).sort((a, b) => a - b);
      return [values[0], values[2000], values[3999]];
    };
    // The extremes of 4,000 uniform draws are within 0.5 % of the range's ends, the median within 5 %, but for one time in many thousands.
    const uniform = (low: number, high: number) =>
      [low, (low + high) / 2, high].map((value, i) => ({ value, slack: (high - low) * (i === 1 ? 0.05 : 0.005) }));
    const expectUniform = (of: (draw: Augmentation) => number, low: number, high: number) =>
      uniform(low, high).forEach(({ value, slack }, i) => {
        expect(Math.abs(span(of)[i] - value)).toBeLessThan(slack);
      });
    expectUniform(({ yx, xx }) => (Math.atan2(yx * Math.sign(xx), Math.abs(xx)) * 180) / Math.PI, -10, 10);
    expectUniform(({ yx, xx }) => Math.log(Math.hypot(xx, yx)), -0.2, 0.2);
    expectUniform(({ x0 }) => x0, -0.1, 0.1);
    expectUniform(({ y0 }) => y0, -0.1, 0.1);
    expectUniform(({ contrast }) => contrast, 0.8, 1.2);
    expectUniform(({ brightness }) => brightness, -0.1, 0.1);
    expect(draws.every(({ saturation, hue }) => saturation === 1 && hue === 0)).toBe(true);
    for (const mirrored of [({ xx }: Augmentation) => xx < 0, ({ yy }: Augmentation) => yy < 0]) {
      expect(Math.abs(draws.filter(mirrored).length - 2000)).toBeLessThan(160); // five standard deviations
    }

    const coloured = { ...defaultAugmentation, saturation: 0.3, hue: 18 };
    draws.forEach((draw, index) => {
      const { saturation, hue, ...others } = drawAugmentation(coloured, 0, 0, index);
      expect({ ...draw, ...others }).toEqual(draw);
      Object.assign(draw, { saturation, hue });
    });
    expectUniform(({ saturation }) => saturation, 0.7, 1.3);
    expectUniform(({ hue }) => hue, -Math.PI / 10, Math.PI / 10);
  });
});

describe('the augmentation of the paper', () => {
  const paper = parseAugmentation('zoom=0,magnify=2,rotate=10,contrast=0.2,flip=x,shift=0,brightness=0,share=0.5')!;
  const draws = Array.from({ length: 4000 }, (_, index) => drawAugmentation(paper, 0, 0, index));
  const factorOf = ({ xx, yx }: Augmentation) => 1 / Math.hypot(xx, yx);
  const turned = ({ yx }: Augmentation) => yx !== 0;
  const magnified = (draw: Augmentation) => Math.abs(factorOf(draw) - 1) > 1e-12;
  const contrasted = ({ contrast }: Augmentation) => contrast !== 1;
  /** Whether a count lies within five standard deviations of a share of all draws. */
  const expectShare = (count: number, share: number) =>
    expect(Math.abs(count - 4000 * share)).toBeLessThan(5 * Math.sqrt(4000 * share * (1 - share)));

  it('applies each change to its share of the images, one independent of the others', () => {
    const changes = [turned, magnified, contrasted];
    for (const change of changes) expectShare(draws.filter(change).length, 0.5);
    for (const [a, b] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ])
      expectShare(draws.filter((draw) => changes[a](draw) && changes[b](draw)).length, 0.25);
    expectShare(draws.filter(({ xx }) => xx < 0).length, 0.5);
    expect(draws.every(({ yy, x0, y0, brightness }) => yy > 0 && x0 === 0 && y0 === 0 && brightness === 0)).toBe(true);
  });

  it('enlarges by a factor uniform from 1 to magnify, so the map shrinks by it', () => {
    const factors = draws.filter(magnified).map(factorOf);
    const mean = factors.reduce((sum, factor) => sum + factor, 0) / factors.length;
    // A uniform number of width 1 has the variance 1/12.
    expect(Math.abs(mean - 1.5)).toBeLessThan(5 / Math.sqrt(12 * factors.length));
    expect(Math.min(...factors)).toBeGreaterThan(1);
    expect(Math.max(...factors)).toBeLessThan(2);
    expect(Math.max(...factors) - Math.min(...factors)).toBeGreaterThan(0.99);
  });

  it('leaves the pixel in the middle where it is and shows what lies half as far out at its edge', () => {
    const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => 10 * (Math.floor(i / 3) % 8));
    const out = new Float32Array(192);
    createWarp(8)(pixels, { ...identity, xx: 0.5, yy: 0.5 }, out, 0);
    expect(Array.from(out.slice(0, 8), (value) => value * 255)).toEqual(
      [17.5, 22.5, 27.5, 32.5, 37.5, 42.5, 47.5, 52.5].map((value) => expect.closeTo(value, 4)),
    );
  });

  it('leaves the draws of settings without it as they were', () => {
    // What seed 0, epoch 1, example 2 gave before there was a magnification.
    expect(drawAugmentation(defaultAugmentation, 0, 1, 2)).toEqual({
      xx: -0.9193064489209236,
      xy: -0.11760414700855608,
      x0: -0.09976438689045608,
      yx: 0.11760414700855608,
      yy: -0.9193064489209236,
      y0: 0.08219557749107481,
      contrast: 1.095475882012397,
      brightness: -0.02385882828384638,
      saturation: 1,
      hue: 0,
    });
  });
});

describe('isAugmentation', () => {
  it.each([
    [defaultAugmentation, true],
    [{ ...defaultAugmentation, rotate: 180, zoom: 0, magnify: 10 }, true],
    [{ ...defaultAugmentation, rotate: 181 }, false],
    [{ ...defaultAugmentation, magnify: 0.5 }, false],
    [{ ...defaultAugmentation, hue: 181 }, false],
    [{ ...defaultAugmentation, share: '1' }, false],
    [{ ...defaultAugmentation, flipX: 1 }, false],
    [{ ...defaultAugmentation, zoom: undefined }, false],
    [null, false],
    ['none', false],
  ])('of %j is %s', (value, fits) => {
    expect(isAugmentation(value)).toBe(fits);
  });
});

describe('parseAugmentation', () => {
  it('replaces defaults', () => {
    expect(parseAugmentation('none')).toBeNull();
    expect(parseAugmentation('flip=0,rotate=15')).toEqual({ ...defaultAugmentation, flipX: false, flipY: false, rotate: 15 });
    expect(parseAugmentation(' flip=x , zoom=0.5 ')).toEqual({ ...defaultAugmentation, flipY: false, zoom: 0.5 });
    expect(parseAugmentation('shift=0,contrast=1,brightness=0.3,flip=both')).toEqual({
      ...defaultAugmentation,
      shift: 0,
      contrast: 1,
      brightness: 0.3,
    });
  });

  it.each([
    'rotat=1',
    'rotate',
    'rotate=',
    'rotate=x',
    'rotate=181',
    'rotate=-1',
    'zoom=NaN',
    '',
    ' ',
    'flip=z',
    'flip=toString',
    'toString=1',
    'rotate=1=2',
    'zoom=1,,',
    'magnify=0.9',
    'magnify=11',
    'saturation=1.1',
    'share=1.1',
    'share=-0.1',
    'rotate=1,rotate=2',
    'flip=x,flip=y',
  ])('refuses %j', async (text) => {
    expect(await errorOf(() => parseAugmentation(text))).toMatchObject({
      code: 'AUGMENT_OPTION',
      hint: expect.stringContaining('rotate'),
    });
  });
});
