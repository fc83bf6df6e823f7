/** WHAT is asked for, which version? An unknown name or version is an error, never a fallback (contract §6). */
import type { Call, ServerVersion, Snapshot, Tool, ToolRef } from "../model.ts";
import { toolNotFound } from "../refusal.ts";

/** @throws Refusal tool_not_found */
export function resolve(snapshot: Snapshot, ref: ToolRef, call: Call): Tool {
  call.target = { kind: "tool", name: ref.kind === "name" ? ref.name : `${ref.server}/${ref.name}` };
  const tool = find(snapshot, ref);
  if (tool === undefined) throw toolNotFound();
  call.target = { kind: "tool", name: tool.name };
  return tool;
}

/** The tool as this snapshot has it, whoever asks; undefined if it is not there. */
export function find(snapshot: Snapshot, ref: ToolRef): Tool | undefined {
  if (ref.kind === "upstream") return findVersion(snapshot, ref)?.tools.get(ref.name);
  const versions = snapshot.tools.get(ref.name);
  const first = versions?.[0];
  if (versions === undefined || first === undefined) return undefined;
  return wanted(versions, ref.version ?? snapshot.servers.get(first.server)?.defaultVersion ?? "");
}

/** `version` null is the server's default; undefined if there is no such server or version. */
export function findVersion(
  snapshot: Snapshot,
  { server, version }: { readonly server: string; readonly version: string | null },
): ServerVersion | undefined {
  const found = snapshot.servers.get(server);
  if (found === undefined) return undefined;
  const name = version ?? found.defaultVersion;
  return found.versions.get(name) ?? wanted([...found.versions.values()], name);
}

/** `1` and `1.0.0` may both be there: who spells out one of them gets that one. */
function wanted<One extends { readonly version: string }>(versions: readonly One[], name: string): One | undefined {
  return versions.find(({ version }) => version === name) ?? versions.find((one) => sameVersion(one.version, name));
}

/** `v1.2` and `1.2.0` are one version; any other text matches exactly only. */
export function sameVersion(a: string, b: string): boolean {
  return a === b || (normal(a) !== null && normal(a) === normal(b));
}

function normal(version: string): string | null {
  const match = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?$/.exec(version);
  return match === null ? null : `${Number(match[1])}.${Number(match[2] ?? 0)}.${Number(match[3] ?? 0)}`;
}
