/** What is a caller told who may not in for want of a credential, or of a scope? RFC 6750, RFC 9728, the same at every door. */
import { resourceAt, metadataUrl } from "../identity/resource.ts";
import type { Call } from "../model.ts";
import type { Refusal } from "../refusal.ts";

/** The value of `WWW-Authenticate`, or null where there is nothing to ask for. */
export function challengeOf({ asked, snapshot }: Call, { code, detail }: Refusal): string | null {
  if (code !== "unauthenticated" && detail.scopes === undefined) return null;
  const { issuers } = snapshot.settings;
  const parts = ['Bearer realm="portcullis"'];
  // administration is no resource that an agent should find
  const resource = asked.interface === "trpc" ? null : resourceAt(issuers, asked.path);
  const scopes = detail.scopes ?? resource?.scopes ?? [];
  if (detail.scopes !== undefined) parts.push('error="insufficient_scope"');
  else if (resource !== null && asked.credential.kind === "secret") parts.push('error="invalid_token"');
  if (scopes.length > 0) parts.push(`scope="${scopes.join(" ")}"`);
  if (resource !== null) parts.push(`resource_metadata="${metadataUrl(resource)}"`);
  return parts.join(", ");
}
