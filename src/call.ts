/**
 * One tool call, top to bottom. Read this file first.
 *
 *   authenticate → resolve → authorize → validate → limit → record → forward → redact
 *
 * Each stage returns what the next one needs, or throws a Refusal. audited() writes down what came of it before the
 * caller hears. forward() asks for a Permit and only authorize() makes one: a call that skips policy does not compile.
 */
import { audited, record } from "./audit/record.ts";
import { enterStage } from "./audit/stages.ts";
import type { Gateway } from "./gateway.ts";
import { authenticate } from "./identity/authenticate.ts";
import { limit, limitCheck, release, show } from "./limits/limit.ts";
import { enter, leave } from "./limits/load.ts";
import type { Answer, Asked, Call, CallRequest, Outcome, Tool } from "./model.ts";
import { authorizeCall, authorizeCheck } from "./policy/authorize.ts";
import type { Permit, Reroute } from "./policy/authorize.ts";
import { withholdProgress } from "./policy/redact.ts";
import { redacted } from "./policy/redactor.ts";
import { reroute, resolve } from "./registry/resolve.ts";
import { validate } from "./registry/validate.ts";
import { forward } from "./upstream/forward.ts";
import type { Clock } from "./ports.ts";
import { Refusal } from "./refusal.ts";

export function callTool(gateway: Gateway, request: CallRequest): Promise<Outcome<Answer>> {
  return audited(gateway, request, "tools/call", async (call) => {
    try {
      const permit = await admitted(gateway, request, call, CALL);
      enterStage(gateway.ports.clock, call, "record");
      await record(gateway.audit, call);
      enterStage(gateway.ports.clock, call, "forward");
      const answer = await forward(gateway.upstreams, permit, withholdProgress(permit, request), call);
      enterStage(gateway.ports.clock, call, "redact");
      const seen = redacted(gateway.redactor, permit, answer, call);
      return seen instanceof Promise ? await seen : seen;
    } finally {
      release(gateway.limits, call);
      leave(call);
    }
  });
}

/**
 * The same up to `record`, for a proxy that carries the call itself: whether and how it was answered nobody tells us, so
 * one record says that it was let through and that the rest is unknown.
 */
export async function checkCall(gateway: Gateway, request: CallRequest): Promise<Outcome<Permit>> {
  const outcome = await audited(gateway, request, "tools/call", async (call) => {
    const permit = await admitted(gateway, request, call, CHECK).finally(() => leave(call));
    enterStage(gateway.ports.clock, call, "record");
    // a proxy that has given up lets nothing through
    if (request.signal.aborted) throw new Refusal("cancelled", "The caller went away.");
    call.executed = "unknown";
    return permit;
  });
  // what could not be recorded is not let through
  if (!outcome.ok) outcome.call.executed = "no";
  return outcome;
}

/** What a door could not make a request of: a stranger is told `unauthenticated`, whoever may ask is told what is wrong. */
export function refuse(gateway: Gateway, asked: Asked, refusal: Refusal): Promise<Outcome<never>> {
  return audited(gateway, asked, "request/read", async (call) => {
    if (asked.credential.kind !== "unread") call.principal = await authenticate(gateway.identity, call);
    throw refusal;
  });
}

/** Whoever is refused early is charged nothing, and told what is left all the same; but not of a tool that is hidden. */
async function admitted(gateway: Gateway, request: CallRequest, call: Call, stages: Stages): Promise<Permit> {
  try {
    return await admit(gateway, request, call, stages);
  } catch (refusal) {
    if (Refusal.from(refusal).code !== "tool_not_found") await show(gateway.limits, call);
    throw refusal;
  }
}

type Stages = { readonly authorize: (call: Call) => Permit | Reroute; readonly limit: typeof limit };
const CALL: Stages = { authorize: authorizeCall, limit };
const CHECK: Stages = { authorize: authorizeCheck, limit: limitCheck };

async function admit(gateway: Gateway, request: CallRequest, call: Call, stages: Stages): Promise<Permit> {
  call.stage = "authenticate";
  const principal = authenticate(gateway.identity, call);
  // a stage that is done at once is not waited for: each wait costs a call a microsecond
  call.principal = principal instanceof Promise ? await principal : principal;
  enter(gateway.load, call);
  if (!gateway.carriesCalls) throw new Refusal("invalid_request", "This is a control plane: it carries no calls.");
  enterStage(gateway.ports.clock, call, "resolve");
  call.arguments = request.arguments;
  const permit = permitted(gateway.ports.clock, call, resolve(call.snapshot, request.tool, call), stages.authorize);
  enterStage(gateway.ports.clock, call, "validate");
  const validated = validate(gateway.validators, permit, request.arguments);
  if (validated !== undefined) await validated;
  enterStage(gateway.ports.clock, call, "limit");
  const charged = stages.limit(gateway.limits, permit, call);
  if (charged !== undefined) await charged;
  return permit;
}

/** Policy may send a call to another version, and says there whether it may: `authorize` refuses a second time. */
function permitted(clock: Clock, call: Call, tool: Tool, authorize: Stages["authorize"]): Permit {
  call.tool = tool;
  enterStage(clock, call, "authorize");
  const answer = authorize(call);
  if (!("route" in answer)) return answer;
  enterStage(clock, call, "resolve");
  return permitted(clock, call, reroute(call, tool, answer.route), authorize);
}
