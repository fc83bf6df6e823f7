/**
 * The promise: changes of policy and catalogue under load decide no call wrongly and fail none. Each record names its
 * revision; the decision is judged again, off line, against what that revision held. And once every sidecar has said
 * that it is on a revision, nothing older decides.
 */
import * as disk from "node:fs/promises";
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Call, JsonObject, Snapshot } from "../src/model.ts";
import { judge } from "../src/policy/authorize.ts";
import { readBundle } from "../src/policy/sources.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, until } from "./support/gateway.ts";
import type { SpoolRecord, TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const FULL = process.env["FULL"] === "1";
const CHANGES = FULL ? 1_000 : 40;
const POLICY_EVERY = FULL ? 25 : 8;
const CALLERS = 4;
/** Promised within a second. */
const SOON_MS = 5_000;

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const STRICT = `package portcullis.arguments

proved if {
	input.target.kind == "tool"
	input.tool.server == "fixture"
	input.arguments.text != "odd"
}

proved if input.request.operation == "tools/list"

proved if input.target.kind != "tool"
`;

async function policyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-policies-"));
  open.push(() => rm(folder, { recursive: true }));
  const shipped = resolve(import.meta.dirname, "../policies");
  for (const name of await readdir(shipped))
    if (name.endsWith(".rego") && !name.endsWith("_test.rego")) await cp(join(shipped, name), join(folder, name));
  return folder;
}

type Made = { readonly change: (index: number) => Promise<unknown> };

/**
 * What an administrator might do all day: grants given and taken, tools closed and opened, people, and policy itself, in
 * its folder or, where the file says so, applied.
 */
async function changesOf(control: TestGateway, policies: string): Promise<Made> {
  const admin = adminOf(control);
  const shipped = resolve(import.meta.dirname, "../policies/arguments.rego");
  const loose = await readBundle(disk, policies);
  const strict = { ...loose, modules: { ...loose.modules, "arguments.rego": STRICT } };
  const settings = (permissions: string[]) =>
    admin.tools.put.mutate({ server: "fixture", version: "1.0.0", tool: "echo", settings: { permissions } });
  const kinds: readonly ((on: boolean, index: number) => Promise<unknown>)[] = [
    (on) => settings(on ? ["nobody:has"] : ["demo:use"]),
    (on) =>
      on
        ? admin.principals.put.mutate({ principal: { id: "visitor", roles: ["analyst"] } })
        : admin.principals.remove.mutate({ name: "visitor" }),
    (_, index) => admin.roles.put.mutate({ role: `role-${index % 7}`, permissions: [`area:p${index}`] }),
    (on) =>
      admin.limits.put.mutate({
        limit: { name: "wide", key: ["principal"], limit: on ? 900_000 : 800_000, window: "1h" },
      }),
  ];
  const turns: number[] = [];
  return {
    change: async (index) => {
      if (index % POLICY_EVERY === POLICY_EVERY - 1) {
        const turn = Math.floor(index / POLICY_EVERY);
        const isStrict = turn % 2 === 0;
        // twice in the folder, twice applied
        if (turn % 4 === 2) await control.rewrite({ policies: "managed" });
        if (turn % 4 > 1) return await admin.policies.put.mutate({ value: isStrict ? strict : loose });
        if (isStrict) await writeFile(join(policies, "arguments.rego"), STRICT);
        else await cp(shipped, join(policies, "arguments.rego"));
        return await control.rewrite({ policies });
      }
      const kind = index % kinds.length;
      const turn = turns[kind] ?? 0;
      turns[kind] = turn + 1;
      return await kinds[kind]?.(turn % 2 === 0, index);
    },
  };
}

/** Calls without end until told; what it was answered, by call id. */
function startCaller(sidecar: TestGateway, seed: number) {
  const answers = new Map<string, string>();
  const stopping = new AbortController();
  const doors = ["rest", "mcp 2026-07-28", "graphql"];
  const run = async (): Promise<void> => {
    let index = seed;
    while (!stopping.signal.aborted) {
      index++;
      const key = index % 3 === 0 ? KEYS.oscar : KEYS.alice;
      const text = index % 2 === 0 ? "even" : "odd";
      const told = await DOORS[doors[index % doors.length]!]!(sidecar, { key, tool: "echo", arguments: { text } });
      answers.set(told.callId ?? `without an id ${index}`, told.code);
    }
  };
  const done = run();
  return {
    answers,
    stop: async () => {
      stopping.abort();
      await done;
    },
  };
}

