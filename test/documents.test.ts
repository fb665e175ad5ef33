import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorsDocument, operatorsDocument } from '../scripts/documents.ts';

const docs = join(import.meta.dirname, '..', 'docs');

describe('generated documents are up to date (npm run docs)', () => {
  it('operators.md', () => {
    expect(readFileSync(join(docs, 'operators.md'), 'utf8')).toBe(operatorsDocument());
  });

  it('errors.md', () => {
    expect(readFileSync(join(docs, 'errors.md'), 'utf8')).toBe(errorsDocument());
  });
});
