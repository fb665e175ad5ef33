import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lowerGraph } from '../../compiler/emit/lower.ts';
import { needs } from '../../compiler/emit/lowering.ts';
import { compile, portable } from '../../compiler/index.ts';
import { Graph, type Value } from '../../compiler/ir/graph.ts';
import type { Program } from '../../compiler/ir/program.ts';
import { operators } from '../../compiler/ops/index.ts';
import { differentiate } from '../../compiler/passes/autodiff.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { verify } from '../../compiler/passes/verify.ts';
import { codes } from '../../diagnostics/codes.ts';
import { formatDiagnosis, isDdrcError } from '../../diagnostics/error.ts';
import {
  add,
  array,
  bool,
  choice,
  classIndex,
  concat,
  conv2d,
  type Dim,
  defineModel,
  float,
  groupNorm,
  image,
  int,
  linear,
  maxPool,
  mean,
  relu,
  scope,
  type Tensor,
} from '../../dsl/index.ts';
import { fileOf, type Manifest, parseManifest } from '../../runtime/manifest.ts';
import { parseDevice } from '../../runtime/providers.ts';

const root = join(import.meta.dirname, '..', '..');

/** The text of the TypeScript files below these folders of the checkout. */
function textBelow(...folders: string[]): string {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(root, folder, file)),
  );
  return files.map((file) => readFileSync(file, 'utf8')).join('\n');
}

const missingFrom = (text: string, mention: (code: string) => RegExp) =>
  Object.keys(codes).filter((code) => !mention(code).test(text));

describe('every code', () => {
  it('has an entry in docs/errors.md', () => {
    const document = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');
    for (const [code, summary] of Object.entries(codes)) expect(document).toContain(`| \`${code}\` | ${summary} |`);
  });

  it('is thrown somewhere', () => {
    expect(missingFrom(textBelow('dsl', 'compiler', 'runtime', 'cli'), (code) => new RegExp(`'${code}'`))).toEqual([]);
  });

  it('is demanded by a test', () => {
    expect(missingFrom(textBelow('test'), (code) => new RegExp(`\\b${code}\\b`))).toEqual([]);
  });
});

/** What a user reads of the mistake in `body`, without the line number that it has in this file. */
function said(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (isDdrcError(error)) return formatDiagnosis(error).replaceAll(/\S*codes\.test\.ts:\d+/g, 'model.ts:LINE');
    throw error;
  }
  throw new Error('nothing was thrown');
}

interface Inputs {
  /** [N,3,8,8] */
  readonly map: Tensor;
  /** [N,6] */
  readonly flat: Tensor;
  /** [N] */
  readonly index: Tensor<readonly Dim[], 'int64'>;
}

type Forward = (inputs: Inputs) => Readonly<Record<string, Tensor>>;

/** A model without options. Its tensors have no shapes in their types, so that wrong programs reach the build. */
function net(forward: Forward, loss?: (outputs: Readonly<Record<string, Tensor>>) => Tensor): Program {
  return defineModel({
    name: 'net',
    options: {},
    inputs: () => ({ map: image(3, 8, 8), flat: array([6]), index: classIndex() }),
    forward: (inputs) => forward(inputs),
    loss,
  }).instantiate();
}

const saidOf = (...model: Parameters<typeof net>) => said(() => net(...model));
const graph = () => new Graph('net', 'training', operators);
const scalar = { dtype: 'float32', shape: [] } as const;

