/**
 * The promise: what a bundle's own `data.system.log.mask` names is not written down, as OPA reads it, with a bundle that
 * `opa build` made; and where nobody can tell what it names, nothing is that could be meant.
 */
import { execFile } from "node:child_process";
import * as disk from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { Decision, JsonObject, Policy } from "../src/model.ts";
import { warmPolicy } from "../src/policy/bundle.ts";
import { checkPolicies, testPolicies } from "../src/policy/commands.ts";
import { isError } from "../src/policy/lint.ts";
import { withLogMask } from "../src/policy/log-mask.ts";
import { KEYS } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks, requirePart } from "./support/parts.ts";
import { policyBench } from "./support/policy.ts";
import { allowing, SHIPPED, stands } from "./support/stand.ts";

const { stand } = stands();
const { load, folder, compiler } = policyBench();

/** Half of it as OPA's documents write masks. */
const MASK = `package system.log

import data.names

mask contains "/input/arguments/text" if input.input.principal.id == "alice"

mask contains {"op": "upsert", "path": "/input/request/ip", "value": "x"}

mask contains "/result/reasons" if {
	input.result.allow == true
	input.path == "portcullis/decision"
}

mask contains sprintf("/input/arguments/%v", [name]) if some name in names.hidden
`;
const DECIDES = 'package portcullis\n\ndefault decision := {"allow": false}\n\n';
const ALLOWS = `${DECIDES}decision := {"allow": true, "reasons": ["all of it"]} if input.request.time != ""\n`;

async function write(root: string, files: { readonly [path: string]: string }): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await disk.mkdir(dirname(join(root, path)), { recursive: true });
    await disk.writeFile(join(root, path), text);
  }
}

/** What stands on the records of a call. */
async function recorded(gateway: TestGateway, callId: string | null) {
  const records = (await gateway.records()).filter((one) => one["portcullis.call.id"] === callId);
  return {
    arguments: records.map((one) => one["gen_ai.tool.call.arguments"]),
    address: records.map((one) => one["client.address"]),
    reasons: records.map((one) => one["portcullis.reasons"]),
    text: JSON.stringify(records),
  };
}

