/*
 * `ddrc explain`: its numbers beside those of the graphs themselves, its pictures pixel by pixel, and what it refuses.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { asTensors } from '../../cli/compile-for-device.ts';
import { add } from '../../cli/explain.ts';
import { Explainer } from '../../cli/explainer.ts';
import { barChartFile, lineChart, lineChartFile, palette, scoreBars } from '../../cli/report/charts.ts';
import { explanationPicture, shownScores } from '../../cli/report/explanation-picture.ts';
import { channelPicture, withAttention } from '../../cli/report/pictures.ts';
import type { TrainedProgram } from '../../cli/trained-program.ts';
import { initialWeights } from '../../compiler/artifacts/initial.ts';
import { compile } from '../../compiler/compile.ts';
import { random } from '../../numeric/random.ts';
import { writeArrays } from './array-file.ts';
import { checkout, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { zeroWeights } from './zero-weights.ts';

/** The threads that engines were asked for, in their order. */
const threads: (number | undefined)[] = [];
vi.mock('../../runtime/engine.ts', async (original) => {
  const real = await original<typeof import('../../runtime/engine.ts')>();
  class Engine extends real.Engine {
    constructor(options?: ConstructorParameters<typeof real.Engine>[0]) {
      super(options);
      threads.push(options?.threads);
    }
  }
  return { ...real, Engine };
});
/** The pictures in the output folder whenever another one is drawn. */
const written: string[][] = [];
let output = '';
vi.mock('../../cli/report/explanation-picture.ts', async (original) => {
  const real = await original<typeof import('../../cli/report/explanation-picture.ts')>();
  const explanationPicture: typeof real.explanationPicture = (explanation) => {
    written.push(readdirSync(output).sort());
    return real.explanationPicture(explanation);
  };
  return { ...real, explanationPicture };
});
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { default: ddrnet } = await import('../../models/ddrnet.ts');

describe('an explainer', () => {
  it('gives what model.onnx, explain.onnx and features.onnx give', async () => {
    const size = 32;
    const program = ddrnet.instantiate({ size, channels: 4 });
    const weights = asTensors(initialWeights(program, 3));
    const { files, manifest } = compile(program, { artifacts: ['model', 'explain', 'features'], weights });
    const settings = { classes: ['a', 'b', 'c', 'd'] } as unknown as TrainedProgram['settings'];
    const explainer = await Explainer.open({ program, settings, manifest, weights }, { features: true, threads: 1 });
    expect(threads).toEqual([1]);
    const next = random('pixels');
    const pixels = Uint8Array.from({ length: 3 * size * size }, () => 256 * next());
    const planes = Float32Array.from({ length: pixels.length }, (_, i) => {
      const [channel, place] = [Math.floor(i / (size * size)), i % (size * size)];
      return pixels[place * 3 + channel] / 255;
    });
    const run = async (name: string, feeds = {}) => {
      const session = await InferenceSession.create(files.get(name)!);
      const results = await session.run({ image: new Tensor('float32', planes.slice(), [1, 3, size, size]), ...feeds });
      await session.release();
      return results;
    };
    try {
      expect(explainer.classes).toEqual(['a', 'b', 'c', 'd']);
      expect(await explainer.probabilities(pixels)).toEqual((await run('model.onnx')).probabilities.data);
      for (const label of [0, 2]) {
        const { attention } = await run('explain.onnx', { class: new Tensor('int64', BigInt64Array.of(BigInt(label)), [1]) });
        const { width, height, data } = await explainer.attention(pixels, label);
        expect([1, height, width]).toEqual(attention.dims);
        expect(data).toEqual(attention.data);
        expect(Math.max(...data)).toBeCloseTo(1, 6);
      }
      const maps = await run('features.onnx');
      const features = await explainer.features(pixels);
      expect(features.map(({ scope }) => scope)).toEqual(['stem', 'drdb', 'glfeb', 'csab']);
      for (const { scope, channels } of features) {
        const [, count, height, width] = maps[scope].dims;
        expect(channels.map((channel) => [channel.width, channel.height])).toEqual(Array(count).fill([width, height]));
        expect(channels.flatMap(({ data }) => [...data])).toEqual([...(maps[scope].data as Float32Array)]);
      }
    } finally {
      await explainer.close();
    }
  });
});

