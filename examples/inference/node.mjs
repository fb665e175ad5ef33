// Classifies a picture with the model.onnx of ddrc by onnxruntime-node and sharp alone: node node.mjs model.onnx picture.jpg SIZE
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';

const [model, picture, size = 96] = process.argv.slice(2);
const side = Number(size); // as the model was built
const data = await sharp(picture).removeAlpha().resize(side, side, { fit: 'fill', kernel: 'linear' }).raw().toBuffer();
const planes = Float32Array.from(
  { length: 3 * side * side },
  (_, i) => data[3 * (i % side ** 2) + Math.floor(i / side ** 2)] / 255,
);
const session = await InferenceSession.create(model);
const { probabilities } = await session.run({ image: new Tensor('float32', planes, [1, 3, side, side]) });
console.log([...probabilities.data].map((p, i) => `class ${i}: ${p.toFixed(3)}`).join('\n'));
