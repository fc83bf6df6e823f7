/**
 * The nouns, one word for one thing: the contract's §4 in types. No file here imports a room; every
 * file may import these. What surprises: `Call` is the one mutable record, filled in by the stages
 * of a single call and read by its audit record; everything in a `Snapshot` is immutable.
 */
import type { Issuer } from "./config-jwt.ts";
import type { Pin } from "./config-route.ts";
import type { Share } from "./config-share.ts";
import type { Refusal } from "./refusal.ts";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

export const STAGES = [
  "authenticate",
  "resolve",
  "authorize",
  "validate",
  "limit",
  "record",
  "forward",
  "redact",
] as const;
export type Stage = (typeof STAGES)[number];

export const INTERFACES = ["mcp", "rest", "graphql", "ext_authz", "trpc"] as const;
export type Interface = (typeof INTERFACES)[number];

// ---- who asks ----------------------------------------------------------------------------------

/**
 * What was presented. `unread`: the headers were refused before anybody looked for one, so that nobody is told whether
 * it was right. `local`: the owner of the Unix socket `data/admin.sock` (mode 0600).
 */
export type Credential =
  | { readonly kind: "none" }
  | { readonly kind: "unread" }
  | { readonly kind: "secret"; readonly value: string }
  | { readonly kind: "local" };

/** What every request carries, whatever it asks. A door fills it in; nobody believes it before `authenticate`. */
export type Asked = {
  readonly interface: Interface;
  /** MCP revision, e.g. `2026-07-28`; empty where MCP is not spoken. */
  readonly protocol: string;
  /** URL path of the request, without query: `auth.anonymous` is granted by path. */
  readonly path: string;
  readonly ip: string;
  readonly credential: Credential;
  /** W3C trace context as presented (MCP `_meta` before header), or null. */
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  /** The header's, where `_meta` had one too: a call has one parent, the other is a link. */
  readonly linked?: string | null;
  /** Id of a JSON-RPC request, as text. */
  readonly requestId?: string;
  /** Aborted when the caller goes away or cancels. */
  readonly signal: AbortSignal;
};

export type Principal = {
  readonly id: string;
  readonly kind: "user" | "agent";
  readonly roles: readonly string[];
  /** Roles expanded by the configuration's map; sorted, unique. */
  readonly permissions: readonly string[];
  readonly tenant: string;
  /** The user an agent acts for. */
  readonly onBehalfOf: string | null;
  readonly claims: JsonObject;
};

/** An API key as stored: never the secret, only its SHA-256. */
export type Key = {
  readonly id: string;
  readonly principal: string;
  /**
   * `user` acts as `principal`; `agent` is an agent of that name, acting for `onBehalfOf` if given; `sidecar` is a
   * policy engine of ours that follows the control plane, and nobody in the configuration.
   */
  readonly kind: "user" | "agent" | "sidecar";
  readonly onBehalfOf: string | null;
  /** `sha256:` and 64 hex digits, over the whole key text `pc_<id>_<hex>`. */
  readonly hash: string;
  readonly origin: "file" | "issued";
  readonly createdAt: string | null;
  readonly revokedAt: string | null;
};

// ---- what is asked for -------------------------------------------------------------------------

/** A tool by its gateway name, or, on a transparent path, by server and upstream name. */
export type ToolRef =
  | { readonly kind: "name"; readonly name: string; readonly version: string | null }
  | { readonly kind: "upstream"; readonly server: string; readonly name: string; readonly version: string | null };

export type CallRequest = Asked & {
  readonly tool: ToolRef;
  readonly arguments: JsonObject;
  /** The caller's `_meta`, passed on except for reserved keys; null if none. */
  readonly meta: JsonObject | null;
  /** Receives `notifications/progress` params without the token, and whose they are, where the door can pass them on. */
  readonly onProgress: ((params: JsonObject, call: Call) => void) | null;
};

export type Target = {
  readonly kind: "tool" | "prompt" | "resource" | "server" | "change" | "calls";
  readonly name: string;
};

