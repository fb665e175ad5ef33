import type { Choice } from '../compiler/emit/lower.ts';
import type { Phase } from '../compiler/ir/graph.ts';
import type { SessionProfile } from '../runtime/ort-profile.ts';
import { isWithin, scopeTree } from './graph-cost.ts';

/** The parts of a step; `other` is what no operator of the model asked for: taking flat vectors apart, naming outputs. */
export const phases = ['forward', 'backward', 'optimizer', 'other'] as const satisfies readonly (Phase | 'other')[];

/** Time of kernels that have something in common. */
export interface Share {
  /** Milliseconds of one run. */
  readonly ms: number;
  /** Part of the time of all kernels, 0 to 1. */
  readonly share: number;
  /** Kernels of one run. */
  readonly kernels: number;
  /** Achieved by the convolutions and matrix products in it, all of their kernels counted (reordering, unfolding, summing); null where there are none. */
  readonly gflop_s: number | null;
}

/** One ONNX node. */
export interface KernelShare extends Share {
  readonly node: string;
  /** ONNX operator. */
  readonly kind: string;
  readonly phase: (typeof phases)[number];
  readonly scope: string;
  /** The operator that it is a part of; null for what no operator asked for. */
  readonly operator: string | null;
  readonly lowering: string | null;
}

/** Where the time of one run goes, each list complete. Without a word to the contrary the longest comes first. */
export interface KernelTimes {
  /** Runs that were measured; all times are means over them. */
  readonly runs: number;
  /** Time of one run from call to return, and how much of it was spent in kernels. */
  readonly run_ms: number;
  readonly total: Share;
  /** In the order of {@link phases}; those with no kernel are left out. */
  readonly phases: readonly (Share & { readonly phase: string })[];
  /** By operator of the intermediate representation: `conv`, `convGradWeight`. */
  readonly operators: readonly (Share & { readonly operator: string })[];
  /** By ONNX operator. */
  readonly kinds: readonly (Share & { readonly kind: string })[];
  /** By scope, with those below it, in the model's order; `forward_ms` and `backward_ms` are parts of `ms`. */
  readonly scopes: readonly (Share & { readonly scope: string; readonly forward_ms: number; readonly backward_ms: number })[];
  /** Each convolution and matrix product, with all of its kernels. */
  readonly products: readonly (Share & {
    readonly scope: string;
    readonly phase: string;
    readonly operator: string;
    readonly lowering: string;
  })[];
  /** Each kernel; `gflop_s` is the operator's operations in this kernel's time, said of the one in which a product is computed. */
  readonly kernels: readonly KernelShare[];
}

interface Kernel {
  readonly node: string;
  readonly kind: string;
  /** Milliseconds of one run. */
  readonly ms: number;
  /** Calls in one run. */
  readonly calls: number;
  readonly choice: Choice | null;
}

/** Joins what ONNX Runtime measured with what the compiler knows of the graph's nodes. */
export function kernelTimes(profile: SessionProfile, choices: readonly Choice[]): KernelTimes {
  const { runs } = profile;
  const owners = new Map(choices.flatMap((choice) => choice.nodes.map((node) => [node, choice])));
  const kernels = profile.kernels.map(({ node, kind, calls, microseconds }): Kernel => {
    const choice = owners.get(node) ?? owners.get(originalName(node)) ?? null;
    return { node, kind, calls: calls / runs, ms: microseconds / 1000 / runs, choice };
  });
  const total = sum(kernels.map(({ ms }) => ms));
  const shareOf = (part: readonly Kernel[]): Share => {
    const ms = sum(part.map((kernel) => kernel.ms));
    const products = part.filter(({ choice }) => choice !== null && choice.flops > 0);
    const flops = sum([...new Set(products.map(({ choice }) => choice!))].map((choice) => choice.flops));
    return {
      ms,
      share: total > 0 ? ms / total : 0,
      kernels: sum(part.map(({ calls }) => calls)),
      gflop_s: rate(flops, sum(products.map((kernel) => kernel.ms))),
    };
  };
  const groups = <K>(part: readonly Kernel[], keyOf: (kernel: Kernel) => K): [K, Kernel[]][] => {
    const found = new Map<K, Kernel[]>();
    for (const kernel of part) {
      const key = keyOf(kernel);
      const group = found.get(key);
      if (group) group.push(kernel);
      else found.set(key, [kernel]);
    }
    return [...found];
  };
  const byPhase = new Map(groups(kernels, phaseOf));
  const msOf = (phase: Phase, part: readonly Kernel[]) =>
    sum(part.filter((kernel) => phaseOf(kernel) === phase).map(({ ms }) => ms));
  const products = groups(
    kernels.filter(({ choice }) => choice !== null && choice.flops > 0),
    ({ choice }) => choice!,
  );
  const computing = new Set(products.map(([, part]) => computingOf(part)));
  return {
    runs,
    run_ms: profile.microseconds / 1000 / runs,
    total: shareOf(kernels),
    phases: phases.flatMap((phase) => (byPhase.has(phase) ? [{ phase, ...shareOf(byPhase.get(phase)!) }] : [])),
    operators: sorted(
      groups(kernels, ({ choice }) => choice?.op ?? 'other').map(([operator, part]) => ({ operator, ...shareOf(part) })),
    ),
    kinds: sorted(groups(kernels, ({ kind }) => kind).map(([kind, part]) => ({ kind, ...shareOf(part), gflop_s: null }))),
    scopes: scopeTree(choices.map(({ scope }) => scope))
      .slice(1)
      .flatMap((scope) => {
        const part = kernels.filter(({ choice }) => choice !== null && isWithin(scope, choice.scope));
        if (part.length === 0) return [];
        return [{ scope, forward_ms: msOf('forward', part), backward_ms: msOf('backward', part), ...shareOf(part) }];
      }),
    products: sorted(
      products.map(([{ scope, phase, op, lowering }, part]) => ({ scope, phase, operator: op, lowering, ...shareOf(part) })),
    ),
    kernels: sorted(
      kernels.map((kernel) => ({
        node: kernel.node,
        kind: kernel.kind,
        phase: phaseOf(kernel),
        scope: kernel.choice?.scope ?? '',
        operator: kernel.choice?.op ?? null,
        lowering: kernel.choice?.lowering ?? null,
        ...shareOf([kernel]),
        gflop_s: computing.has(kernel) ? rate(kernel.choice!.flops, kernel.ms) : null,
      })),
    ),
  };
}

/**
 * The compiler's name in one that ONNX Runtime has made of it when it rewrote an inference graph: `fused stem/Conv` and `stem/Conv:0_nchwc`
 * become `stem/Conv`.
 */
function originalName(node: string): string {
  return /^(?:fused )?(.+\/[A-Za-z0-9]+(?:\.\d+)?)/.exec(node)?.[1] ?? node;
}

/** The kernel of a product that multiplies: its matrix product, or the longest of the others, because an unfolding is a Conv too. */
function computingOf(part: readonly Kernel[]): Kernel {
  const matrix = part.filter(({ kind }) => /MatMul|Gemm/.test(kind));
  return (matrix.length > 0 ? matrix : part).reduce((a, b) => (b.ms > a.ms ? b : a));
}

function phaseOf({ choice }: Kernel): (typeof phases)[number] {
  return choice?.phase ?? 'other';
}

/** GFLOP/s; null where nothing was computed or no time was measured. */
function rate(flops: number, ms: number): number | null {
  return flops > 0 && ms > 0 ? flops / ms / 1e6 : null;
}

function sorted<S extends Share>(rows: readonly S[]): S[] {
  return [...rows].sort((a, b) => b.ms - a.ms);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