describe('a shape mistake says what, which inputs, where, and mostly what to do', () => {
  it('SHAPE_MISMATCH', () => {
    expect(saidOf(({ map, flat }) => ({ y: add(map, relu(flat)) }))).toMatchInlineSnapshot(`
      "SHAPE_MISMATCH  add: [N,3,8,8] and [N,6] have different shapes
        input 0  float32[N,3,8,8]  map
        input 1  float32[N,6]  relu
        at model.ts:LINE, scope (top)
        hint: sizes must be equal, or 1 where a size is to be repeated"
    `);
  });

  it('SHAPE_RANK', () => {
    expect(saidOf(({ flat }) => ({ y: conv2d(flat, 'stem', { filters: 4, kernel: 3 }) }))).toMatchInlineSnapshot(`
      "SHAPE_RANK  conv2d: takes [N,C,H,W], got [N,6]
        input  float32[N,6]  flat
        at model.ts:LINE, scope stem
        hint: reshape it first"
    `);
    const kernel = [3, 3, 3] as unknown as [number, number];
    expect(saidOf(({ map }) => ({ y: conv2d(map, 'stem', { filters: 4, kernel }) }))).toMatchInlineSnapshot(`
      "SHAPE_ATTRIBUTE  conv2d: kernel must have 2 values, got 3
        input  float32[N,3,8,8]  map
        at model.ts:LINE, scope stem
        hint: one number stands for all axes of the map"
    `);
  });

  it('SHAPE_ATTRIBUTE', () => {
    expect(
      saidOf(({ map }) => ({ y: scope(map, 'block', (x) => conv2d(x, 'conv', { filters: 4, kernel: 9 })) })),
    ).toMatchInlineSnapshot(`
      "SHAPE_ATTRIBUTE  conv: kernel 9x9 does not fit the padded input 8x8
        input 0  float32[N,3,8,8]  map
        input 1  float32[4,3,9,9]  block.conv.weight
        input 2  float32[4]  block.conv.bias
        at model.ts:LINE, scope block.conv
        hint: add padding, or pool less before"
    `);
    expect(saidOf(({ map }) => ({ y: groupNorm(map, 'norm', { groups: 2 }) }))).toMatchInlineSnapshot(`
      "SHAPE_ATTRIBUTE  groupNorm: 3 channels are not divisible by 2 groups
        input 0  float32[N,3,8,8]  map
        input 1  float32[3]  norm.weight
        input 2  float32[3]  norm.bias
        at model.ts:LINE, scope norm
        hint: choose groups that divide the channels"
    `);
    expect(saidOf(({ map }) => ({ y: maxPool(map, { kernel: 2, pad: 2 }) }))).toMatchInlineSnapshot(`
      "SHAPE_ATTRIBUTE  maxPool: pad 2 is not smaller than the kernel 2
        input  float32[N,3,8,8]  map
        at model.ts:LINE, scope (top)
        hint: a window of padding only has no value: pad less"
    `);
    expect(saidOf(({ map }) => ({ y: mean(map, [4]) }))).toMatchInlineSnapshot(`
      "SHAPE_ATTRIBUTE  reduceMean: axis 4 is out of range for [N,3,8,8]
        input  float32[N,3,8,8]  map
        at model.ts:LINE, scope (top)
        hint: axes are whole numbers from -4 to 3"
    `);
  });

  it('DTYPE_MISMATCH', () => {
    expect(saidOf(({ index }) => ({ y: relu(index as never) }))).toMatchInlineSnapshot(`
      "DTYPE_MISMATCH  relu: takes float32, got int64[N]
        input  int64[N]  index
        at model.ts:LINE, scope (top)
        hint: cast it to float32"
    `);
    expect(saidOf(({ flat, index }) => ({ y: add(flat, index as never) }))).toMatchInlineSnapshot(`
      "DTYPE_MISMATCH  add: float32 and int64 are different element types
        input 0  float32[N,6]  flat
        input 1  int64[N]  index
        at model.ts:LINE, scope (top)
        hint: cast one of them"
    `);
  });

  it('PARAMETER_DUPLICATE', () => {
    const twice: Forward = ({ flat }) => ({ y: linear(linear(flat, 'fc', { units: 6 }), 'fc', { units: 6 }) });
    expect(saidOf(twice)).toMatchInlineSnapshot(`
      "PARAMETER_DUPLICATE  fc.weight: two parameters have this name
        at model.ts:LINE
        hint: give one of the two layers another name, or put it in a scope of its own"
    `);
  });

  it('names the line however deep the mistake lies below it', () => {
    const nest = (x: Tensor, depth: number): Tensor => (depth === 0 ? mean(x, [4]) : scope(x, 's', (x) => nest(x, depth - 1)));
    expect(saidOf(({ map }) => ({ y: nest(map, 20) }))).toContain('at model.ts:LINE, scope s.s.');
  });
});

