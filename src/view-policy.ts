/** What does policy decide, what would another one, and why? Read like every view: authenticate → authorize → read. */
import { audited } from "./audit/record.ts";
import type { Gateway } from "./gateway.ts";
import { authenticate } from "./identity/authenticate.ts";
import { enter, leave } from "./limits/load.ts";
import type { Asked, Call, Decision, Outcome, Target } from "./model.ts";
import type { OperationName } from "./operations.ts";
import { authorizeOperation } from "./policy/authorize.ts";
import type { ShadowState } from "./policy/shadow-tally.ts";

/** Of the bundles in shadow, by name. */
export function shadows(gateway: Gateway, asked: Asked): Promise<Outcome<{ shadows: readonly ShadowState[] }>> {
  return viewed(gateway, asked, "policies/shadow", () => ({ shadows: gateway.control.shadows() }));
}

/** The policy's own decision on the question comes with it. */
type Read<Value> = (call: Call, decision: Decision) => Value | Promise<Value>;

function viewed<Value>(
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
      const target: Target = { kind: "change", name: operation };
      return await read(call, authorizeOperation(call, target));
    } finally {
      leave(call);
    }
  });
}
