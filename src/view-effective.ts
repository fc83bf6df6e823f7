/**
 * Who may do what, as policy stands? Who may call a tool, what a principal may call, and which rules never hold for
 * anybody. What surprises: all of it is asked as a list asks, without arguments: who is named here may still be refused
 * for what he says. Principals of tokens are their issuer's to name, and not among those of the configuration.
 */
import type { Gateway } from "./gateway.ts";
import { parseOwnJson } from "./json.ts";
import { principalOf } from "./identity/principal.ts";
import type { Asked, Call, JsonObject, Outcome, Principal, Snapshot, Tool } from "./model.ts";
import { OPERATIONS } from "./operations.ts";
import { visibleTools } from "./policy/authorize.ts";
import { operationInput, useText } from "./policy/input.ts";
import type { RuleInfo } from "./policy/compiler.ts";
import { questionOf } from "./policy/recorded.ts";
import { Refusal, toolNotFound } from "./refusal.ts";
import { find } from "./registry/resolve.ts";
import { policyIn, rebuildOf, viewed } from "./view-policy.ts";

type Page = { readonly first: number; readonly after: string | null };
export type Who = {
  readonly id: string;
  readonly kind: string;
  readonly onBehalfOf: string | null;
  readonly tenant: string;
};

/** One question holds up calls no longer than this many decisions; other calls pass between. */
const AT_ONCE = 100;
/** Principals looked at for one page: it may come back short, with a cursor to go on from. */
const LOOKED_AT_MAX = 5_000;

export function whoMayCall(
  gateway: Gateway,
  asked: Asked,
  { tool: name, version, first, after }: Page & { readonly tool: string; readonly version: string | null },
): Promise<Outcome<{ readonly principals: readonly Who[]; readonly endCursor: string | null }>> {
  return viewed(gateway, asked, "policies/effective", async (call) => {
    const tool = find(call.snapshot, { kind: "name", name, version }, null);
    if (tool === undefined) throw toolNotFound();
    const everybody = everyone(call.snapshot).filter((one) => after === null || idOf(one) > after);
    const principals: Who[] = [];
    let looked = 0;
    for (const one of everybody) {
      if (principals.length >= first || looked >= LOOKED_AT_MAX) break;
      if (++looked % AT_ONCE === 0) await new Promise(setImmediate);
      if ((await seen(call, one, [tool])).length > 0) principals.push(whoIs(one));
    }
    const last = everybody[looked - 1];
    return { principals, endCursor: looked < everybody.length && last !== undefined ? idOf(last) : null };
  });
}

export function whatMayBeCalled(
  gateway: Gateway,
  asked: Asked,
  {
    principal: id,
    onBehalfOf,
    first,
    after,
  }: Page & { readonly principal: string; readonly onBehalfOf: string | null },
): Promise<Outcome<{ readonly tools: readonly { id: string; name: string }[]; readonly endCursor: string | null }>> {
  return viewed(gateway, asked, "policies/effective", async (call) => {
    const principal = everyone(call.snapshot).find((one) => one.id === id && one.onBehalfOf === onBehalfOf);
    if (principal === undefined)
      throw new Refusal("invalid_request", "There is no such principal in the configuration.");
    const tools = [...call.snapshot.tools.values()].flat().toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const rest = (await seen(call, principal, tools)).filter((one) => after === null || one.id > after);
    const page = rest.slice(0, first).map(({ id: tool, name }) => ({ id: tool, name }));
    return { tools: page, endCursor: page.length < rest.length ? (page.at(-1)?.id ?? null) : null };
  });
}

export type Unused = {
  readonly rules: readonly Pick<RuleInfo, "path" | "file" | "row">[];
  readonly questions: number;
  /** False where there was more to ask than is asked, or an answer too long to be told whole. */
  readonly complete: boolean;
};

const QUESTIONS_MAX = 120;
const QUESTIONS_AT_ONCE = 60;
const LATELY_MS = 7 * 86_400_000;
const SCAN_BYTES_MAX = 64 * 1024 * 1024;

