import { basename, extname, join } from 'node:path';
import type { Command } from 'commander';
import { suggestion } from '../diagnostics/suggest.ts';
import { decodeFile } from '../runtime/data/decode.ts';
import { listImages } from '../runtime/data/layout.ts';
import { makeFolder, writeFileAtomic } from '../runtime/files.ts';
import { argmax } from '../runtime/metrics.ts';
import { example } from './example.ts';
import { Explainer } from './explainer.ts';
import { usageError } from './failure.ts';
import { addRequired, wholeNumber } from './flags.ts';
import { type Explanation, explanationPicture } from './report/explanation-picture.ts';
import { textTable } from './text-table.ts';
import { openTrainedProgram } from './trained-program.ts';

interface ExplainFlags {
  readonly out: string;
  readonly class?: string;
  readonly features?: boolean;
  readonly channels: number;
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
    .option('--json', 'an array of {file, picture, class, explained, probabilities} in place of the table')
    .addHelpText(
      'after',
      example(
        'ddrc explain runs/ddrnet-1 cell.jpeg --out pictures',
        'ddrc explain runs/ddrnet-1 cells --out pictures --class MONOCYTE --features',
      ),
    )
    .action(explain);
}

async function explain(run: string, images: readonly string[], flags: ExplainFlags): Promise<void> {
  const files = listImages(images);
  const explainer = await Explainer.open(await openTrainedProgram(run), flags.features);
  try {
    const label = flags.class === undefined ? null : labelOf(flags.class, explainer.classes);
    const explanations: Explanation[] = [];
    for (const file of files) explanations.push(await explanationOf(explainer, file, label, flags));
    const names = picturesOf(files);
    const pictures: [path: string, bytes: Uint8Array][] = [];
    for (const [i, explanation] of explanations.entries())
      pictures.push([join(flags.out, names[i]), await explanationPicture(explanation)]);
    // Nothing is written before all images have been read and explained.
    makeFolder(flags.out);
    for (const [path, bytes] of pictures) writeFileAtomic(path, bytes);
    const paths = pictures.map(([path]) => path);
    process.stdout.write(flags.json ? `${asJson(explanations, paths)}\n` : `${asText(explanations, paths)}\n`);
  } finally {
    await explainer.close();
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

function asJson(explanations: readonly Explanation[], pictures: readonly string[]): string {
  return JSON.stringify(
    explanations.map(({ file, predicted, explained, scores }, i) => ({
      file,
      picture: pictures[i],
      class: predicted,
      explained,
      probabilities: Object.fromEntries(scores.map(({ name, probability }) => [name, probability])),
    })),
  );
}

function asText(explanations: readonly Explanation[], pictures: readonly string[]): string {
  const rows = explanations.map(({ file, predicted, explained, scores }, i) => {
    const probability = scores.find(({ name }) => name === predicted)!.probability;
    return [file, predicted, probability.toFixed(3), explained, pictures[i]];
  });
  return textTable(
    [['file', 'class', 'probability', 'explained', 'picture'], ...rows],
    ['left', 'left', 'right', 'left', 'left'],
  );
}
