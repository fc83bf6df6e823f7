/**
 * One change to what is in force, top to bottom: authenticate → authorize → validate → intent → append → outcome. A
 * change is recorded in the same chain as calls, before it is made and before it is told.
 */
import { noEntry, noRevision } from "./registry/absent.ts";
import { audited, record } from "./audit/record.ts";
import { ENFORCED } from "./config-bundle.ts";
import { routeAfter } from "./config-route.ts";
import type { Gateway } from "./gateway.ts";
import { issueKey as mintKey } from "./identity/api-key.ts";
import { authenticate } from "./identity/authenticate.ts";
import type { Asked, Call, Json, JsonObject, Key, Outcome, Policy, Snapshot } from "./model.ts";
import type { OperationName } from "./operations.ts";
import { authorizeOperation, may } from "./policy/authorize.ts";
import { Refusal, toolNotFound } from "./refusal.ts";
import { apply, restorable, routeBefore, SECTIONS, shown, stateAt } from "./registry/changes.ts";
import { differences, recorded, told } from "./registry/difference.ts";
import type { Difference } from "./registry/difference.ts";
import { keysEndedBy, originOf, problemsAfter } from "./registry/effect.ts";
import { serverNamed } from "./registry/named.ts";
import { reportedTools } from "./registry/reported.ts";
import type { Reported } from "./registry/reported.ts";
import type { Change, ChangeState, Entries, Section } from "./registry/changes.ts";

type Planned<Value> = { readonly change: Change; readonly before: JsonObject | null; readonly value: Value };

/** A principal's own key, an agent's, acting for a user, or a sidecar's. The text is in this answer and nowhere else. */
export type KeyWish =
  | { readonly principal: string }
  | { readonly agent: string; readonly onBehalfOf: string | null }
  | { readonly sidecar: string };
/** `pins`: for a sidecar, the public keys that its control plane signs snapshots with. */
export type Issued = { readonly id: string; readonly text: string; readonly pins: readonly string[] };

export function issueKey(gateway: Gateway, asked: Asked, wish: KeyWish): Promise<Outcome<Issued>> {
  return changed(gateway, asked, "keys/issue", (call, { principals }) => {
    if ("sidecar" in wish) {
      // policies and the audit tell them apart by name
      if (principals.has(wish.sidecar)) throw new Refusal("invalid_request", "A principal has this name already.");
    } else if (!principals.has(holderOf(wish)))
      throw new Refusal("invalid_request", "There is no such principal in the configuration.");
    const { key, text } = newKey(gateway, call, wish);
    return { change: { type: "key.issue", key }, before: null, value: issuedOf(gateway, key, text) };
  });
}

export function revokeKey(gateway: Gateway, asked: Asked, { id }: { id: string }): Promise<Outcome<{ id: string }>> {
  return changed(gateway, asked, "keys/revoke", (call, snapshot) => {
    const { hash: _, ...before } = issued(snapshot, id);
    return { change: revocation(call, id), before, value: { id } };
  });
}

/** The old key stops and a new one of the same principal starts, in one change. */
export function rotateKey(gateway: Gateway, asked: Asked, { id }: { id: string }): Promise<Outcome<Issued>> {
  return changed(gateway, asked, "keys/rotate", (call, snapshot) => {
    const old = issued(snapshot, id);
    const { key, text } = newKey(gateway, call, wishOf(old));
    const { hash: _, ...before } = old;
    const change: Change = { type: "key.rotate", key, revoked: id, at: timeOf(call) };
    return { change, before, value: issuedOf(gateway, key, text) };
  });
}

export type ApprovalWish = {
  readonly tool: string;
  readonly version: string | null;
  /** Where only this very definition is meant. */
  readonly digest: string | null;
};

export function approveTool(
  gateway: Gateway,
  asked: Asked,
  wish: ApprovalWish,
): Promise<Outcome<{ tool: string; digest: string }>> {
  return changed(gateway, asked, "tools/approve", (_call, snapshot) => {
    const { name, quarantined, ...which } = definitionOf(gateway.control, snapshot, wish);
    const { server, version, upstreamName, digest } = which;
    const change: Change = { type: "tool.approve", server, version, tool: upstreamName, digest };
    return { change, before: { quarantined }, value: { tool: name, digest } };
  });
}

type Definition = Omit<Reported, "sidecar"> & { readonly quarantined: boolean };

