import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorsDocument, operatorsDocument } from './documents.ts';

const docs = join(import.meta.dirname, '..', 'docs');
writeFileSync(join(docs, 'operators.md'), operatorsDocument());
writeFileSync(join(docs, 'errors.md'), errorsDocument());
