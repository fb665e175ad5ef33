/** `1,234,567` */
export function grouped(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** Bytes in decimal units with three digits: `812 B`, `1.05 MB`. */
export function bytes(count: number): string {
  return `${scaled(count, ['', 'k', 'M', 'G', 'T'])}B`;
}

/** A count with three digits: `950`, `2.26 M`, `1.4 G`. */
export function short(count: number): string {
  return scaled(count, ['', 'k', 'M', 'G', 'T']).trim();
}

/** Milliseconds as `48 ms`, `2.31 s`, `4 min 05 s`, `1 h 02 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_995) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  if (minutes < 60) return `${minutes} min ${String(rest).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

function scaled(count: number, prefixes: readonly string[]): string {
  let value = count;
  let step = 0;
  while (value >= 999.5 && step < prefixes.length - 1) {
    value /= 1000;
    step++;
  }
  const digits = step === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${prefixes[step]}`;
}
