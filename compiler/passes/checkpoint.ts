import { Graph, type Node, type Value } from '../ir/graph.ts';
import { type DType, elementCount } from '../ir/types.ts';
import { liveNodes, rewrite } from './rewrite.ts';

/** A value of less than this part of all that the backward pass reads is kept: computing it again would save nothing. */
const SMALL = 1 / 4096;

const elementBytes: Record<DType, number> = { float32: 4, int64: 8, int32: 4, uint8: 1, bool: 1 };

/**
 * Gradient checkpointing (T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost", 2016): the forward pass between a few
 * values that are kept is computed again where the backward pass gets there, so that its other values need not be kept until then.
 * Requires a simplified graph with a backward phase; ensures one with the same outputs, bit for bit where the same node gives the same bits twice. A
 * graph without a backward phase, or one in which nothing would be saved, comes back as it is.
 *
 * 1. The forward nodes that the backward pass builds on are cut into segments, in their order, such that the most that is ever alive is least:
 *    what the cuts keep up to a segment, and with it what the backward pass reads in the segment. A cut keeps the values that cross it, so it comes to lie
 *    where few or small ones do: between residual blocks. See {@link chooseCuts}.
 * 2. The values after the last cut are kept: the backward pass begins with them. So are small ones.
 * 3. Before the first node of the backward pass that reads another value of a segment, the nodes that make the values read there are added again. What they
 *    start from, also parameters, passes `after` the gradient that this node reads. So they cannot run earlier, and no pass and no emitter takes them
 *    for the forward pass's nodes.
 * 4. From there on, nodes of the backward pass read the new values in place of the old ones, up to the next segment.
 */
export function checkpoint(graph: Graph): Graph {
  const segments = new Map(recomputations(graph).map((segment) => [segment.before, segment]));
  if (segments.size === 0) return graph;
  const copy = new Graph(graph.name, graph.mode, graph.operators);
  const moved = new Map(graph.inputs.map((input) => [input, copy.input(input.name!, input.type, input.role!)]));
  /** What stands in the new graph for a value that was computed again, or was passed after a gradient, last. */
  let again = new Map<Value, Value>();
  const visit = (target: Graph, node: Node, inputs: readonly Value[]) => {
    if (node.phase === 'forward') return null;
    const segment = segments.get(node);
    if (segment) again = new Map([...again, ...recompute(target, segment, moved)]);
    return target.add(
      node.op,
      node.inputs.map((input, i) => again.get(input) ?? inputs[i]),
      node.attrs,
    );
  };
  return rewrite(graph, visit, { graph: copy, moved });
}

/** Forward values, in bytes, that nodes of later phases read: what has to be alive where the forward pass ends. */
export function savedBytes(graph: Graph): number {
  return total([...savedValues([...liveNodes(graph)])]);
}

/** A part of the forward pass that is computed again. */
interface Segment {
  /** Its nodes, as far as they are needed, in their order. */
  readonly nodes: readonly Node[];
  /** The first node of the backward pass that reads a value of it. */
  readonly before: Node;
  /** The gradient that this node waits for. */
  readonly gradient: Value;
}

/** Adds the nodes of a segment to `target` again, and returns what stands there for their outputs and for what they start from. */
function recompute(target: Graph, { nodes, gradient }: Segment, moved: ReadonlyMap<Value, Value>): Map<Value, Value> {
  const made = new Map<Value, Value>();
  const carry = (value: Value): Value => {
    let known = made.get(value);
    if (!known) {
      known = value.constant
        ? target.constant(value.constant, value.name)
        : target.op('after', [moved.get(value)!, moved.get(gradient)!]);
      made.set(value, known);
    }
    return known;
  };
  for (const node of nodes) {
    const outputs = target.at(node.scope, () => target.add(node.op, node.inputs.map(carry), node.attrs));
    node.outputs.forEach((output, i) => {
      made.set(output, outputs[i]);
    });
  }
  return made;
}

/** The parts of the forward pass between cuts, with what has to be computed again in each. */
function recomputations(graph: Graph): Segment[] {
  const live = liveNodes(graph);
  const nodes = graph.nodes.filter((node) => live.has(node));
  const saved = savedValues(nodes);
  const behind = producersBehind(saved, () => true);
  const forward = nodes.filter((node) => behind.has(node));
  const lastUse = new Map<Value, number>();
  forward.forEach(({ inputs, outputs }, i) => {
    for (const value of [...inputs, ...outputs]) lastUse.set(value, i);
  });
  const least = SMALL * total([...saved]);
  const large = (value: Value) => bytesOf(value) >= least;
  const made = forward.map(({ outputs }) =>
    outputs.filter(large).map((value) => ({ bytes: bytesOf(value), last: lastUse.get(value)!, saved: saved.has(value) })),
  );
  const cuts = chooseCuts(made);
  return cuts.flatMap((end, i) => {
    const outputs = forward.slice(cuts[i - 1] ?? 0, end).flatMap((node) => node.outputs);
    const dropped = new Set(outputs.filter((value) => large(value) && lastUse.get(value)! < end));
    return segmentOf(nodes, saved, dropped) ?? [];
  });
}

