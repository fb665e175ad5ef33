import type { DdrcError } from '../diagnostics/error.ts';

/** A stretch of a file, in bytes: the first one and the one behind the last. */
export interface Stretch {
  readonly begin: number;
  readonly end: number;
}

/** Makes the error for a fault of a file. `place` is a path of fields, as `module_state.frozen_params[2].dims`; empty for the file as a whole. */
export type Fault = (message: string, place: string) => DdrcError;

/** The longest flatbuffer, in bytes: offsets have 31 bits. */
export const longestFlatbuffer = 2 ** 31 - 1;

/** The most tables in a vector that are believed: objects take far more memory than their few bytes in a file. */
export const mostTables = 100_000;

/** Offsets, lengths and identifiers have four bytes. */
const word = 4;

/**
 * Opens a flatbuffer of unknown origin. The `flatbuffers` package follows offsets without a look at the bounds; here every offset, length and virtual
 * table is checked before it is followed. A table or vector that is reached twice is refused (strings may be shared, as writers do), so reading takes
 * time and memory in proportion to the file, whatever it says. {@link Flatbuffer.checkOverlaps} is to be called when all is read.
 * @param identifier the four letters behind the first offset
 * @param fields the names of the root table's fields, in the order of their slots
 */
export function openFlatbuffer<F extends string>(
  bytes: Uint8Array,
  identifier: string,
  fields: readonly F[],
  fault: Fault,
): { readonly root: FlatTable<F>; readonly file: Flatbuffer } {
  if (bytes.length > longestFlatbuffer) throw fault(`it has ${bytes.length} bytes, a flatbuffer has at most 2 GiB`, '');
  const stated = new TextDecoder('latin1').decode(bytes.subarray(word, 2 * word));
  if (stated !== identifier) throw fault(`bytes 4 to 7 are not ${identifier}`, '');
  const file = new Flatbuffer(bytes, fault);
  file.claim(0, 2 * word, 1, '');
  return { root: new FlatTable(file, file.follow(0, ''), fields, ''), file };
}

