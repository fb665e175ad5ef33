/* What `library.test.ts` puts into a page: the library, for calls from outside. */
import { openModel } from 'ddrc/web';

Object.assign(globalThis, { openModel });
