/**
 * What is a snapshot made of, byte by byte? Named parts, each known by the SHA-256 of its text: the revision of a
 * snapshot is the digest of their list, and whoever holds a part already need not be sent it again. What surprises: a
 * text is written again whenever it is asked for; only its digest is kept, for as long as what it was made of.
 */
import { hash } from "node:crypto";
import type { Config, ServerConfig } from "../config.ts";
import type { Discovery, Key, Policy, PolicySource, Shadow, SnapshotPart as Part } from "../model.ts";
import type { Discovered } from "../registry/catalogue.ts";
import { isLocal, publishServer, publishSettings } from "./published.ts";

export type PartSources = {
  /** As changed beside the file. */
  readonly config: Config;
  /** The file's and issued ones. */
  readonly keys: ReadonlyMap<string, Key>;
  readonly policy: Policy | null;
  readonly discovered: ReadonlyMap<string, Discovered>;
  readonly fresh: ReadonlySet<string>;
  readonly approved: ReadonlyMap<string, string>;
};

/** What a part's text holds, by the first word of its name. */
export type ServerPart = {
  readonly server: ReturnType<typeof publishServer>;
  /** @see Discovered */
  readonly firstSeen: Discovered["firstSeen"];
  readonly approved: { readonly [upstreamName: string]: string };
  readonly fresh: boolean;
};

/** A list of thousands travels in pieces: who changes one entry sends a sixteenth. */
const SHARDS: readonly string[] = "0123456789abcdef".split("");

/** What is published: the same here and wherever it is received. */
export function publishedParts(sources: PartSources): readonly Part[] {
  const { config, keys, policy } = sources;
  return [
    settingsOf(config),
    ...principalsOf(config.principals),
    ...keysOf(keys),
    ...config.servers.flatMap((server) => serverParts(server, sources)),
    ...(policy === null ? [] : [policyOf(policy.source), ...(policy.shadows ?? []).flatMap(shadowOf)]),
  ];
}

/** What the servers say that run here. */
export function localParts({ config, discovered, fresh }: Omit<PartSources, "keys" | "policy">): readonly Part[] {
  return config.servers.filter(isLocal).flatMap((server) => {
    const id = `${server.name}@${server.version}`;
    const found = discovered.get(id);
    if (found === undefined) return [];
    const { firstSeen, discovery } = found;
    return [part(`local/${id}`, () => ({ firstSeen, fresh: fresh.has(id) }), true), discoveryOf(discovery, id, true)];
  });
}

/** Of the parts, in whatever order. */
export function revisionOf(parts: readonly Pick<Part, "name" | "digest">[]): string {
  const listed = parts.map(({ name, digest }) => [name, digest] as const).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `sha256:${digestOf(JSON.stringify(listed))}`;
}

export function digestOf(text: string): string {
  return hash("sha256", text, "hex");
}

/** Made once of what it is made of. */
function once<Source extends object, Made>(make: (source: Source) => Made): (source: Source) => Made {
  const made = new WeakMap<Source, Made>();
  return (source) => {
    const before = made.get(source);
    if (before !== undefined) return before;
    const now = make(source);
    made.set(source, now);
    return now;
  };
}

function part(name: string, contents: () => unknown, local = false): Part {
  return textPart(name, () => JSON.stringify(contents()), local);
}

function textPart(name: string, text: () => string, local = false): Part {
  return { name, digest: digestOf(text()), local, text };
}

const settingsOf = once((config: Config) => part("settings", () => publishSettings(config)));

const principalsOf = once((principals: Config["principals"]) =>
  sharded(
    "principals",
    principals.map((one) => [one.id, one] as const),
  ),
);

const keysOf = once((keys: ReadonlyMap<string, Key>) => sharded("keys", [...keys]));

const policyOf = once((source: PolicySource) => textPart("policy", () => policyText(source)));

const shadowOf = once(({ name, policy, stepsMax }: Shadow): readonly Part[] =>
  policy === null ? [] : [textPart(`shadow/${name}`, () => policyText(policy.source, stepsMax))],
);

export type PolicyPart = { readonly source: PolicySource; readonly stepsMax: number | null };

/**
 * `{key, module, data}`, of one in shadow also `stepsMax`: which bundle is tried beside the enforced one decides nothing,
 * but what a record says of it, somebody must be able to judge again.
 */
function policyText({ key, module, data }: PolicySource, stepsMax: number | null = null): string {
  const head = JSON.stringify({ key, module: Buffer.from(module).toString("base64") }).slice(0, -1);
  return `${head}${DATA}${data}${stepsMax === null ? "" : `${STEPS}${stepsMax}`}}`;
}
const DATA = ',"data":';
const STEPS = ',"stepsMax":';

/** What policyText wrote, here or in another version; the data, which may be megabytes, is not parsed. @throws SyntaxError */
export function policyIn(text: string, isShadow: boolean): PolicyPart {
  const from = text.indexOf(DATA);
  const to = isShadow ? text.lastIndexOf(STEPS) : text.length - 1;
  const around = JSON.parse(text.slice(0, from) + text.slice(to)) as Written;
  const source = {
    key: around.key,
    module: new Uint8Array(Buffer.from(around.module, "base64")),
    data: text.slice(from + DATA.length, to),
  };
  return { source, stepsMax: around.stepsMax ?? null };
}
type Written = { readonly key: string; readonly module: string; readonly stepsMax?: number };

/** Empty shards are none. */
function sharded(name: string, entries: readonly (readonly [string, unknown])[]): readonly Part[] {
  const shards = Map.groupBy(entries, ([id]) => digestOf(id).charAt(0));
  return SHARDS.flatMap((digit) => {
    const shard = (shards.get(digit) ?? []).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return shard.length === 0 ? [] : [part(`${name}/${digit}`, () => shard.map(([, entry]) => entry))];
  });
}

function serverParts(server: ServerConfig, { discovered, fresh, approved }: PartSources): readonly Part[] {
  if (isLocal(server)) return [serverPart(server, { approved, found: undefined, fresh: false })];
  const id = `${server.name}@${server.version}`;
  const found = discovered.get(id);
  const own = serverPart(server, { approved, found, fresh: fresh.has(id) });
  return found === undefined ? [own] : [own, discoveryOf(found.discovery, id, false)];
}

type Terms = Pick<PartSources, "approved"> & { readonly fresh: boolean; readonly found: Discovered | undefined };
const servers = new WeakMap<ServerConfig, { readonly terms: Terms; readonly part: Part }>();

function serverPart(server: ServerConfig, terms: Terms): Part {
  const last = servers.get(server);
  const { approved, fresh, found } = terms;
  if (last?.terms.approved === approved && last.terms.fresh === fresh && last.terms.found === found) return last.part;
  const id = `${server.name}@${server.version}`;
  const own = [...approved].filter(([tool]) => tool.startsWith(`${id}/`));
  const contents = (): ServerPart => ({
    server: publishServer(server),
    firstSeen: found?.firstSeen ?? {},
    approved: Object.fromEntries(own.map(([tool, digest]) => [tool.slice(id.length + 1), digest])),
    fresh,
  });
  const made = part(`server/${id}`, contents);
  servers.set(server, { terms, part: made });
  return made;
}

const discoveries = new WeakMap<Discovery, Part>();

function discoveryOf(discovery: Discovery, id: string, local: boolean): Part {
  const name = `discovery/${id}`;
  const known = discoveries.get(discovery);
  if (known?.name === name && known.local === local) return known;
  const made = part(name, () => discovery, local);
  discoveries.set(discovery, made);
  return made;
}
