/** Which part of what an administrator named is not there: the server, its version, or the instance? */
import type { Server, ServerVersion, Snapshot } from "../model.ts";
import { hint } from "../nearest.ts";
import { Refusal } from "../refusal.ts";

/** @throws Refusal invalid_request, which says what is near */
export function serverNamed({ servers }: Snapshot, name: string): Server {
  const found = servers.get(name);
  if (found !== undefined) return found;
  throw wrong("There is no such server.", "/server", `no server ${name}${hint(name, servers.keys())}`);
}

/** `version` null: the default. @throws Refusal invalid_request */
export function versionNamed(
  snapshot: Snapshot,
  { server, version }: { readonly server: string; readonly version: string | null },
): ServerVersion {
  const { versions, defaultVersion } = serverNamed(snapshot, server);
  const name = version ?? defaultVersion;
  const found = versions.get(name);
  if (found !== undefined) return found;
  const message = `server ${server} has no version ${name}; it has ${[...versions.keys()].join(", ")}`;
  throw wrong("There is no such server version.", "/version", message);
}

/** By its whole id, or by what is its own of it. */
export function instanceNamed(ids: readonly string[], name: string): string | undefined {
  return ids.find((id) => id === name || ownOf(id) === name);
}

export function noInstance(ids: readonly string[], name: string): Refusal {
  const known = ids.length === 0 ? "; there is none" : `; expected one of ${ids.slice(0, SHOWN_MAX).join(", ")}`;
  const near = hint(name, [...ids.map(ownOf), ...ids]);
  return wrong("There is no such instance.", "/instance", `no instance ${name}${near === "" ? known : near}`);
}

export function notDrained(ids: readonly string[], id: string): Refusal {
  const others = ids.length === 0 ? "no other is, either" : `drained are ${ids.slice(0, SHOWN_MAX).join(", ")}`;
  return wrong("This instance is not drained.", "/instance", `${id} takes calls; ${others}`);
}

const SHOWN_MAX = 10;

function ownOf(id: string): string {
  return id.slice(id.indexOf("#") + 1);
}

function wrong(detail: string, pointer: string, message: string): Refusal {
  return new Refusal("invalid_request", detail, { errors: [{ pointer, message }] });
}
