/**
 * The promise: whoever changes a policy is told what it would change before it does: line by line, and of what was decided
 * lately as far as the records hold it; its tests must reach enough of it; and every text can be had back by its revision.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { lineDiff } from "../src/cli/line-diff.ts";
import type { Bundle } from "../src/policy/sources.ts";
import { portcullis } from "./cli-io.ts";
import { BASE_CONFIG, fixtureServer, KEYS } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { allowing, refusing, SHIPPED, stands } from "./support/stand.ts";

const { stand } = stands();
const run = (gateway: TestGateway, ...words: string[]) =>
  portcullis(["policy", ...words, "--config", gateway.configFile]);

async function folderOf(gateway: TestGateway, { modules, tests }: Bundle, name = "candidate"): Promise<string> {
  const folder = join(gateway.folder, name);
  await mkdir(folder, { recursive: true });
  for (const [path, text] of Object.entries({ ...modules, ...tests })) await writeFile(join(folder, path), text);
  return folder;
}

describe("the impact of a candidate", () => {
  test("is which of the recorded decisions it would turn, made again by both", async () => {
    const { admin, call } = await stand();
    await admin.policies.put.mutate({ value: refusing("odd") });
    const calls = [await call("odd"), await call("even"), await call("even"), await call("third")];
    expect(calls.map(({ code }) => code)).toEqual(["forbidden", "ok", "ok", "ok"]);
    const { impact } = await admin.policies.impact.query({ value: refusing("even") });
    // the change that put it in force is decided again too
    expect(impact).toMatchObject({ recorded: 5, decided: 5, complete: true, moved: 0, faults: 0 });
    expect(impact.flips).toEqual({ allow_to_deny: 2, deny_to_allow: 1, terms: 0 });
    expect(impact.examples.map(({ callId, flip }) => [callId, flip])).toEqual([
      [calls[2]?.callId, "allow_to_deny"],
      [calls[1]?.callId, "allow_to_deny"],
      [calls[0]?.callId, "deny_to_allow"],
    ]);
    expect(impact.examples[0]).toMatchObject({ principal: "alice", tool: "fixture__echo" });
    const terms = await admin.policies.impact.query({ value: allowing(`{"limits": ["gold"]}`) });
    expect(terms.impact.flips).toMatchObject({ terms: 4, deny_to_allow: 1 });
    // nothing came into force, nor into the record of what did
    expect((await call("even")).code).toBe("ok");
    expect((await admin.policies.impact.query({ value: refusing("even"), since: Date.now() })).impact.recorded).toBe(0);
  });

  test("counts what the records do not hold, and what has moved since", async () => {
    const { gateway, admin, call } = await stand({
      principals: [...BASE_CONFIG.principals, { id: "gone", roles: ["analyst"] }],
    });
    const { text } = await admin.keys.issue.mutate({ principal: "gone" });
    await call("even", text);
    await call(`pw: ${"x".repeat(3_000)}`);
    await call("even");
    await gateway.rewrite({ principals: BASE_CONFIG.principals });
    const { impact } = await admin.policies.impact.query({ value: refusing("even") });
    expect(impact.lost).toMatchObject({ principal: 1, arguments: 1, tool: 0 });
    expect(impact.flips.allow_to_deny).toBe(1);
    // a role that lost its permission: what was allowed would not be today
    await gateway.rewrite({
      principals: BASE_CONFIG.principals,
      roles: { ...BASE_CONFIG.roles, analyst: ["files:read"] },
    });
    const later = await admin.policies.impact.query({ value: refusing("even") });
    expect(later.impact.moved).toBe(1);
    expect(later.impact.flips.allow_to_deny).toBe(0);
  });

  test("needs no arguments where neither policy reads them", async () => {
    const server = { audit: { arguments: "digest" } };
    const { gateway, admin, call } = await stand();
    const [instance] = gateway.config.servers[0]?.instances ?? [];
    if (instance === undefined || !("http" in instance)) throw new Error("no fixture");
    await gateway.rewrite({ servers: [fixtureServer(instance.http, server)] });
    await call("even");
    await admin.policies.put.mutate({ value: allowing("{}") });
    const closed: Bundle = {
      ...allowing("{}"),
      modules: { "p.rego": `package portcullis\n\ndefault decision := {"allow": false}\n` },
    };
    expect((await admin.policies.impact.query({ value: closed })).impact).toMatchObject({
      lost: { arguments: 0 },
      flips: { allow_to_deny: 2 },
    });
    expect((await admin.policies.impact.query({ value: refusing("odd") })).impact.lost.arguments).toBe(1);
  });

  test("and its lines are what `policy diff` shows; what does not compile is told with its place", async () => {
    const { gateway, admin, call } = await stand();
    await admin.policies.put.mutate({ value: refusing("odd") });
    await call("odd");
    const folder = await folderOf(gateway, refusing("even"));
    const { stdout, code } = await run(gateway, "diff", folder);
    expect(code).toBe(0);
    expect(stdout).toContain(
      `--- arguments.rego\n+++ arguments.rego\n@@\n \n proved if {\n \tinput.target.kind == "tool"\n-\tinput.arguments.text != "odd"\n+\tinput.arguments.text != "even"\n }\n \n proved if input.request`,
    );
    expect(stdout).toContain("deny to allow: alice tools/call fixture__echo");
    expect(stdout).toContain("0 would be refused, 1 allowed, 0 allowed on other terms");
    const impact = await run(gateway, "impact", folder, "--since", "1h", "--json");
    expect(JSON.parse(impact.stdout)).toMatchObject({ flips: { deny_to_allow: 1 } });
    await writeFile(join(folder, "arguments.rego"), "package portcullis.arguments\n\nproved if nothing\n");
    expect(await run(gateway, "diff", folder)).toMatchObject({ code: 1, stdout: "" });
    expect((await run(gateway, "impact", folder, "--since", "soon")).code).toBe(2);
  });

  test("is for those who may change policies, and nobody else", async () => {
    const { gateway } = await stand();
    const { adminOf } = await import("./support/planes.ts");
    for (const key of [KEYS.alice, KEYS.ada])
      await expect(
        adminOf(gateway, { "x-api-key": key }).policies.impact.query({ value: refusing("odd") }),
      ).rejects.toThrow("Policy did not allow this.");
  });
});

describe("a policy that is applied", () => {
  const tests = {
    "own_test.rego": `package own_test

import data.portcullis.arguments

test_even_is_refused if not arguments.proved with input as {"target": {"kind": "tool"}, "request": {"operation": "tools/call"}, "arguments": {"text": "odd"}}
`,
  };

  test("must have tests that reach as much of it as was asked", async () => {
    const { gateway, admin, call } = await stand();
    const folder = await folderOf(gateway, refusing("odd", { tests }));
    const refused = await run(gateway, "apply", folder, "--coverage", "80");
    expect(refused.code).toBe(1);
    const asked = admin.policies.put.mutate({ value: refusing("odd", { tests }), coverage: 80 });
    await expect(asked).rejects.toMatchObject({
      data: {
        portcullis: {
          errors: [
            {
              message: expect.stringMatching(/^arguments\.rego:\d+:1: coverage: the tests reach \d+\.\d % /) as string,
            },
            { message: expect.stringMatching(/^portcullis\.rego:\d+:1: coverage: /) as string },
          ],
        },
      },
    });
    expect((await call("odd")).code).toBe("ok");
    expect((await run(gateway, "apply", folder, "--coverage", "5")).code).toBe(0);
    expect((await call("odd")).code).toBe("forbidden");
    expect((await run(gateway, "apply", folder, "--coverage", "most")).code).toBe(2);
  });

  test("goes back by change or by the revision that a record names, and nothing else goes with it", async () => {
    const { gateway, admin, call } = await stand();
    await admin.policies.put.mutate({ value: refusing("odd") });
    const { callId } = await call("odd");
    await admin.policies.put.mutate({ value: refusing("even") });
    await admin.roles.put.mutate({ role: "kept", permissions: ["a:b"] });
    const record = (await gateway.records()).find((one) => one["portcullis.call.id"] === callId);
    const revision = String(record?.["portcullis.policy.revision"]);
    expect((await run(gateway, "rollback", revision.slice(0, 12), "--dry-run")).stdout).toBe(
      "changed arguments.rego\n",
    );
    expect((await call("odd")).code).toBe("ok");
    expect((await run(gateway, "rollback", revision.slice(0, 12))).code).toBe(0);
    expect((await call("odd")).code).toBe("forbidden");
    expect((await run(gateway, "rollback", "2")).code).toBe(0);
    expect((await call("even")).code).toBe("forbidden");
    expect((await run(gateway, "rollback", "0")).code).toBe(0);
    expect([(await call("odd")).code, (await call("even")).code]).toEqual(["ok", "ok"]);
    expect(gateway.gateway.snapshot().roles["kept"]).toEqual(["a:b"]);
    expect(await run(gateway, "rollback", "99")).toMatchObject({ code: 1 });
    expect(await run(gateway, "rollback", "f".repeat(64))).toMatchObject({ code: 1 });
    expect(await run(gateway, "rollback", "latest")).toMatchObject({ code: 2 });
  });

  test("or stood in a folder: its text is found by the revision on a record, whatever became of the folder", async () => {
    const { gateway, call } = await stand();
    const folder = await folderOf(gateway, refusing("odd"), "own");
    await gateway.rewrite({ policies: "./own" });
    const { callId } = await call("odd");
    await writeFile(join(folder, "arguments.rego"), refusing("even").modules["arguments.rego"] ?? "");
    await gateway.reload();
    expect((await call("odd")).code).toBe("ok");
    const record = (await gateway.records()).find((one) => one["portcullis.call.id"] === callId);
    const revision = String(record?.["portcullis.policy.revision"]);
    const shown = await run(gateway, "show", "--revision", revision.slice(0, 10));
    expect(shown.stdout).toContain('!= "odd"');
    expect(shown.stderr).toContain(revision);
    expect(await run(gateway, "show", "--revision", "0".repeat(10))).toMatchObject({ code: 1 });
    expect(await run(gateway, "rollback", revision)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("folder that the configuration file names"),
    });
  });
});

test("a difference of lines shows what is around it, and what is apart", () => {
  const text = (changes: { readonly [line: number]: string }) =>
    Array.from({ length: 30 }, (_, at) => changes[at] ?? `line ${at}`).join("\n");
  expect(lineDiff("a\nb\nc\n", "a\nc\nd\n")).toEqual([" a", "-b", " c", "+d"]);
  expect(lineDiff(null, "a\n")).toEqual(["+a"]);
  expect(lineDiff("a\n", null)).toEqual(["-a"]);
  expect(lineDiff(SHIPPED.modules["portcullis.rego"] ?? "", SHIPPED.modules["portcullis.rego"] ?? "")).toEqual([]);
  const lines = lineDiff(text({}), text({ 4: "x", 20: "y" }));
  expect(lines.filter((line) => line === "@@")).toHaveLength(2);
  expect(lines).toContain("-line 4");
  expect(lines).toContain("+y");
  expect(lines).toHaveLength(2 + 2 * (3 + 2 + 3));
});
