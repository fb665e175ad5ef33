import { createHash } from 'node:crypto';
import { DdrcError } from '../../diagnostics/error.ts';
import type { ListingItem } from './listing.ts';

/** SHA-256 of bytes, in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Whether an image's bytes are not those that a CSV states; false where it states none. */
export function isChanged(item: Pick<ListingItem, 'hash'>, hash: string): boolean {
  return item.hash !== undefined && item.hash !== hash;
}

/** DATA_CHANGED, for an image for which {@link isChanged} holds. */
export function changedError({ path }: ListingItem, notes: DdrcError['notes'] = []): DdrcError {
  return new DdrcError({
    code: 'DATA_CHANGED',
    message: 'the image file does not have the SHA-256 that the CSV states: it has changed since, or is another one',
    where: path,
    notes,
    hint: 'put the right file back; where the change is meant, remove its hash from the CSV',
  });
}
