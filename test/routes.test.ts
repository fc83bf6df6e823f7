/**
 * The promise: where a caller names no version, the server's route says which one answers: the first pin that fits, else the
 * canary for a steady share of all principals, else the default. Lists and calls agree on it at every door.
 */
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { canariesOf, routeAfter, routeSchema } from "../src/config-route.ts";
import type { Route } from "../src/config-route.ts";
import { placesOf } from "../src/config-share.ts";
import { configSchema } from "../src/config.ts";
import type { Principal, Snapshot } from "../src/model.ts";
import { catalogue } from "../src/registry/catalogue.ts";
import { findVersion } from "../src/registry/resolve.ts";
import { send } from "./mcp-door-client.ts";
import { DEFINITIONS, graphql, listed, PEOPLE, serversOf, startVersions, VERSIONS } from "./routes-parts.ts";
import type { Stand } from "./routes-parts.ts";
import { DOORS, post } from "./support/ask.ts";
import { CHECKS } from "./support/ext-authz.ts";
import { discovered, keyOf, until } from "./support/gateway.ts";
import { adminOf } from "./support/planes.ts";
import type { Admin } from "./support/planes.ts";

const FULL = process.env["FULL"] === "1";

const person = (id: string, more: Partial<Principal> = {}): Principal => ({
  id,
  kind: "user",
  roles: [],
  permissions: [],
  tenant: "default",
  onBehalfOf: null,
  claims: {},
  ...more,
});

/** The versions of servers a and b, under this route for both. */
function versionBy(route: object): (asker: Principal, server?: string) => string | undefined {
  const instances = [{ http: { url: "https://a.example/mcp" } }];
  const servers = ["a", "b"].flatMap((name) => VERSIONS.map((version) => ({ name, version, instances })));
  const config = configSchema.parse({ servers, routes: { a: route, b: route } });
  const snapshot = catalogue(config, { discovered: new Map(), fresh: new Set() }, new Map()) as unknown as Snapshot;
  return (asker, server = "a") => findVersion(snapshot, { server, version: null }, asker)?.version;
}

const shareOf = (major: number) => ({ version: `${major}.0.0`, percent: 33 });

