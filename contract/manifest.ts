/** Element types of inputs and outputs; ONNX's names in lower case. */
export type ManifestDType = 'float32' | 'int64' | 'int32' | 'uint8' | 'bool';

/** Where a named array lies in a flat vector; `offset` and the vector's length count elements. */
export interface TableEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** The optimizer that `step.onnx` contains: its kind and its constants. */
export interface OptimizerDescription {
  readonly kind: 'sgd' | 'adam' | 'adamw' | 'rmsprop';
  readonly [constant: string]: number | boolean | string;
}

/** Version of the manifest's format: a reader refuses another major number. */
export const manifestVersion = 1;

/**
 * What a value is for. `data` and `target`: a batch. `state`: a flat vector that a step replaces by the output called `…_out`.
 * `hyperparameter`: a scalar fed with each step. `seed`: an integer in [0, 2^24), another one each step.
 * `mix`: what a batch that was mixed with itself takes beside its targets.
 */
export type ManifestRole = 'data' | 'target' | 'state' | 'hyperparameter' | 'seed' | 'loss' | 'output' | 'gradient' | 'mix';

export interface ManifestPort {
  readonly name: string;
  readonly dtype: ManifestDType;
  /** Sizes; a name for one that is known only when the graph runs. */
  readonly shape: readonly (number | string)[];
  readonly role: ManifestRole;
}

/** Where the values of a named array begin in a file, in bytes: float32, little-endian, one behind the other. */
export interface WeightPlace {
  readonly name: string;
  readonly offset: number;
}

export interface ManifestFile {
  readonly sha256: string;
  readonly inputs: readonly ManifestPort[];
  readonly outputs: readonly ManifestPort[];
  /** Of `tunable.onnx`, `explain.onnx` and `features.onnx`: where each parameter and statistic lies. */
  readonly weights?: readonly WeightPlace[];
  /**
   * Of `tunable.onnx`: its last 64 bytes are the SHA-256, in hexadecimal, of its first `covers` bytes and of the text `entries`; to be written anew with the weights.
   */
  readonly seal?: { readonly covers: number; readonly entries: string };
}

/** How a decoder's picture becomes an image input: float32 planes [N,C,H,W] in [0,1], or its bytes uint8 [N,H,W,C]. */
export type ImagePreprocessing = {
  readonly input: string;
  /** Channels, height, width, whatever the layout. */
  readonly size: readonly number[];
  readonly resize: 'bilinear, whole image';
} & (
  | { readonly layout: 'NCHW'; readonly range: readonly [0, 1] }
  | { readonly layout: 'NHWC'; readonly range: readonly [0, 255] }
);

/** The contract between what the compiler writes and what runs it; `docs/manifest.md` explains it, `docs/manifest.schema.json` is its schema. */
export interface Manifest {
  readonly ddrc: number;
  readonly model: string;
  readonly options: Readonly<Record<string, number | boolean | string>>;
  /** Standard opset of the files. */
  readonly opset: number;
  readonly target: string;
  /** Channels in a block of the blocked kernels that the files were written for; 0: they use none, and run on every processor. */
  readonly block: number;
  readonly files: Readonly<Record<string, ManifestFile>>;
  /** Where each trainable parameter lies in the flat vector `parameters`, offsets in elements. */
  readonly parameters: readonly TableEntry[];
  /** The same of running statistics in `statistics`. */
  readonly statistics: readonly TableEntry[];
  readonly optimizer: OptimizerDescription;
  /** Names of the optimizer's flat vectors, each as long as `parameters`, zero before training: `moment1`, `moment2`. */
  readonly slots: readonly string[];
  /**
   * The largest decay of exponential moving averages of parameters and statistics, the states `ema` and `ema_statistics`, which start as these do; absent: the
   * graphs keep none.
   */
  readonly ema?: number;
  /** Largest global norm of the gradient; 0: not clipped. */
  readonly clipNorm: number;
  readonly classes: readonly string[] | null;
  readonly scores: { readonly output: string; readonly activation: 'softmax' | 'sigmoid' } | null;
  /** For each image input of `model.onnx`, how a picture becomes it. */
  readonly preprocessing: readonly ImagePreprocessing[];
  /** SHA-256 of the model's structure (names and shapes of parameters, options): checkpoints carry it. */
  readonly modelHash: string;
}