export type InstanceSpec =
  | {
      readonly kind: "stdio";
      /** Stable within a server version, e.g. `files@1.2.0#a.files.internal:8443`; safe to show to operators. */
      readonly id: string;
      readonly command: string;
      readonly args: readonly string[];
      readonly env: { readonly [name: string]: string };
      readonly cwd: string | null;
    }
  | {
      readonly kind: "http";
      readonly id: string;
      readonly url: string;
      readonly headers: { readonly [name: string]: string };
      /** Loopback and private addresses are dialled only where the operator's file says so. */
      readonly allowPrivate: boolean;
      /** How often its name is asked for its addresses, each an instance of its own. */
      readonly resolveMs?: number;
      /** The one of them that this is. */
      readonly address?: string;
    };

export type Era = "legacy" | "modern";

/** What one discovery of one server version brought, as the server said it, unknown fields kept. */
export type Discovery = {
  readonly era: Era;
  /** Negotiated MCP revision. */
  readonly protocol: string;
  readonly serverInfo: JsonObject;
  readonly capabilities: JsonObject;
  readonly instructions: string | null;
  /** Raw tool definitions over all pages, in the server's order. */
  readonly tools: readonly JsonObject[];
};

export type Tool = {
  /** `server@version/upstreamName`. */
  readonly id: string;
  /** Gateway name, `server__tool`. */
  readonly name: string;
  readonly server: string;
  readonly version: string;
  readonly upstreamName: string;
  /** As the server gave it, unknown fields kept. */
  readonly definition: JsonObject;
  /** `sha256:` over the canonical definition, all fields. */
  readonly digest: string;
  /** Set while the definition differs from the accepted one: hidden and refused. */
  readonly quarantined: boolean;
  /** The server did not answer its last discovery: this is its last good list. */
  readonly stale: boolean;
  readonly permissions: readonly string[];
  readonly tags: readonly string[];
  readonly annotations: JsonObject;
  /** Declared by the operator, or `idempotentHint`/`readOnlyHint` of an accepted definition. */
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  /** What a call takes of each limit, unless policy says otherwise. */
  readonly cost: number;
  /** Without a word of progress; null: as long as `timeoutMs`. */
  readonly idleTimeoutMs: number | null;
  /** The tool's own limit from the file (per principal and tool), if any. */
  readonly limits: readonly Limit[];
  /** Those of `limits` that it names, besides. */
  readonly namedLimits: readonly string[];
  /** How much of the arguments the audit keeps. */
  readonly auditArguments: AuditArguments;
  /** The same of the result. */
  readonly auditResults: AuditResults;
  /** The part of the policy document that is the same for every call: built once. */
  readonly policyInput: JsonObject;
};
export type AuditResults = "off" | "digest" | "masked" | "full";
export type AuditArguments = "off" | "digest" | "policy" | "masked" | "full";

export type ServerVersion = {
  readonly server: string;
  readonly version: string;
  readonly isDefault: boolean;
  readonly instances: readonly InstanceSpec[];
  /** null until the first discovery succeeded. */
  readonly discovery: Omit<Discovery, "tools"> | null;
  readonly state: "pending" | "fresh" | "stale";
  readonly discoveredAt: string | null;
  /** By upstream name. */
  readonly tools: ReadonlyMap<string, Tool>;
  /** The accepted definition of a tool, by upstream name, where it is still known: another one is quarantined. */
  readonly accepted: (upstreamName: string) => JsonObject | null;
  /** Tools that the server had under this version and has no more, by upstream name: what was accepted of each, or was there last. */
  readonly gone: () => ReadonlyMap<string, JsonObject>;
};
export type Server = {
  readonly name: string;
  readonly defaultVersion: string;
  /** Who gets another version where none is named: by the first pin that fits, else by share. */
  readonly pins: readonly Pin[];
  readonly canaries: readonly Share[];
  readonly versions: ReadonlyMap<string, ServerVersion>;
};

// ---- what is in force --------------------------------------------------------------------------

export type LimitKey = "principal" | "tenant" | "role" | "tool" | "server" | "version" | "agent";
/**
 * `sliding`: never more than `limit` in any window. `fixed`: in each window, which begins with its first call. `bucket`: a
 * rate, `limit` per window, and `burst` at once. `concurrent`: so many under way at once.
 */