/** The bytes of a flatbuffer and which of them have been read as what. */
export class Flatbuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly fault: Fault;
  readonly #claims: (Stretch & { readonly place: string })[] = [];
  readonly #starts = new Set<number>();
  readonly #strings = new Map<number, string>();
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(bytes: Uint8Array, fault: Fault) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fault = fault;
  }

  /** Demands that these bytes are in the file and begin at a multiple of `align`. */
  within(begin: number, length: number, align: number, place: string): void {
    if (begin < 0 || begin + length > this.bytes.length) {
      throw this.fault(`it would be at bytes ${begin} to ${begin + length}, the file has ${this.bytes.length}`, place);
    }
    if (begin % align !== 0) throw this.fault(`byte ${begin} is no place for it, which is a multiple of ${align}`, place);
  }

  /** Takes bytes for one table, vector or string; see {@link checkOverlaps}. */
  claim(begin: number, length: number, align: number, place: string): void {
    this.within(begin, length, align, place);
    if (this.#starts.has(begin)) throw this.fault(`byte ${begin} is the start of something else already`, place);
    this.#starts.add(begin);
    this.#claims.push({ begin, end: begin + length, place });
  }

  /** Takes the bytes of a virtual table, which tables may share. */
  claimShared(begin: number, length: number, align: number, place: string): void {
    if (!this.#starts.has(begin)) this.claim(begin, length, align, place);
  }

  /** Where the offset at `at` leads: always forwards, so there are no circles. */
  follow(at: number, place: string): number {
    this.within(at, word, word, place);
    const offset = this.view.getUint32(at, true);
    if (offset < word) throw this.fault(`its offset is ${offset}`, place);
    this.within(at + offset, word, word, place);
    return at + offset;
  }

  /** The elements' stretch of the vector at `start`. */
  vector(start: number, width: number, place: string): Stretch {
    const length = this.view.getUint32(start, true) * width;
    this.claim(start, word + length, word, place);
    return { begin: start + word, end: start + word + length };
  }

  /** The text at `start`; the same start gives the same text. */
  string(start: number, place: string): string {
    const known = this.#strings.get(start);
    if (known !== undefined) return known;
    const length = this.view.getUint32(start, true);
    this.claim(start, word + length + 1, word, place);
    const end = start + word + length;
    if (this.bytes[end] !== 0) throw this.fault('it is a text without its closing zero', place);
    let text: string;
    try {
      text = this.#decoder.decode(this.bytes.subarray(start + word, end));
    } catch {
      throw this.fault('it is no UTF-8 text', place);
    }
    this.#strings.set(start, text);
    return text;
  }

  /** Demands that no byte belongs to two of the things that were read; before it, no stretch that is as long as the file says should be copied. */
  checkOverlaps(): void {
    const claims = this.#claims.sort((a, b) => a.begin - b.begin);
    for (let i = 1; i < claims.length; i++) {
      if (claims[i].begin < claims[i - 1].end) {
        throw this.fault(
          `byte ${claims[i].begin} belongs to ${claims[i - 1].place || 'the start of the file'} too`,
          claims[i].place,
        );
      }
    }
  }
}

/** A table of a flatbuffer, whose fields are read by name. */
export class FlatTable<F extends string> {
  /** Where it is, as a path of fields; empty for the root. */
  readonly place: string;
  readonly #file: Flatbuffer;
  readonly #fields: readonly F[];
  readonly #start: number;
  readonly #length: number;
  readonly #virtual: Stretch;

  constructor(file: Flatbuffer, start: number, fields: readonly F[], place: string) {
    this.#file = file;
    this.#start = start;
    this.#fields = fields;
    this.place = place;
    file.within(start, word, word, place);
    const begin = start - file.view.getInt32(start, true);
    file.within(begin, word, 2, place);
    const length = file.view.getUint16(begin, true);
    if (length < word || length % 2 !== 0) throw file.fault(`its virtual table has ${length} bytes`, place);
    file.claimShared(begin, length, 2, place);
    this.#virtual = { begin, end: begin + length };
    this.#length = file.view.getUint16(begin + 2, true);
    if (this.#length < word) throw file.fault(`its table has ${this.#length} bytes`, place);
    file.claim(start, this.#length, word, place);
  }

  /** The path of a field. */
  at(field: F): string {
    return this.place === '' ? field : `${this.place}.${field}`;
  }

  int32(field: F, absent: number): number {
    const at = this.#find(field, 4);
    return at === null ? absent : this.#file.view.getInt32(at, true);
  }

  int64(field: F, absent: bigint): bigint {
    const at = this.#find(field, 8);
    return at === null ? absent : this.#file.view.getBigInt64(at, true);
  }

  float32(field: F, absent: number): number {
    const at = this.#find(field, 4);
    return at === null ? absent : this.#file.view.getFloat32(at, true);
  }

  bool(field: F): boolean {
    const at = this.#find(field, 1);
    return at !== null && this.#file.bytes[at] !== 0;
  }

  string(field: F): string | null {
    const at = this.#find(field, word);
    return at === null ? null : this.#file.string(this.#file.follow(at, this.at(field)), this.at(field));
  }

  /** The elements' stretch of a vector of bytes. */
  byteVector(field: F): Stretch | null {
    return this.#vector(field, 1);
  }

  /** @param longest how many there may be */
  int64Vector(field: F, longest: number): bigint[] | null {
    const found = this.#vector(field, 8);
    if (!found) return null;
    const length = this.#limited(field, (found.end - found.begin) / 8, longest);
    return Array.from({ length }, (_, i) => this.#file.view.getBigInt64(found.begin + 8 * i, true));
  }

  table<G extends string>(field: F, fields: readonly G[]): FlatTable<G> | null {
    const at = this.#find(field, word);
    return at === null ? null : new FlatTable(this.#file, this.#file.follow(at, this.at(field)), fields, this.at(field));
  }

  /** A vector of tables, one after the other: the next is looked at when it is asked for. Null where the field is absent. */
  tables<G extends string>(field: F, fields: readonly G[]): Iterable<FlatTable<G>> | null {
    const found = this.#vector(field, word);
    if (found) this.#limited(field, (found.end - found.begin) / word, mostTables);
    return found && this.#elements(field, found, fields);
  }

  #limited(field: F, length: number, most: number): number {
    if (length > most) throw this.#file.fault(`it has ${length} elements, more than ${most}`, this.at(field));
    return length;
  }

  *#elements<G extends string>(field: F, { begin, end }: Stretch, fields: readonly G[]): Iterable<FlatTable<G>> {
    for (let at = begin; at < end; at += word) {
      const place = `${this.at(field)}[${(at - begin) / word}]`;
      yield new FlatTable(this.#file, this.#file.follow(at, place), fields, place);
    }
  }

  #vector(field: F, width: number): Stretch | null {
    const at = this.#find(field, word);
    return at === null ? null : this.#file.vector(this.#file.follow(at, this.at(field)), width, this.at(field));
  }

  /** Where the field's bytes begin, null where the table has none for it. */
  #find(field: F, width: number): number | null {
    const entry = this.#virtual.begin + word + 2 * this.#fields.indexOf(field);
    if (entry + 2 > this.#virtual.end) return null;
    const offset = this.#file.view.getUint16(entry, true);
    if (offset === 0) return null;
    if (offset < word || offset + width > this.#length) {
      throw this.#file.fault(`it would be at byte ${offset} of a table of ${this.#length}`, this.at(field));
    }
    return this.#start + offset;
  }
}
