/**
 * The promise: an instance that the file lets register is called once it has, by every gateway and sidecar, and no more
 * once it says so or is not heard; nothing else can register, and neither a restart nor a Redis that is away forgets it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { allowsOrigin, namesOf } from "../src/config-instance.ts";
import { DOORS } from "./support/ask.ts";
import {
  BASE_CONFIG,
  discovered,
  fixtureServer,
  keyEntry,
  KEYS,
  keyOf,
  startGateway,
  until,
} from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import type { Admin } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const open: { close: () => Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function kept<One extends { close: () => Promise<unknown> }>(made: Promise<One>): Promise<One> {
  const one = await made;
  open.push(one);
  return one;
}

let fixture: Fixture;
beforeEach(async () => {
  fixture = await kept(startFixture());
});

const OWN = { server: "fixture", version: "1.0.0", instance: "pod-1" };
/** A pod's own key is good for nothing else. */
const POD = {
  roles: { ...BASE_CONFIG.roles, pod: ["instances:register"] },
  principals: [...BASE_CONFIG.principals, { id: "pod", kind: "agent", roles: ["pod"] }],
  auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("pod")] },
};
const configOf = (register: object = {}) => ({
  ...POD,
  servers: [
    fixtureServer(fixture, {
      instances: [],
      register: {
        origins: ["http://127.0.0.1:" + new URL(fixture.url).port],
        ttl: "2s",
        allowPrivate: true,
        ...register,
      },
    }),
  ],
});
const podOf = (gateway: TestGateway): Admin => adminOf(gateway, { "x-api-key": keyOf("pod") });
const register = (gateway: TestGateway, more: object = {}) =>
  podOf(gateway).instances.register.mutate({ ...OWN, url: fixture.url, ...more });
/** Said again and again, until it is stopped. */
function beat(gateway: TestGateway): { readonly stop: () => void } {
  const timer = setInterval(() => void register(gateway).catch(() => undefined), 300);
  const stop = (): void => clearInterval(timer);
  open.push({ close: async () => stop() });
  return { stop };
}
const called = () => fixture.requests.findLast(({ rpc }) => rpc === "tools/call");
const ids = ({ gateway }: TestGateway) => gateway.upstreams.status().map(({ id }) => id);
const echo = (gateway: TestGateway) =>
  DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text: "x" } }).then(({ code }) => code);
const recorded = async (gateway: TestGateway, operation: string) =>
  (await gateway.records()).filter(
    (one) => one["portcullis.operation"] === operation && one["portcullis.record"] === "outcome",
  );

async function codeOf(asked: Promise<unknown>): Promise<unknown> {
  const thrown = await asked.then(
    () => null,
    (fault: unknown) => fault,
  );
  return (thrown as { data?: { portcullis?: { code?: string } } } | null)?.data?.portcullis?.code ?? thrown;
}

