import type { Program } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import type { OpenModel } from '../runtime/predictor.ts';

/** What a model calls the arrays of its examples. */
export interface ExamplePorts {
  readonly model: string;
  /** Its inputs and targets, as a safetensors file of arrays names them. */
  readonly names: readonly string[];
  /** Its target that is a class index; null where it has none. */
  readonly label: string | null;
  /** Its only input, where that is a square colour image: name and width in pixels; otherwise null. */
  readonly image: { readonly input: string; readonly size: number } | null;
}

/** The ports of a model file's model. */
export function portsOfProgram({ name, inputs, targets }: Program): ExamplePorts {
  const [first] = inputs;
  const [, channels, height, width] = first.type.shape;
  const isSquare = inputs.length === 1 && first.kind === 'image' && channels === 3 && height === width;
  return {
    model: name,
    names: [...inputs, ...targets].map((port) => port.name),
    label: targets.find(({ kind }) => kind === 'class')?.name ?? null,
    image: isSquare ? { input: first.name, size: height as number } : null,
  };
}

/** The ports of a model.onnx. */
export function portsOfModel({ description, inputNames }: OpenModel): ExamplePorts {
  const { label } = description;
  const [first] = description.preprocessing;
  const [channels, height, width] = first?.size ?? [];
  const isSquare = inputNames.length === 1 && channels === 3 && height === width;
  return {
    model: description.model,
    names: [...inputNames, ...(label === null ? [] : [label])],
    label,
    image: isSquare ? { input: first.input, size: height } : null,
  };
}

/**
 * The names of image and label, and the size, of a model that classifies images.
 * @throws DdrcError DATA_SHAPE for another model
 */
export function imagePorts({ model, names, label, image }: ExamplePorts): { image: string; label: string; size: number } {
  if (image && label !== null) return { image: image.input, label, size: image.size };
  throw new DdrcError({
    code: 'DATA_SHAPE',
    message: image
      ? `${model} has no class as its target, so folders of images cannot train it`
      : `${model} does not take just one square colour image`,
    hint: `give it arrays: --data FILE.safetensors with ${names.join(', ')}`,
  });
}
