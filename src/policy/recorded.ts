/**
 * Can a recorded decision be made again? Puts its question together from the record, with its principal, its tool and
 * the roles as they are now: what the record does not hold, nobody has. Arguments count only where the keyed digest on
 * the record says that all of them were kept.
 */
import { parseJsonText } from "../json.ts";
import type { Decided } from "../audit/decided.ts";
import type { Call, Evaluation, JsonObject, Policy, Principal, Snapshot, Target, Tool } from "../model.ts";
import { OPERATIONS } from "../operations.ts";
import type { OperationName } from "../operations.ts";
import { operationInput, useText } from "./input.ts";

export type Question = {
  /** The input document. */
  readonly text: string;
  readonly ask: (policy: Policy) => Evaluation;
  readonly tool: Tool | null;
  readonly principal: Principal;
  /** All of them. */
  readonly whole: boolean;
};
/** What there is not to be had any more. */
export type Lost = "principal" | "tool" | "arguments" | "operation";
export type Rebuild = {
  readonly snapshot: Snapshot;
  readonly principalOf: (decided: Decided) => Principal | null;
  readonly confirms: (text: string, digest: string) => boolean;
};

export function questionOf(decided: Decided, { snapshot, principalOf, confirms }: Rebuild): Question | Lost {
  const principal = principalOf(decided);
  if (principal === null) return "principal";
  const { kept, whole } = argumentsOf(decided, confirms);
  const call = callOf(decided, { snapshot, principal, arguments: kept });
  if (decided.operation === "tools/call") {
    const tool = toolOf(decided, snapshot);
    if (tool === undefined) return "tool";
    const text = useText(call, tool);
    return { text, tool, principal, whole, ask: (policy) => policy.decideUse(text, { principal, tool }) };
  }
  if (!Object.hasOwn(OPERATIONS, decided.operation) || decided.target === null) return "operation";
  const { permission, target: kind } = OPERATIONS[decided.operation as OperationName];
  const target: Target = { kind, name: decided.target };
  const input = operationInput(call, target, permission);
  return { text: JSON.stringify(input), tool: null, principal, whole: true, ask: (policy) => policy.decide(input) };
}

function toolOf({ tool, server, version }: Decided, { servers }: Snapshot): Tool | undefined {
  const tools =
    servers
      .get(server ?? "")
      ?.versions.get(version ?? "")
      ?.tools.values() ?? [];
  return [...tools].find(({ name }) => name === tool);
}

function argumentsOf(decided: Decided, confirms: Rebuild["confirms"]) {
  const { arguments: text, argumentsDigest: digest } = decided;
  const kept = text === null ? null : parsed(text);
  const whole = kept !== null && digest !== null && confirms(JSON.stringify(kept), digest);
  return { kept: kept ?? {}, whole };
}

function parsed(text: string): JsonObject | null {
  try {
    return parseJsonText(text) as JsonObject;
  } catch {
    return null;
  }
}

type About = Pick<Call, "snapshot" | "principal" | "arguments">;

/** So much of a call as a question is made of. */
function callOf({ callId, timeMs, operation, interface: door, protocol, ip }: Decided, about: About): Call {
  const asked = { interface: door, protocol, ip };
  return { ...about, id: callId, startedMs: timeMs, operation, asked } as unknown as Call;
}
