import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { readVerified } from '../runtime/checkpoint.ts';
import { readBytes, writeFileAtomic } from '../runtime/files.ts';
import { isOrtCheckpoint, type OrtCheckpoint, parseOrtCheckpoint, serializeOrtCheckpoint } from '../runtime/ort-checkpoint.ts';
import { ortCheckpointOf, safetensorsOf } from '../runtime/ort-weights.ts';
import { serializeSafetensors } from '../runtime/safetensors.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { wholeNumber } from './flags.ts';
import { grouped } from './quantity.ts';
import { shown } from './shown-path.ts';

interface ConvertFlags {
  readonly checkpointVersion?: number;
}

/** `ddrc convert SOURCE TARGET`: the checkpoint of ONNX Runtime's on-device training to safetensors, and the reverse. */
export function add(program: Command): void {
  program
    .command('convert')
    .description(
      "convert a checkpoint of ONNX Runtime's on-device training to safetensors or the reverse, with the optimizer's state",
    )
    .argument('<source>', 'checkpoint or safetensors file; its content says which')
    .argument('<target>', 'file to write: safetensors if its name ends in .safetensors, else a checkpoint')
    .option('--checkpoint-version <n>', '2 for ONNX Runtime 1.18 and later, 1 for 1.17 (default: 2)', wholeNumber(1, 2))
    .addHelpText('after', example('ddrc convert checkpoint weights.safetensors'))
    .action(convert);
}

function convert(source: string, target: string, { checkpointVersion }: ConvertFlags): void {
  const toSafetensors = /\.safetensors$/i.test(target);
  if (toSafetensors && checkpointVersion !== undefined) {
    throw usageError('--checkpoint-version is for a checkpoint, and a target *.safetensors is none', 'convert');
  }
  if (isSameFile(source, target)) throw usageError(`${shown(target)} is the source itself`, 'convert', 'name another target');
  const bytes = readBytes(source);
  if (!toSafetensors) {
    const version = (checkpointVersion ?? 2) as 1 | 2;
    const read = isOrtCheckpoint(bytes)
      ? parseOrtCheckpoint(bytes, source)
      : ortCheckpointOf(readVerified(source, bytes), source, version);
    const checkpoint = { ...read, version };
    writeFileAtomic(target, serializeOrtCheckpoint(checkpoint, source));
    say(target, `checkpoint version ${version}`, checkpoint);
    return;
  }
  if (looksLikeSafetensors(bytes)) {
    const hint = 'name the target without .safetensors to make a checkpoint of it';
    throw usageError(`${shown(source)} is safetensors already`, 'convert', hint);
  }
  const checkpoint = parseOrtCheckpoint(bytes, source);
  const { tensors, metadata } = safetensorsOf(checkpoint, source);
  writeFileAtomic(target, serializeSafetensors(tensors, metadata));
  say(target, 'safetensors', checkpoint);
}

function isSameFile(source: string, target: string): boolean {
  // Beyond 2 ** 53, numbers of files are exact as bigint only. What cannot be looked at is told when it is read or written.
  const [a, b] = [source, target].map((path) => {
    try {
      return statSync(path, { bigint: true, throwIfNoEntry: false });
    } catch {
      return undefined;
    }
  });
  return a !== undefined && b !== undefined && a.isFile() && a.ino === b.ino && a.dev === b.dev;
}

/** Whether behind eight bytes there is the start of a JSON object, as in safetensors. */
function looksLikeSafetensors(bytes: Uint8Array): boolean {
  return !isOrtCheckpoint(bytes) && bytes[8] === '{'.charCodeAt(0);
}

function say(target: string, format: string, { trainable, frozen, optimizer }: OrtCheckpoint): void {
  const [moments = []] = optimizer?.moments.values() ?? [];
  const state = optimizer ? `step ${optimizer.step}, ${moments.length} moments of each` : 'no optimizer state';
  process.stdout.write(
    `${shown(target)}: ${format}, ${grouped(trainable.size)} trainable and ${grouped(frozen.size)} frozen arrays, ${state}\n`,
  );
}
