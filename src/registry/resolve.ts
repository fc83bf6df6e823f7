/**
 * WHAT is asked for, which version? The one that the caller names, by name or range; else the one that the server's route
 * has for whoever asks. Lists and calls ask here alike. What is not there is an error, never a fallback (contract §6).
 */
import { hash } from "node:crypto";
import type { Pin } from "../config-route.ts";
import { placesOf } from "../config-share.ts";
import type { Places } from "../config-share.ts";
import type { Call, Choice, Principal, Server, ServerVersion, Snapshot, Tool, ToolRef } from "../model.ts";
import { toolNotFound } from "../refusal.ts";
import { meant } from "../version-range.ts";

/** Whose routes count; null where none does. */
export type Asker = Principal | null;

/** @throws Refusal tool_not_found */
export function resolve(snapshot: Snapshot, ref: ToolRef, call: Call): Tool {
  call.target = { kind: "tool", name: ref.kind === "name" ? ref.name : `${ref.server}/${ref.name}` };
  const { tool, reason } = look(snapshot, ref, askerOf(call)) ?? NOTHING;
  if (tool === undefined || reason === undefined) throw toolNotFound();
  call.target = { kind: "tool", name: tool.name };
  call.choice = { reason, from: null };
  return tool;
}

/** The same tool in the version that policy sends the call to. @throws Refusal tool_not_found */
export function reroute(call: Call, { server, version: from, upstreamName: name }: Tool, version: string): Tool {
  const tool = find(call.snapshot, { kind: "upstream", server, name, version }, null);
  if (tool === undefined) throw toolNotFound();
  call.choice = { reason: "policy", from };
  return tool;
}

/** Of a check, nobody's: where the request goes says the proxy's own route, and no route of ours can move it. */
export function askerOf({ asked, principal }: Pick<Call, "asked" | "principal">): Asker {
  return asked.interface === "ext_authz" ? null : principal;
}

/** Undefined if it is not there. */
export function find(snapshot: Snapshot, ref: ToolRef, asker: Asker): Tool | undefined {
  return look(snapshot, ref, asker)?.tool;
}

/** `version` null: as the route has it. Undefined if there is no such server or version. */
export function findVersion(
  snapshot: Snapshot,
  { server, version }: { readonly server: string; readonly version: string | null },
  asker: Asker,
): ServerVersion | undefined {
  return choose(snapshot.servers.get(server), version, asker)?.version;
}

const NOTHING = { tool: undefined, reason: undefined };

function look(
  snapshot: Snapshot,
  ref: ToolRef,
  asker: Asker,
): { readonly tool: Tool | undefined; readonly reason: Choice["reason"] } | undefined {
  const named = ref.kind === "name" ? snapshot.tools.get(ref.name) : undefined;
  const server = ref.kind === "name" ? named?.[0]?.server : ref.server;
  const chosen = choose(snapshot.servers.get(server ?? ""), ref.version, asker);
  if (chosen === undefined) return undefined;
  const { version, reason } = chosen;
  const tool =
    ref.kind === "name" ? named?.find((one) => one.version === version.version) : version.tools.get(ref.name);
  return { tool, reason };
}

type Chosen = { readonly version: ServerVersion; readonly reason: Choice["reason"] };

function choose(server: Server | undefined, asked: string | null, asker: Asker): Chosen | undefined {
  if (server === undefined) return undefined;
  if (asked === null) {
    const { name, reason } = routed(server, asker);
    const version = server.versions.get(name);
    return version === undefined ? undefined : { version, reason };
  }
  const version = server.versions.get(asked) ?? inRange(server, asked);
  return version === undefined ? undefined : { version, reason: "asked" };
}

/** Of those that have ever said what they can do. */
function inRange({ versions }: Server, asked: string): ServerVersion | undefined {
  const known = [...versions.values()].filter(({ state }) => state !== "pending");
  const name = meant(
    known.map(({ version }) => version),
    asked,
  );
  return name === undefined ? undefined : versions.get(name);
}

function routed(server: Server, asker: Asker): { readonly name: string; readonly reason: Choice["reason"] } {
  const { canaries, pins, defaultVersion } = server;
  if (asker !== null) {
    const pin = pins.find((one) => isFor(one, asker));
    if (pin !== undefined) return { name: pin.version, reason: "pin" };
    const canary = canaries.length === 0 ? undefined : placed(canaries)[placeOf(server, asker)];
    if (canary !== undefined) return { name: canary, reason: "canary" };
  }
  return { name: defaultVersion, reason: "default" };
}

/** All that the pin names. */
function isFor({ principal, role, tenant }: Pin, asker: Principal): boolean {
  return (
    (principal === undefined || principal === asker.id || principal === asker.onBehalfOf) &&
    (role === undefined || asker.roles.includes(role)) &&
    (tenant === undefined || tenant === asker.tenant)
  );
}

const keptPlaces = new WeakMap<Server["canaries"], Places>();

/** Who has a place that is nobody's has the default. */
function placed(canaries: Server["canaries"]): Places {
  const before = keptPlaces.get(canaries);
  if (before !== undefined) return before;
  const places = placesOf(canaries);
  keptPlaces.set(canaries, places);
  return places;
}

/** 0 to 99, the same for as long as the two have their names: whoever is among ten of a hundred is among twenty. */
function placeOf({ name }: Server, { id, onBehalfOf }: Principal): number {
  return Number.parseInt(hash("sha256", JSON.stringify([name, onBehalfOf ?? id]), "hex").slice(0, 8), 16) % 100;
}
