import type { EngineKind, OnnxEngine } from './engine.ts';
import { startProgram } from './program.ts';
import { type Python, pythonProgram, pythonsWith } from './python.ts';

const checkerText = `
import onnx

attempt(lambda: onnx.checker.check_model(onnx.load(asked['path']), full_check=True))
say(ready=True)
`;

const evaluatorText = `
from onnx.reference import ReferenceEvaluator

session = attempt(lambda: ReferenceEvaluator(asked['path']))
serve(lambda feeds: session.run([asked['output']], feeds)[0])
`;

const absent = 'no Python with the module onnx was found (Debian: python3-onnx)';

/** The checker of the onnx package, with shape inference over the whole graph. */
export const onnxChecker: EngineKind = {
  name: 'onnx checker, full shape inference',
  async find({ pythons }) {
    const found = await pythonsWith('onnx', pythons);
    const engineOf = (python: Python): OnnxEngine => ({
      name: this.name,
      version: python.version,
      async open(model) {
        const checked = await startProgram(pythonProgram(python, checkerText), model);
        await checked.close();
        return null;
      },
    });
    return found.length > 0 ? found.map(engineOf) : absent;
  },
};

/** The onnx package's own evaluation of each operator, in NumPy: slow, and meant as the definition. */
export const onnxEvaluator: EngineKind = {
  name: 'onnx reference evaluator',
  async find({ pythons }) {
    const all = await pythonsWith('onnx', pythons);
    if (all.length === 0) return absent;
    const found = all.filter(({ version }) => !/^(0|1\.(\d|1[0-2]))\./.test(version));
    if (found.length === 0) return `onnx ${all[0].version} has none, 1.13 and later have`;
    return found.map(
      (python): OnnxEngine => ({
        name: this.name,
        version: python.version,
        open: (model) => startProgram(pythonProgram(python, evaluatorText), model),
      }),
    );
  },
};