export const LIMIT_KINDS = ["sliding", "fixed", "bucket", "concurrent"] as const;
export type Limit = {
  readonly name: string;
  readonly always: boolean;
  readonly key: readonly LimitKey[];
  readonly kind: (typeof LIMIT_KINDS)[number];
  readonly limit: number;
  /** 0 where `concurrent`. */
  readonly windowMs: number;
  /** Of a bucket; elsewhere `limit`. */
  readonly burst: number;
  /** What to decide while Redis is away: refuse, or count locally. */
  readonly redisDown: "closed" | "local";
  /** Of `limit` and `burst`, what this gateway grants while it counts alone: above 0, at most 1. */
  readonly localShare: number;
};
export type LimitState = {
  readonly name: string;
  /** What may be used at once: of a bucket, its burst. */
  readonly limit: number;
  /** In which all of `limit` comes back; 0 where that is no question of time. */
  readonly windowMs: number;
  readonly remaining: number;
  /** Until a refused call could pass; where nothing remains, until something does; else until all is back. */
  readonly resetMs: number;
};
/** The most that one call can cost. */
export const COST_MAX = 1_000_000;

/** What went wrong in a policy since it was loaded, lists included. */
export type Evaluated = {
  /** Evaluations that gave no value, by why. */
  readonly faults: { readonly [fault in Fault]?: number };
  /** Calls of built-ins whose operands did not fit, and which were undefined. */
  readonly undefinedCalls: number;
  /** Decisions of which the bundle's own mask did not say what to keep out of the log. */
  readonly maskFaults: number;
};
export type Fault = "policy_undefined" | "policy_error" | "policy_trap" | "policy_budget" | "policy_shape";
export type Evaluation =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly fault: Fault; readonly detail: string };

/** A compiled bundle as it is kept and sent: all that an engine needs but the roles. */
export type PolicySource = {
  /** SHA-256 over sources, data and compiler. */
  readonly key: string;
  readonly module: Uint8Array;
  /** The author's, as JSON: it may be megabytes. */
  readonly data: string;
};

/** The enforced bundle, compiled and warm. Side-effect free, and synchronous but for lists. */
export type Policy = {
  /** SHA-256 over its source and the roles. */
  readonly revision: string;
  readonly source: PolicySource;
  /** Paths below `arguments` that its rules read, an empty one being all; null where that is not known. */
  readonly reads: readonly (readonly string[])[] | null;
  /** What its bundle keeps out of the log, asked about OPA's event of a decision, as text; absent where it says nothing. */
  readonly logMask?: (event: string) => Evaluation;
  readonly evaluated: () => Evaluated;
  /** Those that decide beside it, without a say. */
  readonly shadows?: readonly Shadow[];
  /** Value: `{decision, listed}`. */
  readonly decide: (input: JsonObject) => Evaluation;
  /** The same for a use of a tool: `text` is the input document, as policy/input.ts writes it. */
  readonly decideUse: (text: string, about: { readonly principal: Principal; readonly tool: Tool }) => Evaluation;
  /** Value: the indices of `input.tools` that are allowed. Nothing but a fault where it took too many steps to say of all. */
  readonly list: (input: JsonObject) => Promise<Evaluation>;
  /** The same for tools: value, their indices. `ask` writes the input document for those that it is asked about. */
  readonly listTools: (
    ask: (tools: readonly Tool[]) => JsonObject,
    about: { readonly principal: Principal; readonly tools: readonly Tool[] },
  ) => Promise<Evaluation>;
};

/** A bundle that decides beside the enforced one. What it says is recorded and counted, and moves nothing. */
export type Shadow = {
  readonly name: string;
  /** Null where it could not be loaded, as `fault` says: it keeps nothing else from going on. */
  readonly policy: Policy | null;
  readonly fault: string | null;
  /** Of one evaluation. */
  readonly stepsMax: number;
  /** Counts what it said. */
  readonly tell: (call: Call, said: ShadowSaid) => void;
};
/** `terms`: both allow, but not with the same obligations. */
export type Flip = "allow_to_deny" | "deny_to_allow" | "terms";
export type ShadowSaid = {
  readonly bundle: string;
  readonly revision: string;
  readonly decision: Decision;
  /** What it would change; null where it agrees. */
  readonly flip: Flip | null;
  readonly fault: Fault | null;
};

export type Obligations = {
  readonly redact: readonly ({ readonly pattern: string } | { readonly path: string })[];
  readonly mask_audit: readonly string[];
  readonly limits: readonly string[];
  /** Instead of the tool's own. */
  readonly cost: number | null;
  readonly max_result_bytes: number | null;
  readonly rows: "own" | "tenant" | "all" | null;
  /** Another version of the tool's server, or a range. */
  readonly route: { readonly version: string } | null;
};
export type Decision = {
  readonly allow: boolean;
  readonly reasons: readonly string[];
  readonly obligations: Obligations;
};