test(
  `${CHANGES} changes under load: no wrong decision, no failed call, and soon everywhere`,
  async () => {
    const fixture = await startFixture();
    open.push(fixture.close);
    const policies = await policyFolder();
    const server = fixtureServer(fixture, { audit: { arguments: "full" } });
    const control = await startControl({ servers: [server], policies });
    open.push(control.close);
    const held = new Map<string, Snapshot>();
    const hold = (snapshot: Snapshot): void => void held.set(snapshot.revision, snapshot);
    await discovered(control, "fixture");
    hold(control.gateway.snapshot());
    control.gateway.control.onSnapshot(hold);
    const sidecars = [await startSidecar(control, { name: "edge-1" }), await startSidecar(control, { name: "edge-2" })];
    open.push(...sidecars.map(({ close }) => close));
    // between two revisions a sidecar may stand alone: what a policy that is not warm yet came with was taken away already
    const between = new Map<string, Snapshot>();
    for (const { gateway } of sidecars) gateway.control.onSnapshot((one) => void between.set(one.revision, one));
    const revisionOf = (gateway: TestGateway) => gateway.gateway.snapshot().revision;
    const level = async () => {
      const wanted = revisionOf(control);
      await until(() => sidecars.every((one) => revisionOf(one) === wanted), "all sidecars on the new one", SOON_MS);
    };
    await level();
    for (const sidecar of sidecars)
      await sidecar.gateway.validators.prepare([...sidecar.gateway.snapshot().tools.values()].flat());

    const callers = Array.from({ length: CALLERS }, (_, at) => startCaller(sidecars[at % 2]!, at));
    const { change } = await changesOf(control, policies);
    const orderOf = new Map<string, number>();
    const asked: { readonly callId: string | null; readonly atLeast: number }[] = [];
    for (let index = 0; index < CHANGES; index++) {
      await change(index);
      orderOf.set(revisionOf(control), index);
      // every few: what all have taken decides from then on
      if (index % 5 !== 0) continue;
      await level();
      const told = await DOORS["rest"]!(sidecars[index % 2]!, {
        key: KEYS.alice,
        tool: "echo",
        arguments: { text: "odd" },
      });
      asked.push({ callId: told.callId, atLeast: index });
    }
    await Promise.all(callers.map(({ stop }) => stop()));

    const answers = new Map(callers.flatMap(({ answers: own }) => [...own]));
    const codes = Map.groupBy(answers, ([, code]) => code);
    expect([...codes.keys()].toSorted(), "both happened, and nothing else").toEqual(["forbidden", "ok"]);
    const records = (await Promise.all(sidecars.map(({ records: read }) => read()))).flat();
    const decided = records.filter((one) => "portcullis.decision" in one && one["portcullis.record"] !== "intent");
    expect(decided.length).toBeGreaterThanOrEqual(answers.size + asked.length);
    const revisions = new Set(decided.map((one) => one["portcullis.snapshot.revision"]));
    expect(revisions.size).toBeGreaterThan(CHANGES / 4);
    const alone = [...revisions].filter((one) => !held.has(String(one)));
    expect(alone.length).toBeLessThan(CHANGES / 2);
    for (const one of alone) held.set(String(one), between.get(String(one))!);
    for (const record of decided) {
      const again = judgedAgain(record, held);
      expect({ callId: record["portcullis.call.id"], ...again }).toEqual({
        callId: record["portcullis.call.id"],
        decision: record["portcullis.decision"],
        policy: record["portcullis.policy.revision"],
      });
      const code = answers.get(String(record["portcullis.call.id"]));
      if (code !== undefined) expect(code).toBe(again.decision === "allow" ? "ok" : "forbidden");
    }
    // linearizable: a call that began after all had said so was not decided by anything older
    const byId = new Map(decided.map((one) => [one["portcullis.call.id"], one]));
    for (const { callId, atLeast } of asked) {
      const revision = String(byId.get(callId ?? "")?.["portcullis.snapshot.revision"]);
      expect(orderOf.get(revision), `call ${callId}`).toBeGreaterThanOrEqual(atLeast);
    }
  },
  FULL ? 1_200_000 : 180_000,
);

/** The same question to what the record's revision held. */
function judgedAgain(record: SpoolRecord, held: ReadonlyMap<string, Snapshot>) {
  const snapshot = held.get(String(record["portcullis.snapshot.revision"]));
  const principal = snapshot?.principals.get(String(record["portcullis.principal.id"]));
  const tool = snapshot?.tools.get(String(record["gen_ai.tool.name"]))?.[0];
  if (snapshot === undefined || principal === undefined || tool === undefined)
    return { decision: "unknown revision", policy: null };
  const args = JSON.parse(String(record["gen_ai.tool.call.arguments"])) as JsonObject;
  const asked = { interface: record["portcullis.interface"], protocol: "", ip: "127.0.0.1" };
  const call = { id: "again", startedMs: 0, asked, operation: "tools/call", snapshot, principal, arguments: args };
  const { decision } = judge(call as unknown as Call, tool);
  return { decision: decision.allow ? "allow" : "deny", policy: snapshot.policy?.revision ?? null };
}
