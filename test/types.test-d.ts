/** Mistakes that must not compile. `tsc` is the runner: an unused @ts-expect-error is an error. */
import type { Call, CallRequest, Obligations, Principal, ServerVersion, Tool } from "../src/model.ts";
import { forward } from "../src/upstream/forward.ts";
import type { Upstreams } from "../src/upstream/forward.ts";

type Parts = { principal: Principal; tool: Tool; serverVersion: ServerVersion; obligations: Obligations };

export function skipPolicy(upstreams: Upstreams, parts: Parts, request: CallRequest, call: Call): void {
  // @ts-expect-error a look-alike is not a Permit: only authorizeCall() makes one
  void forward(upstreams, parts, request, call);
}

export function changeSnapshot(call: Call): void {
  // @ts-expect-error a call keeps the snapshot it began with
  call.snapshot = { ...call.snapshot };
}
