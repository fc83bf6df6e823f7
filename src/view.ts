/**
 * One look at what is in force, top to bottom: authenticate → authorize → read. A view shows only what policy lets its
 * principal see; a refused one is recorded like a refused call. Lists come from the snapshot, never from the servers.
 */
import { noRevision } from "./registry/absent.ts";
import { audited } from "./audit/record.ts";
import type { SinkStatus } from "./audit/sinks.ts";
import { maskedConfig } from "./config-mask.ts";
import type { Check, Gateway, Metric } from "./gateway.ts";
import { authenticate } from "./identity/authenticate.ts";
import { peek } from "./limits/limit.ts";
import { enter, leave } from "./limits/load.ts";
import { totalsOf } from "./limits/totals.ts";
import type { LimitTotal } from "./limits/totals.ts";
import type {
  Asked,
  Call,
  Decision,
  JsonObject,
  Key,
  LimitState,
  Outcome,
  Principal,
  ServerVersion,
  Snapshot,
  Tool,
  ToolRef,
} from "./model.ts";
import type { OperationName } from "./operations.ts";
import { allVisible, authorizeOperation, judge, may, visibleTools } from "./policy/authorize.ts";
import type { Judgement } from "./policy/authorize.ts";
import { awaiting } from "./registry/awaiting.ts";
import type { ShownChange } from "./registry/awaiting.ts";
import { candidates } from "./registry/candidates.ts";
import type { ToolFilter } from "./registry/candidates.ts";
import { shown, stateAt } from "./registry/changes.ts";
import { listSection } from "./registry/effect.ts";
import type { Change } from "./registry/changes.ts";
import type { Listed } from "./registry/effect.ts";
import { askerOf, findVersion, reroute, resolve } from "./registry/resolve.ts";
import { diffTools } from "./registry/tool-diff.ts";
import { faults } from "./registry/validate.ts";
import { toolNotFound } from "./refusal.ts";
import { urlsOf } from "./snapshot/published.ts";
import type { Logged } from "./snapshot/store.ts";
import { inspected } from "./upstream/inspected.ts";
import type { InspectedServer } from "./upstream/inspected.ts";

export type { ShownChange, ToolFilter };

export type VisibleTools = {
  readonly tools: readonly Tool[];
  readonly snapshot: Snapshot;
  readonly principal: Principal;
  /** URL by `server@version`; null unless asked for by one who may inspect servers. */
  readonly urls: ReadonlyMap<string, string> | null;
};

export function identify(
  gateway: Gateway,
  asked: Asked,
): Promise<Outcome<{ principal: Principal; snapshot: Snapshot }>> {
  return viewed(gateway, asked, "principal/read", (call, principal) => ({ principal, snapshot: call.snapshot }));
}

/** Sorted by id. @see ToolFilter */
export function listTools(gateway: Gateway, asked: Asked, filter: ToolFilter): Promise<Outcome<VisibleTools>> {
  return viewed(gateway, asked, "tools/list", async (call, principal) => {
    const { snapshot } = call;
    const tools = await (filter.whole === true ? allVisible : visibleTools)(
      call,
      candidates(snapshot, filter, askerOf(call)),
    );
    const urls = filter.inspect === true && may(call, "servers/inspect") ? urlsOf(snapshot) : null;
    return { tools, snapshot, principal, urls };
  });
}

/** Every tool, hidden and quarantined ones included, for those who may inspect servers. Sorted by id. */
export function inspectTools(
  gateway: Gateway,
  asked: Asked,
  filter: ToolFilter,
): Promise<Outcome<Pick<VisibleTools, "tools" | "snapshot">>> {
  return viewed(gateway, asked, "servers/inspect", (call) => {
    authorizeOperation(call, { kind: "server", name: "*" });
    return { tools: candidates(call.snapshot, filter, null), snapshot: call.snapshot };
  });
}

/**
 * What changed between two versions of a server, in the tools that its principal may see. Without versions: what awaits
 * approval or is gone, for those who may inspect servers. Sorted by tool.
 */
