/** WHAT is asked for, which version? An unknown name or version is an error, never a fallback (contract §6). */
import type { Call, Snapshot, Tool, ToolRef } from "../model.ts";
import { toolNotFound } from "../refusal.ts";

/** @throws Refusal tool_not_found */
export function resolve(snapshot: Snapshot, ref: ToolRef, call: Call): Tool {
  call.target = { kind: "tool", name: ref.kind === "name" ? ref.name : `${ref.server}/${ref.name}` };
  const tool = ref.kind === "name" ? byName(snapshot, ref) : byUpstreamName(snapshot, ref);
  if (tool === undefined) throw toolNotFound();
  call.target = { kind: "tool", name: tool.name };
  return tool;
}

function byName(snapshot: Snapshot, { name, version }: { name: string; version: string | null }): Tool | undefined {
  const versions = snapshot.tools.get(name);
  const first = versions?.[0];
  if (first === undefined) return undefined;
  const wanted = version ?? snapshot.servers.get(first.server)?.defaultVersion;
  return versions?.find((tool) => sameVersion(tool.version, wanted ?? ""));
}

function byUpstreamName(
  snapshot: Snapshot,
  ref: { server: string; name: string; version: string | null },
): Tool | undefined {
  const server = snapshot.servers.get(ref.server);
  if (server === undefined) return undefined;
  const wanted = ref.version ?? server.defaultVersion;
  const version =
    server.versions.get(wanted) ?? [...server.versions.values()].find((one) => sameVersion(one.version, wanted));
  return version?.tools.get(ref.name);
}

/** `v1.2` and `1.2.0` are one version; any other text matches exactly only. */
export function sameVersion(a: string, b: string): boolean {
  return a === b || (normal(a) !== null && normal(a) === normal(b));
}

function normal(version: string): string | null {
  const match = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?$/.exec(version);
  return match === null ? null : `${Number(match[1])}.${Number(match[2] ?? 0)}.${Number(match[3] ?? 0)}`;
}
