import { type Artifact, compile } from '../compiler/compile.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { toPlanes } from '../runtime/data/warp.ts';
import { Engine, inferenceSession } from '../runtime/engine.ts';
import { namesOf } from '../runtime/evaluator.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { portsOfProgram } from './example-ports.ts';
import type { TrainedProgram } from './trained-program.ts';

/** Numbers by place, row by row from the top: attention in [0,1], or a channel of a feature map. */
export interface PlaceMap {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/** Whether there is no attention anywhere: nothing in the feature map spoke for the class, and the ReLU of Grad-CAM left nothing. */
export function isNothing({ data }: PlaceMap): boolean {
  return data.every((value) => value === 0);
}

/** The feature map that a part of the model hands on, channel by channel. */
export interface PartFeatures {
  /** The scope at the top of the model. */
  readonly scope: string;
  readonly channels: readonly PlaceMap[];
}

/** A run's best weights as graphs that say what they make of a picture, and why. */
export class Explainer {
  private constructor(
    private readonly engine: Engine,
    private readonly input: string,
    /** Side in pixels of the square picture that the model sees. */
    readonly size: number,
    readonly classes: readonly string[],
  ) {}

  /**
   * Compiles the graphs and opens a session for each; close it when done.
   * @param features whether {@link features} will be asked for
   * @param threads of one operator; by default one for each processor
   * @throws DdrcError MODEL_FOREIGN where the model takes no picture, MODEL_INVALID where it has no scores, MODEL_MAPLESS where it has no feature maps
   */
  static async open(
    { program, settings, weights }: TrainedProgram,
    { features = false, threads }: { readonly features?: boolean; readonly threads?: number } = {},
  ): Promise<Explainer> {
    const { image } = portsOfProgram(program);
    if (!image) {
      throw new DdrcError({
        code: 'MODEL_FOREIGN',
        message: `${program.name} does not take one square colour picture, so there is nothing to show of it`,
        hint: 'explain a model with one input image(3, size, size)',
      });
    }
    const artifacts: Artifact[] = ['model', 'explain', ...(features ? (['features'] as const) : [])];
    const { files, manifest } = compile(program, { artifacts, weights });
    const engine = new Engine({ threads });
    try {
      for (const [name, bytes] of files) await engine.open(name, bytes, inferenceSession);
    } catch (error) {
      await engine.close();
      throw error;
    }
    const scores = manifest.files['model.onnx'].outputs.find(({ name }) => name === program.scores!.output)!;
    return new Explainer(engine, image.input, image.size, namesOf(settings.classes, Number(scores.shape.at(-1))));
  }

  /**
   * The probability of each class, in their order.
   * @param pixels uint8 [size,size,3]
   */
  async probabilities(pixels: Uint8Array): Promise<Float32Array> {
    const { probabilities } = await this.engine.run('model.onnx', this.feed(pixels), ['probabilities']);
    return probabilities.data as Float32Array;
  }

  /** Where in a picture uint8 [size,size,3] a class comes from (Grad-CAM), in the size of the model's last feature map. */
  async attention(pixels: Uint8Array, label: number): Promise<PlaceMap> {
    const asked: TensorData = { dtype: 'int64', shape: [1], data: BigInt64Array.of(BigInt(label)) };
    const { attention } = await this.engine.run('explain.onnx', { ...this.feed(pixels), class: asked });
    const [, height, width] = attention.shape;
    return { width, height, data: attention.data as Float32Array };
  }

  /** The feature maps of a picture uint8 [size,size,3], in the order of the model. */
  async features(pixels: Uint8Array): Promise<PartFeatures[]> {
    const maps = await this.engine.run('features.onnx', this.feed(pixels));
    return Object.entries(maps).map(([scope, { shape, data }]) => {
      const [, count, height, width] = shape;
      const area = width * height;
      const channel = (c: number) => (data as Float32Array).subarray(c * area, (c + 1) * area);
      return { scope, channels: Array.from({ length: count }, (_, c) => ({ width, height, data: channel(c) })) };
    });
  }

  async close(): Promise<void> {
    await this.engine.close();
  }

  private feed(pixels: Uint8Array): Record<string, TensorData> {
    const data = new Float32Array(3 * this.size * this.size);
    toPlanes(pixels, this.size, data, 0);
    return { [this.input]: { dtype: 'float32', shape: [1, 3, this.size, this.size], data } };
  }
}