export type Settings = {
  readonly refusals: "result" | "error";
  readonly disclosure: "open" | "hidden";
  readonly anonymous: { readonly principal: string; readonly paths: readonly string[] } | null;
  readonly issuers: readonly Issuer[];
};

/** One of the texts that a snapshot is made of. */
export type SnapshotPart = {
  /** `settings`, `policy`, `principals/7`, `keys/c`, `server/files@1.2.0`, `discovery/files@1.2.0`. */
  readonly name: string;
  /** Lower-case hex of the SHA-256 of its text. */
  readonly digest: string;
  /** Decides here alone: what a server says that every sidecar runs itself. */
  readonly local: boolean;
  /** JSON. */
  readonly text: () => string;
};

/** All that a call needs, one revision, never changed once made. Read once at a call's start. */
export type Snapshot = {
  /** SHA-256 over its parts, which is all that decides: a record that names it can be judged again. */
  readonly revision: string;
  readonly parts: readonly SnapshotPart[];
  readonly settings: Settings;
  /** By gateway name; every live version of that tool, the default version's first. */
  readonly tools: ReadonlyMap<string, readonly Tool[]>;
  readonly servers: ReadonlyMap<string, Server>;
  readonly principals: ReadonlyMap<string, Principal>;
  readonly roles: { readonly [role: string]: readonly string[] };
  readonly keys: ReadonlyMap<string, Key>;
  readonly limits: ReadonlyMap<string, Limit>;
  /** null while no policy could be compiled: every call is refused `policy_unavailable`. */
  readonly policy: Policy | null;
};

// ---- one call ----------------------------------------------------------------------------------

/** Why this version: the caller's word, the server's route, or policy, which moved the call away `from` another. */
export type Choice = {
  readonly reason: "asked" | "default" | "canary" | "pin" | "policy";
  readonly from: string | null;
};

export type Executed = "no" | "yes" | "unknown";

/** One use of the gateway, from arrival to audit; the stages fill it in, the audit record is made from it. */
export type Call = {
  /** UUIDv7: in every answer, header, log line, span and record. */
  readonly id: string;
  /** 32 hex digits: the caller's trace, or a fresh one. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  readonly parentSpanId: string | null;
  /** Unix epoch, milliseconds with fraction. */
  readonly startedMs: number;
  /** The same moment by the clock that never jumps: `ends` and `tries` count from it. */
  readonly beganMs: number;
  readonly asked: Asked;
  /** A key of OPERATIONS. */
  readonly operation: string;
  readonly snapshot: Snapshot;
  stage: Stage;
  /** Milliseconds until the end of each stage, in the order of STAGES; 0 where it has not ended. */
  readonly ends: number[];
  principal: Principal | null;
  target: Target | null;
  tool: Tool | null;
  choice: Choice | null;
  arguments: JsonObject | null;
  decision: Decision | null;
  /** What the bundles in shadow said to it. */
  shadows: readonly ShadowSaid[];
  /** The tightest of its limits: as charged, or, of a call refused before, as it stands. */
  limit: LimitState | null;
  executed: Executed;
  /** Ends its part in the load; null where it has none. */
  leave: (() => void) | null;
  attempts: number;
  instance: string | null;
  readonly tries: Try[];
  /** Set once an intent is on disk: an outcome must follow. */
  recorded: boolean;
  /** What its intent and its outcome have in common, as the audit wrote it; null before the intent. */
  facts: string | null;
  /** For changes: what was and what is, for the record. */
  change: JsonObject | null;
};

/** One time that a call was sent to an instance. */
export type Try = {
  readonly instance: string;
  /** Milliseconds since the call began. */
  readonly fromMs: number;
  /** 0 while it is not over. */
  toMs: number;
  /** Refusal code; empty while it has not failed. */
  error: string;
};

/** What an upstream answered to `tools/call`: an MCP result, or its own valid JSON-RPC error. */
export type Answer =
  | { readonly kind: "result"; readonly result: JsonObject }
  | {
      readonly kind: "error";
      readonly error: { readonly code: number; readonly message: string; readonly data?: Json };
    };

export type Outcome<Value> =
  | { readonly ok: true; readonly call: Call; readonly value: Value }
  | { readonly ok: false; readonly call: Call; readonly refusal: Refusal };
