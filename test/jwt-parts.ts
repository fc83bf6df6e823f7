/** What the tests of tokens share: an identity with a clock of its own, a snapshot that believes an issuer, a call. */
import { authenticate, createIdentity } from "../src/identity/authenticate.ts";
import type { Identity } from "../src/identity/authenticate.ts";
import type { Issuer } from "../src/config-jwt.ts";
import type { Call, Principal, Snapshot } from "../src/model.ts";
import { silent } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import { fetchDocument } from "../src/upstream/document.ts";
import type { FetchDocument } from "../src/upstream/document.ts";
import { asked, portsAhead } from "./audit-parts.ts";
import { AUDIENCE } from "./support/issuer.ts";
import type { TestIssuer } from "./support/issuer.ts";

export type Bench = {
  readonly identity: Identity;
  readonly skip: (ms: number) => void;
  /** Asks with this token, under this snapshot, at this path. */
  readonly ask: (token: string, inForce: Snapshot, path?: string) => Principal | Promise<Principal>;
  /** As `ask`, and tells what the audit would be told of a refusal. */
  readonly cause: (token: string, inForce: Snapshot, path?: string) => Promise<string>;
};

export function bench(fetching: FetchDocument = fetchDocument, failures = 10_000): Bench {
  const { ports, skip } = portsAhead(silent);
  const identity = createIdentity({ failures, windowMs: 60_000 }, { ...ports, fetchDocument: fetching });
  const ask: Bench["ask"] = (token, inForce, path = "/mcp") =>
    authenticate(identity, callOf(token, inForce, { path, nowMs: ports.clock.nowMs() }));
  const cause: Bench["cause"] = async (token, inForce, path) => {
    const thrown: unknown = await Promise.try(ask, token, inForce, path).then(
      () => null,
      (refusal: unknown) => refusal,
    );
    if (thrown === null) return "let in";
    if (!(thrown instanceof Refusal)) throw new Error("not refused, but broken", { cause: thrown });
    if (thrown.code !== "unauthenticated") return thrown.code;
    return (thrown.detail.cause as Error).message;
  };
  return { identity, skip, ask, cause };
}

export function issuerOf({ issuer }: Pick<TestIssuer, "issuer">, more: Partial<Issuer> = {}): Issuer {
  return {
    issuer,
    audiences: [{ path: "/", accepted: [AUDIENCE] }],
    principal: "/sub",
    prefix: "",
    roles: "/roles",
    admin: false,
    tenant: null,
    claims: [],
    scopes: [],
    algorithms: ["ES256", "RS256", "PS256", "EdDSA"],
    jwks: null,
    allowPrivate: true,
    clockToleranceMs: 0,
    ...more,
  };
}

let revision = 0;

/** Each is a revision of its own. */
export function believing(issuers: readonly Issuer[], more: Partial<Snapshot> = {}): Snapshot {
  return {
    revision: `r${++revision}`,
    parts: [],
    settings: { refusals: "result", disclosure: "open", anonymous: null, issuers },
    tools: new Map(),
    servers: new Map(),
    principals: new Map(),
    roles: { admin: ["keys:write"], analyst: ["files:read", "demo:use"], operator: ["files:write"] },
    keys: new Map(),
    limits: new Map(),
    policy: null,
    ...more,
  };
}

function callOf(token: string, inForce: Snapshot, at: { readonly path: string; readonly nowMs: number }): Call {
  return {
    id: "0",
    traceId: "0",
    spanId: "0",
    parentSpanId: null,
    startedMs: at.nowMs,
    asked: asked({ path: at.path, credential: { kind: "secret", value: token } }),
    operation: "tools/call",
    snapshot: inForce,
    stage: "authenticate",
    principal: null,
    target: null,
    tool: null,
    choice: null,
    arguments: null,
    decision: null,
    shadows: [],
    limit: null,
    executed: "no",
    leave: null,
    attempts: 0,
    beganMs: 0,
    ends: [],
    tries: [],
    instance: null,
    recorded: false,
    facts: null,
    change: null,
  };
}
