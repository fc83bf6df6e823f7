/**
 * Which server does this path speak for, and who does it say it is? `/mcp` is the gateway itself, with every server's
 * tools under their gateway names; `/mcp/{server}` and `/mcp/{server}@{version}` are one server as it is.
 */
import type { JsonObject, ServerVersion, Snapshot, ToolRef } from "../../model.ts";
import { findVersion } from "../../registry/resolve.ts";
import type { Asker } from "../../registry/resolve.ts";

/** `version` null: as the server's route has it for whoever asks. */
export type Endpoint = { readonly server: string | null; readonly version: string | null };

const GATEWAY: Endpoint = { server: null, version: null };

/** Null for a path below `/mcp/` that can name no server. */
export function endpointOf(path: string): Endpoint | null {
  if (path === "/mcp") return GATEWAY;
  const match = /^\/mcp\/([a-z][a-z0-9-]{0,23})(?:(?:@|%40)([^/]{1,192}))?$/i.exec(path);
  const [, server, version] = match ?? [];
  if (server === undefined) return null;
  try {
    return { server, version: version === undefined ? null : decodeURIComponent(version) };
  } catch {
    return null;
  }
}

/** Undefined where the endpoint names a server or version that is not there, and for the gateway itself. */
export function versionAt(snapshot: Snapshot, { server, version }: Endpoint, asker: Asker): ServerVersion | undefined {
  return server === null ? undefined : findVersion(snapshot, { server, version }, asker);
}

/** `asked` is the version named in the call's `_meta`; one in the path comes first. */
export function toolRef({ server, version }: Endpoint, name: string, asked: string | null): ToolRef {
  return server === null
    ? { kind: "name", name, version: asked }
    : { kind: "upstream", server, name, version: version ?? asked };
}

export type Introduction = { readonly serverInfo: JsonObject; readonly instructions: string | null };

/** A transparent endpoint introduces its server in the server's own words; `own` is the gateway's. */
export function introduce(
  { snapshot, principal }: { readonly snapshot: Snapshot; readonly principal: Asker },
  endpoint: Endpoint,
  own: JsonObject,
): Introduction {
  const found = versionAt(snapshot, endpoint, principal);
  if (found === undefined) return { serverInfo: own, instructions: null };
  const { discovery, server: name, version } = found;
  if (discovery === null) return { serverInfo: { name, version }, instructions: null };
  const named = typeof discovery.serverInfo["name"] === "string" && typeof discovery.serverInfo["version"] === "string";
  return { serverInfo: named ? discovery.serverInfo : { name, version }, instructions: discovery.instructions };
}
