/**
 * Which addresses does a host have now? Where the file says so (`resolve`), each of them is an instance of its own, and
 * the name is asked again and again. What surprises: a name that cannot be asked changes nothing, and what it says is
 * checked like any other address when it is dialled.
 */
import { lookup } from "node:dns";
import { isIP } from "node:net";
import type { InstanceSpec } from "../model.ts";
import type { Resolve } from "./address.ts";
import type { InstancesOf } from "./forward.ts";

export type Names = {
  /** The same, with an instance for each address that is known by now. Those that are not named are followed no more. */
  readonly expand: (wanted: readonly InstancesOf[]) => readonly InstancesOf[];
  readonly close: () => void;
};
type Followed = { addresses: readonly string[]; readonly stop: () => void };

const ADDRESSES_MAX = 64;

export function followNames(onMoved: () => void, resolve: Resolve = lookup): Names {
  const followed = new Map<string, Followed>();
  const follow = (host: string, everyMs: number): Followed => {
    const one: Followed = { addresses: [], stop: () => clearInterval(timer) };
    const ask = oneByOne((done) =>
      resolve(host, { all: true }, (error, found) => {
        done();
        if (error !== null || found.length === 0 || followed.get(keyOf(host, everyMs)) !== one) return;
        const addresses = [...new Set(found.map(({ address }) => address))].toSorted().slice(0, ADDRESSES_MAX);
        if (addresses.join() === one.addresses.join()) return;
        one.addresses = addresses;
        onMoved();
      }),
    );
    const timer = setInterval(ask, everyMs).unref();
    followed.set(keyOf(host, everyMs), one);
    ask();
    return one;
  };
  const keep = (wanted: readonly InstancesOf[]): void => {
    const keys = new Set(wanted.flatMap(({ specs }) => specs.flatMap((spec) => nameOf(spec)?.key ?? [])));
    for (const [key, { stop }] of followed) {
      if (keys.has(key)) continue;
      stop();
      followed.delete(key);
    }
  };
  const addressesOf = (spec: InstanceSpec): readonly InstanceSpec[] => {
    const name = nameOf(spec);
    if (name === null || spec.kind === "stdio") return [spec];
    const { addresses } = followed.get(name.key) ?? follow(name.host, name.everyMs);
    if (addresses.length === 0) return [spec];
    return addresses.map((address) => ({ ...spec, id: `${spec.id}/${address}`, address }));
  };
  return {
    expand: (wanted) => {
      keep(wanted);
      return wanted.map((one) => {
        const rows = one.specs.map((spec, at) => ({ specs: addressesOf(spec), weight: one.weights?.[at] ?? 1 }));
        return {
          ...one,
          specs: rows.flatMap(({ specs }) => specs),
          weights: rows.flatMap(({ specs, weight }) => specs.map(() => weight)),
        };
      });
    },
    close: () => keep([]),
  };
}

/** A resolver that hangs is not asked again meanwhile: questions would pile up, and an old answer come last. */
function oneByOne(ask: (done: () => void) => void): () => void {
  let asking = false;
  return () => {
    if (asking) return;
    asking = true;
    ask(() => (asking = false));
  };
}

function nameOf(spec: InstanceSpec): { readonly host: string; readonly everyMs: number; readonly key: string } | null {
  if (spec.kind === "stdio" || spec.resolveMs === undefined) return null;
  const host = new URL(spec.url).hostname;
  const bare = host.startsWith("[") ? host.slice(1, -1) : host;
  return isIP(bare) === 0 ? { host, everyMs: spec.resolveMs, key: keyOf(host, spec.resolveMs) } : null;
}

function keyOf(host: string, everyMs: number): string {
  return `${host} ${everyMs}`;
}
