/** What does a UUID say? uuid.parse: version and variant, and of the first two versions when, where and which clock. */
import { type Builtins, stringAt } from "./operand.ts";
import { bytesOf, type Entry, num, type Term } from "./term.ts";

export const uuid: Builtins = {
  "uuid.parse": (operands) => {
    const digits = digitsOf(stringAt(operands, 0));
    if (digits === null) return undefined;
    return { entries: entriesOf(Buffer.from(digits, "hex")) };
  },
};

const HEX = "[0-9a-fA-F]";
const DASHED = new RegExp(`^${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}$`);

/** With dashes, in braces, as a URN, or 32 digits alone. */
function digitsOf(text: string): string | null {
  const bare = /^urn:uuid:/i.test(text) && text.length === 45 ? text.slice(9) : text;
  // OPA's parser does not look at what stands for the braces
  const inner = bytesOf(bare).length === 38 ? bare.slice(1, 37) : bare;
  if (new RegExp(`^${HEX}{32}$`).test(inner) && inner === text) return inner;
  return DASHED.test(inner) ? inner.replaceAll("-", "") : null;
}

function entriesOf(bytes: Buffer): readonly Entry[] {
  const version = bytes.readUInt8(6) >> 4;
  const entries: Entry[] = [
    ["variant", variantOf(bytes.readUInt8(8))],
    ["version", num(version)],
  ];
  if (version !== 1 && version !== 2) return entries;
  const node = [...bytes.subarray(10)].map((byte) => byte.toString(16).padStart(2, "0"));
  entries.push(
    ["clocksequence", num(bytes.readUInt16BE(8) & 0x3fff)],
    ["macvariables", reach(bytes.readUInt8(10))],
    ["nodeid", node.join("-")],
    ["time", timeOf(bytes)],
  );
  if (version === 2) entries.push(["domain", domainOf(bytes.readUInt8(9))], ["id", num(bytes.readUInt32BE(0))]);
  return entries;
}

function variantOf(byte: number): string {
  if ((byte & 0xc0) === 0x80) return "RFC4122";
  if ((byte & 0xe0) === 0xc0) return "Microsoft";
  return (byte & 0xe0) === 0xe0 ? "Future" : "Reserved";
}

function domainOf(byte: number): string {
  return ["Person", "Group", "Org"][byte] ?? `Domain${byte}`;
}

function reach(byte: number): string {
  return `${(byte & 2) === 0 ? "global" : "local"}:${(byte & 1) === 0 ? "unicast" : "multicast"}`;
}

/** Hundreds of nanoseconds since the Gregorian calendar began, as nanoseconds since 1970 in 64 bits. */
function timeOf(bytes: Buffer): Term {
  const low = BigInt(bytes.readUInt32BE(0));
  const middle = BigInt(bytes.readUInt16BE(4));
  const high = BigInt(bytes.readUInt16BE(6) & 0x0fff);
  const ticks = ((high << 48n) | (middle << 32n) | low) - 122_192_928_000_000_000n;
  return num(BigInt.asIntN(64, ticks * 100n));
}
