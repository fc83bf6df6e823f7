/** The two documents of the policy are what schema/ says they are. */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import type { Call, Principal, Tool } from "../src/model.ts";
import { readVerdict } from "../src/policy/decision.ts";
import { listInput, operationInput, useText } from "../src/policy/input.ts";
import { REDACTION_PATTERNS } from "../src/policy/patterns.ts";
import type { Body } from "./support/ask.ts";

const schema = async (name: string): Promise<{ properties: { [name: string]: Body } }> =>
  JSON.parse(await readFile(join(resolve(import.meta.dirname, "../schema"), name), "utf8"));
const compile = async (name: string) =>
  new Ajv2020({ strict: true, allowUnionTypes: true, formats: { "date-time": true } }).compile(await schema(name));
const principal: Principal = {
  id: "planner",
  kind: "agent",
  roles: ["analyst"],
  permissions: ["demo:use"],
  tenant: "acme",
  onBehalfOf: "alice",
  claims: {},
};
const digest = `sha256:${"0".repeat(64)}`;
const tool = {
  name: "files__read",
  policyInput: {
    server: "files",
    version: "1.0.0",
    permissions: ["demo:use"],
    tags: [],
    annotations: { readOnlyHint: true },
    digest,
  },
} as unknown as Tool;
const call = {
  id: "01a20307-a0c4-7d9e-b425-491a1128a74d",
  startedMs: 1_800_000_000_000,
  operation: "calls/read",
  principal,
  arguments: { path: "a" },
  asked: { interface: "mcp", protocol: "2026-07-28", ip: "127.0.0.1" },
} as unknown as Call;

describe("the input document", () => {
  test("of a use, an operation, and each question of a list is valid", async () => {
    const validate = await compile("policy-input.schema.json");
    const list = listInput(call, [tool]) as { request: object; principal: object; tools: readonly object[] };
    const question = { request: list.request, principal: list.principal, ...list.tools[0] };
    for (const input of [
      JSON.parse(useText(call, tool)),
      operationInput(call, { kind: "calls", name: "calls" }, "audit:read"),
      question,
    ]) {
      expect(validate(input), JSON.stringify(validate.errors)).toBe(true);
    }
    expect(Object.keys(question)).not.toContain("arguments");
  });

  test("is refused by the schema when a field is missing or unknown", async () => {
    const validate = await compile("policy-input.schema.json");
    expect(validate({ ...JSON.parse(useText(call, tool)), extra: 1 })).toBe(false);
    expect(validate({ request: {}, principal: {}, target: {} })).toBe(false);
  });
});

describe("the decision document", () => {
  test("names the redaction patterns that there are", async () => {
    const { properties } = await schema("policy-decision.schema.json");
    expect(properties["obligations"].properties.redact.items.oneOf[0].properties.pattern.enum).toEqual(
      Object.keys(REDACTION_PATTERNS),
    );
  });

  test("allows only what its schema takes", async () => {
    const validate = await compile("policy-decision.schema.json");
    const decisions: readonly unknown[] = [
      { allow: true },
      {
        allow: true,
        reasons: ["x"],
        obligations: {
          redact: [{ pattern: "email" }, { path: "/a" }],
          mask_audit: ["/arguments/x"],
          limits: ["gold"],
          cost: 1_000_000,
          max_result_bytes: 1,
          route: { version: "2.0.0" },
        },
      },
      ...[0, 1_000_001, 1.5, "2"].map((cost) => ({ allow: true, obligations: { cost } })),
      { allow: true, obligations: { route: {} } },
      { allow: true, obligations: { route: { version: "2.0.0", server: "x" } } },
      { allow: true, obligations: { redact: [{ path: "a" }] } },
      { allow: true, reasons: "x" },
      { allow: "true" },
      {},
    ];
    for (const decision of decisions) {
      const { allow } = readVerdict({ ok: true, value: { decision, listed: true } }).decision;
      expect(allow).toBe(validate(decision));
    }
  });
});
