/**
 * The promise: a limit that is not for always counts for the tools that name it, in the file or by a change, here and at
 * the sidecars. A name that no limit has is refused where it is said, and, where its limit went since, at each call.
 */
import { afterEach, expect, test } from "vitest";
import { TRPCClientError } from "@trpc/client";
import { portcullis } from "./cli-io.ts";
import { problems } from "./config-text.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const TWICE = { name: "twice", key: ["principal" as const], limit: 2, window: "1h" };
const NAMED = { tools: { echo: { limits: ["twice"] } } };
const ECHO = { server: "fixture", version: "1.0.0", tool: "echo" };

async function stand(server: object, limits: readonly object[] = [TWICE], begin = startGateway): Promise<TestGateway> {
  const fixture = await startFixture();
  const gateway = await begin({ limits, servers: [fixtureServer(fixture, server)] });
  open.push(fixture.close, gateway.close);
  await discovered(gateway, "fixture");
  return gateway;
}

const call = (gateway: TestGateway, tool = "echo", door = "rest") =>
  DOORS[door]!(gateway, { key: KEYS.alice, tool, arguments: tool === "echo" ? { text: "x" } : { bytes: 1 } });

const codes = async (gateway: TestGateway, times: number): Promise<readonly string[]> => {
  const told: string[] = [];
  for (let at = 0; at < times; at++) told.push((await call(gateway)).code);
  return told;
};

const errorsOf = async (asked: Promise<unknown>): Promise<unknown> => {
  const thrown: unknown = await asked.catch((fault: unknown) => fault);
  return thrown instanceof TRPCClientError
    ? (thrown.data as { readonly portcullis: { readonly errors?: unknown } }).portcullis.errors
    : null;
};

test("a tool that names a limit is charged to it, and no other tool is", async () => {
  const gateway = await stand(NAMED);
  const first = await call(gateway);
  expect([first.code, first.headers.get("ratelimit")]).toEqual(["ok", expect.stringContaining('"twice";r=1')]);
  expect((await call(gateway, "big")).headers.get("ratelimit")).toBeNull();
  expect(await codes(gateway, 2)).toEqual(["ok", "rate_limited"]);
  expect((await call(gateway, "big")).code).toBe("ok");
});

test("it is shown with the tool, in the graph and from a shell", async () => {
  const gateway = await stand({ tools: { echo: { limits: ["twice"], rateLimit: 9 } } });
  const query = `{ tool(name: "fixture__echo") { limits { name limit remaining } } }`;
  const headers = { "content-type": "application/json", "x-api-key": KEYS.alice };
  const answer = await fetch(`${gateway.url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
  expect(await answer.json()).toMatchObject({
    data: {
      tool: {
        limits: [
          { name: "tool:fixture__echo", remaining: 9 },
          { name: "twice", limit: 2, remaining: 2 },
        ],
      },
    },
  });
  const cli = (...words: readonly string[]) => portcullis([...words, "--config", gateway.configFile]);
  expect((await cli("tools", "describe", "fixture__echo")).stdout).toMatch(
    /limits +tool:fixture__echo: 9 per 60 s, twice: 2 per 3600 s/,
  );
  expect((await cli("config", "show")).stdout).toContain("twice");
});

test("a name that no limit has is an error of the file, which says where and what was meant", async () => {
  const text = `limits: [{ name: twice, key: [principal], limit: 2, window: 1h }]
servers:
  - name: files
    instances:
      - stdio: {command: node}
    tools:
      read:
        limits:
          - twice
          - twise
`;
  expect(await problems(text)).toEqual(["/etc/p.yaml:10: no limit twise for files@1.0.0/read; did you mean twice?"]);
});

test("a change names one, and none that is not there; what is named is not taken away", async () => {
  const gateway = await stand({}, []);
  const { tools, limits } = adminOf(gateway);
  const settings = { limits: ["twice"] };
  const pointer = "/servers/0/tools/echo/limits/0";
  const wrong = [{ pointer, message: "no limit twice for fixture@1.0.0/echo" }];
  expect(await errorsOf(tools.put.mutate({ ...ECHO, settings }))).toEqual(wrong);
  await limits.put.mutate({ limit: TWICE });
  await tools.put.mutate({ ...ECHO, settings });
  expect(await codes(gateway, 3)).toEqual(["ok", "ok", "rate_limited"]);
  expect(await errorsOf(limits.remove.mutate({ name: "twice" }))).toEqual(wrong);
  await tools.remove.mutate(ECHO);
  await limits.remove.mutate({ name: "twice" });
  expect(await codes(gateway, 1)).toEqual(["ok"]);
});

test("where the file takes away what a change names, the tool is refused until one of the two is mended", async () => {
  const gateway = await stand({});
  await adminOf(gateway).tools.put.mutate({ ...ECHO, settings: { limits: ["twice"] } });
  await gateway.rewrite({ limits: [] });
  const { checks } = await adminOf(gateway).health.check.query();
  expect(checks.filter(({ name }) => name === "limits")).toEqual([
    { name: "limits", ok: false, detail: "no limit twice for fixture@1.0.0/echo" },
  ]);
  for (const door of Object.keys(DOORS)) {
    const told = await call(gateway, "echo", door);
    expect([told.code, told.reasons], door).toEqual(["forbidden", ["limit_unknown"]]);
  }
  expect((await call(gateway, "big")).code).toBe("ok");
  await gateway.rewrite({});
  expect(await codes(gateway, 1)).toEqual(["ok"]);
});

test("a sidecar charges it as its control plane does", async () => {
  const control = await stand(NAMED, [TWICE], startControl);
  const sidecar = await startSidecar(control);
  open.push(sidecar.close);
  await until(() => sidecar.gateway.snapshot().revision === control.gateway.snapshot().revision, "level", 5_000);
  expect(await codes(sidecar, 3)).toEqual(["ok", "ok", "rate_limited"]);
});
