/**
 * How is an endless policy stopped on the main thread, the same way every time? Each loop of the compiled policy
 * counts one step down before it runs, and traps at zero. The rewritten module exports that counter and, for
 * recovery, the C shadow stack pointer: OPA aborts by throwing through wasm frames, which leaves that pointer
 * where it was, and after some 500 aborts the stack would be gone for good (`engine.ts` puts it back).
 */
export const FUEL = "portcullis_fuel";
export const STACK_POINTER = "portcullis_stack_pointer";

const SECTION = { custom: 0, global: 6, export: 7, code: 10 } as const;
const GLOBAL_KIND = 3;
const I32 = 0x7f;
const MUTABLE = 1;
/** OPA's C runtime is linked by lld, which puts `__stack_pointer` first. */
const STACK_POINTER_INDEX = 0;
const HEADER_BYTES = 8;

type Cursor = { readonly bytes: Uint8Array; at: number };

/** @throws Error if the module is not laid out as OPA lays it out */
export function meter(wasm: Uint8Array): Uint8Array<ArrayBuffer> {
  const cursor: Cursor = { bytes: wasm, at: HEADER_BYTES };
  const out: Uint8Array[] = [wasm.subarray(0, HEADER_BYTES)];
  let fuelIndex = -1;
  while (cursor.at < wasm.length) {
    const id = byte(cursor);
    const size = leb(cursor);
    const end = cursor.at + size;
    const count: Cursor = { bytes: wasm, at: cursor.at };
    if (id === SECTION.global) {
      fuelIndex = leb(count);
      checkStackPointer(wasm, count.at);
      section(out, id, [lebOf(fuelIndex + 1), wasm.subarray(count.at, end), fuelGlobal()]);
    } else if (id === SECTION.export) {
      const total = leb(count) + 2;
      const added = [exportOf(FUEL, fuelIndex), exportOf(STACK_POINTER, STACK_POINTER_INDEX)];
      section(out, id, [lebOf(total), wasm.subarray(count.at, end), ...added]);
    } else if (id === SECTION.code) {
      section(out, id, meterCode(cursor, tickOf(fuelIndex)));
    } else if (id !== SECTION.custom) {
      section(out, id, [wasm.subarray(cursor.at, end)]);
    }
    cursor.at = end;
  }
  if (fuelIndex === -1) throw new Error("the policy module has no globals");
  return concat(out);
}

function checkStackPointer(wasm: Uint8Array, at: number): void {
  if (wasm[at] !== I32 || wasm[at + 1] !== MUTABLE)
    throw new Error("the policy module's first global is not a stack pointer");
}

function fuelGlobal(): Uint8Array {
  return Uint8Array.of(I32, MUTABLE, 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0b); // i32.const 2^31-1; end
}

function exportOf(name: string, index: number): Uint8Array {
  const text = new TextEncoder().encode(name);
  return concat([lebOf(text.length), text, Uint8Array.of(GLOBAL_KIND), lebOf(index)]);
}

/** `if fuel == 0 { unreachable }; fuel = fuel - 1` */
function tickOf(fuelIndex: number): Uint8Array {
  const index = lebOf(fuelIndex);
  const get = Uint8Array.of(0x23, ...index);
  const stop = Uint8Array.of(0x45, 0x04, 0x40, 0x00, 0x0b); // i32.eqz; if; unreachable; end
  const less = Uint8Array.of(0x41, 1, 0x6b, 0x24, ...index); // i32.const 1; i32.sub; global.set
  return concat([get, stop, get, less]);
}

function meterCode(cursor: Cursor, tick: Uint8Array): Uint8Array[] {
  const count = leb(cursor);
  const out: Uint8Array[] = [lebOf(count)];
  for (let i = 0; i < count; i++) {
    const end = leb(cursor) + cursor.at;
    const body = meterFunction(cursor, end, tick);
    out.push(lebOf(lengthOf(body)), ...body);
  }
  return out;
}

/** Copies a function body, with a tick at the start of each loop. */
function meterFunction(cursor: Cursor, end: number, tick: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  let copied = cursor.at;
  for (let groups = leb(cursor); groups > 0; groups--) {
    leb(cursor);
    byte(cursor);
  }
  while (cursor.at < end) {
    const opcode = byte(cursor);
    skipImmediates(cursor, opcode);
    if (opcode === LOOP) {
      out.push(cursor.bytes.subarray(copied, cursor.at), tick);
      copied = cursor.at;
    }
  }
  out.push(cursor.bytes.subarray(copied, end));
  return out;
}

const LOOP = 0x03;
const BR_TABLE = 0x0e;
const SELECT_TYPED = 0x1c;
const F32_CONST = 0x43;
const F64_CONST = 0x44;
const NUMERIC_LAST = 0xc4;
const PREFIXED = 0xfc;
/** Integers after an opcode, for all that have any: blocks, branches, calls, variables, memory, constants, references. */
const LEBS = new Map<number, number>([
  ...[0x02, 0x03, 0x04, 0x0c, 0x0d, 0x10, 0x3f, 0x40, 0x41, 0x42, 0xd0, 0xd2].map((opcode) => [opcode, 1] as const),
  ...range(0x20, 0x26).map((opcode) => [opcode, 1] as const),
  ...[0x11, ...range(0x28, 0x3e)].map((opcode) => [opcode, 2] as const),
]);
/** The same for the opcodes behind the prefix: saturating conversions, bulk memory, tables. */
const PREFIXED_LEBS = [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1];

function skipImmediates(cursor: Cursor, opcode: number): void {
  const lebs = LEBS.get(opcode);
  if (lebs !== undefined) skipLebs(cursor, lebs);
  else if (opcode === BR_TABLE) skipLebs(cursor, leb(cursor) + 1);
  else if (opcode === SELECT_TYPED) skipLebs(cursor, leb(cursor));
  else if (opcode === F32_CONST) cursor.at += 4;
  else if (opcode === F64_CONST) cursor.at += 8;
  else if (opcode === PREFIXED) skipLebs(cursor, PREFIXED_LEBS[leb(cursor)] ?? unknown(opcode));
  else if (opcode > NUMERIC_LAST) unknown(opcode);
}

function unknown(opcode: number): never {
  throw new Error(`the policy module has an unknown instruction 0x${opcode.toString(16)}`);
}

function range(first: number, last: number): readonly number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function byte(cursor: Cursor): number {
  const value = cursor.bytes[cursor.at++];
  if (value === undefined) throw new Error("the policy module is cut short");
  return value;
}

/** Unsigned LEB128, below 2^32. */
function leb(cursor: Cursor): number {
  let value = 0;
  for (let scale = 1; ; scale *= 128) {
    const next = byte(cursor);
    value += (next & 127) * scale;
    if (next < 128) return value;
  }
}

function skipLebs(cursor: Cursor, count: number): void {
  for (let i = 0; i < count; i++) while (byte(cursor) >= 128);
}

function lebOf(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest >>>= 7) out.push((rest & 127) | 128);
  return Uint8Array.of(...out, rest);
}

function section(out: Uint8Array[], id: number, parts: readonly Uint8Array[]): void {
  out.push(Uint8Array.of(id), lebOf(lengthOf(parts)), ...parts);
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
