/**
 * What is kept at the end of a module, as custom sections of WebAssembly: engines step over them, and so does whoever
 * holds an artifact and is older than what it says.
 */
const HEADER_BYTES = 8;

/** The module with this at its end. */
export function withSection(wasm: Uint8Array, name: string, content: Uint8Array): Uint8Array {
  const named = Buffer.from(name);
  const payload = Buffer.concat([leb(named.length), named, content]);
  return Buffer.concat([wasm, Uint8Array.of(0), leb(payload.length), payload]);
}

/** null where the module has none of this name. */
export function sectionIn(wasm: Uint8Array, wanted: string): Buffer | null {
  const bytes = Buffer.from(wasm.buffer, wasm.byteOffset, wasm.byteLength);
  for (let at = HEADER_BYTES; at < bytes.length;) {
    const id = bytes[at++];
    const size = unleb(bytes, at);
    const section = bytes.subarray(size.end, size.end + size.value);
    at = size.end + size.value;
    if (id !== 0) continue;
    const name = unleb(section, 0);
    if (section.toString("utf8", name.end, name.end + name.value) === wanted)
      return section.subarray(name.end + name.value);
  }
  return null;
}

function leb(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128);
  return Uint8Array.of(...out, rest);
}

function unleb(bytes: Uint8Array, from: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = from, scale = 1; at < bytes.length && at < from + 5; at++, scale *= 128) {
    const next = bytes[at] ?? 0;
    value += (next % 128) * scale;
    if (next < 128) return { value, end: at + 1 };
  }
  return { value: bytes.length, end: bytes.length };
}
