/** A word as a shell takes it: in quotes where it has something else than letters, digits and a few signs. */
export function shellWord(word: string): string {
  return /^[\p{L}\p{N}@%+=:,./_-]+$/u.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