describe("the mask of a bundle's own log", () => {
  test.skipIf(lacks("opa"))("holds in a bundle that opa built, for the calls that it is about", async () => {
    const on = await stand();
    const { gateway } = on;
    const source = join(gateway.folder, "source");
    await write(source, { ...SHIPPED.modules, "system/log.rego": MASK, "names/data.json": '{"hidden": ["other"]}' });
    const opa = promisify(execFile);
    await opa(requirePart("opa"), ["build", "-b", source, "-o", join(gateway.folder, "bundle.tar.gz")]);
    await gateway.rewrite({ policies: "./bundle.tar.gz" });
    const masked = await recorded(gateway, (await on.call("my own words")).callId);
    expect(masked.arguments).toEqual(['{"text":"***"}', '{"text":"***"}']);
    expect([...masked.address, ...masked.reasons]).toEqual([undefined, undefined, undefined, undefined]);
    expect(masked.text).not.toContain("my own words");
    const told = await recorded(gateway, (await on.call("others say", KEYS.oscar)).callId);
    expect(told.arguments).toEqual(['{"text":"others say"}', '{"text":"others say"}']);
    expect(told.address).toEqual([undefined, undefined]);
    // nor does an explanation tell more than the record
    const { callId } = await on.call("my own words");
    const why = await on.admin.policies.why.query({ callId: callId ?? "" });
    expect(JSON.stringify(why)).not.toContain("my own words");
    expect(why.obligations.mask_audit).toContain("/arguments/text");
    expect(why.missing).toEqual([expect.stringContaining("not kept whole"), "its address was not kept"]);
  });

  test("holds for what is no call of a tool, and where the decision itself is refused", async () => {
    const on = await stand();
    await on.admin.audit.calls.query({});
    const mask = `package system.log\n\nmask contains ["/input/arguments/text", "/input/request/ip"][_]\n`;
    const modules = { ...allowing(`{"rows": "all"}`).modules, "system/log.rego": mask };
    await on.admin.policies.put.mutate({ value: { modules } });
    const { code, callId } = await on.call("my own words");
    expect(code).toBe("forbidden");
    expect(await recorded(on.gateway, callId)).toMatchObject({ arguments: ['{"text":"***"}'], address: [undefined] });
    await on.admin.audit.calls.query({});
    const [before, looked] = (await on.gateway.records()).filter((one) => one["portcullis.operation"] === "calls/read");
    expect(before).toMatchObject({ "portcullis.decision": "allow", "client.address": "local" });
    expect(looked).toMatchObject({ "portcullis.decision": "allow" });
    expect(looked).not.toHaveProperty("client.address");
  });

  test.skipIf(lacks("opa"))("says what opa says of the same decision", async () => {
    const files = { "p.rego": ALLOWS, "system/log.rego": MASK, "names/data.json": '{"hidden": ["a~b", "c d"]}' };
    const policy = await load(files);
    const root = await folder(files);
    for (const id of ["alice", "bob"]) {
      const question = { ...QUESTION, principal: { id } };
      const event = { path: "portcullis/decision", input: question, result: ALLOWED };
      const args = ["eval", "-b", root, "--stdin-input", "--format", "raw", "data.system.log.mask"];
      const running = promisify(execFile)(requirePart("opa"), args);
      running.child.stdin?.end(JSON.stringify(event));
      const ours = policy.logMask?.(JSON.stringify(event));
      expect(ours).toEqual({ ok: true, value: expect.anything() as unknown });
      const sorted = (masks: unknown) => (masks as unknown[]).map((one) => JSON.stringify(one)).toSorted();
      expect(sorted(ours?.ok === true && ours.value)).toEqual(sorted(JSON.parse((await running).stdout)));
    }
  });

  test.each([
    ["after a comment", "# Copyright\n\n# by us\npackage system.log\n"],
    ["with the line ends of Windows", "# Copyright\r\n\r\npackage system.log\r\n"],
    ["after a comment with a separator of lines", "# Copy\u2028right\npackage system.log\n"],
    ["with a comment in its name", "package # of OPA\n  system.log\n"],
  ])("is found %s", async (_, head) => {
    const policy = await load({ "p.rego": ALLOWS, "system/log.rego": `${head}\nmask contains "/input/arguments/a"\n` });
    expect(withLogMask(policy, ALLOWED, () => "{}").obligations.mask_audit).toContain("/arguments/a");
  });

  const everything = ["/arguments", "/principal/claims", "/request/ip", "/reasons", "/result"];
  const contains = (mask: string) => `mask contains ${mask}`;
  test.each<[string, string, readonly string[]]>([
    ["nothing that holds", 'mask contains "/input/arguments/a" if input.input.principal.id == "bob"', []],
    ["a part", contains('"/input/arguments/a/0"'), ["/arguments/a/0"]],
    ["a name with a tilde", contains('"/input/arguments/a~1"'), ["/arguments/a~1", "/arguments/a~01"]],
    ["an object", contains('{"op": "remove", "path": "/input/arguments/a"}'), ["/arguments/a"]],
    ["another value", contains('{"op": "upsert", "path": "/input/arguments/a", "value": {"b": 1}}'), ["/arguments/a"]],
    ["the input", contains('"/input"'), ["/arguments", "/principal/claims", "/request/ip"]],
    ["the decision", contains('"/result"'), ["/reasons"]],
    ["one reason", contains('"/result/reasons/0"'), ["/reasons"]],
    ["what no record has", 'mask := ["/nd_builtin_cache", "/result/obligations"]', []],
    ["with the time of the question", 'mask contains "/input/arguments/a" if time.now_ns() > 0', ["/arguments/a"]],
    ["no list", 'mask := {"/input/arguments/a": true}', everything],
    ["a number", contains("1"), everything],
    ["no path", contains('"input/arguments"'), everything],
    ["nothing", contains('""'), everything],
    ["another part", contains('"/labels"'), everything],
    ["another operation", contains('{"op": "hash", "path": "/input/arguments/a"}'), everything],
    ["no operation", contains('{"path": "/input/arguments/a"}'), everything],
    ["a path that is none", contains('{"op": "remove", "path": 1}'), everything],
    ["undefined", 'mask := ["/input/arguments/a"] if input.input.principal.id == "bob"', everything],
    ["a built-in that fails", contains('"/input/arguments/a" if semver.compare(input.path, "1.0.0") == 0'), everything],
    [
      "without end",
      contains(
        '"/x" if count([1 | some x in numbers.range(1, 9000); x > 0; some y in numbers.range(1, 9000); y < x]) < 0',
      ),
      everything,
    ],
    [
      "more than anybody means",
      contains('concat("", ["/input/arguments/a", format_int(i, 10)]) if some i in numbers.range(1, 1001)'),
      everything,
    ],
    ["two values at once", 'mask := ["/input/a"]\n\nmask := ["/input/b"]', everything],
  ])("%s", async (_, rule, pointers) => {
    const policy = await load({ "p.rego": ALLOWS, "system/log.rego": `package system.log\n\n${rule}\n` });
    expect(maskedBy(policy)).toEqual(["/before", ...pointers]);
    // it travels with the policy
    expect(maskedBy(await warmPolicy(policy.source, {}))).toEqual(["/before", ...pointers]);
  });

  test("may be data; a bundle that has none masks nothing, whatever else it has of OPA's own", async () => {
    const data = { "system/log/data.json": '{"mask": ["/input/arguments/a"]}' };
    expect(maskedBy(await load({ "p.rego": ALLOWS, ...data }))).toEqual(["/before", "/arguments/a"]);
    const none = { "system/data.json": '{"x": {}}', "system/authz.rego": "package system.authz\n\nallow := true\n" };
    const policy = await load({ "p.rego": ALLOWS, ...none });
    expect(policy.logMask).toBeUndefined();
    expect(maskedBy(policy)).toEqual(["/before"]);
  });

  test("leaves the policy typed, and is refused where it does not compile", async () => {
    const mask = { "m.rego": `# of ours\n#\npackage system.log\n\nmask contains "/input" if input.input.pricipal\n` };
    const misspelt = ALLOWS.replace("input.request.time", "input.request.tyme");
    await expect(load({ "p.rego": misspelt, ...mask })).rejects.toThrow("p.rego:5:");
    await expect(load({ "p.rego": ALLOWS, "m.rego": "package system.log\n\nmask contains x\n" })).rejects.toThrow(
      "m.rego:3:",
    );
    expect((await load({ "p.rego": ALLOWS, ...mask })).logMask).toBeDefined();
  });
});

