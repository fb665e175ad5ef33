import { compile } from '../../compiler/compile.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { shellWord } from '../../diagnostics/shell-word.ts';
import { loadWeights } from '../../runtime/checkpoint.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { expectedState, fileOf, portsOf } from '../../runtime/manifest.ts';
import type { ModelDescription } from '../../runtime/predictor.ts';
import { openRun } from '../../runtime/runfolder.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { copied, type Feeds } from '../feeds.ts';
import { instantiate, loadModel } from '../load-model.ts';
import { onnxruntimeVersion } from '../project.ts';
import { settingsOf } from '../train-settings.ts';
import type { OnnxEngine } from './engine.ts';

const graph = 'eval.onnx';

/** What {@link checkpointEngine} is called. */
export const checkpointName = 'best.safetensors in eval.onnx';

/**
 * A run's best weights in the graph that measures them while it trains, compiled anew from the model file: what the run's model.onnx has to agree with.
 * @throws DdrcError RUN_INVALID; MODEL_DAMAGED where model.onnx names other classes than the run
 */
export function checkpointEngine(folder: string, description: ModelDescription): OnnxEngine {
  const { config, paths } = openRun(folder);
  const settings = settingsOf(config, paths.folder);
  if (JSON.stringify(settings.classes) !== JSON.stringify(description.classes)) {
    const named = (classes: readonly string[] | null) => classes?.join(', ') ?? 'none';
    throw new DdrcError({
      code: 'MODEL_DAMAGED',
      message: 'model.onnx names other classes, or in another order, than the run that it is in',
      notes: [
        { label: 'model.onnx', text: named(description.classes) },
        { label: 'run', text: named(settings.classes) },
      ],
      where: paths.model,
      hint: `delete it, and have it written again by ddrc train --resume ${shellWord(folder)}`,
    });
  }
  return {
    name: checkpointName,
    version: onnxruntimeVersion(),
    async open({ inputs, rows, classes }) {
      const program = instantiate(await loadModel(settings.modelFile ?? undefined), settings.options);
      const { manifest, files } = compile(program, { artifacts: ['eval'] });
      const { scores } = manifest;
      if (manifest.modelHash !== description.modelHash || !scores)
        throw new Error('the model file is not the one that the run was started with');
      const { parameters, statistics } = loadWeights(paths.best, expectedState(manifest));
      const targets = portsOf(fileOf(manifest, graph).inputs, 'target').map((port): [string, TensorData] => {
        const shape = port.shape.map((size) => (typeof size === 'number' ? size : rows));
        const length = shape.reduce((product, size) => product * size, 1);
        const data = port.dtype === 'int64' ? new BigInt64Array(length) : new Float32Array(length);
        return [port.name, { dtype: port.dtype as 'int64' | 'float32', shape, data }];
      });
      const engine = new Engine();
      try {
        await engine.open(graph, files.get(graph)!, trainingSession);
        await engine.load({ parameters, statistics });
      } catch (error) {
        await engine.close();
        throw error;
      }
      return {
        async run(feeds: Feeds) {
          const all = [...inputs.map(({ name }): [string, TensorData] => [name, feeds[name]]), ...targets];
          const outputs = await engine.run(graph, copied(Object.fromEntries(all)), [scores.output]);
          return probabilities(outputs[scores.output].data as Float32Array, classes, scores.activation);
        },
        close: () => engine.close(),
      };
    },
  };
}

/** Softmax of each row of scores, or the sigmoid of each score. */
function probabilities(scores: Float32Array, classes: number, activation: 'softmax' | 'sigmoid'): Float32Array {
  if (activation === 'sigmoid') return scores.map((score) => 1 / (1 + Math.exp(-score)));
  const result = new Float32Array(scores.length);
  for (let at = 0; at < scores.length; at += classes) {
    const row = Array.from(scores.subarray(at, at + classes));
    const most = Math.max(...row);
    const powers = row.map((score) => Math.exp(score - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    result.set(
      powers.map((power) => power / sum),
      at,
    );
  }
  return result;
}
