import type { TensorData } from '../runtime/tensor.ts';

/** What a graph is fed with, by the name of the input. */
export type Feeds = Readonly<Record<string, TensorData>>;

/** The same batch for each of `count` steps, as `loop.onnx` takes them. */
export function repeated(feeds: Feeds, count: number): Feeds {
  const repeat = ({ dtype, shape, data }: TensorData) => {
    const all = new (data.constructor as new (length: number) => typeof data)(data.length * count);
    for (let i = 0; i < count; i++) (all as Float32Array).set(data as Float32Array, i * data.length);
    return { dtype, shape: [count, ...shape], data: all } as TensorData;
  };
  return Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, repeat(tensor)]));
}

/** Feeds with memory of their own: what a run is given is handed over to the engine, so each run needs its own. */
export function copied(feeds: Feeds): Feeds {
  return Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]));
}
