/**
 * The promise: a list that takes long hides nothing that may be called, holds up nobody else, and has an end. Policies
 * that take their time, asked as a gateway asks them. Stalls are asserted at five times what is promised.
 */
import { expect, onTestFinished, test } from "vitest";
import type { Evaluation, Policy, Principal, Tool } from "../src/model.ts";
import { readVerdict } from "../src/policy/decision.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { item, listOf, policyBench, use, valueOf } from "./support/policy.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const { folder, load } = policyBench();

const STALL_MS_MAX = 250;

/** Allows everything; of a tool whose permission names a number, a list only after so many rounds of a loop. */
const BUSY = `package portcullis

default decision := {"allow": false}

decision := {"allow": true} if input.tool.permissions[0] == "none"

decision := {"allow": true} if input.request.operation == "tools/call"

decision := {"allow": true} if {
	input.request.operation != "tools/call"
	rounds := to_number(split(input.tool.permissions[0], ":")[1])
	count([1 | some x in numbers.range(1, rounds); x * 1 == x]) >= rounds
}
`;
/** The same, in a use as well. */
const BUSY_ALWAYS = BUSY.replaceAll("tools/call", "never");
const ENDLESS = "busy:2000000";

const made = (count: number, permission: string) =>
  Array.from({ length: count }, (_, at) => {
    const one = item(`t${at}`, [permission]);
    return { one, tool: { one } as unknown as Tool };
  });
type Made = ReturnType<typeof made>;

const listed = (policy: Policy, tools: Made, principal = {} as Principal): Promise<Evaluation> =>
  policy.listTools((some) => listOf(...some.map((tool) => (tool as unknown as { one: ReturnType<typeof item> }).one)), {
    principal,
    tools: tools.map(({ tool }) => tool),
  });

const isCallable = (policy: Policy, { one, tool }: Made[number]): boolean =>
  readVerdict(policy.decideUse(JSON.stringify(use(one)), { principal: {} as Principal, tool })).decision.allow;

/** What came of it, and how long the event loop stood still at most. */
async function stalled<Value>(work: () => Promise<Value>): Promise<{ readonly value: Value; readonly ms: number }> {
  let last = performance.now();
  let ms = 0;
  let timer: NodeJS.Immediate;
  const look = (): void => {
    const now = performance.now();
    ms = Math.max(ms, now - last);
    last = now;
    timer = setImmediate(look);
  };
  timer = setImmediate(look);
  const value = await work();
  clearImmediate(timer);
  return { value, ms: Math.max(ms, performance.now() - last) };
}

test.each([BUSY, BUSY_ALWAYS])("all is listed that may be called, however long a decision takes", async (rego) => {
  const policy = await load({ "p.rego": rego });
  const tools = made(200, "busy:2500");
  expect(tools.every((one) => isCallable(policy, one))).toBe(true);
  const { value, ms } = await stalled(() => listed(policy, tools));
  expect(value).toEqual({ ok: true, value: [...tools.keys()] });
  expect(ms).toBeLessThan(STALL_MS_MAX);
});

test("tools without end are missing alone, and may not be called", async () => {
  const policy = await load({ "p.rego": BUSY });
  const endless = made(5, ENDLESS);
  const tools = [...made(100, "none"), ...endless.slice(0, 1), ...made(195, "none"), ...endless.slice(1)];
  const { value, ms } = await stalled(() => listed(policy, tools));
  expect(value).toEqual({ ok: true, value: [...tools.keys()].filter((at) => at !== 100 && at < 296) });
  expect(endless.filter((one) => isCallable(policy, one))).toEqual([]);
  expect(ms).toBeLessThan(STALL_MS_MAX);
});

test("a list without end is refused, and stalls nobody; a shorter one is not", async () => {
  const policy = await load({ "p.rego": BUSY });
  const { value, ms } = await stalled(() => listed(policy, made(300, ENDLESS)));
  expect(value).toMatchObject({ ok: false, fault: "policy_budget" });
  expect(ms).toBeLessThan(STALL_MS_MAX);
  expect(await listed(policy, made(3, ENDLESS))).toEqual({ ok: true, value: [] });
});

test("lists take turns: many at once stall no longer than one", async () => {
  const policy = await load({ "p.rego": BUSY });
  const tools = made(2, ENDLESS);
  const { value, ms } = await stalled(() => Promise.all(Array.from({ length: 20 }, () => listed(policy, tools))));
  expect(new Set(value.map((one) => JSON.stringify(one)))).toEqual(new Set(['{"ok":true,"value":[]}']));
  expect(ms).toBeLessThan(STALL_MS_MAX);
});

test("what was answered before a list was refused is not asked again", async () => {
  const policy = await load({ "p.rego": BUSY });
  const tools = [...made(50, "none"), ...made(100, ENDLESS)];
  const alice = {} as Principal;
  expect(await listed(policy, tools, alice)).toMatchObject({ ok: false, fault: "policy_budget" });
  const ask = (): never => {
    throw new Error("It is asked again.");
  };
  const told = await policy.listTools(ask, { principal: alice, tools: tools.slice(0, 50).map(({ tool }) => tool) });
  expect(valueOf(told)).toHaveLength(50);
});

test("a tool at the edge of the steps of a decision is listed where it may be called", async () => {
  const policy = await load({ "p.rego": BUSY });
  const at = async (rounds: number) => {
    const [one] = made(1, `busy:${rounds}`) as [Made[number]];
    return { isListed: valueOf(await listed(policy, [one]))["length"] === 1, isUsable: isCallable(policy, one) };
  };
  // the most rounds of a loop with which it may be called
  let [usable, not] = [1, 2_000_000];
  while (not - usable > 1) {
    const rounds = Math.floor((usable + not) / 2);
    if ((await at(rounds)).isUsable) usable = rounds;
    else not = rounds;
  }
  for (let rounds = usable - 20; rounds <= usable; rounds++)
    expect(await at(rounds)).toEqual({ isListed: true, isUsable: true });
});

test("a refused list says why, at the door and in the record; the tools may not be called either", async () => {
  const names = Array.from({ length: 60 }, (_, at) => `t${at}`);
  const fixture = await startFixture({ tools: names.map((name) => ({ name, inputSchema: { type: "object" } })) });
  onTestFinished(fixture.close);
  const gateway = await startGateway({
    servers: [fixtureServer(fixture, { permissions: [ENDLESS] })],
    policies: await folder({ "p.rego": BUSY }),
  });
  onTestFinished(gateway.close);
  await discovered(gateway, "fixture");
  const headers = { "x-api-key": KEYS.alice, "content-type": "application/json" };
  const list = await fetch(`${gateway.url}/tools`, { headers });
  expect(list.status).toBe(403);
  expect(await list.json()).toMatchObject({ code: "forbidden", reasons: ["policy_budget"] });
  const call = await fetch(`${gateway.url}/tools/fixture__t0/call`, { method: "POST", headers, body: "{}" });
  expect(await call.json()).toMatchObject({ code: "forbidden", reasons: ["policy_budget"] });
  await gateway.stop();
  const record = (await gateway.records()).find((one) => one["portcullis.operation"] === "tools/list");
  expect(JSON.stringify(record)).toContain("policy_budget");
});
