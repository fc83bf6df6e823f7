/**
 * The promise: a route is moved while the gateway runs, by one change, tried or made, and moved back by one; at the sidecars it
 * counts at once as well. From a shell a version is promoted only where that breaks nobody, unless it is forced.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findVersion } from "../src/registry/resolve.ts";
import { portcullis } from "./cli-io.ts";
import { listed, serversOf, startVersions } from "./routes-parts.ts";
import type { Stand } from "./routes-parts.ts";
import { DOORS } from "./support/ask.ts";
import { fixtureServer, KEYS, keyOf, until } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import type { Admin } from "./support/planes.ts";

const TWO = [
  { version: "2.0.0", percent: 50 },
  { version: "3.0.0", percent: 51 },
];
const placed = (at: [number, number][]) => ({ version: "2.0.0", percent: 50, at });
const bob = keyOf("bob");
let stand: Stand;
let admin: Admin;

describe("from a shell", () => {
  beforeEach(async () => {
    stand = await startVersions();
    admin = adminOf(stand.gateway);
  });
  afterEach(() => stand.close());

  const cli = (...words: readonly string[]) =>
    portcullis(["servers", ...words, "--config", stand.gateway.configFile], { cwd: stand.gateway.folder });
  const route = async () =>
    (await admin.routes.list.query()).entries.find(({ name }) => name === "fixture")?.value ?? null;
  const revisions = async () => (await admin.changes.list.query({})).changes.length;
  const answers = async (key = bob) => (await listed(stand.gateway, key))["fixture__echo"];

  test("a version is promoted in one change, its differences are said, and the canary ends", async () => {
    const pins = [{ role: "analyst", version: "1.0.0" }];
    const canary = { version: "2.0.0", percent: 5 };
    await admin.routes.put.mutate({ server: "fixture", route: { default: "1.0.0", canary, pins } });
    const tried = await cli("promote", "fixture", "2.0.0", "--dry-run");
    expect(tried).toMatchObject({ code: 0 });
    expect(tried.stderr).toContain("echo: changed, compatible");
    expect(tried.stderr).toContain("slow: added, compatible");
    expect(tried.stderr).toContain("It can be done; nothing was.");
    expect(tried.stdout).toBe(
      `- routes/fixture {"default":"1.0.0","canary":${JSON.stringify(canary)},"pins":${JSON.stringify(pins)}}\n` +
        `+ routes/fixture {"default":"2.0.0","pins":${JSON.stringify(pins)}}\n`,
    );
    expect([await revisions(), await answers()]).toEqual([1, "1.0.0"]);
    const done = await cli("promote", "fixture", "2.0.0");
    expect([done.code, done.stdout]).toEqual([0, tried.stdout]);
    expect(await route()).toEqual({ default: "2.0.0", pins });
    expect([await revisions(), await answers(), await answers(KEYS.alice)]).toEqual([2, "2.0.0", "1.0.0"]);
    expect((await cli("list")).stdout).toMatch(/fixture +2\.0\.0 \(default\)/);
  });

  test("one that breaks its callers is not, nor given to a canary, unless it is forced", async () => {
    for (const words of [
      ["promote", "fixture", "3.0.0"],
      ["promote", "fixture", "3.0.0", "--dry-run"],
      ["canary", "fixture", "3.0.0", "--percent", "10"],
    ]) {
      const { code, stderr } = await cli(...words);
      expect(code).toBe(1);
      expect(stderr).toContain("big: removed, breaking");
      expect(stderr).toContain(
        "3.0.0 differs from 1.0.0: big (breaking), echo (breaking); --force does it all the same",
      );
    }
    expect([await revisions(), await answers()]).toEqual([0, "1.0.0"]);
    expect((await cli("promote", "fixture", "3.0.0", "--force")).code).toBe(0);
    expect(await answers()).toBe("3.0.0");
  });

  test("a canary is begun and grows; the default is written down, so that no later version takes its place", async () => {
    for (const percent of [10, 100]) {
      expect((await cli("canary", "fixture", "2.0.0", "--percent", String(percent))).code).toBe(0);
      expect(await route()).toEqual({ default: "1.0.0", canary: { version: "2.0.0", percent }, pins: [] });
    }
    expect(await answers()).toBe("2.0.0");
  });

  test("a second one is begun beside the first, grows by itself, and ends with nought", async () => {
    const begin = (version: string, percent: number, ...more: readonly string[]) =>
      cli("canary", "fixture", version, "--percent", String(percent), "--force", ...more);
    await begin("2.0.0", 10);
    expect((await begin("3.0.0", 20, "--beside")).code).toBe(0);
    const first = { version: "2.0.0", percent: 10 };
    expect(await route()).toEqual({
      default: "1.0.0",
      canaries: [first, { version: "3.0.0", percent: 20 }],
      pins: [],
    });
    await begin("3.0.0", 90);
    expect(await route()).toMatchObject({ canaries: [first, { version: "3.0.0", percent: 90 }] });
    expect((await begin("3.0.0", 91)).stderr).toContain("at most 100 percent together");
    await begin("2.0.0", 0);
    expect(await route()).toMatchObject({ canaries: [{ version: "3.0.0", percent: 90, at: [[10, 100]] }] });
    await begin("3.0.0", 100);
    expect(await answers()).toBe("3.0.0");
    await begin("3.0.0", 0);
    expect(await route()).toEqual({ default: "1.0.0", pins: [] });
  });

  test("whoever is on a canary stays there where another one ends or grows, and a roll back is back to the place", async () => {
    const begin = (version: string, percent: number) =>
      cli("canary", "fixture", version, "--percent", String(percent), "--force", "--beside");
    const server = () => stand.gateway.gateway.snapshot().servers.get("fixture");
    const everybody = Array.from({ length: 2_000 }, (_, at) => ({ id: `user-${at}`, roles: [] }));
    const on = (version: string) => {
      const snapshot = stand.gateway.gateway.snapshot();
      const asked = { server: "fixture", version: null };
      return new Set(
        everybody.filter((one) => findVersion(snapshot, asked, one as never)?.version === version).map(({ id }) => id),
      );
    };
    await begin("2.0.0", 30);
    await begin("3.0.0", 10);
    const [twos, threes, before] = [on("2.0.0"), on("3.0.0"), server()?.canaries];
    expect([twos.size > 400, threes.size > 100]).toEqual([true, true]);
    await begin("2.0.0", 0);
    expect(on("3.0.0")).toEqual(threes);
    await cli("rollback", "fixture");
    expect([on("2.0.0"), on("3.0.0"), server()?.canaries]).toEqual([twos, threes, before]);
    await begin("2.0.0", 50);
    expect([on("3.0.0"), twos.difference(on("2.0.0")).size]).toEqual([threes, 0]);
    await begin("2.0.0", 20);
    expect([on("3.0.0"), on("2.0.0").difference(twos).size]).toEqual([threes, 0]);
  });

  test("the last change of a route is rolled back in one, and by a second one made again", async () => {
    const never = await cli("rollback", "fixture");
    expect(never).toMatchObject({ code: 1 });
    expect(never.stderr).toContain("was never changed");
    await cli("promote", "fixture", "2.0.0");
    // neither another server's route nor another section is this one's last change
    await admin.roles.put.mutate({ role: "tester", permissions: ["demo:use"] });
    const tried = await cli("rollback", "fixture", "--dry-run");
    expect(tried.stdout).toBe(
      '- routes/fixture {"default":"2.0.0","pins":[]}\n+ routes/fixture {"default":"1.0.0","pins":[]}\n',
    );
    expect(await answers()).toBe("2.0.0");
    expect((await cli("rollback", "fixture")).code).toBe(0);
    // what answered before, though there was no route that said so
    const before = { default: "1.0.0", pins: [] };
    expect([await answers(), await route(), await revisions()]).toEqual(["1.0.0", before, 3]);
    expect((await cli("rollback", "fixture")).code).toBe(0);
    expect([await answers(), await revisions()]).toEqual(["2.0.0", 4]);
  });

  test("a roll back goes past changes of no effect, and sees what a roll back of everything did", async () => {
    await cli("promote", "fixture", "2.0.0");
    await cli("promote", "fixture", "2.0.0");
    expect(await revisions()).toBe(2);
    await cli("rollback", "fixture");
    expect(await route()).toEqual({ default: "1.0.0", pins: [] });
    await cli("promote", "fixture", "2.0.0");
    await admin.changes.rollback.mutate({ to: 0 });
    expect(await route()).toBeNull();
    await cli("rollback", "fixture");
    expect(await route()).toEqual({ default: "2.0.0", pins: [] });
  });

  test("rolled back is to the version that answered, not to one that was added since and is higher", async () => {
    const [first, ...rest] = serversOf(stand.fixtures) as [object, ...object[]];
    await stand.gateway.rewrite({ servers: [{ ...first, default: false }] });
    await until(async () => (await answers()) === "1.0.0", "the only version answers");
    await stand.gateway.rewrite({ servers: [{ ...first, default: false }, rest[0]] });
    await admin.routes.put.mutate({ server: "fixture", route: { pins: [{ role: "analyst", version: "1.0.0" }] } });
    await until(async () => (await answers()) === "2.0.0", "the higher version answers");
    await stand.gateway.rewrite({ servers: [{ ...first, default: false }, ...rest] });
    await until(async () => (await answers()) === "3.0.0", "the highest version answers");
    expect((await cli("rollback", "fixture")).code).toBe(0);
    expect([await answers(), await answers(KEYS.alice)]).toEqual(["2.0.0", "2.0.0"]);
  });

  test.each([
    [["promote", "fixtur", "2.0.0"], 1, "no server fixtur; did you mean fixture?"],
    [["promote", "fixture", "9.9.9"], 1, "server fixture has no version 9.9.9; it has 1.0.0, 2.0.0, 3.0.0"],
    [["promote", "fixture", "2"], 1, "server fixture has no version 2;"],
    [["canary", "fixture", "1.0.0", "--percent", "5"], 1, "is the default already"],
    [["canary", "fixture", "2.0.0"], 2, "--percent takes a whole number"],
    [["canary", "fixture", "2.0.0", "--percent", "101"], 2, "--percent takes a whole number"],
    [["canary", "fixture", "2.0.0", "--percent", "1.5"], 2, "--percent takes a whole number"],
    [["promote", "fixture"], 2, "takes NAME VERSION"],
  ])("%j says what is wrong, and changes nothing", async (words, code, message) => {
    const told = await cli(...words);
    expect(told.code).toBe(code);
    expect(told.stderr).toContain(message);
    expect(await revisions()).toBe(0);
  });
});

describe("by the admin API", () => {
  beforeEach(async () => {
    stand = await startVersions();
    admin = adminOf(stand.gateway);
  });
  afterEach(() => stand.close());

  test.each([
    ["a server that is not there", "nothing", { default: "1.0.0" }, "/routes/nothing"],
    ["a default that is not there", "fixture", { default: "9.0.0" }, "/routes/fixture/default"],
    ["a range", "fixture", { default: "^1" }, "/routes/fixture/default"],
    ["a canary", "fixture", { canary: { version: "9.0.0", percent: 1 } }, "/routes/fixture/canary/version"],
    ["a pin", "fixture", { pins: [{ tenant: "acme", version: "9.0.0" }] }, "/routes/fixture/pins/0/version"],
    [
      "one of several",
      "fixture",
      { canaries: [{ version: "9.0.0", percent: 1 }] },
      "/routes/fixture/canaries/0/version",
    ],
    ["more than all together", "fixture", { canaries: TWO }, "/route/canaries"],
    ["a version twice", "fixture", { canaries: TWO.slice(0, 1).flatMap((one) => [one, one]) }, "/route/canaries"],
    ["more places than the share", "fixture", { canaries: [placed([[0, 51]])] }, "/route/canaries"],
    [
      "a place twice",
      "fixture",
      {
        canaries: [
          placed([
            [0, 30],
            [10, 30],
          ]),
        ],
      },
      "/route/canaries",
    ],
    [
      "the place of another",
      "fixture",
      { canaries: [placed([[0, 50]]), { ...placed([[49, 50]]), version: "3.0.0", percent: 1 }] },
      "/route/canaries",
    ],
    ["one and several", "fixture", { canary: { version: "2.0.0", percent: 1 }, canaries: TWO.slice(1) }, "/route"],
    ["more than all", "fixture", { canary: { version: "2.0.0", percent: 101 } }, "/route/canary/percent"],
    ["a pin of nobody", "fixture", { pins: [{ version: "2.0.0" }] }, "/route/pins/0"],
  ])("%s is refused, with the place", async (_, server, route, pointer) => {
    const fault = await admin.routes.put.mutate({ server, route }).catch((thrown: unknown) => thrown);
    expect(fault).toMatchObject({ data: { portcullis: { code: "invalid_request" } } });
    expect(JSON.stringify(fault)).toContain(`"${pointer}`);
    expect((await admin.routes.list.query()).entries).toEqual([]);
  });

  test("a version that a route names cannot be removed beneath it", async () => {
    const server = { name: "fixture", version: "4.0.0", instances: [{ http: { url: "https://far.example/mcp" } }] };
    await admin.servers.put.mutate({ server });
    await admin.routes.put.mutate({ server: "fixture", route: { pins: [{ role: "none", version: "4.0.0" }] } });
    const gone = admin.servers.remove.mutate({ server: "fixture", version: "4.0.0" });
    await expect(gone).rejects.toMatchObject({ data: { portcullis: { code: "invalid_request" } } });
    await admin.routes.remove.mutate({ name: "fixture" });
    await admin.servers.remove.mutate({ server: "fixture", version: "4.0.0" });
  });

  test("a version that nobody has heard of anything yet is no way out for another: its callers are refused", async () => {
    const server = { name: "fixture", version: "4.0.0", instances: [{ http: { url: "https://far.invalid/mcp" } }] };
    await admin.routes.put.mutate({ server: "fixture", route: { default: "1.0.0" } });
    await admin.servers.put.mutate({ server });
    await admin.routes.put.mutate({ server: "fixture", route: { default: "4.0.0" } });
    expect(await listed(stand.gateway, bob)).toEqual({});
    const asking = { key: bob, tool: "echo", arguments: { text: "x" } };
    expect(await DOORS["rest"]!(stand.gateway, asking)).toMatchObject({ code: "tool_not_found", executed: "no" });
    // a range is content with what there is
    const ranged = await DOORS["rest"]!(stand.gateway, { ...asking, version: ">=1" });
    expect(await stand.versionOf(ranged)).toBe("3.0.0");
  });

  test("a route is written by who may write routes, and by nobody else", async () => {
    const asOscar = adminOf(stand.gateway, { "x-api-key": KEYS.oscar });
    const put = asOscar.routes.put.mutate({ server: "fixture", route: { default: "2.0.0" } });
    await expect(put).rejects.toMatchObject({ data: { portcullis: { code: "forbidden" } } });
    await expect(asOscar.routes.rollback.mutate({ server: "fixture" })).rejects.toMatchObject({
      data: { portcullis: { code: "forbidden" } },
    });
  });
});

test("at a sidecar a route that was moved counts at once, five times over", async () => {
  const control = await startVersions({}, startControl);
  const sidecar = await startSidecar(control.gateway);
  try {
    const answered = async (): Promise<string | undefined> => (await listed(sidecar, bob))["fixture__echo"];
    await until(async () => (await answered()) === "1.0.0", "the first snapshot");
    const versions = ["2.0.0", "3.0.0", "1.0.0", "2.0.0", "1.0.0"];
    for (const version of versions) {
      await adminOf(control.gateway).routes.put.mutate({
        server: "fixture",
        route: { pins: [{ role: "operator", version }] },
      });
      await until(async () => (await answered()) === version, `the route to ${version}`, 5_000);
      const told = await DOORS["rest"]!(sidecar, { key: bob, tool: "echo", arguments: { text: "x" } });
      const record = (await sidecar.records()).findLast((one) => one["portcullis.call.id"] === told.callId);
      expect(record).toMatchObject({ "portcullis.server.version": version, "portcullis.route.reason": "pin" });
    }
  } finally {
    await sidecar.close();
    await control.close();
  }
});

test("a sidecar's own file has no say in which version answers", async () => {
  const control = await startVersions({}, startControl);
  const { url } = control.fixtures["2.0.0"] as { url: string };
  const config = { servers: [fixtureServer({ url }, { version: "2.0.0" })], routes: { fixture: { default: "2.0.0" } } };
  const sidecar = await startSidecar(control.gateway, { config });
  try {
    await until(async () => (await listed(sidecar, bob))["fixture__echo"] !== undefined, "the first snapshot");
    expect((await listed(sidecar, bob))["fixture__echo"]).toBe("1.0.0");
  } finally {
    await sidecar.close();
    await control.close();
  }
});
