import type { Command } from 'commander';
import { formatDiagnosis, isDdrcError } from '../diagnostics/error.ts';
import { listImages } from '../runtime/data/layout.ts';
import type { TestAugmentation } from '../runtime/data/orientations.ts';
import type { Prediction } from '../runtime/predictor.ts';
import { example } from './example.ts';
import { oneOf, ttaFlag, wholeNumber } from './flags.ts';
import { textTable } from './text-table.ts';
import { type DeviceFlags, openTrained } from './trained-model.ts';

/** The most classes whose probabilities a terminal has room for; with more, that of the likeliest is shown. */
const widestTable = 20;

interface PredictFlags extends DeviceFlags {
  readonly onBadImage: 'stop' | 'skip';
  readonly batch: number;
  readonly tta: TestAugmentation;
  readonly json?: boolean;
}

/** `ddrc predict RUN|MODEL.onnx IMAGE|DIR…`: classifies images. */
export function add(program: Command): void {
  program
    .command('predict')
    .description('classify images with a trained model')
    .argument('<model>', 'run folder, build folder, or model.onnx')
    .argument('<images...>', 'image files, and folders whose images are taken')
    .option('--batch <n>', 'images at a time', wholeNumber(1), 16)
    .option('--device <name>', 'auto, cpu, cuda or webgpu (default: cpu)')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .option('--on-bad-image <what>', 'stop at an image that cannot be read, or skip it', oneOf('stop', 'skip'), 'stop')
    .addOption(ttaFlag())
    .option('--json', 'an array of {file, class, probabilities} in place of the table')
    .addHelpText('after', example('ddrc predict runs/ddrnet-1 cell.jpeg more-cells'))
    .action(predictImages);
}

async function predictImages(path: string, images: readonly string[], flags: PredictFlags): Promise<void> {
  const files = listImages(images);
  const model = await openTrained(path, flags);
  try {
    const { classes } = model;
    let bad = 0;
    const leaveOut = (file: string, error: unknown) => {
      if (!isDdrcError(error)) throw error;
      bad++;
      process.stderr.write(`left out: ${formatDiagnosis({ code: error.code, message: error.message, where: file })}\n`);
    };
    const predictions = await model.predict(files, {
      batch: flags.batch,
      tta: flags.tta,
      onBadImage: flags.onBadImage === 'skip' ? leaveOut : undefined,
    });
    process.stdout.write(flags.json ? `${JSON.stringify(predictions)}\n` : asText(predictions, classes));
    if (bad === files.length) process.exitCode = 1;
  } finally {
    await model.close();
  }
}

function asText(predictions: readonly Prediction[], classes: readonly string[]): string {
  if (predictions.length === 0) return '';
  const all = classes.length <= widestTable;
  const columns = all ? classes : ['probability'];
  const rows = predictions.map(({ file, class: name, probabilities }) => {
    const shown = all ? classes : [name];
    return [file, name, ...shown.map((one) => probabilities[one].toFixed(3))];
  });
  return `${textTable([['file', 'class', ...columns], ...rows], ['left', 'left', ...columns.map(() => 'right' as const)])}\n`;
}