describe("a canary", () => {
  const many = Array.from({ length: 10_000 }, (_, index) => person(`user-${index}`));
  const canary = (percent: number) => versionBy({ default: "1.0.0", canary: { version: "2.0.0", percent } });
  const members = (percent: number, server = "a") => {
    const version = canary(percent);
    return many.filter((one) => version(one, server) === "2.0.0");
  };

  test.each([0, 1, 10, 50, 90, 100])("of %i percent is given so many of ten thousand principals", (percent) => {
    // four standard deviations
    expect(Math.abs(members(percent).length - percent * 100)).toBeLessThanOrEqual(
      4 * Math.sqrt(percent * (100 - percent)),
    );
  });

  test("keeps whoever is on it while it grows, and each of them at each asking", () => {
    let before = new Set<Principal>();
    for (const percent of [0, 5, 10, 33, 80, 100]) {
      const now = new Set(members(percent));
      expect(before.difference(now).size).toBe(0);
      expect(now).toEqual(new Set(members(percent)));
      before = now;
    }
  });

  test("of another server has other members", () => {
    const both = new Set(members(50)).intersection(new Set(members(50, "b")));
    expect(Math.abs(both.size - 2_500)).toBeLessThan(250);
  });

  test("may be several: each has its share, and who is on one stays there while a later one grows", () => {
    const sharesOf = (last: number) => {
      const version = versionBy({
        default: "1.0.0",
        canaries: [
          { version: "2.0.0", percent: 10 },
          { version: "3.0.0", percent: last },
        ],
      });
      return Map.groupBy(many, (one) => version(one));
    };
    const [few, more] = [sharesOf(20), sharesOf(90)];
    for (const [version, percent] of [
      ["1.0.0", 70],
      ["2.0.0", 10],
      ["3.0.0", 20],
    ] as const)
      expect(Math.abs((few.get(version)?.length ?? 0) - percent * 100)).toBeLessThan(200);
    expect(more.get("2.0.0")).toEqual(few.get("2.0.0"));
    expect(new Set(few.get("3.0.0")).difference(new Set(more.get("3.0.0"))).size).toBe(0);
    expect(more.get("1.0.0")).toBeUndefined();
    // the first of them has whom it would have alone
    expect(few.get("2.0.0")).toEqual(members(10));
  });

  test("of a file where an earlier one grows takes those of a later one along and back, unless `at` says where they are", () => {
    const later = (first: number, at?: [number, number][]) => {
      const second = { version: "3.0.0", percent: 5, ...(at === undefined ? {} : { at }) };
      const version = versionBy({ default: "1.0.0", canaries: [{ version: "2.0.0", percent: first }, second] });
      return new Set(many.filter((one) => version(one) === "3.0.0"));
    };
    expect(later(10).intersection(later(20)).size).toBe(0);
    expect(later(10, [[10, 15]])).toEqual(later(10));
    expect(later(20, [[10, 15]])).toEqual(later(10));
  });

  test("does what the model says through any schedule of shares: one after another they take up the hundred", () => {
    const some = many.slice(0, 300);
    // where in the hundred somebody is: in no canary of so many percent, and in every larger one
    const places = new Map(some.map((one) => [one, 0]));
    for (let percent = 1; percent < 100; percent++) {
      const version = canary(percent);
      for (const one of some) if (version(one) !== "2.0.0") places.set(one, percent);
    }
    const order = fc.shuffledSubarray([...VERSIONS], { minLength: 1 });
    const parts = fc.array(fc.nat(100), { minLength: 3, maxLength: 3 });
    const shares = fc.tuple(order, parts).map(([versions, percents]) => {
      let left = 100;
      return versions.map((version, at) => {
        const percent = Math.min(percents[at] ?? 0, left);
        left -= percent;
        return { version, percent };
      });
    });
    const law = fc.property(fc.array(shares, { minLength: 1, maxLength: 6 }), (schedule) => {
      for (const canaries of schedule) {
        const version = versionBy({ default: "1.0.0", canaries });
        const expected = (place: number): string => {
          const first = canaries.find((_, at) => {
            const until = canaries.slice(0, at + 1).reduce((sum, { percent }) => sum + percent, 0);
            return place < until;
          });
          return first?.version ?? "1.0.0";
        };
        for (const [one, place] of places) expect(version(one)).toBe(expected(place));
      }
    });
    fc.assert(law, { numRuns: FULL ? 2000 : 40 });
  });

  test("has whom it had while its share does not shrink, whatever becomes of the others: by the law of changes", () => {
    const parts = fc.record({ 2: fc.nat(100), 3: fc.nat(100), 4: fc.nat(100), 5: fc.nat(100) });
    const majors = fc.shuffledSubarray([2, 3, 4, 5] as const, { minLength: 1 });
    const step = fc.tuple(majors, parts).map(([order, percents]): Route => {
      let left = 100;
      const canaries = order.map((major) => {
        const percent = Math.min(percents[major], left);
        left -= percent;
        return { version: `${major}.0.0`, percent };
      });
      const [one] = canaries;
      return { default: "1.0.0", pins: [], ...(canaries.length === 1 && one ? { canary: one } : { canaries }) };
    });
    const membersOf = (route: Route): Map<string, Set<number>> => {
      const places = placesOf(canariesOf(route));
      const members = (name: string) => places.flatMap((one, place) => (one === name ? [place] : []));
      return new Map(canariesOf(route).map((one) => [one.version, new Set(members(one.version))]));
    };
    const law = fc.property(fc.array(step, { minLength: 2, maxLength: 8 }), (schedule) => {
      let before = schedule[0] as Route;
      for (const asked of schedule.slice(1)) {
        // what a change leaves behind is what the file may say
        const after = routeSchema.parse(routeAfter(before, asked));
        const [old, now] = [membersOf(before), membersOf(after)];
        for (const { version, percent } of canariesOf(asked)) {
          const [had, has] = [old.get(version) ?? new Set(), now.get(version) ?? new Set()];
          expect(has.size).toBe(percent);
          expect(had.size <= has.size ? had.difference(has).size : has.difference(had).size).toBe(0);
        }
        expect([...now.keys()]).toEqual(canariesOf(asked).map((one) => one.version));
        before = after;
      }
    });
    fc.assert(law, { numRuns: FULL ? 20_000 : 1_000 });
  });

  test("at places of its own has so many of ten thousand principals as without them, and others beside it", () => {
    const version = versionBy({
      default: "1.0.0",
      canaries: [
        { version: "3.0.0", percent: 20 },
        {
          version: "2.0.0",
          percent: 15,
          at: [
            [10, 20],
            [95, 100],
          ],
        },
      ],
    });
    const groups = Map.groupBy(many, (one) => version(one));
    for (const [name, percent] of [
      ["2.0.0", 15],
      ["3.0.0", 20],
    ] as const)
      expect(Math.abs((groups.get(name)?.length ?? 0) - percent * 100)).toBeLessThan(200);
    // the first that are free
    expect(new Set(members(10)).difference(new Set(groups.get("3.0.0"))).size).toBe(0);
  });

  test("takes an agent along with the user that it acts for", () => {
    const version = canary(50);
    for (const one of many.slice(0, 200)) {
      const agent = person("planner", { kind: "agent", onBehalfOf: one.id });
      expect(version(agent)).toBe(version(one));
    }
  });
});