export function diffServer(
  gateway: Gateway,
  asked: Asked,
  { server, between }: { readonly server: string; readonly between: readonly [string, string] | null },
): Promise<Outcome<{ readonly changes: readonly ShownChange[] }>> {
  return viewed(gateway, asked, "tools/diff", async (call) => {
    const { snapshot } = call;
    const inspects = may(call, "servers/inspect");
    const versions = snapshot.servers.get(server)?.versions;
    if (between === null) {
      const all = candidates(snapshot, { server, version: "*" }, null);
      // a misspelt server is not one of which nothing changed
      if (versions === undefined || (!inspects && (await visibleTools(call, all)).length === 0)) throw toolNotFound();
      return { changes: inspects ? [...versions.values()].flatMap(awaiting) : [] };
    }
    const [from, to] = between.map((version) => candidates(snapshot, { server, version }, null));
    const isThere = (version: string): boolean => findVersion(snapshot, { server, version }, null) !== undefined;
    if (from === undefined || to === undefined || !between.every(isThere)) throw toolNotFound();
    const visible = inspects ? [...from, ...to] : await visibleTools(call, [...from, ...to]);
    const seen = new Set(visible.map(({ id }) => id));
    // who may see none of a version's tools must not learn that it is there
    if (seen.size === 0 && !inspects) throw toolNotFound();
    const definitions = (tools: readonly Tool[]) =>
      new Map(tools.filter(({ id }) => seen.has(id)).map((tool) => [tool.upstreamName, tool.definition]));
    const changes = diffTools(definitions(from), definitions(to), { sameVersion: false });
    return { changes: changes.map((change) => ({ ...change, from: between[0], to: between[1] })) };
  });
}

export type Explanation = {
  readonly allowed: boolean;
  readonly decision: Decision;
  readonly limits: readonly LimitState[];
  readonly errors: readonly { readonly pointer: string; readonly message: string }[];
};

/**
 * Would this call be allowed? Charges nothing, calls nothing. Of a tool that may not be listed it says what the call
 * would, and nothing of its schema and limits.
 */
export function mayCall(
  gateway: Gateway,
  asked: Asked,
  question: { tool: ToolRef; arguments: JsonObject | null },
): Promise<Outcome<Explanation>> {
  return viewed(gateway, asked, "tools/explain", async (call, principal) => {
    const asked = resolve(call.snapshot, question.tool, call);
    call.arguments = question.arguments ?? {};
    const { decision, listed, tool } = judged(call, asked);
    if (!listed) return { allowed: false, decision, limits: [], errors: [] };
    const errors = question.arguments === null ? [] : await faults(gateway.validators, tool, question.arguments);
    const { limits: named, cost } = decision.obligations;
    const { states, open } = await peek(gateway.limits, call.snapshot, { principal, tool, named, cost });
    return { allowed: decision.allow && errors.length === 0 && open, decision, limits: states, errors };
  });
}

/** As a call is: policy may send it to another version, once. */
function judged(call: Call, tool: Tool): Judgement & { readonly tool: Tool } {
  const judgement = judge(call, tool);
  if (judgement.route === null) return { ...judgement, tool };
  return judged(call, reroute(call, tool, judgement.route));
}

/** Without consuming; only for tools that the caller was shown. */
export async function limitUse(
  gateway: Gateway,
  { snapshot, principal }: VisibleTools,
  tool: Tool,
): Promise<readonly LimitState[]> {
  const { states } = await peek(gateway.limits, snapshot, { principal, tool, named: [], cost: null });
  return states;
}

type Upstreams = Gateway["upstreams"];
export type VersionHealth = Omit<ReturnType<Upstreams["traffic"]>[number], "server"> & {
  readonly instances: ReturnType<Upstreams["status"]>;
  readonly limits: readonly LimitTotal[];
};

export function readMetrics(gateway: Gateway, asked: Asked): Promise<Outcome<readonly Metric[]>> {
  return viewed(gateway, asked, "metrics/read", (call) => {
    authorizeOperation(call, { kind: "server", name: "metrics" });
    return gateway.control.metrics();
  });
}

/** All that is there, for those who may inspect servers; null for others. */
export function wholeCatalogue(
  gateway: Gateway,
  asked: Asked,
): Promise<Outcome<Pick<VisibleTools, "snapshot" | "principal"> | null>> {
  return viewed(gateway, asked, "servers/list", (call, principal) =>
    may(call, "servers/inspect") ? { snapshot: call.snapshot, principal } : null,
  );
}

/** How calls to each version of a server go here, for those who may inspect servers; null for others. */
export function serverHealth(
  gateway: Gateway,
  asked: Asked,
  server: string,
): Promise<Outcome<readonly VersionHealth[] | null>> {
  return viewed(gateway, asked, "servers/list", (call) => {
    if (!may(call, "servers/inspect")) return null;
    const states = gateway.upstreams.status();
    return gateway.upstreams
      .traffic()
      .filter((one) => one.server === server)
      .map(({ server: _server, ...one }) => ({
        ...one,
        instances: states.filter((state) => state.server === server && state.version === one.version),
        limits: limitsOf(gateway, call.snapshot, call.snapshot.servers.get(server)?.versions.get(one.version)),
      }));
  });
}

