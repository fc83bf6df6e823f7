/**
 * How often may an address fail to authenticate? What surprises: addresses are not kept. A failure counts in one of
 * 65,536 buckets chosen by a salted hash, so that a stranger with endless IPv6 addresses cannot fill the memory and
 * cannot aim at a neighbour's bucket either. An IPv6 address counts by its /64, which is what one customer holds.
 */
import { hash } from "node:crypto";
import { isIP, SocketAddress } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Random } from "../ports.ts";
import { Refusal } from "../refusal.ts";

export type AddressLimit = {
  /** Counts one failure; resolves to the milliseconds until the window ends once there are too many, else to null. */
  readonly fail: (ip: string) => Promise<number | null>;
};

/** At most `failures` per address in `windowMs`; those beyond are told to wait. */
export function createAddressLimit(
  options: { readonly failures: number; readonly windowMs: number },
  random: Random,
): AddressLimit {
  const salt = random.bytes(16).toString("hex");
  // a longer timer than Node's longest would fire at once and forget every failure
  const duration = Math.min(options.windowMs, TIMER_MS_MAX) / 1000;
  const limiter = new RateLimiterMemory({ points: options.failures, duration, keyPrefix: "" });
  const bucketOf = (ip: string): string => hash("sha256", salt + networkOf(ip), "hex").slice(0, BUCKET_HEX_DIGITS);
  return {
    fail: async (ip) => {
      try {
        await limiter.consume(bucketOf(ip));
        return null;
      } catch (refused) {
        if (!(refused instanceof RateLimiterRes)) throw refused;
        return waitOf(refused);
      }
    },
  };
}

/** Constant text for the caller; the cause is the audit's. */
export function tooManyFailures(retryAfterMs: number, cause: Error): Refusal {
  return new Refusal("rate_limited", "Too many failed authentications from this address.", { cause, retryAfterMs });
}

function waitOf({ msBeforeNext }: RateLimiterRes): number {
  return Math.max(1, Math.ceil(msBeforeNext));
}

/** What one stranger holds: an IPv4 address, or an IPv6 /64 as four groups of hex. */
export function networkOf(ip: string): string {
  const bare = ip.replace(/%.*$/, "");
  if (isIP(bare) !== 6) return bare;
  const address = new SocketAddress({ address: bare, family: "ipv6" }).address;
  // an IPv4 client of a dual-stack listener: ::ffff:192.0.2.1
  const dotted = /(\d+\.){3}\d+$/.exec(address);
  if (dotted !== null) return dotted[0];
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...Array.from({ length: zeros }, () => "0"), ...right].slice(0, 4).join(":");
}

const BUCKET_HEX_DIGITS = 4;
const TIMER_MS_MAX = 2_147_483_647;
