/**
 * The promise: why policy decided so can be asked of each recorded call, on the text that decided it: the rules, what they
 * read, and what would turn it, each tried. Whoever may not read that record learns nothing, not even that there is one.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { BASE_CONFIG, KEYS } from "./support/gateway.ts";
import { adminOf } from "./support/planes.ts";
import { refusing, stands, withRows } from "./support/stand.ts";
import type { Stand } from "./support/stand.ts";

const { stand } = stands();

async function whyOf({ admin }: Stand, callId: string | null) {
  return await admin.policies.why.query({ callId: callId ?? "" });
}

async function graph({ gateway }: Stand, key: string, query: string): Promise<unknown> {
  const headers = { "x-api-key": key, "content-type": "application/json" };
  const answer = await fetch(`${gateway.url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
  return await answer.json();
}

describe("why", () => {
  test("names the rules, what they read, masked, and the single changes that would turn it", async () => {
    const on = await stand();
    await on.admin.policies.put.mutate({ value: refusing("odd") });
    const { code, callId } = await on.call("odd");
    expect(code).toBe("forbidden");
    const told = await whyOf(on, callId);
    expect(told).toMatchObject({ decision: "deny", principal: "alice", tool: "fixture__echo", missing: [] });
    expect(told.reasons).toEqual(["an argument is not allowed"]);
    const ruleAt = (file: string, row: number) => told.rules.find((one) => one.file === file && one.row === row);
    expect(ruleAt("arguments.rego", 3)).toEqual({
      path: "data.portcullis.arguments.proved",
      file: "arguments.rego",
      row: 3,
      held: false,
      failedAt: 5,
    });
    expect(ruleAt("portcullis.rego", 19)).toMatchObject({ path: "data.portcullis.held", held: true });
    expect(told.values).toContainEqual({ path: "input.arguments.text", value: '{"text":"odd"}' });
    expect(told.values).toContainEqual({ path: "input.principal.permissions", value: '["demo:use","files:read"]' });
    expect(told.nearest).toEqual([]);
    const allowed = await whyOf(on, (await on.call("even")).callId);
    expect(allowed.decision).toBe("allow");
    expect(allowed.nearest).toEqual([
      { change: "without_role", name: "analyst" },
      { change: "without_permission", name: "demo:use" },
    ]);
  });

  test("says which permission or role would have allowed it, and only such as do", async () => {
    const on = await stand();
    const { callId } = await on.call("even", KEYS.ada);
    const told = await whyOf(on, callId);
    expect(told.nearest).toEqual([
      { change: "permission", name: "demo:use" },
      { change: "role", name: "analyst" },
      { change: "role", name: "operator" },
    ]);
    const { gateway } = on;
    const { stdout, code } = await portcullis(["policy", "why", callId ?? "", "--config", gateway.configFile]);
    expect(code).toBe(0);
    expect(stdout).toContain("deny: ada tools/call fixture__echo (no rule allows this)\n");
    expect(stdout).toMatch(/failed portcullis\.rego:\d+: portcullis\.held\n/);
    expect(stdout).toContain("allowed with the role analyst\n");
    expect((await portcullis(["policy", "why", "nothing", "--config", gateway.configFile])).code).toBe(2);
  });

  test("is told on the text of the revision that decided, whatever came after", async () => {
    const on = await stand();
    const folder = join(on.gateway.folder, "own");
    await mkdir(folder);
    for (const [path, text] of Object.entries(refusing("odd").modules)) await writeFile(join(folder, path), text);
    await on.gateway.rewrite({ policies: "./own" });
    const { callId } = await on.call("odd");
    const text = `package portcullis.arguments\n\nproved := true\n`;
    await writeFile(join(folder, "arguments.rego"), text);
    await on.gateway.reload();
    const told = await whyOf(on, callId);
    expect(told.rules).toContainEqual(expect.objectContaining({ file: "arguments.rego", row: 3, failedAt: 5 }));
    const record = (await on.gateway.records()).find((one) => one["portcullis.call.id"] === callId);
    expect(told.revision).toBe(record?.["portcullis.policy.revision"]);
  });

  test("says what is not as it was: a role that moved, arguments that were masked, a principal who is gone", async () => {
    const principals = [...BASE_CONFIG.principals, { id: "gone", roles: ["analyst"] }];
    const on = await stand({ principals });
    await on.admin.policies.put.mutate({
      value: {
        ...refusing("odd"),
        modules: {
          ...refusing("odd").modules,
          "portcullis.rego": (refusing("odd").modules["portcullis.rego"] ?? "").replace(
            'obligations := {"rows": "all"} if input.target.kind == "calls"',
            'obligations := {"rows": "all"} if input.target.kind == "calls"\n\nobligations := {"mask_audit": ["/arguments/text"]} if input.target.kind == "tool"',
          ),
        },
      },
    });
    const masked = await whyOf(on, (await on.call("hidden")).callId);
    expect(masked.missing).toEqual([expect.stringContaining("not kept whole")]);
    expect(JSON.stringify(masked)).not.toContain("hidden");
    expect(masked.obligations.mask_audit).toEqual(["/arguments/text"]);
    const { text } = await on.admin.keys.issue.mutate({ principal: "gone" });
    const { callId } = await on.call("even", text);
    const moved = await on.call("even");
    await on.gateway.rewrite({
      principals: BASE_CONFIG.principals,
      roles: { ...BASE_CONFIG.roles, analyst: ["files:read"] },
    });
    expect((await whyOf(on, callId)).missing).toEqual(["its principal is not known any more"]);
    expect((await whyOf(on, moved.callId)).missing).toContainEqual(expect.stringContaining("decided otherwise"));
  });

  test("is asked of calls that one may read; of another's nobody learns that there was one", async () => {
    const on = await stand({
      principals: BASE_CONFIG.principals.map((one) =>
        one.id === "oscar" ? { ...one, tenant: "other", roles: ["operator", "auditor"] } : one,
      ),
    });
    const { callId } = await on.call("even");
    const id = callId ?? "";
    const as = (key: string) => adminOf(on.gateway, { "x-api-key": key }).policies.why.query({ callId: id });
    const none = "There is no record of a decision on this call.";
    expect(await as(KEYS.ada)).toMatchObject({ callId: id });
    await expect(as(KEYS.alice)).rejects.toThrow("Policy did not allow this.");
    await on.admin.policies.put.mutate({ value: withRows("tenant") });
    expect(await as(KEYS.ada)).toMatchObject({ callId: id });
    await expect(as(KEYS.oscar)).rejects.toThrow(none);
    await on.admin.policies.put.mutate({ value: withRows("own") });
    await expect(as(KEYS.ada)).rejects.toThrow(none);
    const other = `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`;
    await expect(on.admin.policies.why.query({ callId: other })).rejects.toThrow(none);
  });

  test("is told of one's own calls where policy says own, and of nobody's where it does not say whose", async () => {
    const both = ["demo:use", "audit:read"];
    const on = await stand({ roles: { ...BASE_CONFIG.roles, analyst: both, operator: both } });
    await on.admin.policies.put.mutate({ value: withRows("own") });
    const issue = async (onBehalfOf: string) =>
      (await on.admin.keys.issue.mutate({ agent: "planner", onBehalfOf })).text;
    const [forAlice, forOscar] = [await issue("alice"), await issue("oscar")];
    const why = (key: string, callId: string | null) =>
      adminOf(on.gateway, { "x-api-key": key }).policies.why.query({ callId: callId ?? "" });
    const none = "There is no record of a decision on this call.";
    const [own, agents] = [await on.call("even"), await on.call("even", forAlice)];
    expect(await why(KEYS.alice, own.callId)).toMatchObject({ principal: "alice" });
    expect(await why(forAlice, agents.callId)).toMatchObject({ principal: "planner" });
    for (const [key, callId] of [
      [KEYS.ada, own.callId],
      [forAlice, own.callId],
      [KEYS.alice, agents.callId],
      [forOscar, agents.callId],
    ] as const)
      await expect(why(key, callId)).rejects.toThrow(none);
    // whoever has moved to another tenant has left the calls of the first one there
    const moved = BASE_CONFIG.principals.map((one) => (one.id === "alice" ? { ...one, tenant: "other" } : one));
    await on.gateway.rewrite({ principals: moved });
    await expect(why(KEYS.alice, own.callId)).rejects.toThrow(none);
    const { modules, ...more } = withRows("own");
    const silent = (modules["portcullis.rego"] ?? "").replace('{"rows": "own"}', "{}");
    await on.admin.policies.put.mutate({ value: { ...more, modules: { ...modules, "portcullis.rego": silent } } });
    await expect(why(KEYS.ada, (await on.call("even", KEYS.oscar)).callId)).rejects.toThrow("which rows");
  });

  test("is a field of mayCall for those who may read the audit, and null for others", async () => {
    const on = await stand({ roles: { ...BASE_CONFIG.roles, analyst: ["demo:use", "audit:read"] } });
    await on.admin.policies.put.mutate({ value: refusing("odd") });
    const ask = `{ mayCall(tool: "fixture__echo", arguments: {text: "odd"}) { allowed explanation { revision rules { file row held failedAt } values { path value } nearest { change name } missing } } }`;
    const told = await graph(on, KEYS.alice, ask);
    expect(told).toMatchObject({
      data: { mayCall: { allowed: false, explanation: { missing: [], nearest: [] } } },
    });
    expect(JSON.stringify(told)).toContain('{"file":"arguments.rego","row":3,"held":false,"failedAt":5}');
    expect(await graph(on, KEYS.oscar, ask)).toEqual({ data: { mayCall: { allowed: false, explanation: null } } });
    const nearest = ask.replace('"odd"', '"even"');
    expect(JSON.stringify(await graph(on, KEYS.alice, nearest))).toContain(
      '{"change":"WITHOUT_ROLE","name":"analyst"}',
    );
  });
});

describe("the effective policy", () => {
  test("says who may call a tool and what somebody may call, page by page", async () => {
    const on = await stand();
    const { gateway, admin } = on;
    await admin.keys.issue.mutate({ agent: "planner", onBehalfOf: "alice" });
    const who = await admin.policies.who.query({ tool: "fixture__echo" });
    expect(who.principals.map(({ id, onBehalfOf }) => [id, onBehalfOf])).toEqual([
      ["alice", null],
      ["oscar", null],
      ["planner", "alice"],
    ]);
    expect(who.endCursor).toBeNull();
    const first = await admin.policies.who.query({ tool: "fixture__echo", first: 1 });
    expect(first.principals).toHaveLength(1);
    const rest = await admin.policies.who.query({ tool: "fixture__echo", after: first.endCursor });
    expect(rest.principals.map(({ id }) => id)).toEqual(["oscar", "planner"]);
    const all = await admin.policies.what.query({ principal: "alice" });
    expect(all.tools.map(({ name }) => name)).toContain("fixture__echo");
    const some = await admin.policies.what.query({ principal: "alice", first: 2 });
    const more = await admin.policies.what.query({ principal: "alice", after: some.endCursor });
    expect([...some.tools, ...more.tools]).toEqual(all.tools);
    expect((await admin.policies.what.query({ principal: "ada" })).tools).toEqual([]);
    const run = (...words: string[]) => portcullis(["policy", ...words, "--config", gateway.configFile]);
    expect((await run("who", "fixture__echo")).stdout).toBe("alice (acme)\noscar (acme)\nplanner for alice (acme)\n");
    expect((await run("what", "planner", "--for", "alice")).stdout).toContain("fixture@1.0.0/echo\n");
    expect((await run("what", "nobody")).code).toBe(1);
  });

  test("says which rules never hold, for nobody and nothing that was recorded", async () => {
    const on = await stand();
    const value = refusing("odd");
    const dead = `${value.modules["arguments.rego"]}
proved if input.principal.roles == ["nobody-has-this"]

proved if input.arguments.text == "odd"
`;
    await on.admin.policies.put.mutate({ value: { ...value, modules: { ...value.modules, "arguments.rego": dead } } });
    const before = await on.admin.policies.unused.query();
    expect(before.complete).toBe(true);
    const rowsOf = (told: typeof before) =>
      told.rules.filter(({ file }) => file === "arguments.rego").map(({ row }) => row);
    // one needs an argument that nobody gave yet, one a role that nobody has, one another argument
    expect(rowsOf(before)).toEqual([3, 12, 14]);
    await on.call("odd");
    await on.call("even");
    expect(rowsOf(await on.admin.policies.unused.query())).toEqual([12]);
    const { code, stdout } = await portcullis(["policy", "unused", "--config", on.gateway.configFile]);
    expect(code).toBe(1);
    expect(stdout).toContain("arguments.rego:12: data.portcullis.arguments.proved never holds\n");
  });
});