/** One that waits here, or else at sidecars, or else the one that was accepted. @throws Refusal tool_not_found, invalid_request */
function definitionOf(
  { feed, effective }: Gateway["control"],
  { tools }: Snapshot,
  { tool, version, digest }: ApprovalWish,
): Definition {
  const isMeant = (one: Omit<Definition, "quarantined">): boolean =>
    one.name === tool && (version ?? one.version) === one.version && (digest ?? one.digest) === one.digest;
  const own = (tools.get(tool) ?? []).filter(isMeant);
  const reported = reportedTools(effective(), feed?.quarantined() ?? []).filter(isMeant);
  const here = own.find(({ quarantined }) => quarantined);
  if (here === undefined && new Set(reported.map(idOf)).size > 1)
    throw new Refusal(
      "invalid_request",
      "Sidecars hold several definitions of this tool back: name the digest of one.",
    );
  const [there] = reported.map((one) => ({ ...one, quarantined: true }));
  const found = here ?? there ?? own[0];
  if (found !== undefined) return found;
  if (digest === null) throw toolNotFound();
  throw new Refusal("invalid_request", "No definition of this tool has this digest.");
}

function idOf({ server, version, upstreamName, digest }: Reported): string {
  return `${server}@${version}/${upstreamName} ${digest}`;
}

/** A change to one entry of a section; `value` null removes it. */
export type EntryWish = {
  readonly [One in Section]: { readonly section: One; readonly name: string; readonly value: Entries[One] | null };
}[Section];
/** `expect`: the revision that was looked at, or null where it does not matter. */
export type Terms = {
  readonly expect: number | null;
  readonly dryRun: boolean;
  /** Percent of an applied policy that its tests must reach. */
  readonly coverage?: number | null;
};
export type Changed = {
  /** Of the change that was made, or, of a dry run, of the last one. */
  readonly revision: number;
  readonly dryRun: boolean;
  readonly diff: readonly Difference[];
};

/** Beside the file: what the file itself says is changed there. */
export function putEntry(gateway: Gateway, asked: Asked, wish: EntryWish, terms: Terms): Promise<Outcome<Changed>> {
  const { section, value } = wish;
  const operation = `${section}/${value === null ? "remove" : "put"}` as const;
  return changedOnTerms(gateway, asked, { operation, ...terms }, () =>
    entryChange(gateway, nobodyMoved(gateway, wish)),
  );
}

/** Of a route that is there already. One that is rolled back goes where everybody was. */
function nobodyMoved({ control }: Gateway, wish: EntryWish): EntryWish {
  if (wish.section !== "routes" || wish.value === null) return wish;
  const before = control.changes().entries.routes.get(wish.name);
  return before === undefined ? wish : { ...wish, value: routeAfter(before, wish.value) };
}

/** Beside the file. @throws Refusal invalid_request */
export function entryChange({ control, snapshot }: Gateway, wish: EntryWish): Change {
  const { section, name, value } = wish;
  const origin = originOf(control.config(), control.changes(), wish);
  if (origin === "file") throw new Refusal("invalid_request", section === "policies" ? FOLDERS : FILES);
  const put = { type: "entry.put", section, name, value };
  const was = section === "routes" && origin === null ? snapshot().servers.get(name)?.defaultVersion : undefined;
  if (value !== null) return (was === undefined ? put : { ...put, was }) as Change;
  if (origin === null) throw noEntry(section, name, [...control.changes().entries[section].keys()]);
  return { type: "entry.remove", section, name };
}

const FILES = "This entry stands in the configuration file: change it there.";
const FOLDERS =
  "The policy stands in the folder that the configuration file names: change it there, or let the file say `policies: managed`.";

/** To the route before the last change of it. Twice is there and back. */
export function rollBackRoute(
  gateway: Gateway,
  asked: Asked,
  { server }: { readonly server: string },
  terms: Terms,
): Promise<Outcome<Changed>> {
  return changedOnTerms(gateway, asked, { operation: "routes/rollback", ...terms }, () => {
    const value = routeBefore(gateway.control.history(), server);
    // one that is gone had a route, maybe
    if (value === undefined) serverNamed(gateway.snapshot(), server);
    if (value === undefined) throw new Refusal("invalid_request", "The route of this server was never changed.");
    return entryChange(gateway, { section: "routes", name: server, value });
  });
}

/** The enforced policy as it was: after an earlier change, or by the revision that a record names. */
export function rollBackPolicy(
  gateway: Gateway,
  asked: Asked,
  { to }: { readonly to: number | string },
  terms: Terms,
): Promise<Outcome<Changed>> {
  return changedOnTerms(gateway, asked, { operation: "policies/rollback", ...terms }, async () => {
    const { history, policies } = gateway.control;
    const wish = { section: "policies", name: ENFORCED } as const;
    if (typeof to === "string") {
      const archived = await policies.archived(to);
      if (archived === null) throw noRevision(to, history());
      return entryChange(gateway, { ...wish, value: archived.bundle });
    }
    const state = stateAt(history(), to);
    if (state === null) throw noRevision(to, history());
    return entryChange(gateway, { ...wish, value: state.entries.policies.get(ENFORCED) ?? null });
  });
}