describe('pictures', () => {
  it('lay attention over an image: a quarter of dark where there is none, seven tenths of bright where there is most', async () => {
    const size = 8;
    const pixels = new Uint8Array(3 * size * size).fill(100);
    const heat = palette('inferno');
    for (const [value, cover, colour] of [
      [0, 0.25, heat.subarray(0, 3)],
      [1, 0.7, heat.subarray(255 * 3)],
    ] as const) {
      const map = { width: 2, height: 2, data: new Float32Array(4).fill(value) };
      const laid = await (await withAttention(pixels, size, map)).raw().toBuffer();
      expect(laid).toHaveLength(pixels.length);
      // Covers are bytes, and what comes of them is rounded once more.
      laid.forEach((byte, i) => {
        expect(Math.abs(byte - (cover * colour[i % 3] + (1 - cover) * 100))).toBeLessThanOrEqual(1.5);
      });
    }
  });

  it('show a channel from its least to its largest value, each place a square', async () => {
    const picture = channelPicture({ width: 2, height: 1, data: Float32Array.of(-3, 5) }, 4);
    const raw = await picture.raw().toBuffer();
    const colours = palette('viridis');
    expect([...colours.subarray(0, 3)]).toEqual([0x44, 0x01, 0x54]);
    for (let row = 0; row < 4; row++) {
      for (let column = 0; column < 4; column++) {
        const place = column < 2 ? 0 : 255 * 3;
        const at = (row * 4 + column) * 3;
        expect([...raw.subarray(at, at + 3)]).toEqual([...colours.subarray(place, place + 3)]);
      }
    }
    // A channel that is the same everywhere has a colour, too.
    expect(
      await channelPicture({ width: 1, height: 1, data: Float32Array.of(2) }, 2)
        .raw()
        .toBuffer(),
    ).toHaveLength(12);
  });

  it('have bars as long as the probabilities, and names that are text', () => {
    const svg = scoreBars(
      [
        { name: '<a> & "b"', probability: 0.25 },
        { name: 'c', probability: 0.75 },
      ],
      'c',
    );
    const bars = [...svg.matchAll(/<rect [^>]*?width="([\d.]+)"/g)].map(([, width]) => Number(width));
    expect(bars).toHaveLength(2);
    expect(bars[1] / bars[0]).toBeCloseTo(3, 6);
    expect(svg).toContain('&lt;a&gt; &amp; "b"');
    expect(svg).not.toContain('<a>');
  });

  it('take names that XML has no room for', async () => {
    const name = 'T\u0001\ncell';
    const drawn = [
      scoreBars([{ name, probability: 1 }], name),
      lineChartFile({ title: 'loss', x: 'epoch', series: [{ name, points: [{ x: 1, y: 2 }] }] }),
      barChartFile('accuracy', [{ name, value: 50, low: null, high: null, other: null }], 'others'),
    ];
    for (const svg of drawn) {
      expect(svg).toContain('>T\ufffd\ufffdcell</text>');
      expect((await sharp(Buffer.from(svg)).metadata()).format).toBe('svg');
    }
  });

  it('have the seven largest of more classes, the one that is explained among them', async () => {
    const scores = Array.from({ length: 12 }, (_, i) => ({ name: `class ${i}`, probability: (12 - i) / 78 }));
    expect(shownScores(scores.slice(0, 7), 'class 6')).toEqual(scores.slice(0, 7));
    expect(shownScores(scores, 'class 2').map(({ name }) => name)).toEqual([2, 0, 1, 3, 4, 5, 6].map((i) => `class ${i}`));
    expect(shownScores(scores, 'class 11').map(({ name }) => name)).toEqual([11, 0, 1, 2, 3, 4, 5].map((i) => `class ${i}`));
  });

  it.each([
    [
      [0, 2.2e11],
      ['0', '5e10', '1e11', '1.5e11', '2e11'],
    ],
    [
      [1e-6, 5e-6],
      ['1e-6', '2e-6', '3e-6', '4e-6', '5e-6'],
    ],
    [
      [0.1, 0.5],
      ['0.1', '0.2', '0.3', '0.4', '0.5'],
    ],
    [
      [0, 2000],
      ['0', '500', '1000', '1500', '2000'],
    ],
  ])('have numbers beside the axis that its margin has room for: %j', (losses, ticks) => {
    const { text } = lineChart({ title: 'loss', x: 'epoch', series: [{ name: 'a', points: losses.map((y, x) => ({ x, y })) }] });
    const all = [...text.matchAll(/<text[^>]*>([^<]+)<\/text>/g)].map(([, tick]) => tick);
    expect(all).toEqual(expect.arrayContaining(ticks));
    expect(Math.max(...all.filter((tick) => /^[\d.e−-]+$/.test(tick)).map((tick) => tick.length))).toBeLessThanOrEqual(6);
  });

  it('tell thirty lines apart by colour and dashes', () => {
    const series = Array.from({ length: 30 }, (_, i) => ({ name: `run ${i}`, points: [{ x: 1, y: i }] }));
    const looks = [
      ...lineChart({ title: 'loss', x: 'epoch', series }).text.matchAll(/<line [^>]*stroke="([^"]*)"[^>]*dasharray="([^"]*)"/g),
    ];
    expect(looks).toHaveLength(30);
    expect(new Set(looks.map(([, colour, dashes]) => `${colour} ${dashes}`)).size).toBe(30);
  });
});

