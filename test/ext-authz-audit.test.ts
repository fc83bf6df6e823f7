/** A check is written down before Envoy hears of it, and an obligation that a check cannot carry out denies. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkCall } from "../src/call.ts";
import type { Exchange } from "../src/doors/exchange.ts";
import { extAuthzRoutes } from "../src/doors/ext-authz/http.ts";
import type { CallRequest } from "../src/model.ts";
import { call, checkOverHttp, openFront } from "./ext-authz-front.ts";
import type { Answer, Front } from "./ext-authz-front.ts";
import { checkClient, checkRequest, toldBy } from "./support/ext-authz.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

const alice = KEYS.alice;
let front: Front;
beforeAll(async () => {
  front = await openFront();
});
afterAll(() => front.close());

describe("in the audit", () => {
  const query = (callId: string | null) => ({
    filter: { callId: callId ?? "" },
    scope: {},
    first: 5,
    after: null,
    order: "newest" as const,
  });

  test("a check that was let through is one finished row, of which nobody knows whether it ran", async () => {
    const told = toldBy(await front.client.check(checkRequest({ key: alice, body: call })));
    const { rows } = await front.gateway.gateway.audit.projection.page(query(told.callId));
    expect(rows).toMatchObject([
      {
        interface: "ext_authz",
        operation: "tools/call",
        outcome: "success",
        executed: "unknown",
        decision: "allow",
        attempts: 0,
      },
    ]);
  });
  const asked = (signal: AbortSignal): CallRequest => ({
    interface: "ext_authz",
    protocol: "",
    path: "/ext_authz/fixture",
    ip: "127.0.0.1",
    credential: { kind: "secret", value: alice },
    traceparent: null,
    tracestate: null,
    signal,
    tool: { kind: "upstream", server: "fixture", name: "echo", version: null },
    arguments: { text: "hi" },
    meta: null,
    onProgress: null,
  });
  test("what cannot be written is not let through, and was not executed", async () => {
    const audit = { ...front.gateway.gateway.audit, ending: () => Promise.reject(new Error("the disk is full")) };
    const outcome = await checkCall({ ...front.gateway.gateway, audit }, asked(new AbortController().signal));
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "audit_unavailable" }, call: { executed: "no" } });
  });
  test("a check for which nobody waits any more lets nothing through", async () => {
    const outcome = await checkCall(front.gateway.gateway, asked(AbortSignal.abort()));
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "cancelled" }, call: { executed: "no" } });
  });
  test("a failure of ours reaches Envoy over HTTP as a refusal, never as a status that it takes for a fault", async () => {
    const audit = { ...front.gateway.gateway.audit, ending: () => Promise.reject(new Error("the disk is full")) };
    const answers: { readonly status: number; readonly code: string }[] = [];
    const exchange: Exchange = {
      method: "POST",
      path: "/ext_authz/fixture/mcp",
      query: new URLSearchParams(),
      headers: { "x-envoy-auth-partial-body": "false" },
      body: JSON.parse(call),
      ip: "127.0.0.1",
      credential: { kind: "secret", value: alice },
      signal: new AbortController().signal,
      reply: (status, _, body) => void answers.push({ status, code: JSON.parse(body).code }),
      stream: () => expect.unreachable(),
    };
    await extAuthzRoutes[1]?.door({ ...front.gateway.gateway, audit }, exchange);
    expect(answers).toEqual([{ status: 403, code: "audit_unavailable" }]);
  });
});

describe("obligations", () => {
  const rule = (obligations: string) =>
    `package portcullis\n\ndecision := {"allow": true, "reasons": ["r"], "obligations": ${obligations}}\n`;
  let own: TestGateway;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "portcullis-policy-"));
    await writeFile(join(folder, "rule.rego"), rule("{}"));
    own = await startGateway({
      extAuthz: { http: true, grpc: "127.0.0.1:0" },
      policies: folder,
      limits: [{ name: "one", key: ["principal"], limit: 1, window: "60s" }],
      servers: [fixtureServer(front.fixture)],
    });
    await discovered(own, "fixture");
  });
  afterAll(async () => {
    await own.close();
    await rm(folder, { recursive: true });
  });

  const allowed = async (obligations: string): Promise<readonly Answer[]> => {
    await writeFile(join(folder, "rule.rego"), rule(obligations));
    await own.reload();
    const http = await checkOverHttp(own, { key: alice, body: call });
    const other = checkClient(own.grpc ?? "");
    const grpc = toldBy(await other.check(checkRequest({ key: alice, body: call })));
    other.close();
    return [http, grpc];
  };
  test.each(['{"redact": [{"pattern": "email"}]}', '{"max_result_bytes": 1000}', '{"max_result_bytes": 0}'])(
    "that nobody would carry out deny: %s",
    async (obligations) => {
      for (const answer of await allowed(obligations)) {
        expect(answer).toMatchObject({ code: "forbidden", status: 403, reasons: ["r", "obligation_not_enforceable"] });
      }
      const last = (await own.records()).at(-1);
      expect(last).toMatchObject({ "portcullis.record": "refusal", "portcullis.decision": "deny" });
    },
  );
  test("that hold before a call do: mask_audit and limits", async () => {
    for (const answer of await allowed('{"mask_audit": ["/arguments/text"]}')) expect(answer.code).toBe("ok");
    expect(JSON.stringify((await own.records()).at(-1))).not.toContain('"hi"');
    expect((await allowed('{"limits": ["one"]}')).map(({ code }) => code)).toEqual(["ok", "rate_limited"]);
  });
});
