/** Calls through the upstream room as `callTool` makes them, with everything else of a call left out. */
import { randomUUID } from "node:crypto";
import type { Answer, Call, CallRequest, InstanceSpec, JsonObject, Tool } from "../../../src/model.ts";
import type { Permit } from "../../../src/policy/authorize.ts";
import { TRAFFIC } from "../../../src/config-traffic.ts";
import type { Traffic } from "../../../src/config-traffic.ts";
import { realPorts, silent } from "../../../src/ports.ts";
import { Refusal } from "../../../src/refusal.ts";
import { forward } from "../../../src/upstream/forward.ts";
import type { Upstreams } from "../../../src/upstream/forward.ts";
import { createUpstreams } from "../../../src/upstream/upstreams.ts";
import type { UpstreamOptions } from "../../../src/upstream/upstreams.ts";

export const PORTS = realPorts(silent);
export const RESULT_BYTES_MAX = 16 * 1024 * 1024;

export function http(url: string, more: Partial<Extract<InstanceSpec, { kind: "http" }>> = {}): InstanceSpec {
  return { kind: "http", id: `s@1#${url}`, url, headers: {}, allowPrivate: true, ...more };
}

export function stdio(
  args: readonly string[],
  more: Partial<Extract<InstanceSpec, { kind: "stdio" }>> = {},
): InstanceSpec {
  return { kind: "stdio", id: `s@1#${args.join(" ")}`, command: process.execPath, args, env: {}, cwd: null, ...more };
}

export function fixtureOverStdio(...args: readonly string[]): InstanceSpec {
  return stdio([new URL("fixture.ts", import.meta.url).pathname, "--stdio", ...args]);
}

type Simulated = {
  readonly terms?: Traffic;
  /** How far the room's clock is ahead of this machine's. */
  readonly aheadMs?: () => number;
};

/** All instances are of `s@1`. */
export function upstreamsOf(
  specs: readonly InstanceSpec[],
  { terms = TRAFFIC, aheadMs = () => 0, ...options }: Partial<UpstreamOptions> & Simulated = {},
): Upstreams {
  const upstreams = createUpstreams(
    {
      resultBytesMax: RESULT_BYTES_MAX,
      searchPath: process.env["PATH"] ?? "",
      backoffFirstMs: 50,
      backoffMaxMs: 200,
      ...options,
    },
    { ...PORTS, clock: { ...PORTS.clock, monotonicMs: () => PORTS.clock.monotonicMs() + aheadMs() } },
  );
  upstreams.reconcile([{ server: "s", version: "1", specs, terms }]);
  return upstreams;
}

export type Wish = {
  readonly args?: JsonObject;
  readonly meta?: JsonObject;
  /** Of version 1; `s` where none is named. */
  readonly server?: string;
  readonly timeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly tenant?: string;
  readonly idempotent?: boolean;
  readonly definition?: JsonObject;
  readonly signal?: AbortSignal;
  readonly tracestate?: string;
  readonly parentSpanId?: string;
  readonly onProgress?: (params: JsonObject) => void;
  readonly resultBytesMax?: number;
};
export type Made = {
  readonly call: Pick<Call, "executed" | "attempts" | "instance">;
  readonly answer: Promise<Answer>;
  /** The refusal's code, or what the answer was. */
  readonly came: () => Promise<string>;
};

export function callOn(upstreams: Upstreams, name: string, wish: Wish = {}): Made {
  const { timeoutMs = 5000, idempotent = false, definition = {}, tracestate = null, parentSpanId = null } = wish;
  const place = { server: wish.server ?? "s", version: "1", upstreamName: name };
  const tool = { ...place, timeoutMs, idleTimeoutMs: wish.idleTimeoutMs ?? null, idempotent, definition };
  const permit = {
    principal: { tenant: wish.tenant ?? "default" },
    tool: tool as unknown as Tool,
    obligations: { max_result_bytes: wish.resultBytesMax ?? null },
  } as unknown as Permit;
  const request = {
    arguments: wish.args ?? {},
    meta: wish.meta ?? null,
    onProgress: wish.onProgress ?? null,
  } as unknown as CallRequest;
  const asked = { signal: wish.signal ?? new AbortController().signal, tracestate };
  const call = {
    id: randomUUID(),
    asked,
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    parentSpanId,
    executed: "no",
    attempts: 0,
    beganMs: 0,
    tries: [],
    instance: null,
  } as unknown as Call;
  const answer = forward(upstreams, permit, request, call);
  answer.catch(() => {});
  return { call, answer, came: () => answer.then((value) => value.kind, codeOf) };
}

export function codeOf(thrown: unknown): string {
  return thrown instanceof Refusal ? thrown.code : `not a refusal: ${String(thrown)}`;
}

/** The text of a result's first content block. */
export function textOf(answer: Answer): string {
  return answer.kind === "result"
    ? ((answer.result["content"] as readonly { text: string }[])[0]?.text ?? "")
    : `error ${answer.error.code}`;
}

export async function until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  for (let waited = 0; !condition(); waited += 5) {
    if (waited > timeoutMs) throw new Error("It did not come to pass.");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
