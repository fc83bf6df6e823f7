/** Which tools is somebody asking for? By what a list may be narrowed by, before policy says which of them may be seen. */
import type { Snapshot, Tool } from "../model.ts";
import { findVersion } from "./resolve.ts";
import type { Asker } from "./resolve.ts";

export type ToolFilter = {
  readonly server?: string | null;
  /** A version, or a range; null for that which a call would get. `*`: every version. */
  readonly version?: string | null;
  readonly permission?: string | null;
  readonly tag?: string | null;
  /** Also say where servers are, to those who may know. */
  readonly inspect?: boolean;
  /** All or nothing: for a list that somebody else gives, and nobody filters. */
  readonly whole?: boolean;
};
/** Sorted by id. */
export function candidates(snapshot: Snapshot, filter: ToolFilter, asker: Asker): readonly Tool[] {
  const { server, version = null, permission, tag } = filter;
  const chosen = new Map(
    [...snapshot.servers.keys()].map(
      (name) => [name, findVersion(snapshot, { server: name, version }, asker)] as const,
    ),
  );
  const tools = [...snapshot.tools.values()].flat().filter((tool) => {
    if (server != null && tool.server !== server) return false;
    if (permission != null && !tool.permissions.includes(permission)) return false;
    if (tag != null && !tool.tags.includes(tag)) return false;
    return version === "*" || chosen.get(tool.server)?.version === tool.version;
  });
  return tools.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
