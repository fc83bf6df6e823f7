/**
 * Envoy's check over gRPC: attributes of the request in, and an answer that Envoy carries out. What surprises: the body
 * counts only as `raw_body`, for the text in `body` is mended where it was no UTF-8, and then it is not what the server
 * will read. A message that cannot be read is a refusal like any other.
 */
import { isIP } from "node:net";
import type { Gateway } from "../../gateway.ts";
import type { Call, Json, Outcome } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { checkType, parseBody, tooLarge } from "../body.ts";
import type { Headers } from "../exchange.ts";
import { checkHeaders, credentialOf, readHeaders } from "../headers.ts";
import type { Gatekeeping } from "../headers.ts";
import { callHeaders, replyProblem } from "../render.ts";
import { check, checkWhole, partial, passedOn, refuseCheck, REMOVED } from "./check.ts";
import type { Question } from "./check.ts";
import type { CheckRequest, CheckResponse, HeaderValueOption, HttpRequest, Struct } from "./proto.ts";

export type GrpcOptions = Gatekeeping & { readonly bodyBytesMax: number };
/** `request` is null where the bytes were no CheckRequest. */
export type Received = {
  readonly request: CheckRequest | null;
  readonly peer: () => string;
  readonly signal: AbortSignal;
};

export async function checkOverGrpc(
  gateway: Gateway,
  options: GrpcOptions,
  received: Received,
): Promise<CheckResponse> {
  const http = received.request?.attributes?.request?.http ?? null;
  const { headers, duplicate } = readHeaders(http === null ? [] : pairsOf(http));
  const question = questionOf(received, http, headers);
  try {
    if (http === null) throw new Refusal("invalid_request", "This is not a check as this gateway reads it.");
    checkHeaders({ headers, duplicate, local: false }, options);
    question.credential = credentialOf(headers, false);
    question.body = bodyOf(http, headers, options.bodyBytesMax);
  } catch (thrown) {
    return render(await refuseCheck(gateway, question, Refusal.from(thrown)));
  }
  return render(await check(gateway, question));
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function questionOf(
  { request, peer, signal }: Received,
  http: HttpRequest | null,
  headers: Headers,
): Mutable<Question> {
  const { source, context_extensions: context = {}, metadata_context: metadata } = request?.attributes ?? {};
  const { "portcullis.server": server, "portcullis.version": version } = context;
  const address = source?.address?.socket_address?.address ?? "";
  return {
    method: http?.method ?? "",
    headers,
    body: undefined,
    filter: filterOf(metadata?.filter_metadata?.["envoy.filters.http.mcp"]),
    place: server === undefined ? null : version === undefined ? server : `${server}@${version}`,
    ip: isIP(address) === 0 ? peer() : address,
    credential: { kind: "unread" },
    signal,
  };
}

function filterOf(metadata: Struct | undefined): Question["filter"] {
  if (metadata === undefined) return null;
  const { method, params } = metadata.fields ?? {};
  const name = params?.structValue?.fields?.["name"]?.stringValue;
  return { method: method?.stringValue ?? null, name: name ?? null };
}

/** `header_map` keeps apart what `headers` has joined; Envoy sends one of the two. Host is what it routes by. */
function pairsOf({ headers = {}, header_map: map, host = "" }: HttpRequest): readonly string[] {
  const pairs = ["host", host];
  const add = (name: string, value: string): void => void (name.toLowerCase() === "host" || pairs.push(name, value));
  for (const name in headers) add(name, headers[name] as string);
  for (const { key = "", value = "", raw_value: raw } of map?.headers ?? [])
    add(key, raw?.length ? raw.toString("latin1") : value);
  return pairs;
}

/** @throws Refusal */
function bodyOf(
  { body, raw_body: bytes, size = -1 }: HttpRequest,
  headers: Headers,
  bytesMax: number,
): Json | undefined {
  if (body?.length) throw new Refusal("invalid_request", "The body must come as bytes: set pack_as_bytes.");
  const length = headers["content-length"];
  if (bytes === undefined || bytes.length === 0) {
    if (Number(length ?? 0) > 0 || size > 0) throw partial();
    return undefined;
  }
  checkWhole(headers);
  if ((length !== undefined && length !== String(bytes.length)) || (size !== -1 && size !== bytes.length))
    throw partial();
  if (bytes.length > bytesMax) throw tooLarge();
  checkType(headers);
  return parseBody(bytes);
}

const UNAUTHENTICATED = 16;
const PERMISSION_DENIED = 7;

function render(outcome: Outcome<unknown>): CheckResponse {
  const { call } = outcome;
  const dynamic_metadata = metadataOf(call, outcome.ok ? "allow" : "deny");
  if (outcome.ok) {
    const ok_response = {
      headers: options(passedOn(call)),
      headers_to_remove: REMOVED,
      response_headers_to_add: options(callHeaders(call)),
    };
    return { status: { code: 0 }, ok_response, dynamic_metadata };
  }
  const code = outcome.refusal.code === "unauthenticated" ? UNAUTHENTICATED : PERMISSION_DENIED;
  let denied_response: CheckResponse["denied_response"];
  const reply = (status: number, headers: { readonly [name: string]: string }, body: string): void => {
    denied_response = { status: { code: knownToEnvoy(status) }, headers: options(headers), body };
  };
  replyProblem({ reply }, outcome);
  return { status: { code }, denied_response, dynamic_metadata };
}

/** Envoy refuses an answer with a status that it does not know, 499 for one, and one that is no refusal is none of ours. */
function knownToEnvoy(status: number): number {
  return status >= 400 && status !== 499 ? status : 403;
}

function options(headers: { readonly [name: string]: string }): HeaderValueOption[] {
  return Object.entries(headers).map(([key, value]) => ({ header: { key, value } }));
}

/** For access logs and filters that come after, under `envoy.filters.http.ext_authz`. */
function metadataOf({ id, principal, tool }: Call, decision: "allow" | "deny"): Struct {
  const said = {
    call_id: id,
    principal: principal?.id,
    tool: tool?.upstreamName,
    server: tool?.server,
    version: tool?.version,
  };
  const known = Object.entries({ ...said, decision }).filter(([, value]) => value !== undefined);
  return { fields: Object.fromEntries(known.map(([name, stringValue]) => [name, { stringValue }])) };
}
