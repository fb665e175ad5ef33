/** A name as one line: a line break or another control character in it, as names of files and folders may have, would break a table. */
export function printable(name: string): string {
  return name.replaceAll(/\p{Cc}/gu, '\ufffd');
}