/** Asked of each kind of principal about each kind of tool and operation, and of what was recorded in a week. */
export function unusedRules(gateway: Gateway, asked: Asked): Promise<Outcome<Unused>> {
  return viewed(gateway, asked, "policies/effective", async (call) => {
    const { policies } = gateway.control;
    const bundle = policies.textOf(policyIn(gateway).source.key);
    const rules = bundle === null ? null : await policies.rules(bundle);
    if (bundle === null || rules === null)
      throw new Refusal("invalid_request", "The text of the policy is not at this gateway: ask its control plane.");
    const all = [...new Set([...(await recordedTexts(gateway, call.snapshot)), ...everyText(call)])];
    const texts = all.slice(0, QUESTIONS_MAX);
    const held = new Set<string>();
    let complete = texts.length === all.length;
    for (let from = 0; from < texts.length; from += QUESTIONS_AT_ONCE) {
      const some = texts.slice(from, from + QUESTIONS_AT_ONCE);
      for (const trace of await policies.trace(bundle, call.snapshot.roles, some)) {
        complete &&= trace.complete;
        for (const rule of trace.rules) if (rule.held) held.add(`${rule.file}:${rule.row}`);
      }
    }
    const unused = rules.filter(({ file, row, default: isDefault }) => !isDefault && !held.has(`${file}:${row}`));
    return { rules: unused.map(({ path, file, row }) => ({ path, file, row })), questions: texts.length, complete };
  });
}

/** A record of each kind: what differs in its time and its id alone is the same question. */
async function recordedTexts(gateway: Gateway, snapshot: Snapshot): Promise<readonly string[]> {
  const rebuild = rebuildOf(gateway, snapshot);
  const sinceMs = gateway.ports.clock.nowMs() - LATELY_MS;
  const texts = new Map<string, string>();
  for await (const decided of gateway.audit.decided({ sinceMs, bytesMax: SCAN_BYTES_MAX })) {
    const question = questionOf(decided, rebuild);
    if (typeof question === "string" || !question.whole) continue;
    const { request: _request, ...kind } = parseOwnJson(question.text) as unknown as { readonly request: unknown };
    texts.set(JSON.stringify([decided.operation, kind]), question.text);
    if (texts.size >= QUESTIONS_MAX / 3) break;
  }
  return [...texts.values()];
}

function everyText(call: Call): readonly string[] {
  const principals = firstOfEach(
    everyone(call.snapshot),
    ({ kind, roles, permissions, tenant, onBehalfOf, claims }) => [
      kind,
      roles,
      permissions,
      tenant,
      onBehalfOf === null,
      claims,
    ],
  );
  const tools = firstOfEach(
    [...call.snapshot.tools.values()].flat(),
    ({ policyInput: { digest: _digest, ...rest } }) => rest,
  );
  return principals.flatMap((principal) => {
    const asking = { ...call, principal, arguments: {} };
    return [
      ...tools.flatMap((tool) => [useText(asking, tool), listText(useText(asking, tool))]),
      ...operationsFor(principal).map(({ operation, target, permission }) =>
        JSON.stringify(operationInput({ ...asking, operation }, { kind: target, name: operation }, permission)),
      ),
    ];
  });
}

const GUARDED = Object.entries(OPERATIONS)
  .map(([operation, { target, permission }]) => ({ operation, target, permission }))
  .filter(({ permission }) => permission.includes(":"));

/** Of each kind of target one that the principal holds the permission for, and one that not. */
function operationsFor({ permissions }: Principal): typeof GUARDED {
  return firstOfEach(GUARDED, ({ target, permission }) => [target, permissions.includes(permission)]) as typeof GUARDED;
}

/** As a list asks about the same tool. */
function listText(use: string): string {
  const { arguments: _arguments, request, ...rest } = parseOwnJson(use) as JsonObject;
  return JSON.stringify({ ...rest, request: { ...(request as JsonObject), operation: "tools/list" } });
}

function firstOfEach<One>(all: readonly One[], kindOf: (one: One) => unknown): readonly One[] {
  return [...new Map(all.toReversed().map((one) => [JSON.stringify(kindOf(one)), one])).values()].toReversed();
}

/** The configuration's, and agents with keys of their own. Sorted. */
function everyone(snapshot: Snapshot): readonly Principal[] {
  const agents = [...snapshot.keys.values()].flatMap((key) => {
    if (key.kind !== "agent" || key.revokedAt !== null) return [];
    return principalOf(snapshot, key) ?? [];
  });
  const all = new Map([...snapshot.principals.values(), ...agents].map((one) => [idOf(one), one]));
  return [...all.values()].toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
}

/** An agent is another for each user that it acts for. */
function idOf({ id, onBehalfOf }: Principal): string {
  return onBehalfOf === null ? id : `${id}/${onBehalfOf}`;
}

function whoIs({ id, kind, onBehalfOf, tenant }: Principal): Who {
  return { id, kind, onBehalfOf, tenant };
}

function seen(call: Call, principal: Principal, tools: readonly Tool[]): Promise<readonly Tool[]> {
  return visibleTools({ ...call, principal }, tools);
}
