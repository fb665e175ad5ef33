import type { EngineKind, OnnxEngine } from './engine.ts';
import { startProgram } from './program.ts';
import { type Python, pythonProgram, pythonsWith } from './python.ts';

const text = `
import cv2

net = attempt(lambda: cv2.dnn.readNetFromONNX(asked['path']))

def run(feeds):
    for name, array in feeds.items():
        net.setInput(array, name)
    return net.forward(asked['output'])

serve(run)
`;

const name = 'OpenCV DNN (Python)';

/** OpenCV's module for networks, as its Python package has it. */
export const opencvPython: EngineKind = {
  name,
  async find({ pythons }) {
    const found = await pythonsWith('cv2', pythons);
    return found.length > 0 ? found.map(engineOf) : 'no Python with the module cv2 was found (Debian: python3-opencv)';
  },
};

function engineOf(python: Python): OnnxEngine {
  return { name, version: python.version, open: (model) => startProgram(pythonProgram(python, text), model) };
}