describe("a pin", () => {
  const version = versionBy({
    default: "1.0.0",
    canary: { version: "2.0.0", percent: 100 },
    pins: [
      { principal: "alice", version: "3.0.0" },
      { role: "tester", version: "2.0.0" },
      { tenant: "acme", version: "1.0.0" },
      { tenant: "umbrella", role: "trusted", version: "3.0.0" },
    ],
  });

  test.each([
    ["a principal's own", person("alice", { tenant: "acme" }), "3.0.0"],
    ["that of the user an agent acts for", person("planner", { onBehalfOf: "alice" }), "3.0.0"],
    ["a role's, before a later one", person("bob", { roles: ["x", "tester"], tenant: "acme" }), "2.0.0"],
    ["a tenant's, before the canary", person("carol", { tenant: "acme" }), "1.0.0"],
    ["one of a role in a tenant", person("eve", { tenant: "umbrella", roles: ["trusted"] }), "3.0.0"],
    ["not one of another role there", person("eve", { tenant: "umbrella", roles: ["other"] }), "2.0.0"],
    ["nor of that role elsewhere", person("eve", { tenant: "other", roles: ["trusted"] }), "2.0.0"],
    ["nobody's", person("dave", { tenant: "other", roles: ["test"] }), "2.0.0"],
  ])("counts where all of it fits: %s", (_, asker, expected) => {
    expect(version(asker)).toBe(expected);
  });
});