/** What it takes to have those values of `dropped` again that the backward pass reads; null where it reads none, or reads one before there is a gradient. */
function segmentOf(nodes: readonly Node[], saved: ReadonlySet<Value>, dropped: ReadonlySet<Value>): Segment | null {
  const first = nodes.findIndex(({ phase, inputs }) => phase !== 'forward' && inputs.some((input) => dropped.has(input)));
  if (first < 0) return null;
  const earlier = new Set(nodes.slice(0, first));
  const isGradient = ({ producer }: Value) => producer !== null && producer.phase !== 'forward' && earlier.has(producer);
  // Nothing before the first reader depends on the segment, so whatever of it is read from there on can be waited for without a cycle.
  const gradient = nodes
    .slice(first)
    .flatMap(({ inputs }) => inputs)
    .find(isGradient);
  if (!gradient) return null;
  const again = producersBehind(
    [...dropped].filter((value) => saved.has(value)),
    (value) => dropped.has(value),
  );
  return { nodes: nodes.filter((node) => again.has(node)), before: nodes[first], gradient };
}

/** Values of the forward pass that nodes of later phases read. */
function savedValues(nodes: readonly Node[]): Set<Value> {
  const read = nodes.filter(({ phase }) => phase !== 'forward').flatMap(({ inputs }) => inputs);
  return new Set(read.filter(({ producer }) => producer?.phase === 'forward'));
}

/** The nodes that `values` depend on through values that are `followed`. */
function producersBehind(values: Iterable<Value>, followed: (value: Value) => boolean): Set<Node> {
  const found = new Set<Node>();
  const open = [...values];
  for (let value = open.pop(); value; value = open.pop()) {
    const { producer } = value;
    if (!producer || found.has(producer) || !followed(value)) continue;
    found.add(producer);
    open.push(...producer.inputs);
  }
  return found;
}

/** A value that may be dropped: its size, the place of the last forward node that reads it (or makes it), and whether the backward pass reads it. */
export interface Droppable {
  readonly bytes: number;
  readonly last: number;
  readonly saved: boolean;
}

/**
 * Cuts a row of nodes, given by what each makes, into segments. A cut before node p keeps what earlier nodes make and nodes from p on read. Where the
 * backward pass is in a segment, this is alive: what the cuts up to the segment's start keep, and what the segment makes that the backward pass or a later
 * segment reads. The most of this over all segments is made least, and then what is kept.
 *
 * @returns the places of the first nodes of the second, third, … segment; none where cuts save nothing
 */
export function chooseCuts(made: readonly (readonly Droppable[])[]): number[] {
  let least = 0;
  let most = made.flat().reduce((sum, { bytes, saved }) => sum + (saved ? bytes : 0), 0);
  while (least < most) {
    const middle = Math.floor((least + most) / 2);
    if (cutsWithin(made, middle)) most = middle;
    else least = middle + 1;
  }
  return cutsWithin(made, most)!;
}

/**
 * The cuts that keep least with never more than `bound` bytes alive; null where there are none. By dynamic programming over cuts: what crosses a cut and was
 * made before the cut before it crosses that one too and is counted there, so less kept at a cut is better for all that follows.
 */
function cutsWithin(made: readonly (readonly Droppable[])[], bound: number): number[] | null {
  const kept = [0, ...made.map(() => Number.POSITIVE_INFINITY)];
  const cutBefore = kept.map(() => -1);
  for (let end = 1; end <= made.length; end++) {
    let crossing = 0;
    let alive = 0;
    for (let start = end - 1; start >= 0 && alive <= bound; start--) {
      for (const { bytes, last, saved } of made[start]) {
        if (last >= end) crossing += bytes;
        if (last >= end || saved) alive += bytes;
      }
      if (kept[start] + alive > bound || kept[start] + crossing > kept[end]) continue;
      kept[end] = kept[start] + crossing;
      cutBefore[end] = start;
    }
  }
  if (kept[made.length] === Number.POSITIVE_INFINITY) return null;
  const cuts: number[] = [];
  for (let cut = cutBefore[made.length]; cut > 0; cut = cutBefore[cut]) cuts.unshift(cut);
  return cuts;
}

function total(values: readonly Value[]): number {
  return values.reduce((sum, value) => sum + bytesOf(value), 0);
}

/** Bytes of a value, a named dimension counted as 1. */
function bytesOf({ type }: Value): number {
  return elementBytes[type.dtype] * elementCount(type.shape);
}
