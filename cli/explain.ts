import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { formatDiagnosis, isDdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { decodeFile } from '../runtime/data/decode.ts';
import { listImages } from '../runtime/data/layout.ts';
import { makeFolder, writeFileAtomic } from '../runtime/files.ts';
import { argmax } from '../runtime/metrics.ts';
import { createProgress } from '../runtime/progress.ts';
import { example } from './example.ts';
import { Explainer, isNothing } from './explainer.ts';
import { usageError } from './failure.ts';
import { addRequired, oneOf, wholeNumber } from './flags.ts';
import { type Explanation, explanationPicture } from './report/explanation-picture.ts';
import { textTable } from './text-table.ts';
import { openTrainedProgram } from './trained-program.ts';

interface ExplainFlags {
  readonly out: string;
  readonly class?: string;
  readonly features?: boolean;
  readonly channels: number;
  readonly threads?: number;
  readonly onBadImage: 'stop' | 'skip';
  readonly json?: boolean;
}

/** `ddrc explain RUN IMAGE…`: where a class comes from, as pictures. */
export function add(program: Command): void {
  const command = program
    .command('explain')
    .description(
      'write a picture for each image: what a trained model makes of it, where that comes from (Grad-CAM), and its feature maps',
    )
    .argument('<run>', 'run folder of ddrc train')
    .argument('<images...>', 'image files, and folders whose images are taken');
  addRequired(command, '--out <folder>', 'where the pictures go, NAME-explained.png each; the folder is made if need be')
    .option('--class <name>', 'the class to explain (default: the one that the model takes the image for)')
    .option('--features', 'also show the feature map that each part of the model hands on')
    .option('--channels <n>', 'with --features: how many channels of each part, the most active ones', wholeNumber(1, 64), 12)
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .option('--on-bad-image <what>', 'stop at an image that cannot be read, or skip it', oneOf('stop', 'skip'), 'stop')
    .option('--json', 'an array of {file, picture, class, explained, nothingSpoke, probabilities} in place of the table')
    .addHelpText(
      'after',
      example(
        'ddrc explain runs/ddrnet-1 cell.jpeg --out pictures',
        'ddrc explain runs/ddrnet-1 cells --out pictures --class MONOCYTE --features',
      ),
    )
    .action(explain);
}

/** An image in what the command prints. */
interface Row extends Pick<Explanation, 'file' | 'predicted' | 'explained' | 'scores'> {
  readonly picture: string;
  /** Whether nothing in the feature map spoke for the class that is explained. */
  readonly nothingSpoke: boolean;
}

async function explain(run: string, images: readonly string[], flags: ExplainFlags): Promise<void> {
  const named = listImages(images);
  const explainer = await Explainer.open(await openTrainedProgram(run), flags);
  const display = createProgress(process.stderr);
  try {
    const label = flags.class === undefined ? null : labelOf(flags.class, explainer.classes);
    // Nothing is written before every image is known to be one.
    const files: string[] = [];
    for (const [i, file] of named.entries()) {
      if (await isReadable(file, explainer.size, flags.onBadImage, display.print)) files.push(file);
      display.count('reading images', i + 1, named.length);
    }
    if (files.length === 0) process.exitCode = 1;
    else makeFolder(flags.out);
    const names = picturesOf(files);
    const rows: Row[] = [];
    for (const [i, file] of files.entries()) {
      const explanation = await explanationOf(explainer, file, label, flags);
      const picture = join(flags.out, names[i]);
      writeFileAtomic(picture, await explanationPicture(explanation));
      const { predicted, explained, scores, attention } = explanation;
      rows.push({ file, picture, predicted, explained, nothingSpoke: isNothing(attention), scores });
      display.count('explaining images', i + 1, files.length);
    }
    display.end();
    process.stdout.write(flags.json ? `${asJson(rows)}\n` : `${asText(rows)}\n`);
  } finally {
    display.end();
    await explainer.close();
  }
}

/**
 * Whether a file is an image. One that is none is said to be left out.
 * @throws DdrcError of a file that is none, where the first such file is the end
 */
async function isReadable(
  file: string,
  size: number,
  onBadImage: 'stop' | 'skip',
  say: (line: string) => void,
): Promise<boolean> {
  try {
    await decodeFile(file, size);
    return true;
  } catch (error) {
    if (onBadImage === 'stop' || !isDdrcError(error)) throw error;
    say(`left out: ${formatDiagnosis({ code: error.code, message: error.message, where: file })}`);
    return false;
  }
}

async function explanationOf(
  explainer: Explainer,
  file: string,
  label: number | null,
  flags: ExplainFlags,
): Promise<Explanation> {
  const { size, classes } = explainer;
  const pixels = await decodeFile(file, size);
  const probabilities = await explainer.probabilities(pixels);
  const predicted = argmax(probabilities);
  const explained = label ?? predicted;
  return {
    file,
    size,
    pixels,
    predicted: classes[predicted],
    explained: classes[explained],
    scores: classes.map((name, i) => ({ name, probability: probabilities[i] })),
    attention: await explainer.attention(pixels, explained),
    features: flags.features ? await explainer.features(pixels) : [],
    channels: flags.channels,
  };
}

function labelOf(name: string, classes: readonly string[]): number {
  const label = classes.indexOf(name);
  if (label >= 0) return label;
  throw usageError(
    `the model has no class ${name}${suggestion(name, classes)}`,
    'explain',
    `its classes are ${classes.join(', ')}`,
  );
}

/** A name for each picture, `cell-explained.png`; where two images are called alike, the second one gets a number. */
function picturesOf(files: readonly string[]): string[] {
  const taken = new Set<string>();
  return files.map((file) => {
    const stem = `${basename(file, extname(file))}-explained`;
    let name = `${stem}.png`;
    for (let count = 2; taken.has(name.toLowerCase()); count++) name = `${stem}-${count}.png`;
    taken.add(name.toLowerCase());
    return name;
  });
}

function asJson(rows: readonly Row[]): string {
  return JSON.stringify(
    rows.map(({ file, picture, predicted, explained, nothingSpoke, scores }) => ({
      file,
      picture,
      class: predicted,
      explained,
      nothingSpoke,
      probabilities: Object.fromEntries(scores.map(({ name, probability }) => [name, probability])),
    })),
  );
}

function asText(rows: readonly Row[]): string {
  const lines = rows.map(({ file, picture, predicted, explained, scores }) => {
    const probability = scores.find(({ name }) => name === predicted)!.probability;
    return [file, predicted, probability.toFixed(3), explained, picture];
  });
  const table = textTable(
    [['file', 'class', 'probability', 'explained', 'picture'], ...lines],
    ['left', 'left', 'right', 'left', 'left'],
  );
  const silent = rows.filter(({ nothingSpoke }) => nothingSpoke);
  return [table, ...silent.map(({ file, explained }) => `${file}: nothing in the feature map spoke for ${explained}`)].join('\n');
}
