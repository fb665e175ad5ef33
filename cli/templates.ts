/** The files of a new project by path, as text. `name` is a valid npm name, `model` a valid model name. */
export function projectFiles(name: string, model: string, dependency: string): ReadonlyMap<string, string> {
  return new Map([
    ['package.json', packageJson(name, dependency)],
    ['.npmrc', 'onnxruntime-node-install=skip\n'],
    ['.gitignore', 'node_modules/\nbuild/\nruns/\n'],
    ['tsconfig.json', tsconfig],
    ['model.ts', modelFile(model)],
    ['README.md', readme(name)],
    ['data/.gitkeep', ''],
  ]);
}

function packageJson(name: string, dependency: string): string {
  const content = {
    name,
    version: '0.0.0',
    private: true,
    type: 'module',
    scripts: {
      build: 'ddrc build model.ts --out build',
      train: 'ddrc train model.ts',
      summary: 'ddrc summary model.ts',
    },
    dependencies: { ddrc: dependency },
    allowScripts: { 'onnxruntime-node': false },
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

const tsconfig = `{
  "compilerOptions": {
    "target": "es2023",
    "lib": ["es2023"],
    "types": [],
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "strict": true,
    "skipLibCheck": true,
    "allowImportingTsExtensions": true,
    "noEmit": true
  },
  "include": ["*.ts"]
}
`;

function modelFile(model: string): string {
  return `import {
  batchNorm,
  classIndex,
  conv2d,
  defineModel,
  dropout,
  float,
  image,
  int,
  linear,
  maxPool,
  mean,
  relu,
  scope,
  softmaxCrossEntropy,
  type Tensor,
} from 'ddrc';

/** 3x3 convolution, batch norm, ReLU, then half the size: [N,C,S,S] → [N,filters,S/2,S/2]. */
const block = <X extends Tensor, F extends number>(x: X, name: string, filters: F) =>
  scope(x, name, (x) => {
    const y = batchNorm(conv2d(x, 'conv', { filters, kernel: 3, pad: 1, bias: false }), 'norm');
    return maxPool(relu(y), { kernel: 2 });
  });

export default defineModel({
  name: '${model}',
  options: {
    classes: int(4, { min: 2 }),
    size: int(64, { min: 16, multipleOf: 8 }),
    channels: int(16, { min: 1 }),
    dropout: float(0.2, { min: 0, below: 1 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { channels, classes, dropout: p }) {
    const small = block(block(block(image, 'block1', channels), 'block2', 2 * channels), 'block3', 4 * channels);
    const features = dropout(mean(small, [2, 3]), p);
    return { logits: linear(features, 'head', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 3e-3, schedule: 'one-cycle', batch: 32, epochs: 10 },
});
`;
}

function readme(name: string): string {
  return `# ${name}

An image classifier written with ddrc. \`model.ts\` is the whole model.

    npm install
    npx ddrc summary model.ts           # layers, parameters, multiply-adds
    npx ddrc build model.ts --out build # ONNX files for inference and training
    npx ddrc train model.ts             # on cells that ddrc draws itself: a first run without any data

## Your own images

Make a folder for each class in \`data/\` and put its images there. The folder's name is the class's name:

    data/
      cat/    1.jpg  2.jpg  …
      dog/    a.png  b.png  …

or, where the images for the test are kept apart (otherwise 15 % of all images are set aside for the test):

    data/
      TRAIN/  cat/ …  dog/ …
      TEST/   cat/ …  dog/ …

JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are read, in any size; 15 % of the training images are set aside for validation. Then

    npx ddrc train model.ts --data data
    npx ddrc predict runs/… some-image.jpg

The number of classes comes from the data. Options of the model are set with \`--option\`: \`--option channels=32 --size 96\`.
`;
}
