import type { EngineKind, OnnxEngine } from './engine.ts';
import { nodeProgram, packagesNamed } from './node-program.ts';
import { startProgram } from './program.ts';

// Its functions take no arrays of four axes: they are made of images with the colours last. Version 4 has a `then` that never ends an await.
const text = `
let cv;
await attempt(() => { cv = load(); });
if (cv instanceof Promise) cv = await cv;
else if (!cv.Mat) await new Promise((resolve) => { cv.onRuntimeInitialized = resolve; });
const words = (error) => (typeof error === 'number' && cv.exceptionFromPtr ? cv.exceptionFromPtr(error).msg : (error?.message ?? String(error)));
const [port] = asked.inputs;
const [rows, channels, height, width] = port.shape;
if (asked.inputs.length > 1 || port.dtype !== 'float32' || rows !== 1 || channels !== 3 || !width) {
  say({ failed: 'it is given images only, one at a time, float32 [1,3,S,S]' });
  process.exit();
}
const net = await attempt(() => {
  cv.FS_createDataFile('/', 'model.onnx', readFileSync(asked.path), true, false, false);
  return cv.readNetFromONNX('/model.onnx');
}, words);
const image = new cv.Mat(height, width, cv.CV_32FC3);
await serve((feeds) => {
  const { data } = feeds[port.name];
  const plane = height * width;
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) image.data32F[3 * i + c] = data[c * plane + i];
  const blob = cv.blobFromImage(image, 1, new cv.Size(width, height), new cv.Scalar(0, 0, 0, 0), false, false, cv.CV_32F);
  net.setInput(blob, port.name);
  const result = net.forward(asked.output);
  const values = Float32Array.from(result.data32F);
  blob.delete();
  result.delete();
  return values;
}, words);
`;

/** OpenCV's module for networks as WebAssembly. */
export const opencvJs: EngineKind = {
  name: 'OpenCV DNN (opencv-js)',
  async find({ folders }) {
    const found = packagesNamed('@techstark/opencv-js', folders);
    if (found.length === 0) return 'npm package @techstark/opencv-js is not installed here';
    return found.map(
      ({ entry, version }): OnnxEngine => ({
        name: this.name,
        version,
        open: (model) => startProgram(nodeProgram(text), model, { entry }),
      }),
    );
  },
};
