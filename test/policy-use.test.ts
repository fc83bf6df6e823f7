/**
 * The promise: a use is decided by its own evaluation, always; whether its tool is listed may be remembered, but only
 * where remembering can change nothing. Real Rego, compiled and evaluated.
 */
import { describe, expect, test } from "vitest";
import type { JsonObject, Principal, Tool } from "../src/model.ts";
import { item, policyBench, principal, request, use, valueOf } from "./support/policy.ts";

const { load } = policyBench();
const about = () => ({ principal: { id: "alice" } as Principal, tool: { id: "t" } as Tool });
const text = (input: object) => JSON.stringify(input);
const tool = item("a", ["files:read"]);
const allowing = (condition: string) => ({
  "p.rego": `package portcullis\n\ndefault decision := {"allow": false}\n\ndecision := {"allow": true} if {\n\t${condition}\n}\n`,
});

describe("a use", () => {
  test.each([
    ["the principal and the tool alone", `"files:read" in input.tool.permissions\n\tinput.principal.id == "alice"`],
    ["its arguments too", `"files:read" in input.tool.permissions\n\tinput.arguments.path == "x"`],
    ["the operation", `input.request.operation == "tools/call"`],
    ["the input as a whole", `some key, _ in input\n\tkey == "tool"`],
    ["nothing", "true"],
  ])("is decided the same the first time and ever after, where policy reads %s", async (_, condition) => {
    const policy = await load(allowing(condition));
    const same = about();
    for (const args of [{ path: "x" }, { path: "y" }, {}, { path: "x" }] as JsonObject[]) {
      const input = use(tool, args);
      expect(valueOf(policy.decideUse(text(input), same))).toEqual(valueOf(policy.decide(input)));
    }
  });

  test("is decided anew for another principal and another tool", async () => {
    const policy = await load(allowing(`input.principal.id == "alice"\n\t"files:read" in input.tool.permissions`));
    const same = about();
    expect(valueOf(policy.decideUse(text(use(tool)), same))).toMatchObject({ listed: true });
    const bob = { ...use(tool), principal: { ...principal, id: "bob" } };
    expect(valueOf(policy.decideUse(text(bob), { ...same, principal: { id: "bob" } as Principal }))).toMatchObject({
      decision: { allow: false },
      listed: false,
    });
  });

  test.each(["input.request.time", "input.request.ip", "input.request.id", "input.request.interface", "input.request"])(
    "is asked about again each time where a list could depend on %s",
    async (path) => {
      const condition =
        path === "input.request" ? `input.request == object.union(input.request, {"time": "now"})` : `${path} == "now"`;
      const policy = await load(allowing(condition));
      const same = about();
      const at = (value: string) => ({
        ...use(tool),
        request: { ...request, time: value, ip: value, id: value, interface: value },
      });
      expect(valueOf(policy.decideUse(text(at("now")), same))).toMatchObject({
        decision: { allow: true },
        listed: true,
      });
      expect(valueOf(policy.decideUse(text(at("later")), same))).toMatchObject({
        decision: { allow: false },
        listed: false,
      });
      expect(valueOf(policy.decideUse(text(at("now")), same))).toMatchObject({
        decision: { allow: true },
        listed: true,
      });
    },
  );

  test("that faults is not remembered, and does not become listed", async () => {
    const files = {
      "p.rego": `package portcullis\n\ndecision := {"allow": true}\n\ndecision := {"allow": false} if input.arguments.path == "conflict"\n`,
    };
    const policy = await load(files);
    const same = about();
    expect(policy.decideUse(text(use(tool, { path: "conflict" })), same)).toMatchObject({
      ok: false,
      fault: "policy_error",
    });
    expect(valueOf(policy.decideUse(text(use(tool, { path: "x" })), same))).toMatchObject({
      decision: { allow: true },
      listed: true,
    });
    expect(policy.decideUse(text(use(tool, { path: "conflict" })), same)).toMatchObject({
      ok: false,
      fault: "policy_error",
    });
  });

  test("with a lone surrogate, or larger than the cap, is refused unevaluated", async () => {
    const policy = await load(allowing("true"));
    expect(policy.decideUse(text(use(tool, { path: "\ud800" })), about())).toMatchObject({
      ok: false,
      fault: "policy_error",
    });
    expect(policy.decideUse(text(use(tool, { path: "x".repeat(2 ** 20) })), about())).toMatchObject({
      ok: false,
      fault: "policy_error",
    });
  });
});