test("a bundle with a mask is checked and tested with it", async () => {
  const tools = { disk, compiler };
  const tests = `package system.log_test

import data.system.log

test_masked if "/input/arguments/text" in log.mask with input as {"input": {"principal": {"id": "alice"}}}
test_told if count(log.mask) == 1 with input as {"input": {"principal": {"id": "bob"}}}
`;
  const files = { "p.rego": ALLOWS, "system/log.rego": MASK, "system/log_test.rego": tests };
  const dir = await folder(files);
  expect((await checkPolicies(tools, dir)).filter(isError)).toEqual([]);
  expect(await testPolicies(tools, dir)).toMatchObject({
    ok: true,
    value: { tests: [{ status: "pass" }, { status: "pass" }] },
  });
  const broken = await folder({ ...files, "system/log.rego": "package system.log\n\nmask contains x\n" });
  expect((await checkPolicies(tools, broken))[0]).toMatchObject({ file: "system/log.rego", row: 3 });
});

const QUESTION: JsonObject = { request: { time: "2026-11-29T12:00:00Z" }, principal: { id: "alice" }, arguments: {} };
const ALLOWED: Decision = {
  allow: true,
  reasons: ["all of it"],
  obligations: {
    redact: [],
    mask_audit: ["/before"],
    limits: [],
    cost: null,
    max_result_bytes: null,
    rows: null,
    route: null,
  },
};

function maskedBy(policy: Policy): readonly string[] {
  return withLogMask(policy, ALLOWED, () => JSON.stringify(QUESTION)).obligations.mask_audit;
}
