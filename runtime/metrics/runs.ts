/** A figure over several runs that differ in their seeds. */
export interface OverRuns {
  readonly runs: number;
  readonly mean: number;
  /** Standard deviation of the sample (n − 1 below); null for one run. */
  readonly deviation: number | null;
  /** mean ∓ t · deviation / √n, t the quantile of Student's distribution with n − 1 degrees of freedom; null for one run. */
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * Mean and confidence interval of a figure over runs.
 * @param level the confidence; default 0.95
 * @throws RangeError without a value
 */
export function overRuns(values: readonly number[], level = 0.95): OverRuns {
  const runs = values.length;
  if (runs === 0) throw new RangeError('no run to take the mean of');
  const mean = values.reduce((a, b) => a + b) / runs;
  if (runs === 1) return { runs, mean, deviation: null, low: null, high: null };
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (runs - 1));
  const reach = (studentT(level, runs - 1) * deviation) / Math.sqrt(runs);
  return { runs, mean, deviation, low: mean - reach, high: mean + reach };
}

/** The middle of values, or the mean of the two in the middle; null where there are none. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return null;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

/** The t for which Student's distribution with this many degrees of freedom (a whole number) has the share `level` between −t and t. */
export function studentT(level: number, freedom: number): number {
  let low = 0;
  let high = Math.PI / 2;
  // The share grows with the angle θ = atan(t / √freedom); halving until two neighbouring doubles are left.
  for (;;) {
    const angle = (low + high) / 2;
    if (angle <= low || angle >= high) return Math.sqrt(freedom) * Math.tan(angle);
    if (shareWithin(angle, freedom) < level) low = angle;
    else high = angle;
  }
}

/** The share between −t and t, t = √freedom · tan θ: Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even). */
function shareWithin(angle: number, freedom: number): number {
  const odd = freedom % 2;
  const square = Math.cos(angle) ** 2;
  let term = odd ? Math.cos(angle) : 1;
  let sum = freedom > 1 ? term : 0;
  for (let k = odd ? 3 : 2; k < freedom; k += 2) {
    term *= (square * (k - 1)) / k;
    sum += term;
  }
  return odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
}
