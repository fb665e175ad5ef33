/* The process that `probe` starts: runs a test graph on the provider named by its argument and sends back how long it took, or why it failed. */
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import type { ProbeMessage } from './providers.ts';

/*
 * y = MatMul(a, b), float32, a [M,K], b [K,N], y [M,N]; opset 17, IR 8. Written with onnx-proto, `ModelProto.encode` of exactly this, in base64.
 */
const productGraph =
  'CAg6aQofCgFhCgFiEgF5Ggxwcm9iZS9NYXRNdWwiBk1hdE11bBIBZ1oVCgFhEhAKDggBEgoKAxIBTQoDEgFLWhUKAWISEAoOCAESCgoDEgFLCgMSAU5iFQoBeRIQCg4I' +
  'ARIKCgMSAU0KAxIBTkIECgAQEQ==';

/** Large enough that a graphics card is faster in spite of the copies, small enough for 20 ms on two cores. */
const large = 1024;
/** Two small products: a software adapter, which takes minutes for the large one, shows in the difference of their times, which a card's latency does not. */
const [small, middle] = [128, 256];
/** Longest large product to wait for, in ms. */
const patience = 2000;

/** The shortest of four runs of the large product, in ms; of a provider that would take too long, what two small ones let expect. */
async function run(provider: string): Promise<number> {
  env.logLevel = 'fatal';
  const bytes = Buffer.from(productGraph, 'base64');
  const session = await InferenceSession.create(bytes, { executionProviders: [provider], logSeverityLevel: 4 });
  const [first, second] = [await shortest(session, small), await shortest(session, middle)];
  const estimate = second + ((second - first) * (large ** 3 - middle ** 3)) / (middle ** 3 - small ** 3);
  return estimate > patience ? estimate : shortest(session, large);
}

/** Whole numbers this small are exact in every arithmetic that a provider may use. */
async function shortest(session: InferenceSession, size: number): Promise<number> {
  const a = Float32Array.from({ length: size * size }, (_, i) => (i % 7) - 3);
  const b = Float32Array.from({ length: size * size }, (_, i) => (i % 5) - 2);
  const feeds = { a: new Tensor('float32', a, [size, size]), b: new Tensor('float32', b, [size, size]) };
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 4; round++) {
    const start = performance.now();
    const { y } = await session.run(feeds);
    least = Math.min(least, performance.now() - start);
    const row = 3 * size;
    let expected = 0;
    for (let k = 0; k < size; k++) expected += a[row + k] * b[k * size + 11];
    const got = (y.data as Float32Array)[row + 11];
    if (got !== expected) throw new Error(`the test graph gives ${got} in place of ${expected}`);
  }
  return least;
}

const message: ProbeMessage = await run(process.argv[2]).then(
  (milliseconds) => ({ milliseconds }),
  (error: unknown) => ({ failure: error instanceof Error ? error.message : String(error) }),
);
// A driver may leave threads behind that would keep this process alive.
process.send!(message, () => process.exit(0));
