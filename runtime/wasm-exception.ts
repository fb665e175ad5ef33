/*
 * C++ exceptions of onnxruntime-web come to JavaScript as a number: where the exception lies in the module's memory. Its message is behind one of the pointers there.
 */

/** Bytes of an exception that are looked through. */
const SPAN = 256;

interface Memory {
  readonly buffer: ArrayBufferLike;
}

/** As much of WebAssembly as is used here: Node's types have none of it. */
const { WebAssembly } = globalThis as unknown as { WebAssembly: { Memory: new (descriptor: object) => Memory } };

/**
 * From now on, remembers the memory that is made for a WebAssembly module; to be called before the module is imported.
 * @returns reads what a thrown value says
 */
export function watchExceptions(): (thrown: unknown) => string {
  const memories: Memory[] = [];
  WebAssembly.Memory = class extends WebAssembly.Memory {
    constructor(descriptor: object) {
      super(descriptor);
      memories.push(this);
    }
  };
  return (thrown) => {
    if (typeof thrown !== 'number') return thrown instanceof Error ? thrown.message : String(thrown);
    // Places beyond 2 GiB come as negative numbers.
    const texts = memories.flatMap(({ buffer }) => textsAt(buffer, thrown >>> 0));
    const longest = texts.sort((a, b) => b.length - a.length)[0];
    return longest ? withoutPlace(longest) : `exception ${thrown}, which says nothing`;
  };
}

/** The texts that the words of an exception at `place` point to. */
function textsAt(buffer: ArrayBufferLike, place: number): string[] {
  const bytes = new Uint8Array(buffer);
  if (place + SPAN > bytes.length) return [];
  const words = new DataView(buffer, place, SPAN);
  return Array.from({ length: SPAN / 4 }, (_, i) => textAt(bytes, words.getUint32(4 * i, true))).filter((text) => text !== '');
}

/** The printable text from `start` to its closing zero; empty where there is none. */
function textAt(bytes: Uint8Array, start: number): string {
  if (start === 0 || start >= bytes.length) return '';
  const end = bytes.subarray(start, start + 4096).findIndex((byte) => byte === 127 || (byte < 32 && byte !== 9 && byte !== 10));
  if (end < 8 || bytes[start + end] !== 0) return '';
  return new TextDecoder().decode(bytes.slice(start, start + end));
}

/** A message without the place in ONNX Runtime's source and the function's signature that it begins with. */
function withoutPlace(text: string): string {
  return text.replace(/^.*?\[ONNXRuntimeError\] : \d+ : \w+ : /s, '').trim();
}
