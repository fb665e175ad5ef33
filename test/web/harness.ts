/* What `library-page.ts` puts into a page: the library, for calls from outside. */
import { openModel } from 'ddrc/web';

/** Files as they come from outside: in base64. */
const blobsOf = (files: readonly string[]) =>
  files.map((bytes) => new Blob([Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0))]));

Object.assign(globalThis, { openModel, blobsOf });
