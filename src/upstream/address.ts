/**
 * May this address be dialled? Only global unicast, unless the operator's file allows private ones. What surprises:
 * an address that carries an IPv4 address inside (NAT64, 6to4, Teredo, mapped) is refused whole, for it would reach
 * the machine that its inner address names; and a literal address never passes through DNS, so it is checked here too.
 */
import { lookup } from "node:dns";
import type { LookupAddress, LookupOptions } from "node:dns";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

type Looked = (error: Error | null, addresses: string | LookupAddress[], family?: number) => void;
/** What `connect` asks for a host's addresses; all of them, never one. */
export type Resolve = (
  host: string,
  options: LookupOptions & { all: true },
  done: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

export const REFUSED_ADDRESS = "PORTCULLIS_REFUSED_ADDRESS";

/** True for addresses of the public internet only. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address) || isIP(address) === 0) return false;
  const parsed = ipaddr.parse(address);
  return parsed.range() === "unicast" && isGlobal(parsed);
}

/** Hosts written as an address: `net.connect` asks no resolver for them. */
export function isRefusedLiteral(host: string, allowPrivate: boolean): boolean {
  const bare = host.startsWith("[") ? host.slice(1, -1) : host;
  return isIP(bare) !== 0 && !allowPrivate && !isPublicAddress(bare);
}

/**
 * A `lookup` for `net.connect` that hands on only addresses that were checked: what is checked is what is dialled, so
 * a name that answers differently a moment later (DNS rebinding) changes nothing.
 */
export function checkedLookup(allowPrivate: boolean, resolve: Resolve = lookup) {
  return (host: string, options: LookupOptions, done: Looked): void => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return done(error, []);
      const allowed = addresses.filter(({ address }) => allowPrivate || isPublicAddress(address));
      const first = allowed[0];
      if (first === undefined) return done(Object.assign(new Error("address refused"), { code: REFUSED_ADDRESS }), []);
      if (options.all === true) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
}

/** 2000::/3, all that was ever given out: what lies outside (`::7f00:1`, which is 127.0.0.1 of old) has no name there. */
function isGlobal(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return address.kind() === "ipv4" || ((address as ipaddr.IPv6).parts[0] ?? 0) >> 13 === 1;
}