/** For operators: state, never commands, environment or secrets. */
export function inspectServers(gateway: Gateway, asked: Asked): Promise<Outcome<{ servers: readonly ShownServer[] }>> {
  return viewed(gateway, asked, "servers/inspect", (call) => {
    authorizeOperation(call, { kind: "server", name: "*" });
    const { upstreams } = gateway;
    const versions = [...call.snapshot.servers.values()].flatMap((server) => [...server.versions.values()]);
    const shown = versions.map((version) => ({
      ...inspected(version, upstreams),
      limits: limitsOf(gateway, call.snapshot, version),
    }));
    return { servers: shown };
  });
}

type ShownServer = InspectedServer & { readonly limits: readonly LimitTotal[] };

function limitsOf({ limits }: Gateway, snapshot: Snapshot, version: ServerVersion | undefined): readonly LimitTotal[] {
  return totalsOf(limits, snapshot, [...(version?.tools.values() ?? [])]);
}

export function listKeys(gateway: Gateway, asked: Asked): Promise<Outcome<readonly Omit<Key, "hash">[]>> {
  return viewed(gateway, asked, "keys/list", (call) => {
    authorizeOperation(call, { kind: "change", name: "keys" });
    return [...call.snapshot.keys.values()].map(({ hash: _hash, ...key }) => key);
  });
}

/** One section of the configuration in force, and the revision that a change to it may expect. */
export function listEntries(
  gateway: Gateway,
  asked: Asked,
  section: "principals" | "roles" | "limits" | "routes" | "policies",
): Promise<Outcome<{ readonly revision: number; readonly entries: readonly Listed[] }>> {
  const operation = `${section}/list` as const;
  return viewed(gateway, asked, operation, (call) => {
    authorizeOperation(call, { kind: "change", name: operation });
    const { config, changes, changeRevision } = gateway.control;
    return { revision: changeRevision(), entries: listSection(config(), changes(), section) };
  });
}

/** The texts that were in force after an earlier change. */
export function listPoliciesAt(
  gateway: Gateway,
  asked: Asked,
  revision: number,
): Promise<Outcome<{ readonly revision: number; readonly entries: readonly Listed[] }>> {
  return viewed(gateway, asked, "policies/list", (call) => {
    authorizeOperation(call, { kind: "change", name: "policies/list" });
    const history = gateway.control.history();
    const state = stateAt(history, revision);
    if (state === null) throw noRevision(revision, history);
    const entries = [...state.entries.policies].map(([name, value]) => ({ name, origin: "change" as const, value }));
    return { revision, entries };
  });
}

/** Newest first. */
export function listChanges(
  gateway: Gateway,
  asked: Asked,
  { first, before }: { readonly first: number; readonly before: number | null },
): Promise<Outcome<{ readonly changes: readonly Logged[] }>> {
  return viewed(gateway, asked, "changes/list", (call) => {
    authorizeOperation(call, { kind: "change", name: "changes" });
    const older = gateway.control.history().filter(({ revision }) => before === null || revision < before);
    const page = older.slice(-first).toReversed();
    return { changes: page.map((one) => ({ ...one, change: shown(one.change as unknown as Change) })) };
  });
}

export function showConfig(gateway: Gateway, asked: Asked): Promise<Outcome<{ config: JsonObject }>> {
  return viewed(gateway, asked, "config/read", (call) => {
    authorizeOperation(call, { kind: "server", name: "config" });
    return { config: maskedConfig(gateway.control.effective()) };
  });
}

/** `anchors`: the places outside that take checkpoints, and what each has. */
export function health(
  gateway: Gateway,
  asked: Asked,
): Promise<Outcome<{ readonly checks: readonly Check[]; readonly anchors: readonly SinkStatus[] }>> {
  return viewed(gateway, asked, "health/read", async (call) => {
    authorizeOperation(call, { kind: "server", name: "health" });
    return { checks: await gateway.control.health(), anchors: gateway.audit.checkpoints().anchors };
  });
}

/** The listener hears that what is visible may have changed, and must ask again as its principal. */
export function onToolsChanged(gateway: Gateway, listener: () => void): () => void {
  return gateway.control.onSnapshot(listener);
}

type Read<Value> = (call: Call, principal: Principal) => Value | Promise<Value>;

/** Authenticated, and left when it is read; what may be seen, `read` asks policy. */
export function viewed<Value>(
  gateway: Gateway,
  asked: Asked,
  operation: OperationName,
  read: Read<Value>,
): Promise<Outcome<Value>> {
  return audited(gateway, asked, operation, async (call) => {
    call.principal = await authenticate(gateway.identity, call);
    enter(gateway.load, call);
    call.stage = "authorize";
    try {
      return await read(call, call.principal);
    } finally {
      leave(call);
    }
  });
}
