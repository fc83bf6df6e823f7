/** Which address or network does a text name? As Go reads it: no zone, no leading zero; IPv4 in IPv6 clothes is IPv4. */
export type Address = { readonly bits: 32 | 128; readonly value: bigint };
export type Network = {
  readonly bits: 32 | 128;
  readonly prefix: number;
  readonly first: bigint;
  /** The address as it was written, where that is not the first one. */
  readonly value?: bigint;
};

const MAPPED = 0xffffn;

export function parseAddress(text: string): Address | null {
  const address = literal(text);
  return address !== null && address.bits === 128 && address.value >> 32n === MAPPED
    ? { bits: 32, value: address.value & 0xffff_ffffn }
    : address;
}

export function parseNetwork(text: string): Network | null {
  const [, before = "", digits = ""] = /^([^/]*)\/(\d{1,7})$/.exec(text) ?? [];
  const address = literal(before);
  const prefix = Number(digits);
  if (address === null || prefix > address.bits) return null;
  const first = masked(address, prefix);
  if (address.bits === 128 && first >> 32n === MAPPED && prefix >= 96) {
    return { bits: 32, prefix: prefix - 96, first: first & 0xffff_ffffn };
  }
  return { bits: address.bits, prefix, first };
}

export function contains(whole: Network, part: Network): boolean {
  if (whole.bits !== part.bits || whole.prefix > part.prefix) return false;
  return masked({ bits: part.bits, value: part.first }, whole.prefix) === whole.first;
}

export function masked({ bits, value }: Address, prefix: number): bigint {
  const free = BigInt(bits - prefix);
  return (value >> free) << free;
}

export function addressText(bits: number, value: bigint): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join(".");
  const groups = Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(112 - 16 * at)) & 0xffffn));
  const { from, length } = longestZeros(groups);
  const hex = (some: readonly number[]): string => some.map((group) => group.toString(16)).join(":");
  return length < 2 ? hex(groups) : `${hex(groups.slice(0, from))}::${hex(groups.slice(from + length))}`;
}

export function networkText({ bits, prefix, first, value = first }: Network): string {
  return `${addressText(bits, value)}/${prefix}`;
}

/** The first of the longest. */
function longestZeros(groups: readonly number[]): { readonly from: number; readonly length: number } {
  let best = { from: 0, length: 0 };
  for (let from = 0; from < groups.length; from++) {
    let length = 0;
    while (groups[from + length] === 0) length++;
    if (length > best.length) best = { from, length };
  }
  return best;
}

function literal(text: string): Address | null {
  if (!text.includes(":")) return fromDotted(text);
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [left, right] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const last = halves.length === 2 ? right : left;
  const tail = last?.at(-1)?.includes(".") === true ? fromDotted(last.pop() ?? "") : undefined;
  if (tail === null || (halves.length === 2 && left?.some((group) => group.includes(".")) === true)) return null;
  if (tail !== undefined) last?.push((tail.value >> 16n).toString(16), (tail.value & 0xffffn).toString(16));
  const [head, end] = [left ?? [], right ?? []];
  const missing = 8 - head.length - end.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const groups = [...head, ...Array.from({ length: missing }, () => "0"), ...end];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return null;
  return { bits: 128, value: groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n) };
}

function fromDotted(text: string): Address | null {
  const octets = text.split(".");
  if (octets.length !== 4 || !octets.every((octet) => /^(?:0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256))
    return null;
  return { bits: 32, value: octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n) };
}
