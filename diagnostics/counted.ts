/**
 * A count and what is counted: `1 group`, `1,234 groups`, `2 files are`.
 * @param many default: `one` with an s
 */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}
