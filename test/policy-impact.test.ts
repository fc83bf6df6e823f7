/**
 * The promise: what a candidate would change is told to whoever may change policies, without the calls of others unless he
 * may read them; it ends with him, and takes no longer than it may; and what is tried crowds out nothing that is in force.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Decided } from "../src/audit/decided.ts";
import { impactOf } from "../src/policy/impact.ts";
import type { Compared } from "../src/policy/impact.ts";
import { createPolicies } from "../src/policy/load.ts";
import { textsOf } from "../src/policy/sources.ts";
import { realPorts, silent } from "../src/ports.ts";
import { policyImpact, rebuildOf } from "../src/view-policy.ts";
import { BASE_CONFIG, KEYS, shareCompiled } from "./support/gateway.ts";
import { adminOf } from "./support/planes.ts";
import { WASM_PATH } from "./support/policy.ts";
import { refusing, stands, withRows } from "./support/stand.ts";
import type { Stand } from "./support/stand.ts";

const { stand } = stands();

describe("the impact of a candidate", () => {
  test("shows calls of others to whoever may read them all, and to everybody else how many there were", async () => {
    const { gateway, admin, call } = await stand({
      roles: { ...BASE_CONFIG.roles, auditor: ["audit:read", "policies:write"], operator: ["policies:write"] },
    });
    await call("odd");
    const as = async (key: string) =>
      (await adminOf(gateway, { "x-api-key": key }).policies.impact.query({ value: refusing("odd") })).impact;
    const counted = { flips: { allow_to_deny: 1 }, examples: [] };
    expect((await as(KEYS.ada)).examples).toMatchObject([{ principal: "alice", flip: "allow_to_deny" }]);
    expect(await as(KEYS.oscar)).toMatchObject(counted);
    for (const kind of ["tenant", "own"]) {
      await admin.policies.put.mutate({ value: withRows(kind) });
      expect(await as(KEYS.ada)).toMatchObject(counted);
    }
    // terms of a denial give nothing
    const { modules, ...more } = withRows("all");
    const denied = (modules["portcullis.rego"] ?? "").replace(
      '"reasons": ["no rule allows this"], "obligations": {}',
      '"reasons": ["no rule allows this"], "obligations": {"rows": "all"}',
    );
    await admin.policies.put.mutate({ value: { ...more, modules: { ...modules, "portcullis.rego": denied } } });
    expect(await as(KEYS.oscar)).toMatchObject(counted);
  });

  test("ends as soon as its client has gone", async () => {
    const on = await stand();
    const compared = await comparing(on);
    const gone = new AbortController();
    let asked = 0;
    const { candidate } = compared;
    const leaving: Compared["candidate"] = {
      ...candidate,
      decideUse: (...question) => {
        if (++asked === 3) gone.abort();
        return candidate.decideUse(...question);
      },
    };
    const impact = await impactOf(endless(on), { ...compared, candidate: leaving, signal: gone.signal }, rebuild(on));
    expect(impact).toMatchObject({ recorded: 3, decided: 3, complete: false });
    // and it is the client of the view whose going ends it
    const { gateway } = on.gateway;
    const asking = {
      interface: "trpc",
      protocol: "",
      path: "/trpc",
      ip: "127.0.0.1",
      credential: { kind: "secret", value: KEYS.root },
      traceparent: null,
      tracestate: null,
    } as const;
    const value = { value: refusing("even"), since: null };
    const here = await policyImpact(gateway, { ...asking, signal: new AbortController().signal }, value);
    expect(here).toMatchObject({ ok: true, value: { impact: { recorded: 1, complete: true } } });
    const left = await policyImpact(gateway, { ...asking, signal: AbortSignal.abort() }, value);
    expect(left).toMatchObject({ ok: true, value: { impact: { recorded: 0, complete: false } } });
  });

  test("is told as far as it came after half a minute", async () => {
    const on = await stand();
    const compared = await comparing(on);
    let nowMs = 0;
    const slow = { ...compared, nowMs: () => (nowMs += 1_000) };
    const impact = await impactOf(endless(on), slow, rebuild(on));
    expect(impact.complete).toBe(false);
    expect(impact.recorded).toBeGreaterThan(0);
    expect(nowMs).toBeLessThan(35_000);
  });
});

async function comparing({ gateway, call }: Stand): Promise<Compared> {
  const { control, snapshot } = gateway.gateway;
  const enforced = snapshot().policy;
  if (enforced === null) throw new Error("no policy");
  await call("even");
  const candidate = await control.policies.load(textsOf(refusing("even")), snapshot().roles);
  return { enforced, candidate, readArguments: true, nowMs: () => 0, signal: new AbortController().signal };
}

function rebuild({ gateway }: Stand): ReturnType<typeof rebuildOf> {
  return rebuildOf(gateway.gateway, gateway.gateway.snapshot());
}

/** The recorded decision of a call, again and again. */
async function* endless({ gateway }: Stand): AsyncGenerator<Decided, boolean> {
  const decisions = gateway.gateway.audit.decided({ sinceMs: 0, bytesMax: 1_000_000 });
  const first = await decisions.next();
  await decisions.return(false);
  if (first.done === true) throw new Error("nothing is recorded");
  for (;;) yield first.value;
}

test("of what is in force and in shadow the text stays, however many others are tried", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-texts-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await shareCompiled(folder);
  await mkdir(join(folder, "archive"));
  const [cacheDir, archiveDir] = [join(folder, "data/compiled"), join(folder, "archive")];
  const policies = createPolicies({ compilerDir: dirname(WASM_PATH), cacheDir, archiveDir, ports: realPorts(silent) });
  onTestFinished(policies.close);
  const text = (index: number) => ({
    modules: { "p.rego": `package portcullis\n\ndefault decision := {"allow": false, "reasons": ["${index}"]}\n` },
    tests: {},
    data: {},
  });
  const load = async (index: number) => await policies.load(textsOf(text(index)), {});
  const [enforced, beside] = [await load(-1), await load(-2)];
  const shadow = { name: "beside", policy: beside, fault: null, stepsMax: 1, tell: () => {} };
  await policies.keep({ policy: { ...enforced, shadows: [shadow] }, roles: {} });
  const tried = [];
  for (let index = 0; index < 40; index++) tried.push((await load(index)).source.key);
  expect(policies.textOf(enforced.source.key)).toEqual(textsOf(text(-1)));
  expect(policies.textOf(beside.source.key)).toEqual(textsOf(text(-2)));
  // they are bounded all the same, and what is in force no longer goes as others do
  expect(tried.filter((key) => policies.textOf(key) !== null)).toHaveLength(32);
  await policies.keep({ policy: await load(39), roles: {} });
  for (let index = 0; index < 3; index++) await load(100 + index);
  expect(policies.textOf(enforced.source.key)).toBeNull();
}, 180_000);
