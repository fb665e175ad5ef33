/** A path or another text as one word of a command line that a reader may copy: quoted where a shell would take it apart. */
export function shellWord(text: string): string {
  const windows = process.platform === 'win32';
  const plain = windows ? /^[\p{L}\p{N}\p{M}_@+=:,./\\-]+$/u : /^[\p{L}\p{N}\p{M}_@%+=:,./-]+$/u;
  if (plain.test(text)) return text;
  return windows ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`;
}