describe("an instance", () => {
  test("of the name that one of the file has is told its own id, and what is drained by it is that one", async () => {
    const other = await kept(startFixture());
    const base = configOf({ ttl: "30s" });
    const own = { http: { url: other.url, allowPrivate: true }, name: OWN.instance };
    const servers = base.servers.map((one) => ({ ...one, instances: [own] }));
    const gateway = await kept(startGateway({ ...base, servers }));
    const { id } = await register(gateway);
    expect([id, ids(gateway)]).toEqual(["fixture@1.0.0#pod-1~2", ["fixture@1.0.0#pod-1", "fixture@1.0.0#pod-1~2"]]);
    await discovered(gateway, "fixture");
    await adminOf(gateway).servers.drain.mutate({ server: "fixture", instance: id });
    const weights = gateway.gateway.upstreams.status().map((one) => [one.id, one.weight]);
    expect(weights).toEqual([
      ["fixture@1.0.0#pod-1", 1],
      ["fixture@1.0.0#pod-1~2", 0],
    ]);
    for (let made = 0; made < 5; made++) expect(await echo(gateway)).toBe("ok");
    expect([called(), other.requests.filter(({ rpc }) => rpc === "tools/call").length]).toEqual([undefined, 5]);
  });

  test("is called once it registered, again and again while it is heard, and not once it leaves", async () => {
    const gateway = await kept(startGateway(configOf({ ttl: "5s" })));
    expect([ids(gateway), await echo(gateway)]).toEqual([[], "tool_not_found"]);
    expect(await register(gateway)).toEqual({ id: "fixture@1.0.0#pod-1", ttlMs: 5000 });
    const beating = beat(gateway);
    await discovered(gateway, "fixture");
    expect(await echo(gateway)).toBe("ok");
    await sleep(5500);
    expect([ids(gateway), await echo(gateway)]).toEqual([["fixture@1.0.0#pod-1"], "ok"]);
    beating.stop();
    // no heartbeat is recorded
    expect(await recorded(gateway, "instances/register")).toHaveLength(1);
    await podOf(gateway).instances.deregister.mutate(OWN);
    expect([ids(gateway), await echo(gateway)]).toEqual([[], "upstream_unavailable"]);
    const [end, ...more] = await recorded(gateway, "instances/deregister");
    expect([end?.["portcullis.principal.id"], more]).toEqual(["pod", []]);
  });

  test("that is not heard any more is forgotten, and the record of it names nobody", async () => {
    const gateway = await kept(startGateway(configOf()));
    await register(gateway);
    await until(() => ids(gateway).length === 0, "it is forgotten", 15_000);
    await until(async () => (await recorded(gateway, "instances/deregister")).length === 1, "its end is recorded");
    const [end] = await recorded(gateway, "instances/deregister");
    expect([end?.["portcullis.principal.id"], end?.["portcullis.target"]]).toEqual([undefined, "fixture@1.0.0"]);
  });

  test("that moves says so under the same name, which is recorded; a restart forgets it not", async () => {
    const other = await kept(startFixture());
    const origins = [fixture, other].map(({ url }) => new URL(url).origin);
    const gateway = await startGateway(configOf({ origins, ttl: "60s" }));
    await register(gateway);
    await register(gateway, { url: other.url, weight: 3 });
    expect(gateway.gateway.upstreams.status()).toMatchObject([{ id: "fixture@1.0.0#pod-1", weight: 3 }]);
    expect(await recorded(gateway, "instances/register")).toHaveLength(2);
    await gateway.stop();
    const again = await kept(startGateway(configOf({ origins }), { plane: { folder: gateway.folder } }));
    expect(ids(again)).toEqual(["fixture@1.0.0#pod-1"]);
  });

  test("is out at once where the file no longer allows its origin", async () => {
    const gateway = await kept(startGateway(configOf()));
    await register(gateway);
    await gateway.rewrite(configOf({ origins: ["https://elsewhere.example"] }));
    expect([ids(gateway), await codeOf(register(gateway))]).toEqual([[], "invalid_request"]);
  });

  test("is sent the headers that the file has for such", async () => {
    const gateway = await kept(startGateway(configOf({ headers: { "x-own": "s3cret" } })));
    await register(gateway);
    await discovered(gateway, "fixture");
    await echo(gateway);
    expect(called()?.own).toBe("s3cret");
    const said = JSON.stringify(await adminOf(gateway).config.show.query());
    expect([said.includes("s3cret"), said.includes("x-own")]).toEqual([false, true]);
  });
});

