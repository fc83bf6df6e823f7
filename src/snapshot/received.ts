/**
 * What does a received snapshot say? The texts of its parts, checked and whole, become what a sidecar puts in force.
 * What surprises: parsing is kept by digest, so that a change of one part costs one part; and it gives way between
 * parts, because ten thousand principals are no reason for a call to wait.
 */
import { parseOwnJson } from "../json.ts";
import type { Discovery, Key, PolicySource, SnapshotPart } from "../model.ts";
import type { Clock } from "../ports.ts";
import type { Catalogue, Discovered } from "../registry/catalogue.ts";
import { policyIn } from "./parts.ts";
import type { ServerPart } from "./parts.ts";
import type { Published, PublishedSettings } from "./published.ts";
import { SealFault } from "./seal.ts";
import type { Manifest } from "./seal.ts";

export type Received = Published &
  Catalogue & {
    readonly keys: ReadonlyMap<string, Key>;
    readonly approved: ReadonlyMap<string, string>;
    readonly policy: PolicySource | null;
    readonly shadows: readonly ShadowSource[];
    readonly parts: readonly SnapshotPart[];
  };

export type ShadowSource = { readonly name: string; readonly from: PolicySource; readonly stepsMax: number };

/** By digest, which each was checked against: what a follower holds. */
export type Texts = ReadonlyMap<string, string>;

export type Reader = {
  /** @throws SealFault where a part is missing */
  readonly read: (manifest: Manifest, texts: Texts) => Promise<Received>;
};

export function createReader(clock: Pick<Clock, "nowMs">): Reader {
  let parsed = new Map<string, unknown>();
  const same = keepingSame();
  const composed = new Map<string, { readonly digests: string; readonly value: unknown }>();
  return {
    read: async (manifest, texts) => {
      const next = new Map<string, unknown>();
      for (const { name, digest } of manifest.parts)
        next.set(digest, parsed.get(digest) ?? (await contentsOf(name, digest, texts)));
      parsed = next;
      const at = new Date(clock.nowMs()).toISOString();
      /** The same value for as long as the parts that it is made of are the same. */
      const made: Make = (kind, make) => {
        const parts = manifest.parts.filter(({ name }) => name === kind || name.startsWith(`${kind}/`));
        const digests = parts.map(({ digest }) => digest).join();
        const known = composed.get(kind);
        if (known?.digests === digests) return known.value as ReturnType<typeof make>;
        const value = make(new Map(parts.map(({ name, digest }) => [name.slice(kind.length + 1), next.get(digest)])));
        composed.set(kind, { digests, value });
        return value;
      };
      const all = compose(made, at);
      return { ...all, approved: same(all.approved), parts: manifest.parts.map((one) => partOf(one, texts)) };
    },
  };
}

type Make = <Value>(kind: string, make: (contents: ReadonlyMap<string, unknown>) => Value) => Value;

async function contentsOf(name: string, digest: string, texts: Texts): Promise<unknown> {
  const text = texts.get(digest);
  if (text === undefined) throw new SealFault("a part of the snapshot is missing");
  // other calls may pass between two parts
  await new Promise(setImmediate);
  if (name.startsWith("discovery/")) return parseOwnJson(text);
  if (name === "policy") return policyIn(text, false).source;
  if (!name.startsWith("shadow/")) return JSON.parse(text);
  const { source: from, stepsMax } = policyIn(text, true);
  return { name: name.slice("shadow/".length), from, stepsMax: stepsMax ?? 0 } satisfies ShadowSource;
}

function partOf({ name, digest }: Manifest["parts"][number], texts: Texts): SnapshotPart {
  return { name, digest, local: false, text: () => texts.get(digest) ?? "" };
}

function compose(made: Make, at: string): Omit<Received, "parts"> {
  const settings = made("settings", only) as PublishedSettings | null;
  if (settings === null) throw new SealFault("the snapshot has no settings");
  const servers = made("server", all) as readonly ServerPart[];
  const discoveries = made("discovery", (contents) => new Map(contents as ReadonlyMap<string, Discovery>));
  return {
    settings,
    policy: made("policy", only) as PolicySource | null,
    shadows: made("shadow", all) as readonly ShadowSource[],
    principals: made("principals", (contents) => all(contents).flat()) as Published["principals"],
    keys: made("keys", (contents) => new Map((all(contents).flat() as readonly Key[]).map((key) => [key.id, key]))),
    ...ofServers(servers, (one) => discoveredBy(one, discoveries.get(idOf(one)), at)),
  };
}

function only(contents: ReadonlyMap<string, unknown>): unknown {
  const [value = null] = contents.values();
  return value;
}

function all(contents: ReadonlyMap<string, unknown>): readonly unknown[] {
  return [...contents.values()];
}

type OfServers = Pick<Received, "servers" | "approved" | "discovered" | "fresh">;

function ofServers(parts: readonly ServerPart[], found: (part: ServerPart) => Discovered | null): OfServers {
  return {
    servers: parts.map(({ server }) => server),
    approved: approvedBy(parts),
    discovered: new Map(
      parts.flatMap((part) => {
        const discovered = found(part);
        return discovered === null ? [] : [[idOf(part), discovered] as const];
      }),
    ),
    fresh: new Set(parts.filter(({ fresh }) => fresh).map(idOf)),
  };
}

function approvedBy(parts: readonly ServerPart[]): Approved {
  return new Map(
    parts.flatMap((part) =>
      Object.entries(part.approved).map(([tool, digest]) => [`${idOf(part)}/${tool}`, digest] as const),
    ),
  );
}

type Approved = ReadonlyMap<string, string>;

/** The same map where nothing was approved since: the tools of every server hang on it. */
function keepingSame(): (now: Approved) => Approved {
  let last: Approved = new Map();
  return (now) => (JSON.stringify([...now]) === JSON.stringify([...last]) ? last : (last = now));
}

const kept = new WeakMap<ServerPart, Discovered>();

function discoveredBy(part: ServerPart, discovery: Discovery | undefined, at: string): Discovered | null {
  if (discovery === undefined) return null;
  const known = kept.get(part);
  if (known?.discovery === discovery) return known;
  const discovered = { discovery, firstSeen: part.firstSeen, at };
  kept.set(part, discovered);
  return discovered;
}

function idOf({ server: { name, version } }: ServerPart): string {
  return `${name}@${version}`;
}
