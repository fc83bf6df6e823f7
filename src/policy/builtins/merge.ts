/** Which few networks hold the same addresses as these? Neighbours and overlaps become one; as OPA's net.cidr_merge. */
import { addressText, masked, type Network, networkText } from "./address.ts";

type Range = { readonly first: bigint; readonly last: bigint; readonly network: Network | null };
/** Where IPv4 lies among the IPv6 addresses. */
const IPV4 = 0xffffn << 32n;

export function merged(networks: readonly Network[]): readonly string[] {
  const ranges = networks.map(rangeOf).toSorted((a, b) => order(a.last, b.last) || order(a.first, b.first));
  for (let at = ranges.length - 1; at > 0; at--) {
    const [lower, upper] = [ranges[at - 1] as Range, ranges[at] as Range];
    if (before(upper.first) > lower.last) continue;
    const first = lower.first < upper.first ? lower.first : upper.first;
    ranges.splice(at - 1, 2, { first, last: upper.last, network: null });
  }
  return ranges.flatMap((range) => (range.network === null ? cover(range) : [networkText(range.network)]));
}

function rangeOf(network: Network): Range {
  const { bits, prefix, first: written } = network;
  const base = bits === 32 ? IPV4 : 0n;
  const first = base + masked({ bits, value: written }, prefix);
  return { first, last: first + 2n ** BigInt(bits - prefix) - 1n, network };
}

function before(address: bigint): bigint {
  return address === 0n || address === IPV4 ? address : address - 1n;
}

/** From the lowest address on, each time the largest network that begins there and does not go too far. */
function cover({ first, last }: Range): readonly string[] {
  const [base, bits] = first >> 32n === 0xffffn ? [IPV4, 32] : [0n, 128];
  const found: string[] = [];
  for (let at = first - base; at <= last - base;) {
    let free = 0n;
    while (free < BigInt(bits) && at % 2n ** (free + 1n) === 0n && at + 2n ** (free + 1n) - 1n <= last - base) free++;
    found.push(`${addressText(bits, at)}/${bits - Number(free)}`);
    at += 2n ** free;
  }
  return found;
}

function order(a: bigint, b: bigint): number {
  return a < b ? -1 : Number(a > b);
}
