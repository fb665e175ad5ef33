/** Whether the browser hashes here: it does not where the page came over plain HTTP from another machine. */
export const canHash = globalThis.crypto?.subtle !== undefined;

/** SHA-256 in hexadecimal, where {@link canHash}. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
