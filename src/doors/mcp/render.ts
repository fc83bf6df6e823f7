/**
 * How does an outcome look on the MCP wire? A refused use of a tool is by default a result with `isError`, so that a
 * model can read it and go on; everything else is a JSON-RPC error (contract §6). Upstream results pass as they came.
 */
import { isObject } from "../../json.ts";
import type { Answer, Call, JsonObject, Outcome } from "../../model.ts";
import { REFUSALS } from "../../refusal.ts";
import type { Refusal } from "../../refusal.ts";
import { callHeaders, refusalBody } from "../render.ts";
import { errorText, MODERN_PROTOCOL, resultText } from "./message.ts";
import type { Id, Reply } from "./message.ts";

/** All in which the eras differ when they answer. */
export type Dialect = {
  readonly protocol: string;
  readonly finish: (result: JsonObject, serverInfo: JsonObject) => JsonObject;
  /** What a list, or a discovery, carries besides its own fields. */
  readonly cacheable: (serverInfo: JsonObject) => JsonObject;
  /** HTTP status of an error that the upstream itself gave. */
  readonly statusOfUpstream: (code: number) => number;
};
export type Refused = { readonly call: Call; readonly refusal: Refusal };

const JSON_TYPE = { "content-type": "application/json" } as const;
const SERVER_INFO = "io.modelcontextprotocol/serverInfo";
const MISSING_CAPABILITY = -32021;

/** How long a client may believe a list. Short, for policy may change at any moment; calls are decided anew anyway. */
const LIST_MS = 5_000;

export const LEGACY: Omit<Dialect, "protocol"> = {
  finish: legacyResult,
  cacheable: () => ({}),
  statusOfUpstream: () => 200,
};
export const MODERN: Dialect = {
  protocol: MODERN_PROTOCOL,
  finish: modernResult,
  // private: which tools are on a list depends on who asks
  cacheable: (serverInfo) => ({
    resultType: "complete",
    ttlMs: LIST_MS,
    cacheScope: "private",
    _meta: { [SERVER_INFO]: serverInfo },
  }),
  statusOfUpstream: (code) => (code === MISSING_CAPABILITY ? 400 : 200),
};

export function accepted(call: Call): Reply {
  return { status: 202, headers: callHeaders(call), body: "" };
}

export function resultReply(id: Id, result: string, call: Call): Reply {
  return { status: 200, headers: { ...JSON_TYPE, ...callHeaders(call) }, body: resultText(id, result) };
}

/** `serverInfo` is whose results these are, `own` the gateway, whose refusals are its own. */
export type Use = {
  readonly id: Id;
  readonly dialect: Dialect;
  readonly serverInfo: JsonObject;
  readonly own: JsonObject;
};

/** The answer to one use of a tool. */
export function useReply({ id, dialect, serverInfo, own }: Use, outcome: Outcome<Answer>): Reply {
  const { call } = outcome;
  if (!outcome.ok) {
    const { refusal } = outcome;
    if (refusal.detail.upstream !== undefined)
      return upstreamError(id, dialect, { call, error: refusal.detail.upstream });
    // a client gets itself another token where it sees the status; a model can do nothing about it
    const isScope = refusal.detail.scopes !== undefined;
    const inResult = REFUSALS[refusal.code].inResult && call.snapshot.settings.refusals === "result" && !isScope;
    if (!inResult) return refusalReply(id, outcome);
    const headers = { ...JSON_TYPE, ...callHeaders(call, refusal) };
    return {
      status: 200,
      headers,
      body: resultText(id, JSON.stringify(dialect.finish(refusedResult(outcome), own))),
    };
  }
  if (outcome.value.kind === "error") return upstreamError(id, dialect, { call, error: outcome.value.error });
  return resultReply(id, JSON.stringify(dialect.finish(outcome.value.result, serverInfo)), call);
}

/** A refusal as a JSON-RPC error, with the HTTP status that the transport wants. */
export function refusalReply(id: Id | null, { call, refusal }: Refused): Reply {
  const row = REFUSALS[refusal.code];
  const { rpc, status, scopes } = refusal.detail;
  const http =
    refusal.code === "invalid_request" && status !== undefined ? status : scopes !== undefined ? row.http : row.mcpHttp;
  const error = { code: rpc?.code ?? row.rpc, message: refusal.message, data: rpc?.data ?? refusalBody(refusal, call) };
  const allow: { allow?: string } = http === 405 ? { allow: "POST" } : {};
  return {
    status: http,
    headers: { ...JSON_TYPE, ...allow, ...callHeaders(call, refusal) },
    body: errorText(id, error),
  };
}

type UpstreamError = { readonly call: Call; readonly error: Extract<Answer, { kind: "error" }>["error"] };

function upstreamError(id: Id, dialect: Dialect, { call, error }: UpstreamError): Reply {
  return {
    status: dialect.statusOfUpstream(error.code),
    headers: { ...JSON_TYPE, ...callHeaders(call) },
    body: errorText(id, error),
  };
}

const DID_RUN = {
  no: "The tool did not run.",
  yes: "The tool did run.",
  unknown: "Whether the tool ran is unknown.",
} as const;

function refusedResult({ call, refusal }: Refused): JsonObject {
  const { reasons = [], errors = [], retryAfterMs } = refusal.detail;
  const lines = [
    refusal.message,
    ...reasons.map((reason) => `Reason: ${reason}`),
    ...errors.map(({ pointer, message }) => `${pointer === "" ? "arguments" : pointer}: ${message}`),
    DID_RUN[call.executed],
    ...(retryAfterMs === undefined ? [] : [`Try again in ${Math.ceil(retryAfterMs / 1000)} s.`]),
    `(${refusal.code}, call ${call.id})`,
  ];
  const content = [{ type: "text", text: lines.join("\n") }];
  return { content, isError: true, _meta: { "portcullis/refusal": refusalBody(refusal, call) } };
}

/** `resultType` is the later revision's word: an earlier one's strict reader would stumble over it. */
function legacyResult(result: JsonObject): JsonObject {
  if (result["resultType"] === undefined) return result;
  const { resultType: _, ...rest } = result;
  return rest;
}

function modernResult(result: JsonObject, serverInfo: JsonObject): JsonObject {
  const meta = result["_meta"];
  return { resultType: "complete", ...result, _meta: { [SERVER_INFO]: serverInfo, ...(isObject(meta) ? meta : {}) } };
}
