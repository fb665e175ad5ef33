// Trains what `ddrc build MODEL --artifacts ort-training --out DIR` writes, in onnxruntime-web 1.19.2 under Node: node web.mjs DIR [STEPS]
// Needs the package under this name: npm install onnxruntime-web-training@npm:onnxruntime-web@1.19.2
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, steps = '20'] = process.argv.slice(2);
// Node does not find the training build by the package's name; it is a file beside the main one.
const dist = dirname(createRequire(import.meta.url).resolve('onnxruntime-web-training'));
const ort = await import(pathToFileURL(join(dist, 'ort.training.wasm.mjs')).href);
ort.env.wasm.wasmPaths = pathToFileURL(`${dist}/`).href;
ort.env.wasm.numThreads = 1; // with more, it takes Node for a browser
ort.env.logLevel = 'error';

const file = (name) => readFileSync(join(folder, name));
const session = await ort.TrainingSession.create(
  {
    checkpointState: file('checkpoint'),
    trainModel: file('training_model.onnx'),
    evalModel: file('eval_model.onnx'),
    optimizerModel: file('optimizer_model.onnx'),
  },
  { graphOptimizationLevel: 'disabled' },
);
const { size } = JSON.parse(file('manifest.json')).options;
const count = 8; // images, one brightness for each class of four
const image = new Float32Array(count * 3 * size * size).map(
  (_, i) => (Math.floor(i / (3 * size * size)) % 4) / 4 + Math.random() / 8,
);
const label = BigInt64Array.from({ length: count }, (_, i) => BigInt(i % 4));
/** What is fed, in the order of `names`, which is all that counts; dropout takes another seed at each step. */
const feeds = (names, seed) => {
  const all = {
    image: ['float32', image, [count, 3, size, size]],
    label: ['int64', label, [count]],
    seed: ['int64', [BigInt(seed)], []],
  };
  return Object.fromEntries(names.map((name) => [name, new ort.Tensor(...all[name])]));
};
for (let step = 0; step < Number(steps); step++) {
  const { loss } = await session.runTrainStep(feeds(session.trainingInputNames, step));
  await session.runOptimizerStep();
  await session.lazyResetGrad();
  console.log(`step ${step} loss ${loss.data[0].toFixed(4)}`);
}
const { loss } = await session.runEvalStep(feeds(session.evalInputNames));
console.log(`evaluation loss ${loss.data[0].toFixed(4)}`);