describe("refused is", () => {
  test.each([
    ["another origin", { url: "http://127.0.0.1:1/mcp" }, "invalid_request"],
    ["a URL with a secret", { url: "http://user:word@127.0.0.1:1/mcp" }, "invalid_request"],
    ["another server", { server: "files" }, "invalid_request"],
    ["another version", { version: "9.9.9" }, "invalid_request"],
    ["a name that is none", { instance: "a b" }, "invalid_request"],
  ])("%s", async (_, more, code) => {
    const gateway = await kept(startGateway(configOf()));
    expect(await codeOf(register(gateway, more))).toBe(code);
    expect(await codeOf(podOf(gateway).instances.deregister.mutate(OWN))).toBe("invalid_request");
    expect(ids(gateway)).toEqual([]);
  });

  test("whoever may not, and with a pod's key everything else", async () => {
    const gateway = await kept(startGateway(configOf()));
    const asOscar = adminOf(gateway, { "x-api-key": KEYS.oscar });
    expect(await codeOf(asOscar.instances.register.mutate({ ...OWN, url: fixture.url }))).toBe("forbidden");
    expect(await codeOf(asOscar.instances.deregister.mutate(OWN))).toBe("forbidden");
    const pod = podOf(gateway);
    expect(await codeOf(pod.servers.list.query())).toBe("forbidden");
    expect(await codeOf(pod.servers.drain.mutate({ server: "fixture", instance: "pod-1" }))).toBe("forbidden");
    expect((await pod.tools.list.query({})).tools).toEqual([]);
  });

  test("a private address where the file does not allow those: the dialer says so", async () => {
    const gateway = await kept(startGateway(configOf({ allowPrivate: false })));
    await register(gateway);
    await until(() => gateway.gateway.upstreams.status()[0]?.lastError !== null, "it was dialled");
    expect(gateway.gateway.upstreams.status()[0]?.lastError).toBe("The server's address is not allowed.");
    expect(fixture.requests).toEqual([]);
  });

  test("a server over stdio, or one that nobody can be called of, in the file", async () => {
    const stdio = { stdio: { command: "node" } };
    for (const own of [{ instances: [stdio], register: { origins: ["https://a.example"] } }, { instances: [] }])
      await expect(startGateway({ servers: [fixtureServer(fixture, own)] })).rejects.toThrow(/register/);
  });
});

test("at sidecars it is called too, with the headers of their own file, and no more once it is gone", async () => {
  const control = await kept(startControl(configOf({ headers: { "x-own": "of the control plane alone" } })));
  const own = {
    servers: [
      fixtureServer(fixture, {
        instances: [],
        register: { origins: ["http://127.*.*.*:" + new URL(fixture.url).port], headers: { "x-own": "edge" } },
      }),
    ],
  };
  const sidecar = await kept(startSidecar(control, { config: own }));
  const beating = beat(control);
  await until(async () => (await echo(sidecar)) === "ok", "the sidecar calls it");
  beating.stop();
  expect(called()?.own).toBe("edge");
  const texts = control.gateway.snapshot().parts.map(({ text }) => text());
  expect(texts.filter((text) => text.includes("of the control plane alone"))).toEqual([]);
  expect(await codeOf(podOf(sidecar).instances.register.mutate({ ...OWN, url: fixture.url }))).toBe("invalid_request");
  await until(() => ids(sidecar).length === 0, "it is forgotten there", 15_000);
});

test.each([
  ["https://*.internal:8443", "https://a.internal:8443/mcp", true],
  ["https://*.internal:8443", "https://a.b.internal:8443/mcp", false],
  ["https://*.internal:8443", "https://internal:8443/mcp", false],
  ["https://*.internal:8443", "https://a.internal/mcp", false],
  ["https://*.internal:8443", "http://a.internal:8443/mcp", false],
  ["https://*.internal", "https://a.internal:443/mcp", true],
  ["http://10.2.*.*:8080", "http://10.2.3.4:8080/mcp", true],
  ["http://10.2.*.*:8080", "http://10.2.evil.example:8080/mcp", false],
  ["http://10.2.*.*:8080", "http://10.3.3.4:8080/mcp", false],
  ["http://*.*.*.example", "http://1.2.3.example/mcp", true],
  ["http://[fd00::1]:80", "http://[fd00::1]/mcp", true],
  ["http://[fd00::1]:80", "http://[fd00::2]/mcp", false],
])("the origin %s and %s: %s", (origin, url, allowed) => {
  expect(allowsOrigin({ origins: [origin] }, url)).toBe(allowed);
});

test("an instance keeps its name while others come and go before it", () => {
  const at = (url: string) => ({ http: { url } });
  expect(namesOf([at("https://b.example/mcp"), { stdio: { command: "/usr/bin/node" } }])).toEqual([
    "b.example",
    "node",
  ]);
  expect(namesOf([at("https://a.example/mcp"), at("https://b.example/mcp"), at("https://b.example/2")])).toEqual([
    "a.example",
    "b.example",
    "b.example~2",
  ]);
});
