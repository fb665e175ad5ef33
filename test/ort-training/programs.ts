import type { Program } from '../../compiler/ir/program.ts';
import { array, classIndex, defineModel, linear, relu, softmaxCrossEntropy } from '../../dsl/index.ts';

// Model files import 'ddrc': a test that imports this file has vi.mock('ddrc', …).
const { default: ddrnet } = await import('../../models/ddrnet.ts');
const { default: resnet } = await import('../../models/resnet.ts');

const mlp = defineModel({
  name: 'mlp',
  options: {},
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }) => ({ logits: linear(relu(linear(x, 'hidden', { units: 16 })), 'out', { units: 3 }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
const small = { size: 32, channels: 8 } as const;
/** What both kinds of training files are made of and compared: an MLP, DDRNet with all its ablations, and a ResNet. */
export const programs: Readonly<Record<string, Program>> = {
  'an MLP': mlp.instantiate(),
  DDRNet: ddrnet.instantiate(small),
  'DDRNet without its dense block': ddrnet.instantiate({ ...small, drdb: false }),
  'DDRNet without global and local features': ddrnet.instantiate({ ...small, glfeb: false }),
  'DDRNet without attention': ddrnet.instantiate({ ...small, csab: false }),
  'DDRNet with the attention of the equations': ddrnet.instantiate({ ...small, spatial: 'equation' }),
  'DDRNet with dropout in the blocks and sigmoid scores': ddrnet.instantiate({
    ...small,
    residualDropout: 0.2,
    scores: 'sigmoid',
  }),
  'the stem and the head of DDRNet': ddrnet.instantiate({ ...small, drdb: false, glfeb: false, csab: false }),
  'a narrow ResNet-18': resnet.instantiate({ depth: 18, width: 4, classes: 4, size: 32 }),
};
