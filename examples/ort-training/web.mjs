// Trains what `ddrc build models/ddrnet.ts --artifacts ort-training --out DIR` writes, in onnxruntime-web 1.19.2 under Node 20: node web.mjs DIR [STEPS]
// First: npm install onnxruntime-web-training@npm:onnxruntime-web@1.19.2
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, steps = '20'] = process.argv.slice(2);
// The training build is a file of its own, which Node does not find by the package's name.
const main = pathToFileURL(createRequire(import.meta.url).resolve('onnxruntime-web-training'));
const ort = await import(new URL('ort.training.wasm.mjs', main).href);
ort.env.wasm.wasmPaths = new URL('.', main).href;
ort.env.wasm.numThreads = 1; // with more, it takes Node for a browser
ort.env.logLevel = 'error';

const file = (name) => readFileSync(`${folder}/${name}`);
const models = { trainModel: 'training_model.onnx', evalModel: 'eval_model.onnx', optimizerModel: 'optimizer_model.onnx' };
const artifacts = Object.entries({ checkpointState: 'checkpoint', ...models }).map(([key, name]) => [key, file(name)]);
const session = await ort.TrainingSession.create(Object.fromEntries(artifacts), { graphOptimizationLevel: 'disabled' });

// Eight grey images of four brightnesses, one for each class.
const { size } = JSON.parse(file('manifest.json')).options;
const pixels = 3 * size * size;
const image = Float32Array.from({ length: 8 * pixels }, (_, i) => (Math.floor(i / pixels) % 4) / 4 + (i % 7) / 70);
const label = BigInt64Array.from({ length: 8 }, (_, i) => BigInt(i % 4));
const dims = { image: [8, 3, size, size], label: [8], seed: [] };
/** What is fed, in the order of `names`: only the order counts. Dropout takes another seed at each step. */
const feeds = (names, step) => {
  const data = { image, label, seed: BigInt64Array.of(BigInt(step)) };
  return Object.fromEntries(names.map((name) => [name, new ort.Tensor(data[name], dims[name])]));
};

for (let step = 0; step < Number(steps); step++) {
  const { loss } = await session.runTrainStep(feeds(session.trainingInputNames, step));
  await session.runOptimizerStep();
  await session.lazyResetGrad(); // without it, the gradients of the next batch are added
  console.log(`step ${step + 1} loss ${loss.data[0].toFixed(4)}`);
}
const { loss } = await session.runEvalStep(feeds(session.evalInputNames, 0));
console.log(`evaluation loss ${loss.data[0].toFixed(4)}`);
