/**
 * May this request be read at all? Headers that matter occur exactly once (node folds or drops duplicates, and two
 * readers that pick different ones are a bypass), Host and Origin are on the list, and bodies come unencoded.
 */
import type { Credential } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Headers } from "./exchange.ts";

export type Gatekeeping = {
  /** Host names, lower case, without port, besides loopback. */
  readonly hosts: readonly string[];
  /** Further Origins, exactly as browsers send them. */
  readonly origins: readonly string[];
};

const ONCE = new Set([
  "authorization",
  "x-api-key",
  "host",
  "content-length",
  "content-type",
  "content-encoding",
  "transfer-encoding",
  "origin",
  "accept",
  "traceparent",
  "tracestate",
  "mcp-protocol-version",
  "mcp-method",
  "mcp-name",
  "mcp-session-id",
  "last-event-id",
]);
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** One pass over node's raw pairs: names in lower case, and the first name that must not but does occur twice. */
export function readHeaders(raw: readonly string[]): { readonly headers: Headers; readonly duplicate: string | null } {
  const headers: { [name: string]: string } = Object.create(null) as { [name: string]: string };
  let duplicate: string | null = null;
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase();
    const value = raw[at + 1] as string;
    const before = headers[name];
    if (before !== undefined && (ONCE.has(name) || name.startsWith("mcp-param-"))) duplicate ??= name;
    headers[name] = before === undefined ? value : `${before}, ${value}`;
  }
  return { headers, duplicate };
}

type Checked = { readonly headers: Headers; readonly duplicate: string | null; readonly local: boolean };

/** @throws Refusal invalid_request */
export function checkHeaders({ headers, duplicate, local }: Checked, { hosts, origins }: Gatekeeping): void {
  if (duplicate !== null) throw new Refusal("invalid_request", `The header ${duplicate} must occur once.`);
  const host = (headers["host"] ?? "").toLowerCase().replace(/:\d+$/, "");
  if (!local && !LOOPBACK.has(host) && !hosts.includes(host)) {
    throw new Refusal("invalid_request", "This gateway does not answer to that Host.", { status: 403 });
  }
  const { origin } = headers;
  if (origin !== undefined && !origins.includes(origin) && !isLoopbackOrigin(origin)) {
    throw new Refusal("invalid_request", "This gateway does not answer to that Origin.", { status: 403 });
  }
  if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity") {
    throw new Refusal("invalid_request", "The body must come without Content-Encoding.", { status: 415 });
  }
  // gzip, chunked: a coding that node takes off half, and another reader takes off whole
  if (headers["transfer-encoding"] !== undefined && headers["transfer-encoding"].toLowerCase() !== "chunked") {
    throw new Refusal("invalid_request", "The body must come chunked or with its length.", { status: 415 });
  }
}

function isLoopbackOrigin(origin: string): boolean {
  return /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/.test(origin);
}

/** @throws Refusal invalid_request where two credentials disagree */
export function credentialOf(headers: Headers, local: boolean): Credential {
  const key = headers["x-api-key"];
  const bearer = /^Bearer +([^\s]+) *$/i.exec(headers["authorization"] ?? "")?.[1];
  if (key !== undefined && bearer !== undefined && key !== bearer) {
    throw new Refusal("invalid_request", "x-api-key and Authorization name different credentials.");
  }
  const value = key ?? bearer;
  if (value !== undefined) return { kind: "secret", value: value.slice(0, 8192) };
  return local && headers["authorization"] === undefined ? { kind: "local" } : { kind: "none" };
}
