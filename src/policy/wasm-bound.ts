/**
 * How much memory may the compiler take? A Go module declares no maximum, and the limits of a worker do not count
 * wasm memory: the module gets one before it is loaded. Go ends itself when it cannot grow.
 */
const HEADER_BYTES = 8;
const MEMORY_SECTION = 5;
const PAGE_BYTES = 65_536;

/** @throws Error if the module has no memory of its own, or needs more from the start */
export function boundMemory(wasm: Uint8Array, bytesMax: number): Uint8Array<ArrayBuffer> {
  let at = HEADER_BYTES;
  while (at < wasm.length) {
    const [size, content] = leb(wasm, at + 1);
    if (wasm[at] === MEMORY_SECTION) return withMaximum(wasm, at, { content, end: content + size, bytesMax });
    at = content + size;
  }
  throw new Error("the compiler's binary declares no memory");
}

type Section = { readonly content: number; readonly end: number; readonly bytesMax: number };

function withMaximum(wasm: Uint8Array, at: number, { content, end, bytesMax }: Section): Uint8Array<ArrayBuffer> {
  const [least] = leb(wasm, content + 2); // after the count of memories and the flags
  const most = Math.floor(bytesMax / PAGE_BYTES);
  if (least > most) throw new Error(`the compiler needs ${least * PAGE_BYTES} bytes of memory`);
  const limits = [1, 1, ...lebOf(least), ...lebOf(most)];
  const section = [MEMORY_SECTION, ...lebOf(limits.length), ...limits];
  const out = new Uint8Array(at + section.length + wasm.length - end);
  out.set(wasm.subarray(0, at));
  out.set(section, at);
  out.set(wasm.subarray(end), at + section.length);
  return out;
}

/** The value, and where the next one begins. */
function leb(bytes: Uint8Array, from: number): readonly [number, number] {
  let [value, shift, at] = [0, 0, from];
  for (;;) {
    const byte = bytes[at++] ?? 0;
    value |= (byte & 0x7f) << shift;
    shift += 7;
    if (byte < 0x80) return [value >>> 0, at];
  }
}

function lebOf(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...lebOf(value >>> 7)];
}
