/**
 * JSON text of plain data in which different data stay different: what nodes are compared by. `JSON.stringify` alone writes Infinity, −Infinity and NaN as
 * `null` and −0 as `0`; here they are written as objects, which attributes never hold.
 */
export function exactText(value: unknown): string {
  return JSON.stringify(value, (_key, part) => {
    if (typeof part !== 'number' || (Number.isFinite(part) && !Object.is(part, -0))) return part;
    return { number: Object.is(part, -0) ? '-0' : String(part) };
  });
}
