/**
 * The promise: a policy in shadow decides every call beside the enforced one, and moves nothing: both decisions are on the
 * record, what it would have changed is counted, and neither a fault of it nor a file that does not compile is anybody's.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { allowing, caller, refusing, SHIPPED, stands, withRows } from "./support/stand.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const { stand, open } = stands();

type Said = {
  readonly bundle: string;
  readonly revision: string;
  readonly decision: string;
  readonly flip?: string;
  readonly reasons?: readonly string[];
};

/** What stands on the last record of a call. */
async function saidOn(gateway: TestGateway, callId: string | null) {
  const records = (await gateway.records()).filter((one) => one["portcullis.call.id"] === callId);
  const last = records.at(-1);
  const said = last?.["portcullis.shadow"];
  return {
    decision: last?.["portcullis.decision"],
    shadows: said === undefined ? [] : (JSON.parse(String(said)) as readonly Said[]),
    onEach: new Set(records.map((one) => one["portcullis.shadow"])).size === 1,
  };
}

const ENDLESS = `package portcullis

default decision := {"allow": false}

decision := {"allow": true} if count([1 | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x == y]) > 0
`;

describe("a policy in shadow", () => {
  test("moves nothing, and its decision stands beside the other on each record", async () => {
    const { gateway, admin, call } = await stand();
    await admin.policies.put.mutate({ name: "next", value: refusing("odd") });
    const [odd, even] = [await call("odd"), await call("even")];
    expect([odd.code, even.code]).toEqual(["ok", "ok"]);
    const { revision = "" } = gateway.gateway.snapshot().policy?.shadows?.[0]?.policy ?? {};
    expect(await saidOn(gateway, odd.callId)).toEqual({
      decision: "allow",
      shadows: [
        { bundle: "next", revision, decision: "deny", flip: "allow_to_deny", reasons: ["an argument is not allowed"] },
      ],
      onEach: true,
    });
    expect((await saidOn(gateway, even.callId)).shadows).toEqual([{ bundle: "next", revision, decision: "allow" }]);
    // enforced, it decides; and the other one, in shadow, would have allowed
    await admin.policies.put.mutate({ value: refusing("odd") });
    await admin.policies.put.mutate({ name: "next", value: refusing("even") });
    const refused = await call("odd");
    expect(refused.code).toBe("forbidden");
    expect(await saidOn(gateway, refused.callId)).toMatchObject({
      decision: "deny",
      shadows: [{ decision: "allow", flip: "deny_to_allow" }],
    });
  });

  test("is counted by what it would have changed, with the latest calls, wherever one looks", async () => {
    const { gateway, admin, call } = await stand();
    await admin.policies.put.mutate({ name: "next", value: refusing("odd") });
    const asked = [await call("odd"), await call("even"), await call("odd")];
    const [state] = (await admin.policies.shadow.query()).shadows;
    expect(state).toMatchObject({ bundle: "next", fault: null, faults: 0 });
    expect(state?.flips).toEqual({ allow_to_deny: 2, deny_to_allow: 0, terms: 0 });
    // the question itself was one more
    expect(state?.decisions).toBe(4);
    expect(state?.latest.map(({ callId }) => callId)).toEqual([asked[2]?.callId, asked[0]?.callId]);
    expect(state?.latest[0]).toMatchObject({ principal: "alice", tool: "fixture__echo", operation: "tools/call" });
    const counted = gateway.gateway.control.metrics().find(({ name }) => name === "portcullis_shadow_flips_total");
    expect(counted?.samples).toContainEqual({ labels: { bundle: "next", direction: "allow_to_deny" }, value: 2 });
    const { stdout } = await portcullis(["policy", "shadow", "--config", gateway.configFile]);
    expect(stdout).toMatch(/next +[0-9a-f]{12} +\d+ +2 +0 +0 +0\n/);
    expect(stdout).toContain("next allow to deny: alice tools/call fixture__echo (an argument is not allowed)");
    const doctor = await admin.health.check.query();
    expect(doctor.checks).toContainEqual(expect.objectContaining({ name: "shadow next", ok: true }));
    // over a reload and another text the count goes on
    await gateway.reload();
    await admin.policies.put.mutate({ name: "next", value: refusing("even") });
    await call("even");
    expect((await admin.policies.shadow.query()).shadows[0]?.flips.allow_to_deny).toBe(3);
  });

  test("shows calls of others to whoever may read them all, and to everybody else how many there were", async () => {
    const { gateway, admin, call } = await stand({
      roles: { ...BASE_CONFIG.roles, auditor: ["audit:read", "policies:read"], operator: ["policies:read"] },
    });
    await admin.policies.put.mutate({ name: "next", value: refusing("odd") });
    await call("odd");
    const as = async (key: string) => (await adminOf(gateway, { "x-api-key": key }).policies.shadow.query()).shadows[0];
    const counted = { flips: { allow_to_deny: 1 }, latest: [] };
    expect((await as(KEYS.ada))?.latest).toHaveLength(1);
    expect(await as(KEYS.oscar)).toMatchObject(counted);
    for (const kind of ["tenant", "own"]) {
      await admin.policies.put.mutate({ value: withRows(kind) });
      expect(await as(KEYS.ada)).toMatchObject(counted);
    }
  });

  test("has no obligations: what it would mask, limit or route is not", async () => {
    const { gateway, admin, call } = await stand();
    const terms = `{"mask_audit": ["/arguments/text"], "limits": ["gone"], "route": {"version": "9"}, "max_result_bytes": 1}`;
    await admin.policies.put.mutate({ name: "next", value: allowing(terms) });
    const { code, callId } = await call("plain");
    expect(code).toBe("ok");
    const records = await gateway.records();
    const record = records.find((one) => one["portcullis.call.id"] === callId);
    expect(record?.["gen_ai.tool.call.arguments"]).toBe('{"text":"plain"}');
    expect((await saidOn(gateway, callId)).shadows).toMatchObject([{ decision: "allow", flip: "terms" }]);
  });

  test("is quoted to nobody where the enforced one masks what it might quote", async () => {
    const { admin, call } = await stand();
    const { modules } = refusing("odd");
    const quoting = (modules["portcullis.rego"] ?? "").replace(
      '"an argument is not allowed"',
      'concat(" ", ["not", object.get(input.arguments, "text", "")])',
    );
    await admin.policies.put.mutate({
      name: "next",
      value: { modules: { ...modules, "portcullis.rego": quoting } },
    });
    const quoted = async (): Promise<unknown> => {
      const { callId } = await call("odd");
      const [next] = (await admin.policies.shadow.query()).shadows;
      return next?.latest.find((one) => one.callId === callId)?.reasons;
    };
    expect(await quoted()).toEqual(["not odd"]);
    const masks = `default obligations := {"mask_audit": ["/arguments/text"]}`;
    const masking = (SHIPPED.modules["portcullis.rego"] ?? "").replace("default obligations := {}", masks);
    await admin.policies.put.mutate({
      value: { ...SHIPPED, tests: {}, modules: { ...SHIPPED.modules, "portcullis.rego": masking } },
    });
    expect(await quoted()).toEqual([]);
  });

  test("that never ends is cut by steps of its own, and counted as a fault", async () => {
    const { gateway, admin, call } = await stand();
    await admin.policies.put.mutate({ name: "next", value: { modules: { "p.rego": ENDLESS } } });
    const { code, callId } = await call("even");
    expect(code).toBe("ok");
    expect((await saidOn(gateway, callId)).shadows).toMatchObject([
      { decision: "deny", flip: "allow_to_deny", reasons: ["policy_budget"] },
    ]);
    const [state] = (await admin.policies.shadow.query()).shadows;
    expect(state?.faults).toBe(state?.decisions);
    // how many steps is the operator's to say
    const folder = join(gateway.folder, "slow");
    await mkdir(folder);
    await writeFile(join(folder, "p.rego"), ENDLESS.replaceAll("3000", "60"));
    const said = async (steps: number) => {
      await gateway.rewrite({ shadow: [{ name: "slow", policies: "./slow", steps }] });
      const { callId: id } = await call("even");
      return (await saidOn(gateway, id)).shadows.find(({ bundle }) => bundle === "slow")?.decision;
    };
    expect([await said(1_000), await said(100_000)]).toEqual(["deny", "allow"]);
  });

  test("may stand in a folder; one that does not compile is named, and keeps nothing from going on", async () => {
    const { gateway, admin, call } = await stand();
    const folder = join(gateway.folder, "next");
    await mkdir(folder);
    for (const [path, text] of Object.entries(refusing("odd").modules)) await writeFile(join(folder, path), text);
    await gateway.rewrite({ shadow: [{ name: "next", policies: "./next", steps: 50_000 }] });
    const { code, callId } = await call("odd");
    expect(code).toBe("ok");
    expect((await saidOn(gateway, callId)).shadows).toMatchObject([{ bundle: "next", decision: "deny" }]);
    // what the file names is changed there
    await expect(admin.policies.put.mutate({ name: "next", value: refusing("even") })).rejects.toThrow("folder");
    await writeFile(join(folder, "portcullis.rego"), "package portcullis\n\nthis is no Rego");
    await gateway.reload();
    expect((await call("odd")).code).toBe("ok");
    const { checks } = await admin.health.check.query();
    const check = checks.find(({ name }) => name === "shadow next");
    expect(check).toMatchObject({ ok: false, detail: expect.stringContaining("portcullis.rego:3:1") as string });
  });

  test("that does not compile is not applied, nor one whose tests fail, nor more of them than four", async () => {
    const { admin } = await stand();
    const put = (name: string, value: object) => admin.policies.put.mutate({ name, value } as never);
    await expect(put("next", { modules: { "p.rego": "package portcullis\n\nx := y" } })).rejects.toThrow("in force");
    const tests = { "a_test.rego": "package a_test\n\ntest_no if false\n" };
    await expect(put("next", refusing("odd", { tests }))).rejects.toThrow("in force");
    expect((await admin.policies.shadow.query()).shadows).toEqual([]);
    for (const name of ["a", "b", "c", "d"]) await put(name, refusing("odd"));
    await expect(put("e", refusing("odd"))).rejects.toThrow("in force");
    expect((await admin.policies.shadow.query()).shadows).toHaveLength(4);
  });

  test("is tried, put in force and dropped by name; a dry run moves nothing", async () => {
    const { gateway, admin, call } = await stand();
    const run = (...words: string[]) => portcullis(["policy", ...words, "--config", gateway.configFile]);
    const folder = join(gateway.folder, "candidate");
    await mkdir(folder);
    for (const [path, text] of Object.entries(refusing("odd").modules)) await writeFile(join(folder, path), text);
    expect((await run("apply", folder, "--shadow", "next", "--dry-run")).code).toBe(0);
    expect((await admin.policies.shadow.query()).shadows).toEqual([]);
    expect((await run("apply", folder, "--shadow", "next")).stderr).toContain("In shadow as next, as revision 1.");
    expect((await call("odd")).code).toBe("ok");
    expect((await run("show", "--shadow", "next")).stdout).toContain('!= "odd"');
    expect(await run("show", "--shadow", "nxt")).toMatchObject({
      code: 1,
      stderr: "no policy was applied in shadow as nxt\n",
    });
    expect((await run("promote", "next", "--dry-run")).stderr).toContain("nothing was done");
    expect((await call("odd")).code).toBe("ok");
    expect((await run("promote", "next")).stderr).toContain("In force");
    expect((await call("odd")).code).toBe("forbidden");
    expect((await admin.policies.shadow.query()).shadows).toEqual([]);
    expect(await run("drop", "next")).toMatchObject({ code: 1, stderr: expect.stringContaining("There is no next") });
    expect((await run("apply", folder, "--shadow", "next")).code).toBe(0);
    expect((await run("drop", "nxt")).stderr).toContain("Did you mean next?");
    expect((await run("rollback", "99")).stderr).toMatch(/There is no revision 99: the newest is \d+\./);
  });

  test("decides at a sidecar too, of what its control plane has applied", async () => {
    const fixture = await startFixture();
    open.push(fixture.close);
    const control = await startControl({ servers: [fixtureServer(fixture)], policies: "managed" });
    open.push(control.close);
    await discovered(control, "fixture");
    const sidecar = await startSidecar(control);
    open.push(sidecar.close);
    await adminOf(control).policies.put.mutate({ name: "next", value: refusing("odd") });
    await until(() => sidecar.gateway.snapshot().revision === control.gateway.snapshot().revision, "the same revision");
    const { code, callId } = await caller(sidecar)("odd");
    expect(code).toBe("ok");
    expect((await saidOn(sidecar, callId)).shadows).toMatchObject([{ bundle: "next", flip: "allow_to_deny" }]);
    expect(sidecar.gateway.control.shadows()).toMatchObject([{ bundle: "next", flips: { allow_to_deny: 1 } }]);
  });
});
