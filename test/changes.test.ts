/**
 * The promise: what is in force is the file, and a log of changes beside it, folded. A change is decided, checked,
 * recorded and put in force before its answer; it can be tried, it can be undone, and two at once do not overwrite.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { createTRPCClient, httpLink, TRPCClientError } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import { dial } from "../src/snapshot/reach.ts";
import { configSchema } from "../src/config.ts";
import type { AdminRouter } from "portcullis/admin";
import { realPorts, silent } from "../src/ports.ts";
import { apply, NO_CHANGES, restorable } from "../src/registry/changes.ts";
import { inEffect } from "../src/registry/effect.ts";
import type { Change, ChangeState } from "../src/registry/changes.ts";
import { start } from "../src/start.ts";
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
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

async function stand(changes: object = {}): Promise<{ gateway: TestGateway; admin: TRPCClient<AdminRouter> }> {
  const fixture = await startFixture();
  const gateway = await startGateway({ servers: [fixtureServer(fixture)], ...changes });
  open.push(fixture.close, gateway.close);
  await discovered(gateway, "fixture");
  return { gateway, admin: clientOf(gateway.socket) };
}

function clientOf(socket: string): TRPCClient<AdminRouter> {
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url: "http://portcullis/trpc", methodOverride: "POST", fetch: dial({ socket }, 10_000) })],
  });
}

function keyed(gateway: TestGateway, key: string): TRPCClient<AdminRouter> {
  const url = `http://${gateway.admin}`;
  const headers = { "x-api-key": key };
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url: `${url}/trpc`, headers, methodOverride: "POST", fetch: dial({ url }, 10_000) })],
  });
}

type Refused = { readonly code: string; readonly detail: string; readonly errors?: readonly object[] };

async function refusalOf(asked: Promise<unknown>): Promise<Refused> {
  const thrown: unknown = await asked.then(
    () => null,
    (fault: unknown) => fault,
  );
  if (!(thrown instanceof TRPCClientError)) throw new Error("not refused", { cause: thrown });
  return (thrown.data as { portcullis: Refused }).portcullis;
}

const echo = (gateway: TestGateway, key: string) =>
  DOORS["rest"]!(gateway, { key, tool: "echo", arguments: { text: "x" } });

describe("the fold", () => {
  const name = fc.constantFrom("a", "b", "constructor", "__proto__");
  const put: fc.Arbitrary<Change> = fc.oneof(
    name.map((id) => ({
      type: "entry.put" as const,
      section: "principals" as const,
      name: id,
      value: { id, kind: "user" as const, roles: [], tenant: "default" },
    })),
    fc.tuple(name, fc.array(fc.constantFrom("x:y", "z:w"))).map(([role, value]) => ({
      type: "entry.put" as const,
      section: "roles" as const,
      name: role,
      value,
    })),
    fc
      .tuple(fc.constantFrom("principals" as const, "roles" as const, "limits" as const), name)
      .map(([section, one]) => ({
        type: "entry.remove" as const,
        section,
        name: one,
      })),
    name.map((tool) => ({ type: "tool.approve" as const, server: "s", version: "1", tool, digest: "sha256:0" })),
  );
  const fold = (changes: readonly Change[]): ChangeState => changes.reduce(apply, NO_CHANGES);

  test("is pure: the same log makes the same state, through JSON and in any pieces", () => {
    fc.assert(
      fc.property(fc.array(put), fc.nat(), (changes, cut) => {
        const frozen = JSON.parse(JSON.stringify(changes)) as readonly Change[];
        const at = cut % (changes.length + 1);
        expect(changes.slice(at).reduce(apply, fold(changes.slice(0, at)))).toEqual(fold(frozen));
      }),
    );
  });

  test("comes back to an earlier state by a roll back, and goes on from there", () => {
    fc.assert(
      fc.property(fc.array(put), fc.array(put), put, (before, after, next) => {
        const back: Change = { type: "rollback", to: before.length, state: restorable(fold(before)) };
        const kept = JSON.parse(JSON.stringify(back)) as Change;
        expect(fold([...before, ...after, kept, next])).toEqual(fold([...before, next]));
      }),
    );
  });

  test("reads a roll back of before as it was written: of a section that came later, nothing is left", () => {
    const { policies: _, ...entries } = restorable(NO_CHANGES).entries;
    const bundle = { modules: { "p.rego": "package p" }, tests: {}, data: {} };
    const log: readonly Change[] = [
      { type: "entry.put", section: "policies", name: "main", value: bundle },
      { type: "rollback", to: 0, state: { approved: {}, entries } },
    ];
    expect(log.reduce(apply, NO_CHANGES)).toEqual(NO_CHANGES);
  });

  test("never moves what the file says", () => {
    const file = configSchema.parse({ principals: [{ id: "a", tenant: "file" }], roles: { a: ["file:own"] } });
    fc.assert(
      fc.property(fc.array(put), (changes) => {
        const { principals, roles } = inEffect(file, fold(changes));
        expect(principals.filter(({ id }) => id === "a")).toEqual(file.principals);
        expect(roles["a"]).toEqual(["file:own"]);
      }),
    );
  });
});

describe("a change", () => {
  test("counts from the next call on, over a reload and a restart", async () => {
    const { gateway, admin } = await stand({ auth: { keys: [...BASE_CONFIG.auth.keys] } });
    await admin.roles.put.mutate({ role: "tester", permissions: ["demo:use"] });
    await admin.principals.put.mutate({ principal: { id: "paul", roles: ["tester"] } });
    const { text } = await admin.keys.issue.mutate({ principal: "paul" });
    expect((await echo(gateway, text)).code).toBe("ok");
    await gateway.reload();
    expect((await echo(gateway, text)).code).toBe("ok");
    const { revision } = gateway.gateway.snapshot();
    await gateway.stop();
    open[1] = gateway.clean;
    const again = await start({
      configFile: gateway.configFile,
      env: {},
      ports: realPorts(silent),
      production: true,
      onExit: () => {},
    });
    await discovered(again, "fixture");
    expect(again.gateway.snapshot().revision).toBe(revision);
    expect(
      (await DOORS["rest"]!({ ...gateway, ...again, url: `http://${again.traffic}` }, { key: text, tool: "echo" }))
        .code,
    ).toBe("ok");
    await clientOf(again.socket).roles.put.mutate({ role: "tester", permissions: [] });
    expect(
      (await DOORS["rest"]!({ ...gateway, ...again, url: `http://${again.traffic}` }, { key: text, tool: "echo" }))
        .code,
    ).toBe("forbidden");
    await again.close();
  });

  test("of a role is seen by policy as data too", async () => {
    const { gateway, admin } = await stand();
    await admin.roles.put.mutate({ role: "seen", permissions: ["a:b"] });
    const { policy, roles } = gateway.gateway.snapshot();
    expect(roles["seen"]).toEqual(["a:b"]);
    const before = policy?.revision;
    await admin.roles.remove.mutate({ name: "seen" });
    expect(gateway.gateway.snapshot().policy?.revision).not.toBe(before);
  });

  test("of a limit counts on the next call", async () => {
    const { gateway, admin } = await stand();
    await admin.limits.put.mutate({ limit: { name: "two", always: true, key: ["principal"], limit: 2, window: "1h" } });
    const codes = [];
    for (let count = 0; count < 3; count++) codes.push((await echo(gateway, KEYS.alice)).code);
    expect(codes).toEqual(["ok", "ok", "rate_limited"]);
    const value = { name: "two", always: true, key: ["principal"], limit: 2, window: "1h" };
    const defaults = { kind: "sliding", redisDown: "local", localShare: 1 };
    expect(await admin.limits.list.query()).toEqual({
      revision: 1,
      entries: [{ name: "two", origin: "change", value: { ...value, ...defaults } }],
    });
    await admin.limits.put.mutate({ limit: { ...value, key: ["principal"], limit: 3 } });
    expect((await echo(gateway, KEYS.alice)).code).toBe("ok");
    expect((await echo(gateway, KEYS.alice)).code).toBe("rate_limited");
    await admin.limits.put.mutate({
      limit: { name: "two", always: true, key: ["principal"], kind: "concurrent", limit: 1 },
    });
    expect((await echo(gateway, KEYS.alice)).code).toBe("ok");
    const windowless = admin.limits.put.mutate({ limit: { name: "none", key: ["principal"], limit: 1 } });
    await expect(windowless).rejects.toThrow("The configuration would not be valid.");
    await admin.limits.remove.mutate({ name: "two" });
    expect((await echo(gateway, KEYS.alice)).code).toBe("ok");
  });

  test("adds a version of a server over HTTP, and settings of a tool, and takes them away", async () => {
    const { gateway, admin } = await stand();
    const [file] = gateway.config.servers;
    const url =
      file !== undefined && "http" in (file.instances[0] ?? {})
        ? (file.instances[0] as { http: { url: string } }).http.url
        : "";
    await admin.servers.put.mutate({
      server: { name: "fixture", version: "2.0.0", permissions: ["demo:use"], instances: [{ http: { url } }] },
    });
    await discovered(gateway, "fixture");
    const second = () =>
      DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", version: "2.0.0", arguments: { text: "x" } });
    expect((await second()).code).toBe("ok");
    // the file's version stays the default
    expect(gateway.gateway.snapshot().servers.get("fixture")?.defaultVersion).toBe("1.0.0");
    await admin.tools.put.mutate({
      server: "fixture",
      version: "2.0.0",
      tool: "echo",
      settings: { permissions: ["files:write"] },
    });
    expect((await second()).code).toBe("forbidden");
    expect((await echo(gateway, KEYS.alice)).code).toBe("ok");
    await admin.tools.remove.mutate({ server: "fixture", version: "2.0.0", tool: "echo" });
    expect((await second()).code).toBe("ok");
    await admin.servers.remove.mutate({ server: "fixture", version: "2.0.0" });
    expect((await second()).code).toBe("tool_not_found");
  });

  test("sets no command, no header, and reaches no private address that the file does not allow", async () => {
    const { admin } = await stand();
    const put = (instance: object) =>
      admin.servers.put.mutate({ server: { name: "evil", instances: [instance] } } as never);
    for (const instance of [
      { stdio: { command: "sh" } },
      { http: { url: "http://127.0.0.1:1/mcp", headers: { authorization: "x" } } },
      { http: { url: "http://127.0.0.1:1/mcp", allowPrivate: true } },
    ])
      expect((await refusalOf(put(instance))).code).toBe("invalid_request");
    const trap = await startFixture();
    open.push(trap.close);
    await put({ http: { url: trap.url } });
    await admin.servers.put.mutate({
      server: { name: "fixture", version: "9", instances: [{ http: { url: trap.url } }] },
    });
    await new Promise((settle) => setTimeout(settle, 500));
    expect(trap.requests).toEqual([]);
    expect(
      (await admin.servers.list.query()).servers.map(({ server, version, state }) => [server, version, state]),
    ).toEqual([
      ["fixture", "1.0.0", "fresh"],
      ["fixture", "9", "pending"],
      ["evil", "1.0.0", "pending"],
    ]);
    expect(
      (await refusalOf(admin.tools.put.mutate({ server: "nobody", version: "1", tool: "t", settings: {} }))).code,
    ).toBe("invalid_request");
  });

  test.each([
    ["removes nothing where policy lets nobody remove", "roles/remove", { empty: "forbidden", earlier: "ok" }],
    ["puts nothing where policy lets nobody put", "roles/put", { empty: "ok", earlier: "forbidden" }],
  ])("that rolls back %s it", async (_, denied, wanted) => {
    const folder = await mkdtemp(join(tmpdir(), "portcullis-changes-"));
    await cp(String(BASE_CONFIG.policies), folder, { recursive: true });
    const file = join(folder, "portcullis.rego");
    const open = "permission in input.principal.permissions\n";
    const text = await readFile(file, "utf8");
    expect(text).toContain(open);
    const denying = `not denied\n`;
    const who = `denied if {\n\tinput.principal.id == "root"\n\tinput.request.operation == "${denied}"\n}\n`;
    await writeFile(file, `${text.replace(open, `${open}\t${denying}`)}\n${who}`);
    const { gateway, admin } = await stand({ policies: folder });
    const key = keyed(gateway, KEYS.root);
    await admin.roles.put.mutate({ role: "r", permissions: ["a:b"] });
    await admin.roles.put.mutate({ role: "r", permissions: ["a:c"] });
    const rolledBack = (to: number) =>
      key.changes.rollback.mutate({ to, dryRun: true }).then(
        ({ diff }) => (diff.map(({ path }) => path).join() === "roles/r" ? "ok" : diff),
        async (cause: unknown) => (await refusalOf(Promise.reject(cause))).code,
      );
    expect(await rolledBack(0)).toBe(wanted.empty);
    expect(await rolledBack(1)).toBe(wanted.earlier);
    await rm(folder, { recursive: true });
  });

  test("stands in the audit with what was and what is, before it is made and before it is told", async () => {
    const { gateway, admin } = await stand();
    await admin.roles.put.mutate({ role: "r", permissions: ["a:b"] });
    await admin.roles.put.mutate({ role: "r", permissions: ["a:c"] });
    const own = (await gateway.records()).filter((record) => record["portcullis.operation"] === "roles/put");
    expect(own.map((record) => record["portcullis.record"])).toEqual(["intent", "outcome", "intent", "outcome"]);
    const changes = own.map((record) => JSON.parse(String(record["portcullis.change"])) as object);
    const second = { dryRun: false, revision: 1, diff: [{ path: "roles/r", before: ["a:b"], after: ["a:c"] }] };
    expect(changes.slice(2)).toEqual([second, { ...second, made: 2 }]);
  });

  test("is decided operation by operation", async () => {
    const { gateway } = await stand({
      roles: { ...BASE_CONFIG.roles, limiter: ["limits:read", "limits:write"] },
      principals: [...BASE_CONFIG.principals, { id: "lena", roles: ["limiter"] }],
      auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("lena")] },
    });
    const lena = keyed(gateway, keyOf("lena"));
    const limit = { name: "l", key: ["principal" as const], limit: 2, window: "1m" };
    expect((await lena.limits.put.mutate({ limit })).revision).toBe(1);
    for (const asked of [
      lena.roles.put.mutate({ role: "limiter", permissions: ["roles:write"] }),
      lena.principals.put.mutate({ principal: { id: "lena", roles: ["admin"] } }),
      lena.changes.rollback.mutate({ to: 0 }),
    ])
      expect((await refusalOf(asked)).code).toBe("forbidden");
    // a roll back is each of the changes that it makes
    await clientOf(gateway.socket).roles.put.mutate({
      role: "limiter2",
      permissions: ["changes:write", "limits:write"],
    });
    await clientOf(gateway.socket).principals.put.mutate({ principal: { id: "rolf", roles: ["limiter2"] } });
    const { text } = await clientOf(gateway.socket).keys.issue.mutate({ principal: "rolf" });
    const rolf = keyed(gateway, text);
    expect((await refusalOf(rolf.changes.rollback.mutate({ to: 1 }))).code).toBe("forbidden");
    await clientOf(gateway.socket).limits.remove.mutate({ name: "l" });
    expect((await rolf.changes.rollback.mutate({ to: 4 })).diff.map(({ path }) => path)).toEqual(["limits/l"]);
  });

  test("to what stands in the file is refused, and so is what the file's rules would refuse", async () => {
    const { admin } = await stand();
    expect(
      await refusalOf(admin.principals.put.mutate({ principal: { id: "alice", roles: ["admin"] } })),
    ).toMatchObject({
      code: "invalid_request",
      detail: "This entry stands in the configuration file: change it there.",
    });
    expect((await refusalOf(admin.roles.remove.mutate({ name: "analyst" }))).code).toBe("invalid_request");
    expect((await refusalOf(admin.roles.put.mutate({ role: "x", permissions: ["nonsense"] }))).errors).toMatchObject([
      { pointer: "/permissions/0" },
    ]);
    expect((await admin.changes.list.query({})).changes).toEqual([]);
  });

  test("against an older revision is a conflict, and of several at once one is made", async () => {
    const { gateway, admin } = await stand();
    const put = (tag: number) => admin.roles.put.mutate({ role: "r", permissions: [`a:b${tag}`], expect: 0 });
    const ends = await Promise.all(
      Array.from({ length: 8 }, (_, tag) =>
        put(tag).then(
          () => "made",
          (fault: unknown) => refusalOf(Promise.reject(fault as Error)).then(({ code }) => code),
        ),
      ),
    );
    expect(ends.filter((end) => end === "made")).toHaveLength(1);
    expect(new Set(ends)).toEqual(new Set(["made", "conflict"]));
    expect(gateway.gateway.control.changeRevision()).toBe(1);
    expect(await refusalOf(put(9))).toMatchObject({ code: "conflict" });
    expect((await admin.roles.put.mutate({ role: "r", permissions: [], expect: 1 })).revision).toBe(2);
  });

  test("that names no revision is made, however many come at once", async () => {
    const { gateway, admin } = await stand();
    await Promise.all(
      Array.from({ length: 20 }, (_, at) => admin.roles.put.mutate({ role: `r${at}`, permissions: ["a:b"] })),
    );
    expect(gateway.gateway.control.changeRevision()).toBe(20);
    expect(Object.keys(gateway.gateway.snapshot().roles)).toEqual(expect.arrayContaining(["r0", "r19"]));
  });

  test("is judged by what it makes wrong, not by what the file made wrong before", async () => {
    const { gateway, admin } = await stand();
    for (const tool of ["echo", "slow"])
      await admin.tools.put.mutate({ server: "fixture", version: "1.0.0", tool, settings: { tags: ["t"] } });
    await gateway.rewrite({ servers: [] });
    expect((await admin.roles.put.mutate({ role: "r", permissions: [] })).revision).toBe(3);
    await admin.tools.remove.mutate({ server: "fixture", version: "1.0.0", tool: "echo" });
    await admin.changes.rollback.mutate({ to: 0 });
    expect(
      (await refusalOf(admin.tools.put.mutate({ server: "none", version: "1", tool: "t", settings: {} }))).code,
    ).toBe("invalid_request");
  });

  test("of a role, made or rolled back, does not put in force what the folder of policies holds by now", async () => {
    const { gateway, admin } = await stand();
    const folder = join(gateway.folder, "own-policies");
    await cp(String(BASE_CONFIG.policies), folder, { recursive: true });
    await gateway.rewrite({ policies: folder });
    await discovered(gateway, "fixture");
    await writeFile(join(folder, "portcullis.rego"), "package portcullis\n\nthis is no Rego");
    await admin.roles.put.mutate({ role: "r", permissions: ["a:b"] });
    expect(gateway.gateway.snapshot().roles["r"]).toEqual(["a:b"]);
    await admin.changes.rollback.mutate({ to: 0 });
    expect(gateway.gateway.snapshot().roles).not.toHaveProperty("r");
    expect((await echo(gateway, KEYS.alice)).code).toBe("ok");
  });

  test("of where a server stands is looked at again at once, under the definitions that were accepted", async () => {
    const [one, two] = [await startFixture(), await startFixture()];
    open.push(one.close, two.close);
    two.define([{ name: "echo", description: "another", inputSchema: { type: "object" } }]);
    const instances = [one, two].map(({ url }) => ({ http: { url, allowPrivate: true } }));
    const { gateway, admin } = await stand({
      servers: [
        fixtureServer(one, { instances: instances.slice(0, 1) }),
        fixtureServer(one, { name: "pair", instances }),
      ],
    });
    const put = (url: string) =>
      admin.servers.put.mutate({
        server: { name: "pair", version: "2.0.0", permissions: ["demo:use"], instances: [{ http: { url } }] },
      });
    await put(one.url);
    await discovered(gateway, "pair");
    const second = () => gateway.gateway.snapshot().servers.get("pair")?.versions.get("2.0.0");
    expect(second()?.tools.get("echo")?.quarantined).toBe(false);
    await put(two.url);
    expect(second()?.state).toBe("stale");
    await until(() => second()?.tools.get("echo")?.quarantined === true, "it is looked at again");
    expect([...(second()?.tools.keys() ?? [])]).toEqual(["echo"]);
  });

  test.each<[string, (to: TRPCClient<AdminRouter>) => Promise<unknown>]>([
    [
      "a password in a URL",
      (to) =>
        to.servers.put.mutate({ server: { name: "s", instances: [{ http: { url: "https://u:p@h.example/mcp" } }] } }),
    ],
    [
      "a token in a URL",
      (to) =>
        to.servers.put.mutate({
          server: { name: "s", instances: [{ http: { url: "https://h.example/mcp?token=x" } }] },
        }),
    ],
    [
      "a slash in a version",
      (to) =>
        to.servers.put.mutate({
          server: { name: "s", version: "a/b", instances: [{ http: { url: "https://h.example/mcp" } }] },
        }),
    ],
    [
      "a second default",
      (to) =>
        to.servers.put.mutate({
          server: {
            name: "fixture",
            version: "2.0.0",
            default: true,
            instances: [{ http: { url: "https://h.example/mcp" } }],
          },
        }),
    ],
    [
      "a window without end",
      (to) =>
        to.limits.put.mutate({ limit: { name: "l", key: ["principal"], limit: 1, window: `${"9".repeat(400)}d` } }),
    ],
    [
      "a deadline beyond any timer",
      (to) => to.tools.put.mutate({ server: "fixture", version: "1.0.0", tool: "slow", settings: { timeout: "30d" } }),
    ],
    ["the name of the socket's owner", (to) => to.principals.put.mutate({ principal: { id: "local" } })],
  ])("with %s is refused", async (_, ask) => {
    const { gateway, admin } = await stand();
    expect((await refusalOf(ask(admin))).code).toBe("invalid_request");
    expect(gateway.gateway.control.changeRevision()).toBe(0);
  });

  test("can be tried: what it would do is told and recorded, and nothing is done", async () => {
    const { gateway, admin } = await stand();
    const { revision } = gateway.gateway.snapshot();
    const tried = await admin.roles.put.mutate({ role: "r", permissions: ["a:b"], dryRun: true });
    expect(tried).toEqual({ revision: 0, dryRun: true, diff: [{ path: "roles/r", before: null, after: ["a:b"] }] });
    expect(gateway.gateway.snapshot().revision).toBe(revision);
    expect((await admin.changes.list.query({})).changes).toEqual([]);
    const own = (await gateway.records()).filter((record) => record["portcullis.operation"] === "roles/put");
    expect(own).toHaveLength(1);
    expect(own[0]).toMatchObject({ "portcullis.executed": "no" });
    expect(JSON.parse(String(own[0]?.["portcullis.change"]))).toMatchObject({ dryRun: true });
  });

  test("is rolled back by revision, keys aside: what is revoked stays revoked", async () => {
    const { gateway, admin } = await stand();
    await admin.roles.put.mutate({ role: "r", permissions: ["demo:use"] });
    await admin.principals.put.mutate({ principal: { id: "paul", roles: ["r"] } });
    const { id, text } = await admin.keys.issue.mutate({ principal: "paul" });
    const { revision: whole } = (await admin.roles.list.query()) as { revision: number };
    await admin.roles.put.mutate({ role: "r", permissions: [] });
    expect((await echo(gateway, text)).code).toBe("forbidden");
    const tried = await admin.changes.rollback.mutate({ to: whole, dryRun: true });
    expect(tried.diff).toEqual([{ path: "roles/r", before: [], after: ["demo:use"] }]);
    await admin.changes.rollback.mutate({ to: whole });
    expect((await echo(gateway, text)).code).toBe("ok");
    await admin.keys.revoke.mutate({ id });
    await admin.changes.rollback.mutate({ to: whole });
    expect((await echo(gateway, text)).code).toBe("unauthenticated");
    const { changes } = await admin.changes.list.query({ first: 2 });
    expect(changes.map(({ change }) => change["type"])).toEqual(["rollback", "key.revoke"]);
    expect((await admin.changes.list.query({ first: 100 })).changes.at(-1)).toMatchObject({ revision: 1, by: "local" });
    expect(JSON.stringify(await admin.changes.list.query({ first: 100 }))).not.toContain("sha256:");
  });
});

describe("a principal that is taken away", () => {
  const paul = { id: "paul", roles: ["analyst"] };

  /** Paul with three keys: his own, one of an agent that acts for him, one of alice's that he has nothing to do with. */
  async function withPaul() {
    const { gateway, admin } = await stand();
    await admin.principals.put.mutate({ principal: paul });
    const own = await admin.keys.issue.mutate({ principal: "paul" });
    const agents = await admin.keys.issue.mutate({ agent: "planner", onBehalfOf: "paul" });
    const other = await admin.keys.issue.mutate({ agent: "planner", onBehalfOf: "alice" });
    const codes = async () =>
      Promise.all([own, agents, other].map(async ({ text }) => (await echo(gateway, text)).code));
    expect(await codes()).toEqual(["ok", "ok", "ok"]);
    return { gateway, admin, codes, ids: [own.id, agents.id], own };
  }
  const ENDED = ["unauthenticated", "unauthenticated", "ok"];

  test("takes along the keys that act as or for it: who has its name later is somebody else", async () => {
    const { gateway, admin, codes, ids } = await withPaul();
    const { diff } = await admin.principals.remove.mutate({ name: "paul" });
    expect(diff.map(({ path, after }) => [path, after])).toEqual([
      ...ids.map((id) => [`keys/${id}`, null]),
      ["principals/paul", null],
    ]);
    await admin.principals.put.mutate({ principal: paul });
    expect(await codes()).toEqual(ENDED);
    // nor does going back to when they were good bring them back
    await admin.changes.rollback.mutate({ to: 4 });
    expect(await codes()).toEqual(ENDED);
    expect((await admin.keys.list.query()).filter(({ revokedAt }) => revokedAt !== null).map(({ id }) => id)).toEqual(
      ids,
    );
    const records = (await gateway.records()).filter((one) => one["portcullis.operation"] === "principals/remove");
    expect(records).toHaveLength(2);
    for (const id of ids)
      for (const record of records) expect(String(record["portcullis.change"])).toContain(`keys/${id}`);
  });

  test("by a roll back takes them along too, and a trial of it none", async () => {
    const { gateway, admin, codes, ids } = await withPaul();
    await admin.changes.rollback.mutate({ to: 0, dryRun: true });
    expect(await codes()).toEqual(["ok", "ok", "ok"]);
    await admin.changes.rollback.mutate({ to: 0 });
    await admin.principals.put.mutate({ principal: paul });
    expect(await codes()).toEqual(ENDED);
    const record = (await gateway.records()).find((one) => one["portcullis.operation"] === "changes/rollback");
    for (const id of ids) expect(String(record?.["portcullis.change"])).toContain(`keys/${id}`);
  });

  test("leaves no key that was just being issued or rotated", async () => {
    const { admin, own } = await withPaul();
    let { id } = own;
    for (let round = 0; round < 10; round++) {
      const issue = () => admin.keys.issue.mutate({ principal: "paul" });
      const remove = () => admin.principals.remove.mutate({ name: "paul" });
      const rotate = () => admin.keys.rotate.mutate({ id });
      await Promise.allSettled((round % 2 === 0 ? [issue, remove, issue] : [remove, rotate]).map((one) => one()));
      const live = (await admin.keys.list.query()).filter((one) => one.principal === "paul" && one.revokedAt === null);
      expect(live).toEqual([]);
      await admin.principals.put.mutate({ principal: paul });
      ({ id } = await admin.keys.issue.mutate({ principal: "paul" }));
    }
  });

  test("in a log of before keeps its keys: a log is read as it was written", () => {
    const key = {
      id: "k",
      principal: "p",
      kind: "user",
      onBehalfOf: null,
      hash: "sha256:0",
      origin: "issued",
    } as const;
    const log: readonly Change[] = [
      { type: "key.issue", key: { ...key, createdAt: null, revokedAt: null } },
      { type: "entry.remove", section: "principals", name: "p" },
    ];
    expect(log.reduce(apply, NO_CHANGES).keys.get("k")?.revokedAt).toBeNull();
  });
});