/** To the state after an earlier change, as a change of its own. It brings back no key: what is revoked stays revoked. */
export function rollBack(
  gateway: Gateway,
  asked: Asked,
  { to }: { readonly to: number },
  terms: Terms,
): Promise<Outcome<Changed>> {
  return changedOnTerms(gateway, asked, { operation: "changes/rollback", ...terms }, () => {
    const history = gateway.control.history();
    const state = stateAt(history, to);
    if (state === null) throw noRevision(to, history);
    return { type: "rollback", to, state: restorable(state) };
  });
}

/** Not a change of the log: the file is. Recorded all the same. */
export function reload(gateway: Gateway, asked: Asked): Promise<Outcome<{ revision: string }>> {
  return audited(gateway, asked, "config/reload", async (call) => {
    await allow(gateway, call);
    await record(gateway.audit, call);
    await gateway.control.reload().catch((cause: unknown) => {
      throw new Refusal("invalid_request", cause instanceof Error ? cause.message : "The file could not be read.", {
        cause,
      });
    });
    return { revision: gateway.snapshot().revision };
  });
}

/** The index of the trail, not the trail: it is built anew. Resolves to the bytes that are still to be read, when it takes long. */
export function reindexAudit(gateway: Gateway, asked: Asked): Promise<Outcome<{ behindBytes: number }>> {
  return audited(gateway, asked, "audit/reindex", async (call) => {
    await allow(gateway, call);
    await record(gateway.audit, call);
    return { behindBytes: await gateway.audit.projection.rebuild() };
  });
}

function changed<Value>(
  gateway: Gateway,
  asked: Asked,
  operation: OperationName,
  plan: (call: Call, snapshot: Snapshot) => Planned<Value>,
): Promise<Outcome<Value>> {
  const make = async (call: Call): Promise<Value> => {
    // as of now: another gateway may have changed it since this call began
    const { change, before, value } = plan(call, gateway.snapshot());
    call.change = { before, after: shown(change) };
    call.stage = "record";
    await record(gateway.audit, call);
    await append(gateway, call, change);
    return value;
  };
  return audited(gateway, asked, operation, async (call) => {
    await allow(gateway, call);
    assertControl(gateway);
    call.stage = "validate";
    await gateway.control.caughtUp();
    return IN_TURN.has(operation) ? await gateway.control.exclusive(() => make(call)) : await make(call);
  });
}

/** What gives a key looks at principals, one of whom another change may be about to take away; what ends one waits for nobody. */
const IN_TURN: ReadonlySet<OperationName> = new Set(["keys/issue", "keys/rotate"]);

export function changedOnTerms(
  gateway: Gateway,
  asked: Asked,
  { operation, expect, dryRun, coverage = null }: Terms & { readonly operation: OperationName },
  plan: () => Change | Promise<Change>,
): Promise<Outcome<Changed>> {
  const { control } = gateway;
  const make = async (call: Call): Promise<Changed> => {
    const seen = control.changeRevision();
    if (expect !== null && expect !== seen)
      throw new Refusal("conflict", "Something else was changed meanwhile: look again, then change.");
    const change = endingKeys(control, await plan(), timeOf(call));
    const problems = problemsAfter(control.config(), control.changes(), change);
    if (problems.length > 0) {
      const errors = problems
        .slice(0, PROBLEMS_MAX)
        .map(({ path, message }) => ({ pointer: `/${path.join("/")}`, message }));
      throw new Refusal("invalid_request", "The configuration would not be valid.", { errors });
    }
    const [before, after] = [control.changes(), apply(control.changes(), change)];
    const diff = differences(control.config(), before, after);
    call.change = { dryRun, revision: seen, diff: recorded(diff) as unknown as Json };
    if (change.type === "rollback") assertMay(call, before, after);
    const policy = await control.prepare(change, coverage);
    if (dryRun) return { revision: seen, dryRun, diff: told(diff) };
    call.stage = "record";
    await record(gateway.audit, call);
    const revision = await append(gateway, call, change, policy);
    call.change = { ...call.change, made: revision };
    return { revision, dryRun, diff: told(diff) };
  };
  return audited(gateway, asked, operation, async (call) => {
    await allow(gateway, call);
    assertControl(gateway);
    call.stage = "validate";
    await control.caughtUp();
    return await control.exclusive(() => make(call));
  });
}

