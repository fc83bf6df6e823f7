/**
 * Which audience counts at a path, and whom does a client ask for a token? RFC 8707 and RFC 9728. What surprises: a
 * resource is named by the operator's file alone; Host and path of a request are a stranger's, and would send a client
 * wherever the stranger likes.
 */
import type { Issuer } from "../config-jwt.ts";

export const WELL_KNOWN = "/.well-known/oauth-protected-resource";

export type Resource = {
  /** Its URL, which is the audience of its tokens. */
  readonly resource: string;
  readonly issuers: readonly string[];
  readonly scopes: readonly string[];
};

export function acceptedAt({ audiences }: Issuer, path: string): readonly string[] {
  for (const { path: own, accepted } of audiences) if (isAtOrBelow(path, own)) return accepted;
  return [];
}

/** What answers at this path of ours; null where no audience there is a URL. */
export function resourceAt(issuers: readonly Issuer[], path: string): Resource | null {
  const audiences = issuers.flatMap((issuer) => acceptedAt(issuer, path).slice(0, 1));
  return resourceOf(issuers, audiences.find(isUrl));
}

/** What a client means that asks for the metadata of this path, which is the path of the resource's own URL. */
export function resourceNamed(issuers: readonly Issuer[], path: string): Resource | null {
  if (path === "") return resourceAt(issuers, "/");
  const audiences = issuers.flatMap((issuer) => issuer.audiences.map(({ accepted }) => accepted[0])).filter(isUrl);
  const fitting = audiences.filter((audience) => isAtOrBelow(path, new URL(audience).pathname));
  return resourceOf(issuers, fitting.toSorted((a, b) => b.length - a.length)[0]);
}

/** RFC 9728 §3.1: the well-known name goes before the resource's path. */
export function metadataUrl({ resource }: Resource): string {
  const { origin, pathname, search } = new URL(resource);
  return `${origin}${WELL_KNOWN}${pathname === "/" ? "" : pathname}${search}`;
}

function resourceOf(issuers: readonly Issuer[], resource: string | undefined): Resource | null {
  if (resource === undefined) return null;
  const own = issuers.filter(({ audiences }) => audiences.some(({ accepted }) => accepted[0] === resource));
  const scopes = [...new Set(own.flatMap((one) => one.scopes))];
  return { resource, issuers: own.map(({ issuer }) => issuer), scopes };
}

/** `/mcp/files@1.2.0` belongs to `/mcp/files`: it is the same server. */
function isAtOrBelow(path: string, place: string): boolean {
  const own = place.replace(/(?<=.)\/$/, "");
  if (own === "/" || path === own) return true;
  return path.startsWith(own) && "/@%".includes(path.charAt(own.length));
}

function isUrl(audience: string): boolean {
  return /^https?:\/\//.test(audience) && URL.canParse(audience);
}
