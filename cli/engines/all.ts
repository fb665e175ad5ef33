import { packageRoot } from '../project.ts';
import type { EngineKind, OnnxEngine, Places } from './engine.ts';
import { onnxChecker, onnxEvaluator } from './onnx-python.ts';
import { optimized, webgpu } from './onnxruntime-node.ts';
import { onnxruntimeWeb } from './onnxruntime-web.ts';
import { opencvJs } from './opencv-js.ts';
import { opencvPython } from './opencv-python.ts';

/** The engine that ships with ddrc: it has to load every model. */
export const shipped: readonly OnnxEngine[] = [optimized];

/** The others, in the order of the table. */
const kinds: readonly EngineKind[] = [webgpu, onnxruntimeWeb, opencvPython, opencvJs, onnxChecker, onnxEvaluator];

/** The project's packages, then ddrc's own; the Python of the path, then the system's. */
export const usualPlaces: Places = { folders: ['.', packageRoot], pythons: ['python3', '/usr/bin/python3'] };

/** An engine that is not here, and why. */
export interface Absence {
  readonly engine: string;
  readonly reason: string;
}

/** The engines that are here besides the reference, and those that are not. */
export async function findEngines(places: Places): Promise<{ engines: OnnxEngine[]; absent: Absence[] }> {
  const found = await Promise.all(kinds.map((kind) => kind.find(places)));
  const absent = kinds.flatMap(({ name }, i) => (typeof found[i] === 'string' ? [{ engine: name, reason: found[i] }] : []));
  return { engines: [...shipped, ...found.flatMap((one) => (typeof one === 'string' ? [] : one))], absent };
}