/** Only of a change whose fate nobody can say is it unknown. */
async function append({ control }: Gateway, call: Call, change: Change, policy?: Policy): Promise<number> {
  call.stage = "forward";
  try {
    const revision = await control.append(change, call.principal?.id ?? "", policy);
    call.executed = "yes";
    return revision;
  } catch (cause) {
    if (!(cause instanceof Refusal && cause.code !== "upstream_timeout")) call.executed = "unknown";
    throw cause;
  }
}

/** With a principal end the keys that act as or for it. */
function endingKeys({ config, changes }: Gateway["control"], change: Change, at: string): Change {
  if (change.type !== "entry.remove" && change.type !== "rollback") return change;
  const ids = keysEndedBy(config(), changes(), change);
  return ids.length === 0 ? change : { ...change, revoked: { ids, at } };
}

/** A roll back is each of the changes that it makes. @throws Refusal forbidden */
function assertMay(call: Call, before: ChangeState, after: ChangeState): void {
  const needed = SECTIONS.flatMap((section): readonly OperationName[] => {
    const { moved, gone } = moves(before.entries[section], after.entries[section]);
    return [...(moved ? [`${section}/put` as const] : []), ...(gone ? [`${section}/remove` as const] : [])];
  });
  const approvals = moves(before.approved, after.approved);
  if (approvals.moved || approvals.gone) needed.push("tools/approve");
  if (!needed.every((operation) => may(call, operation)))
    throw new Refusal("forbidden", "Policy did not allow this.", { reasons: ["a change that it would make"] });
}

function moves(before: ReadonlyMap<string, unknown>, after: ReadonlyMap<string, unknown>) {
  const textOf = (map: ReadonlyMap<string, unknown>, name: string) => JSON.stringify(map.get(name));
  return {
    moved: [...after.keys()].some((name) => textOf(before, name) !== textOf(after, name)),
    gone: [...before.keys()].some((name) => !after.has(name)),
  };
}

const PROBLEMS_MAX = 10;

async function allow(gateway: Gateway, call: Call): Promise<void> {
  call.principal = await authenticate(gateway.identity, call);
  call.stage = "authorize";
  authorizeOperation(call, { kind: "change", name: call.operation });
}

/** @throws Refusal invalid_request in a sidecar */
function assertControl({ control }: Gateway): void {
  if (control.feed === null)
    throw new Refusal("invalid_request", "This is a sidecar: what is in force is changed at its control plane.");
}

function newKey(gateway: Gateway, call: Call, wish: KeyWish): { readonly key: Key; readonly text: string } {
  const { id, text, hash } = mintKey(gateway.ports.random);
  return { key: { id, ...whose(wish), hash, origin: "issued", createdAt: timeOf(call), revokedAt: null }, text };
}

function whose(wish: KeyWish): Pick<Key, "principal" | "kind" | "onBehalfOf"> {
  if ("principal" in wish) return { principal: wish.principal, kind: "user", onBehalfOf: null };
  if ("sidecar" in wish) return { principal: wish.sidecar, kind: "sidecar", onBehalfOf: null };
  return { principal: wish.agent, kind: "agent", onBehalfOf: wish.onBehalfOf };
}

/** Of the same holder. */
function wishOf({ kind, principal, onBehalfOf }: Key): KeyWish {
  if (kind === "user") return { principal };
  return kind === "sidecar" ? { sidecar: principal } : { agent: principal, onBehalfOf };
}

/** Who must be declared, for the key to be anybody's. */
function holderOf(wish: Exclude<KeyWish, { readonly sidecar: string }>): string {
  return "principal" in wish ? wish.principal : (wish.onBehalfOf ?? wish.agent);
}

function issuedOf({ control }: Gateway, { id, kind }: Key, text: string): Issued {
  return { id, text, pins: kind === "sidecar" ? (control.feed?.pins ?? []) : [] };
}

function issued({ keys }: Snapshot, id: string): Key {
  const key = keys.get(id);
  if (key === undefined) throw new Refusal("invalid_request", "There is no key with this id.");
  if (key.origin === "file")
    throw new Refusal("invalid_request", "This key stands in the configuration file: remove it there.");
  if (key.revokedAt !== null) throw new Refusal("invalid_request", "This key is revoked already.");
  return key;
}

function revocation(call: Call, id: string): Change {
  return { type: "key.revoke", id, at: timeOf(call) };
}

function timeOf(call: Call): string {
  return new Date(call.startedMs).toISOString();
}