describe("at every door", () => {
  let stand: Stand;
  let admin: Admin;
  beforeAll(async () => {
    stand = await startVersions({ extAuthz: { http: true, grpc: "127.0.0.1:0" } });
    admin = adminOf(stand.gateway);
  });
  afterAll(() => stand.close());
  beforeEach(async () => {
    await admin.routes.remove.mutate({ name: "fixture" }).catch(() => null);
  });
  const put = (route: Parameters<Admin["routes"]["put"]["mutate"]>[0]["route"]) =>
    admin.routes.put.mutate({ server: "fixture", route });
  const bob = keyOf("bob");
  const args = { text: "x" };

  test.each(Object.entries(DOORS))("%s: the version that is named answers, or nothing does", async (_, ask) => {
    const rows = [
      ["2.0.0", "2.0.0", "asked"],
      ["v2.0.0", "2.0.0", "asked"],
      ["2", "2.0.0", "asked"],
      ["^1.0", "1.0.0", "asked"],
      ["<3", "2.0.0", "asked"],
    ] as const;
    for (const [version, answers, reason] of rows) {
      const told = await ask(stand.gateway, { key: bob, tool: "echo", arguments: args, version });
      expect(told.code, version).toBe("ok");
      expect(await stand.recordOf(told)).toMatchObject({
        "portcullis.server.version": answers,
        "portcullis.route.reason": reason,
      });
    }
    for (const version of ["4.0.0", "^4", "*", "latest"])
      expect(await ask(stand.gateway, { key: bob, tool: "echo", arguments: args, version })).toMatchObject({
        code: "tool_not_found",
        executed: "no",
      });
  });

  test.each(Object.entries(DOORS))("%s: without one, the route decides, from the next call on", async (_, ask) => {
    const answered = async (): Promise<unknown> => {
      const told = await ask(stand.gateway, { key: bob, tool: "echo", arguments: args });
      expect(told.code).toBe("ok");
      const record = await stand.recordOf(told);
      return [record["portcullis.server.version"], record["portcullis.route.reason"]];
    };
    expect(await answered()).toEqual(["1.0.0", undefined]);
    await put({ default: "2.0.0" });
    expect(await answered()).toEqual(["2.0.0", undefined]);
    await put({ default: "2.0.0", canary: { version: "1.0.0", percent: 100 } });
    expect(await answered()).toEqual(["1.0.0", "canary"]);
    await put({ canary: { version: "1.0.0", percent: 100 }, pins: [{ role: "operator", version: "3.0.0" }] });
    expect(await answered()).toEqual(["3.0.0", "pin"]);
  });

  test("MCP: a version or a range in the path comes before the route, and one in _meta too", async () => {
    await put({ pins: [{ principal: "bob", version: "3.0.0" }] });
    for (const path of ["/mcp/fixture@2.0.0", "/mcp/fixture@%5E2", "/mcp/fixture@2"]) {
      const { body } = await legacy(path, "tools/list", {});
      expect(body.result?.tools, path).toHaveLength(DEFINITIONS["2.0.0"].length);
    }
    expect((await legacy("/mcp/fixture@4", "tools/list", {})).status).toBe(404);
  });

  test("lists show the version that a call would get", async () => {
    const names = (tools: readonly { readonly name: string }[] | undefined) => tools?.map(({ name }) => name);
    await put({ pins: [{ principal: "bob", version: "2.0.0" }] });
    const all = { fixture__big: "2.0.0", fixture__echo: "2.0.0", fixture__slow: "2.0.0" };
    expect(await listed(stand.gateway, bob)).toEqual(all);
    expect(await listed(stand.gateway, bob, "?server=fixture&version=3")).toEqual({ fixture__echo: "3.0.0" });
    expect(names((await legacy("/mcp/fixture", "tools/list", {})).body.result?.tools)).toEqual(["big", "echo", "slow"]);
    expect(names((await legacy("/mcp", "tools/list", {})).body.result?.tools)).toEqual(Object.keys(all));
    const { data } = await graphql(
      stand.gateway,
      bob,
      `
        {
          tools {
            edges {
              node {
                name
                version
              }
            }
          }
          server(name: "fixture") {
            defaultVersion
            versions {
              version
              isDefault
            }
          }
          tool(name: "fixture__slow") {
            version
          }
          old: tool(name: "fixture__echo", version: "^1") {
            version
          }
        }
      `,
    );
    expect(data.tools.edges.map(({ node }: { node: { version: string } }) => node.version)).toEqual(Object.values(all));
    expect(data).toMatchObject({
      server: { defaultVersion: "2.0.0", versions: [{ isDefault: true }, { isDefault: false }, { isDefault: false }] },
      tool: { version: "2.0.0" },
      old: { version: "1.0.0" },
    });
    const { json } = await post(`http://${stand.gateway.admin}/trpc/tools.list`, bob, {});
    expect(json.result.data.tools.map(({ version }: { version: string }) => version)).toEqual(Object.values(all));
  });

  test("a session of an older client has no version: it is decided with each request", async () => {
    const start = await legacy("/mcp/fixture", "initialize", { protocolVersion: "2025-11-25", capabilities: {} });
    const session = { "mcp-session-id": start.headers.get("mcp-session-id") ?? "" };
    const count = async () => (await legacy("/mcp/fixture", "tools/list", {}, session)).body.result?.tools?.length;
    expect(await count()).toBe(2);
    await put({ default: "2.0.0" });
    expect(await count()).toBe(3);
  });

  test("a header that repeats an argument is held to the version that the caller gets", async () => {
    const mirrored = {
      name: "big",
      inputSchema: { type: "object", properties: { a: { type: "string", "x-mcp-header": "A" } } },
    };
    const own = await startVersions({
      routes: { fixture: { pins: [{ principal: "bob", version: "2.0.0" }] } },
    });
    try {
      own.fixtures["2.0.0"]?.define([mirrored]);
      const tool = () => own.gateway.gateway.snapshot().servers.get("fixture")?.versions.get("2.0.0")?.tools.get("big");
      await until(() => tool()?.quarantined === true, "it changed");
      await adminOf(own.gateway).tools.approve.mutate({ tool: "fixture__big", version: "2.0.0" });
      const status = async (who: string) =>
        (await DOORS["mcp 2026-07-28"]!(own.gateway, { key: keyOf(who), tool: "big", arguments: { a: "x" } })).status;
      expect(await status("bob")).toBe(400);
      expect(await status("dan")).toBe(200);
    } finally {
      await own.close();
    }
  });

  test.each(Object.entries(CHECKS))(
    "%s: Envoy's own route says where it goes, and no route of ours",
    async (_, ask) => {
      await put({ pins: [{ principal: "bob", version: "2.0.0" }], canary: { version: "2.0.0", percent: 100 } });
      const told = await ask(stand.gateway, { key: bob, tool: "echo", arguments: args });
      expect([told.code, await stand.versionOf(told)]).toEqual(["ok", "1.0.0"]);
      expect(await ask(stand.gateway, { key: bob, tool: "slow" })).toMatchObject({ code: "tool_not_found" });
      const named = await ask(stand.gateway, { key: bob, tool: "echo", arguments: args, version: "2.0.0" });
      expect([named.code, await stand.versionOf(named)]).toEqual(["ok", "2.0.0"]);
    },
  );

  test("a subscriber hears that their version moved, and nobody else does", async () => {
    const events: string[] = [];
    const gone = new AbortController();
    for (const who of ["ann", "dan"]) {
      const response = await fetch(`${stand.gateway.url}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream", "x-api-key": keyOf(who) },
        body: JSON.stringify({ query: "subscription { toolsChanged { added removed } }" }),
        signal: gone.signal,
      });
      void (async () => {
        for await (const chunk of response.body ?? []) events.push(`${who} ${Buffer.from(chunk).toString()}`);
      })().catch(() => {});
    }
    await put({ pins: [{ principal: "ann", version: "2.0.0" }] });
    const heard = (who: string) => events.filter((one) => one.startsWith(who) && one.includes("fixture__slow"));
    await until(() => heard("ann").length > 0, "ann hears of it");
    expect(heard("dan")).toEqual([]);
    gone.abort();
  });

  test("what is not listed is not callable, and what is listed is, in that version: whatever the route", async () => {
    const version = fc.constantFrom(...VERSIONS);
    const pin = fc.oneof(
      fc.record({ principal: fc.constantFrom(...PEOPLE.map(({ id }) => id)), version }),
      fc.record({ role: fc.constantFrom("analyst", "operator"), version }),
      fc.record({ tenant: fc.constantFrom("acme", "umbrella"), version }),
    );
    const route = fc.record(
      {
        default: version,
        canaries: fc.constantFrom(...[[1], [3, 2], [2, 3, 1]].map((order) => order.map(shareOf))),
        pins: fc.array(pin, { maxLength: 3 }),
      },
      { requiredKeys: [] },
    );
    const one = fc.record({ canary: fc.record({ version, percent: fc.nat(100) }) });
    const call = async (door: string, key: string, tool: string): Promise<unknown> => {
      const told = await DOORS[door]!(stand.gateway, { key, tool, arguments: { text: "x", bytes: 1 } });
      return told.code === "ok" ? await stand.versionOf(told) : told.code;
    };
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(route, one),
        fc.constantFrom(...PEOPLE),
        fc.constantFrom(...Object.keys(DOORS)),
        async (made, { id }, door) => {
          await put(made);
          const seen = await listed(stand.gateway, keyOf(id));
          for (const tool of ["echo", "big", "slow"]) {
            const answered = await call(door, keyOf(id), tool);
            const expected = seen[`fixture__${tool}`];
            if (expected === undefined) expect(["tool_not_found", "forbidden"]).toContain(answered);
            else expect(answered).toBe(expected);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  async function legacy(path: string, method: string, params: object, headers: Record<string, string> = {}) {
    const body = { jsonrpc: "2.0", id: 1, method, params };
    const named = method === "initialize" ? {} : { "mcp-protocol-version": "2025-11-25" };
    return await send(stand.gateway, { path, key: bob, body, headers: { ...named, ...headers } });
  }
});

describe("a route", () => {
  test("of the file counts before one of the changes, and is changed in the file", async () => {
    const stand = await startVersions({ routes: { fixture: { default: "2.0.0" } } });
    try {
      expect((await listed(stand.gateway, keyOf("bob")))["fixture__echo"]).toBe("2.0.0");
      const put = adminOf(stand.gateway).routes.put.mutate({ server: "fixture", route: { default: "1.0.0" } });
      await expect(put).rejects.toThrow("stands in the configuration file");
      expect(await adminOf(stand.gateway).routes.list.query()).toMatchObject({
        entries: [{ name: "fixture", origin: "file", value: { default: "2.0.0", pins: [] } }],
      });
    } finally {
      await stand.close();
    }
  });

  test("to a version that went with the file answers nobody, and doctor says so", async () => {
    const stand = await startVersions();
    try {
      const admin = adminOf(stand.gateway);
      const pins = [{ principal: "bob", version: "3.0.0" }];
      await admin.routes.put.mutate({ server: "fixture", route: { default: "2.0.0", pins } });
      await stand.gateway.rewrite({ servers: serversOf(stand.fixtures).slice(0, 1) });
      await discovered(stand.gateway, "fixture");
      for (const who of ["bob", "dan"]) {
        expect(await listed(stand.gateway, keyOf(who))).toEqual({});
        const told = await DOORS["rest"]!(stand.gateway, { key: keyOf(who), tool: "echo", arguments: { text: "x" } });
        expect(told).toMatchObject({ code: "tool_not_found", executed: "no" });
      }
      expect((await admin.servers.list.query()).servers).toMatchObject([{ version: "1.0.0", isDefault: false }]);
      const { checks } = await admin.health.check.query();
      expect(checks.filter(({ name }) => name === "routes")).toMatchObject([
        { ok: false, detail: "server fixture has no version 2.0.0" },
        { ok: false, detail: "server fixture has no version 3.0.0" },
      ]);
    } finally {
      await stand.close();
    }
  });
});
