/**
 * The promise: an instance that is drained takes no new call, what is under way there ends as it does, and it stays so
 * through a reload, a restart and at sidecars, until it is undrained; one change each, by whoever may.
 */
import { afterEach, beforeEach, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { DOORS } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const open: { close: () => Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

let both: readonly Fixture[];
let servers: readonly object[];
beforeEach(async () => {
  both = [await startFixture(), await startFixture()];
  open.push(...both);
  const instances = both.map(({ url }, at) => ({ http: { url, allowPrivate: true }, name: ["a", "b"][at] }));
  servers = [fixtureServer({ url: "" }, { instances })];
});

async function started(more: object = {}): Promise<TestGateway> {
  const gateway = await startGateway({ servers, ...more });
  open.push(gateway);
  await discovered(gateway, "fixture");
  return gateway;
}

const call = (gateway: TestGateway, tool = "echo", args: object = { text: "x" }) =>
  DOORS["rest"]!(gateway, { key: KEYS.alice, tool, arguments: args });
const calls = () => both.map(({ requests }) => requests.filter(({ rpc }) => rpc === "tools/call").length);
async function callsOf(gateway: TestGateway, count = 20): Promise<readonly number[]> {
  const before = calls();
  for (let made = 0; made < count; made++) expect((await call(gateway)).code).toBe("ok");
  return calls().map((now, at) => now - (before[at] ?? 0));
}
const cli = (gateway: TestGateway, ...words: readonly string[]) =>
  portcullis(["servers", ...words, "--config", gateway.configFile], { cwd: gateway.folder });

test("it takes no new call, what is under way ends, and it is called again once it is undrained", async () => {
  const gateway = await started();
  const slow = Array.from({ length: 8 }, () => call(gateway, "slow", { ms: 500 }));
  await until(() => calls().every((count) => count > 0), "both are at work");
  const tried = await cli(gateway, "drain", "fixture@1.0.0", "a", "--dry-run");
  expect([tried.code, tried.stdout]).toEqual([0, "+ drains/fixture@1.0.0#a true\n"]);
  const done = await cli(gateway, "drain", "fixture", "a");
  expect([done.code, done.stdout, done.stderr]).toEqual([0, tried.stdout, "In force, as revision 1.\n"]);
  expect((await Promise.all(slow)).map(({ code }) => code)).toEqual(Array(8).fill("ok"));
  expect(await callsOf(gateway)).toEqual([0, 20]);
  expect((await cli(gateway, "show", "fixture")).stdout).toMatch(/fixture@1\.0\.0#a.*weight 0/);
  await gateway.rewrite({ drain: "3s" });
  expect(await callsOf(gateway)).toEqual([0, 20]);
  expect((await cli(gateway, "undrain", "fixture@1.0.0", "fixture@1.0.0#a")).code).toBe(0);
  expect((await callsOf(gateway))[0]).toBeGreaterThan(0);
});

test("it is drained still after a restart, and at a sidecar", async () => {
  const control = await startControl({ servers });
  open.push(control);
  const sidecar = await startSidecar(control);
  open.push(sidecar);
  await until(async () => (await call(sidecar)).code === "ok", "the sidecar calls");
  await adminOf(control).servers.drain.mutate({ server: "fixture", instance: "b" });
  await until(() => sidecar.gateway.upstreams.status()[1]?.weight === 0, "the sidecar knows", 5_000);
  expect(await callsOf(sidecar)).toEqual([20, 0]);
  await sidecar.stop();
  await control.stop();
  const again = await startGateway({ servers }, { plane: { folder: control.folder } });
  open.push(again);
  await discovered(again, "fixture");
  expect(await callsOf(again)).toEqual([20, 0]);
});

const WRONG = [
  [["drain", "fixture", "longer"], "expected one of fixture@1.0.0#a, fixture@1.0.0#b"],
  [["drain", "fixture", "fixture@1.0.0#c"], "no instance fixture@1.0.0#c; did you mean fixture@1.0.0#a?"],
  [["drain", "fixtur", "a"], "no server fixtur; did you mean fixture?"],
  [["drain", "fixtur@1.0.0", "a"], "no server fixtur; did you mean fixture?"],
  [["drain", "fixture@9.9.9", "a"], "server fixture has no version 9.9.9; it has 1.0.0"],
  [["undrain", "nothing", "a"], "no server nothing"],
  [["undrain", "fixture@9.9.9", "a"], "server fixture has no version 9.9.9; it has 1.0.0"],
  [["undrain", "fixture", "longer"], "no instance longer; expected one of fixture@1.0.0#a, fixture@1.0.0#b"],
  [["undrain", "fixture", "a"], "fixture@1.0.0#a takes calls; no other is, either"],
  [["rollback", "fixtur"], "no server fixtur; did you mean fixture?"],
  [["rollback", "fixture"], "was never changed"],
] as const;

test("what is not there is said, and changes nothing", async () => {
  const gateway = await started();
  for (const [words, message] of WRONG) {
    const told = await cli(gateway, ...words);
    expect([words, told.code]).toEqual([words, 1]);
    expect(told.stderr).toContain(message);
  }
  expect((await adminOf(gateway).changes.list.query({})).changes).toEqual([]);
  await cli(gateway, "drain", "fixture", "b");
  const told = await cli(gateway, "undrain", "fixture", "a");
  expect(told.stderr).toContain("fixture@1.0.0#a takes calls; drained are fixture@1.0.0#b");
});

test("whoever may drain needs no other permission, and whoever may not is refused; both are recorded", async () => {
  const gateway = await started({ roles: { ...BASE_CONFIG.roles, analyst: ["servers:drain", "demo:use"] } });
  const asOscar = adminOf(gateway, { "x-api-key": KEYS.oscar });
  await expect(asOscar.servers.drain.mutate({ server: "fixture", instance: "a" })).rejects.toMatchObject({
    data: { portcullis: { code: "forbidden" } },
  });
  await adminOf(gateway, { "x-api-key": KEYS.alice }).servers.drain.mutate({ server: "fixture", instance: "a" });
  const records = (await gateway.records()).filter((one) => one["portcullis.operation"] === "drains/put");
  expect(records.map((one) => [one["portcullis.principal.id"], one["portcullis.outcome"]])).toEqual([
    ["oscar", "refused"],
    ["alice", undefined],
    ["alice", "success"],
  ]);
});
