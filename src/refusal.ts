/**
 * Every way the gateway says no, once, with the code that each wire expects (contract §6).
 * A stage throws a Refusal; `audited()` alone catches it; a door only renders it.
 */
import type { Json } from "./model.ts";

/**
 * `http`: REST status. `mcpHttp`: HTTP status at the MCP door. `rpc`: JSON-RPC code. `inResult`: marked R in the
 * contract, a result with `isError` unless `refusals: error`. `graphql`: extensions.code is the code itself.
 */
type Row = {
  readonly http: number;
  readonly mcpHttp: number;
  readonly rpc: number;
  readonly inResult: boolean;
  readonly trpc:
    | "UNAUTHORIZED"
    | "FORBIDDEN"
    | "NOT_FOUND"
    | "CONFLICT"
    | "BAD_REQUEST"
    | "PAYLOAD_TOO_LARGE"
    | "TOO_MANY_REQUESTS"
    | "CLIENT_CLOSED_REQUEST"
    | "SERVICE_UNAVAILABLE"
    | "GATEWAY_TIMEOUT"
    | "BAD_GATEWAY"
    | "INTERNAL_SERVER_ERROR";
  readonly retryable: boolean;
  readonly title: string;
};

// one refusal, one row
// oxfmt-ignore
export const REFUSALS = {
  unauthenticated:      { http: 401, mcpHttp: 401, rpc: -31401, inResult: false, trpc: "UNAUTHORIZED",          retryable: false, title: "No or unknown credential" },
  forbidden:            { http: 403, mcpHttp: 200, rpc: -31403, inResult: true,  trpc: "FORBIDDEN",             retryable: false, title: "Policy does not allow this" },
  tool_not_found:       { http: 404, mcpHttp: 200, rpc: -32602, inResult: false, trpc: "NOT_FOUND",             retryable: false, title: "No such server, tool or version" },
  tool_quarantined:     { http: 409, mcpHttp: 200, rpc: -31409, inResult: true,  trpc: "CONFLICT",              retryable: false, title: "The tool's definition changed without approval" },
  invalid_arguments:    { http: 400, mcpHttp: 200, rpc: -32602, inResult: true,  trpc: "BAD_REQUEST",           retryable: false, title: "The tool's input schema refuses these arguments" },
  invalid_request:      { http: 400, mcpHttp: 400, rpc: -32600, inResult: false, trpc: "BAD_REQUEST",           retryable: false, title: "Malformed request" },
  payload_too_large:    { http: 413, mcpHttp: 413, rpc: -31413, inResult: false, trpc: "PAYLOAD_TOO_LARGE",     retryable: false, title: "The body is too large" },
  rate_limited:         { http: 429, mcpHttp: 200, rpc: -31429, inResult: true,  trpc: "TOO_MANY_REQUESTS",     retryable: true,  title: "Too many calls" },
  cancelled:            { http: 499, mcpHttp: 200, rpc: -31499, inResult: false, trpc: "CLIENT_CLOSED_REQUEST", retryable: true,  title: "The caller went away or cancelled" },
  overloaded:           { http: 503, mcpHttp: 503, rpc: -31503, inResult: false, trpc: "SERVICE_UNAVAILABLE",   retryable: true,  title: "Shed before any work was done" },
  upstream_unavailable: { http: 503, mcpHttp: 200, rpc: -31503, inResult: true,  trpc: "SERVICE_UNAVAILABLE",   retryable: true,  title: "No healthy instance" },
  upstream_timeout:     { http: 504, mcpHttp: 200, rpc: -31504, inResult: true,  trpc: "GATEWAY_TIMEOUT",       retryable: false, title: "The server did not answer in time" },
  upstream_error:       { http: 502, mcpHttp: 200, rpc: -31502, inResult: true,  trpc: "BAD_GATEWAY",           retryable: false, title: "The server broke the protocol" },
  input_required:       { http: 409, mcpHttp: 200, rpc: -31409, inResult: true,  trpc: "CONFLICT",              retryable: false, title: "The tool asks something that this door cannot ask" },
  conflict:             { http: 409, mcpHttp: 200, rpc: -31409, inResult: false, trpc: "CONFLICT",              retryable: true,  title: "A change against an older revision" },
  policy_unavailable:   { http: 503, mcpHttp: 200, rpc: -31503, inResult: true,  trpc: "SERVICE_UNAVAILABLE",   retryable: true,  title: "No policy is in force" },
  audit_unavailable:    { http: 503, mcpHttp: 200, rpc: -31503, inResult: true,  trpc: "SERVICE_UNAVAILABLE",   retryable: true,  title: "The record could not be written" },
  internal:             { http: 500, mcpHttp: 200, rpc: -32603, inResult: false, trpc: "INTERNAL_SERVER_ERROR", retryable: false, title: "A fault of the gateway" },
} as const satisfies Record<string, Row>;

export type RefusalCode = keyof typeof REFUSALS;

/** What an answer may say besides its code. All of it is ours or policy's: never upstream text, never a cause. */
export type RefusalDetail = {
  /** Policy's reasons, or one of the `policy_*` faults. */
  readonly reasons?: readonly string[];
  /** JSON pointers into the arguments, each with what is wrong there. */
  readonly errors?: readonly { readonly pointer: string; readonly message: string }[];
  readonly retryAfterMs?: number;
  /** What a token must have and this one has not: `forbidden` as RFC 6750 means it, 403 at every door. */
  readonly scopes?: readonly string[];
  /** `invalid_request` has several REST statuses: 400, 403, 404, 405, 406, 415. */
  readonly status?: number;
  /** JSON-RPC code that the MCP specification fixes for this case, e.g. -32020, and its `data`. */
  readonly rpc?: { readonly code: number; readonly data?: Json };
  /** An upstream's own valid JSON-RPC error: passed to MCP callers as it is, to no other. */
  readonly upstream?: { readonly code: number; readonly message: string; readonly data?: Json };
  readonly cause?: unknown;
};

/** Thrown by any stage; caught once. `message` is constant text that may be shown to the caller. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: RefusalCode;
  readonly detail: RefusalDetail;

  constructor(code: RefusalCode, message: string, detail: RefusalDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.detail = detail;
  }

  /** A bug is a refusal too: the caller sees `internal`, the log sees the cause. */
  static from(thrown: unknown): Refusal {
    if (thrown instanceof Refusal) return thrown;
    return new Refusal("internal", "The gateway failed.", { cause: thrown });
  }
}

/** One text for a tool that is not there and one that is not shown: the two must look alike to the byte. */
export function toolNotFound(): Refusal {
  return new Refusal("tool_not_found", "There is no such server, tool or version.");
}