describe('MODEL_INVALID', () => {
  it('of what defineModel is given', () => {
    const forward = () => ({});
    expect(said(() => defineModel({ name: '9 lives', options: {}, inputs: () => ({}), forward }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  a model's name is letters, digits and dashes, got "9 lives"
        hint: begin with a letter: name: 'cells-2'"
    `);
    expect(said(() => defineModel({ name: 'net', options: {}, forward } as never))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: defineModel needs a function inputs
        hint: inputs: () => ({ image: image(3, 64, 64) })"
    `);
    expect(said(() => defineModel({ name: 'net', inputs: () => ({}) } as never))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: defineModel needs a function forward
        hint: forward: ({ image }) => ({ logits: … })"
    `);
  });

  it('of what forward returns', () => {
    expect(saidOf(() => ({}))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: forward must return its outputs by name
        at model.ts:LINE
        hint: return { logits }"
    `);
    expect(saidOf(() => ({ y: 3 as unknown as Tensor }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: output y of forward is not a tensor (number)
        at model.ts:LINE
        hint: return what an operator or a layer gives"
    `);
    expect(saidOf(({ map }) => ({ map }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: an output cannot be called map, since an input has this name
        hint: give one of them another name"
    `);
  });

  it('of what operators are given', () => {
    expect(saidOf(({ map }) => ({ y: add(map, 'three' as unknown as Tensor) }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  add: input 1 is not a tensor (string)
        at model.ts:LINE
        hint: a tensor is an input of forward or what an operator returned"
    `);
    expect(saidOf(() => ({ y: concat([]) }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  concat: needs at least one tensor
        at model.ts:LINE
        hint: give it a tensor"
    `);
    let kept: Tensor | undefined;
    const leaking: Forward = ({ flat }) => {
      kept ??= flat;
      return { y: add(flat, kept) };
    };
    net(leaking);
    expect(saidOf(leaking)).toMatchInlineSnapshot(`
      "MODEL_INVALID  add: its inputs belong to two different models
        at model.ts:LINE
        hint: make every tensor inside forward"
    `);
  });

  it('of what cannot be trained', () => {
    const learns: Forward = ({ flat }) => ({ y: linear(flat, 'fc', { units: 2 }) });
    expect(said(() => compile(net(learns), { artifacts: ['step'] }))).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: has no loss, so it cannot be trained
        hint: give defineModel targets and a loss"
    `);
    expect(
      said(() =>
        compile(
          net(learns, ({ y }) => y),
          { artifacts: ['step'] },
        ),
      ),
    ).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: the loss must be a scalar tensor, got [N,2]
        at model.ts:LINE
        hint: take the mean over the batch"
    `);
    const still: Forward = ({ flat }) => ({ y: flat });
    expect(
      said(() =>
        compile(
          net(still, ({ y }) => mean(y, [0, 1])),
          { artifacts: ['step'] },
        ),
      ),
    ).toMatchInlineSnapshot(`
      "MODEL_INVALID  net: has no parameters to train
        hint: give forward a layer that learns: conv2d, linear, a norm"
    `);
  });
});

describe('an option', () => {
  const model = defineModel({
    name: 'net',
    options: {
      width: int(8, { min: 4, max: 64, multipleOf: 4 }),
      dropout: float(0.2, { min: 0, below: 1 }),
      deep: bool(true),
      pooling: choice('mean', ['mean', 'max']),
    },
    inputs: () => ({ x: array([2]) }),
    forward: ({ x }) => ({ y: x }),
  });

  it('OPTION_UNKNOWN', () => {
    expect(said(() => model.instantiate({ widht: 8 }))).toMatchInlineSnapshot(`
      "OPTION_UNKNOWN  net has no option widht, did you mean "width"?
        hint: its options are width, dropout, deep, pooling"
    `);
    expect(
      said(() => defineModel({ ...model, inputs: () => ({}), forward: () => ({}), options: {} }).instantiate({ size: 8 })),
    ).toMatchInlineSnapshot(`
      "OPTION_UNKNOWN  net has no option size
        hint: its options are none"
    `);
  });

  it('OPTION_INVALID', () => {
    expect(said(() => model.instantiate({ width: 6 }))).toMatchInlineSnapshot(`
      "OPTION_INVALID  option width of net must be a whole number from 4 to 64 that is a multiple of 4, got 6
        hint: the default is width=8"
    `);
    expect(said(() => model.instantiate({ dropout: '1' }))).toMatchInlineSnapshot(`
      "OPTION_INVALID  option dropout of net must be a number from 0 to below 1, got 1
        hint: the default is dropout=0.2"
    `);
    expect(said(() => model.instantiate({ deep: 'yes' }))).toMatchInlineSnapshot(`
      "OPTION_INVALID  option deep of net must be true or false, got yes
        hint: the default is deep=true"
    `);
    expect(said(() => model.instantiate({ pooling: 'min' }))).toMatchInlineSnapshot(`
      "OPTION_INVALID  option pooling of net must be one of mean, max, got min
        hint: the default is pooling=mean"
    `);
  });
});

describe('the compiler', () => {
  it('GRADIENT_MISSING: a gradient of a gradient', () => {
    const g = graph();
    const x = g.input('x', { dtype: 'float32', shape: [1, 1, 4, 4] }, 'parameter');
    const w = g.input('w', { dtype: 'float32', shape: [1, 1, 3, 3] }, 'parameter');
    const attrs = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 };
    const loss = g.op('reduceSum', [g.within('stem', () => g.op('conv', [x, w], attrs))], { axes: [0, 1, 2, 3] });
    const gradient = differentiate(g, loss, [w]).get(w)!;
    const penalty = g.op('reduceSum', [gradient], { axes: [0, 1, 2, 3] });
    expect(said(() => differentiate(g, penalty, [x]))).toMatchInlineSnapshot(`
      "GRADIENT_MISSING  convWeightGrad: has no gradient, second derivatives are not supported
        input  x
        input  expand
        at scope stem
        hint: the loss must not depend on parameters through it"
    `);
  });

  it('LOWERING_MISSING: an operator of a newer opset only', () => {
    const relu = operators.get('relu')!;
    const newer = relu.lower.map((rule) => ({ ...rule, when: needs('opset 99', (_node, { opset }) => opset >= 99) }));
    const g = new Graph('net', 'inference', new Map([['relu', { ...relu, lower: newer }]]));
    g.within('block', () => g.op('relu', [g.input('x', scalar, 'data')]));
    expect(said(() => lowerGraph(g, portable))).toMatchInlineSnapshot(`
      "LOWERING_MISSING  relu: no lowering fits portable at opset 17
        at scope block
        hint: raise --opset"
    `);
  });

  it('GRAPH_INVALID: what the verifier refuses', () => {
    expect(said(() => graph().op('conv3d', []))).toMatchInlineSnapshot(`
      "GRAPH_INVALID  conv3d: there is no such operator
        at scope (top)
        hint: docs/operators.md lists the operators"
    `);
    const broken = (harm: (g: Graph, x: Value) => void) => {
      const g = graph();
      const x = g.input('x', scalar, 'data');
      const y = g.within('block', () => g.op('neg', [g.op('exp', [x])]));
      g.outputs.set('y', y);
      verify(g);
      harm(g, x);
      return said(() => verify(g));
    };
    expect(broken((g) => g.nodes.reverse())).toMatchInlineSnapshot(`
      "GRAPH_INVALID  neg: its input block.exp is not made before it
        at scope block
        hint: this is a defect of ddrc, please report it"
    `);
    expect(broken((g) => g.nodes.splice(1, 1))).toMatchInlineSnapshot(`
      "GRAPH_INVALID  output y is not a value of the graph
        at scope (top)
        hint: this is a defect of ddrc, please report it"
    `);
    expect(broken((g, x) => g.inputs.push(x))).toMatchInlineSnapshot(`
      "GRAPH_INVALID  two inputs have the same name
        at scope (top)
        hint: this is a defect of ddrc, please report it"
    `);
    expect(
      broken((g) => Object.assign(g.nodes[0].outputs[0], { type: { dtype: 'float32', shape: [2] } })),
    ).toMatchInlineSnapshot(`
      "GRAPH_INVALID  exp: output 0 is float32[2], its shape rule says float32[]
        at scope block
        hint: this is a defect of ddrc, please report it"
    `);
    expect(broken((g) => Object.assign(g.nodes[0], { op: { ...operators.get('exp')! } }))).toMatchInlineSnapshot(`
      "GRAPH_INVALID  exp: is not in the table of operators
        at scope block
        hint: this is a defect of ddrc, please report it"
    `);
  });

  it('GRAPH_INVALID: a graph that is computed without one of its inputs', () => {
    const g = graph();
    const y = g.op('neg', [g.input('x', scalar, 'data')]);
    expect(said(() => interpret(g, new Map(), [y]))).toMatchInlineSnapshot(`
      "GRAPH_INVALID  x: has no array to compute with
        at graph net
        hint: feed an array for each input"
    `);
  });
});

describe('the runtime', () => {
  it('PROVIDER_UNKNOWN', () => {
    expect(said(() => parseDevice('cdua'))).toMatchInlineSnapshot(`
      "PROVIDER_UNKNOWN  there is no device 'cdua', did you mean "cuda"?
        at --device
        hint: the devices are auto, cpu, cuda, webgpu"
    `);
  });

  it('MANIFEST_INVALID', () => {
    const parse = (text: string) => said(() => parseManifest(text, 'build/manifest.json'));
    expect(parse('{ "ddrc": 1,')).toMatchInlineSnapshot(`
      "MANIFEST_INVALID  build/manifest.json is not JSON
        at build/manifest.json
        hint: build the model again"
    `);
    expect(parse('{ "name": "net" }')).toMatchInlineSnapshot(`
      "MANIFEST_INVALID  build/manifest.json is not a manifest of ddrc
        at build/manifest.json
        hint: name a folder that ddrc build wrote"
    `);
    expect(parse('{ "ddrc": 99 }')).toMatchInlineSnapshot(`
      "MANIFEST_INVALID  build/manifest.json has version 99, this ddrc reads version 1
        at build/manifest.json
        hint: build the model again"
    `);
    expect(parse('{ "ddrc": 1, "parameters": [] }')).toMatchInlineSnapshot(`
      "MANIFEST_INVALID  build/manifest.json has no valid "statistics"
        at build/manifest.json
        hint: build the model again"
    `);
    const manifest = compile(
      net(({ map }) => ({ y: map })),
      { artifacts: ['model'] },
    ).manifest as unknown as Manifest;
    expect(said(() => fileOf(manifest, 'step.onnx', 'build/manifest.json'))).toMatchInlineSnapshot(`
      "MANIFEST_INVALID  the model was built without step.onnx
        at build/manifest.json
        hint: build it again with all files"
    `);
  });
});