describe('ddrc explain', () => {
  const folder = temporaryFolder();
  const at = (...parts: string[]) => join(folder, ...parts);
  const [first, second] = [join('data', 'red', '000.png'), join('data', 'blue', '000.png')];
  const calls = {
    both: ['explain', 'run', first, second, '--out', 'pictures', '--json'],
    features: [
      'explain',
      'run',
      first,
      '--out',
      join('new', 'below'),
      '--class',
      'blue',
      '--features',
      '--channels',
      '3',
      '--threads',
      '1',
    ],
    class: ['explain', 'run', first, '--out', 'never', '--class', 'bleu'],
    damaged: ['explain', 'run', first, 'cut.png', '--out', 'never'],
    skipped: ['explain', 'run', 'cut.png', first, '--out', 'skipped', '--on-bad-image', 'skip', '--json'],
    onlyBad: ['explain', 'run', 'cut.png', '--out', 'never', '--on-bad-image', 'skip', '--json'],
    missing: ['explain', 'run', 'nothing.png', '--out', 'never'],
    begun: ['explain', 'begun', first, '--out', 'never'],
    lost: ['explain', 'lost run', first, '--out', 'never'],
    unexported: ['predict', 'lost run', first],
    arrays: ['explain', 'arrays', first, '--out', 'never'],
    none: ['explain', 'data', first, '--out', 'never'],
    file: ['explain', 'run', first, '--out', 'cut.png'],
    noOut: ['explain', 'run', first],
    silent: ['explain', 'silent', first, '--out', 'silent-pictures'],
    silentJson: ['explain', 'silent', first, '--out', 'silent-pictures', '--json'],
    predicted: ['predict', 'run', first, second, '--json'],
  } as const;
  let outcomes: Record<keyof typeof calls, Outcome>;

  beforeAll(async () => {
    await pictureFolder(at('data'), { each: 12 });
    writeFileSync(at('small.ts'), smallModel);
    writeFileSync(at('cut.png'), Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3));
    writeArrays(at('arrays.safetensors'));
    const model = join(checkout, 'models', 'ddrnet.ts');
    const tiny = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false', '--batch', '8', '--cache', 'none'];
    const trained = await ddrcInOneProcess(
      [
        ['train', model, '--data', 'data', '--run', 'run', '--epochs', '1', '--device', 'cpu', ...tiny],
        ['train', 'small.ts', '--data', 'arrays.safetensors', '--run', 'arrays', '--device', 'cpu', '--epochs', '1'],
      ],
      folder,
    );
    for (const { code, stderr } of trained) expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
    mkdirSync(at('begun'));
    cpSync(at('run', 'config.json'), at('begun', 'config.json'));
    cpSync(at('run'), at('lost run'), { recursive: true });
    for (const name of ['best.safetensors', 'model.onnx']) rmSync(at('lost run', name));
    cpSync(at('run'), at('silent'), { recursive: true });
    zeroWeights(at('silent', 'best.safetensors'));
    const results = await ddrcInOneProcess(Object.values(calls), folder);
    outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]])) as typeof outcomes;
  }, 120_000);

  it('writes a picture for each image and says what predict says', async () => {
    const found = JSON.parse(outcomes.both.stdout);
    const predicted = JSON.parse(outcomes.predicted.stdout) as { class: string; probabilities: Record<string, number> }[];
    expect(readdirSync(at('pictures')).sort()).toEqual(['000-explained-2.png', '000-explained.png']);
    expect(found.map(({ picture }: { picture: string }) => picture)).toEqual([
      join('pictures', '000-explained.png'),
      join('pictures', '000-explained-2.png'),
    ]);
    for (const [i, { class: name, probabilities }] of predicted.entries()) {
      expect(found[i]).toMatchObject({ file: [first, second][i], class: name, explained: name });
      for (const [key, value] of Object.entries(probabilities)) expect(found[i].probabilities[key]).toBeCloseTo(value, 6);
    }
    const { data, info } = await sharp(at('pictures', '000-explained.png')).raw().toBuffer({ resolveWithObject: true });
    const pixel = (x: number, y: number) => [
      ...data.subarray((y * info.width + x) * info.channels, (y * info.width + x) * info.channels + 3),
    ];
    // The image is red noise, at 16 px from the left; the margin is white.
    const [red, green, blue] = pixel(130, 160);
    expect(red - Math.max(green, blue)).toBeGreaterThan(60);
    expect(pixel(4, 160)).toEqual([255, 255, 255]);
  });

  it('says where nothing in the feature map spoke for a class', async () => {
    const [[row], [spoken]] = [outcomes.silentJson, outcomes.both].map(({ stdout }) => JSON.parse(stdout));
    expect([row.nothingSpoke, spoken.nothingSpoke]).toEqual([true, false]);
    expect(outcomes.silent.stdout).toContain(`\n${first}: nothing in the feature map spoke for ${row.explained}\n`);
    const captions = (nothing: number) => {
      const attention = { width: 2, height: 1, data: Float32Array.of(0, nothing) };
      const pixels = new Uint8Array(3 * 16 * 16);
      const scores = [{ name: 'a', probability: 1 }];
      return { file: 'x.png', size: 16, pixels, predicted: 'a', explained: 'a', scores, attention, features: [], channels: 1 };
    };
    // The caption is drawn: the longer one has ink where the shorter one has none.
    const ink = async (nothing: number) => {
      output = folder;
      const picture = sharp(await explanationPicture(captions(nothing)));
      const strip = await picture.extract({ left: 420, top: 294, width: 150, height: 20 }).greyscale().raw().toBuffer();
      return strip.filter((value) => value < 128).length;
    };
    expect(await ink(1)).toBe(0);
    expect(await ink(0)).toBeGreaterThan(50);
  });

  it('leaves out what is no image, where it is asked to', () => {
    expect(outcomes.skipped).toMatchObject({ code: 0, stderr: expect.stringContaining('left out: IMAGE_DAMAGED') });
    expect(JSON.parse(outcomes.skipped.stdout).map(({ file }: { file: string }) => file)).toEqual([first]);
    expect(readdirSync(at('skipped'))).toEqual(['000-explained.png']);
    expect(outcomes.onlyBad).toMatchObject({ code: 1, stdout: '[]\n' });
    expect(existsSync(at('never'))).toBe(false);
  });

  it('draws one picture at a time, by as many threads as it is given', async () => {
    output = at('single');
    const program = new Command('ddrc').exitOverride();
    add(program);
    const said = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const progress = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      threads.length = 0;
      written.length = 0;
      await program.parseAsync(['explain', at('run'), at(first), at(second), '--out', output, '--threads', '1'], {
        from: 'user',
      });
    } finally {
      said.mockRestore();
      progress.mockRestore();
    }
    expect(threads).toEqual([1]);
    expect(written).toEqual([[], ['000-explained.png']]);
    expect(readFileSync(at('single', '000-explained.png'))).toEqual(readFileSync(at('pictures', '000-explained.png')));
  });

  it('shows another class and feature maps where it is asked to', async () => {
    expect(outcomes.features).toMatchObject({ code: 0, stderr: 'reading images  1/1\n' });
    expect(outcomes.features.stdout).toMatch(
      /^file +class +probability +explained +picture\n.* blue {7}\S+000-explained\.png\n$/,
    );
    const [plain, more] = await Promise.all(
      [at('pictures', '000-explained.png'), at('new', 'below', '000-explained.png')].map((file) => sharp(file).metadata()),
    );
    expect(more.width).toBe(plain.width);
    // Three parts, each a line and a row of tiles.
    expect(more.height - plain.height).toBe(3 * (22 + 6 + 66 + 22));
  });

  it.each([
    ['class', 2, 'USAGE  the model has no class bleu, did you mean "blue"'],
    ['damaged', 1, 'IMAGE_DAMAGED'],
    ['missing', 1, 'DATA_MISSING'],
    ['begun', 1, 'FILE_MISSING  the run in begun has no weights yet'],
    ['lost', 1, 'FILE_MISSING  the weights of the run in lost run are gone: its best.safetensors is missing'],
    ['unexported', 1, 'FILE_MISSING  the run in lost run has lost its model.onnx and its best.safetensors'],
    ['arrays', 1, 'MODEL_FOREIGN  small does not take one square colour picture'],
    ['none', 1, 'RUN_INVALID'],
    ['file', 1, 'OUTPUT_UNWRITABLE'],
    ['noOut', 2, 'USAGE'],
  ] as const)('refuses %s and leaves nothing', (name, code, start) => {
    expect(outcomes[name]).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(start) });
    expect(existsSync(at('never'))).toBe(false);
  });
});
