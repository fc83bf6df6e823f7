/**
 * The promise: a sidecar serves what its control plane says, from a signed snapshot, and goes on with the last one when
 * the control plane is gone. What is revoked there is revoked here, and after too long a silence nothing is served.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { DOORS, post } from "./support/ask.ts";
import type { Body } from "./support/ask.ts";
import { discovered, fixtureServer, keyEntry, keyOf, KEYS, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks, requirePart } from "./support/parts.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import type { SidecarWish } from "./support/planes.ts";
import { startRelay } from "./support/relay.ts";
import type { Relay } from "./support/relay.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

/** Promised within a second. */
const SOON_MS = 5_000;

type Planes = { readonly control: TestGateway; readonly sidecar: TestGateway; readonly relay: Relay };

async function planes(changes: object = {}, wish: SidecarWish = {}): Promise<Planes> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const control = await startControl({ servers: [fixtureServer(fixture)], ...changes });
  open.push(control.close);
  await discovered(control, "fixture");
  const relay = await startRelay(control.admin);
  open.push(relay.close);
  const sidecar = await startSidecar(control, { url: relay.url, ...wish });
  open.push(sidecar.close);
  await level({ control, sidecar });
  return { control, sidecar, relay };
}

const level = ({ control, sidecar }: Pick<Planes, "control" | "sidecar">) =>
  until(
    () => sidecar.gateway.snapshot().revision === control.gateway.snapshot().revision,
    "the same revision",
    SOON_MS,
  );

const echo = (gateway: TestGateway, key: string, door = "rest") =>
  DOORS[door]!(gateway, { key, tool: "echo", arguments: { text: "x" } });

const followers = async (control: TestGateway) => (await adminOf(control).sidecars.list.query()).sidecars;

const refusalOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "not refused",
    (fault: { readonly data?: { readonly portcullis?: { readonly code: string; readonly detail: string } } }) =>
      `${fault.data?.portcullis?.code ?? ""}: ${fault.data?.portcullis?.detail ?? ""}`,
  );

describe("a sidecar", () => {
  test("answers at every door what its control plane's snapshot says, under the same revision", async () => {
    const { control, sidecar } = await planes();
    for (const door of Object.keys(DOORS))
      expect(await echo(sidecar, KEYS.alice, door), door).toMatchObject({ code: "ok" });
    expect(await echo(sidecar, KEYS.ada)).toMatchObject({ code: "forbidden" });
    expect(await echo(sidecar, keyOf("mallory"))).toMatchObject({ code: "unauthenticated" });
    const records = await sidecar.records();
    expect(records.filter((one) => one["portcullis.principal.id"] === "alice")).not.toHaveLength(0);
    for (const one of records.filter((record) => "portcullis.snapshot.revision" in record))
      expect(one["portcullis.snapshot.revision"]).toBe(control.gateway.snapshot().revision);
  });

  test("follows every change, says so, and is sent only the parts that moved", async () => {
    const { control, sidecar, relay } = await planes();
    const before = relay.events.length;
    await adminOf(control).principals.put.mutate({ principal: { id: "eve", roles: ["analyst"] } });
    const { text } = await adminOf(control).keys.issue.mutate({ principal: "eve" });
    await until(async () => (await echo(sidecar, text)).code === "ok", "the new key is taken", SOON_MS);
    await until(async () => (await followers(control))[0]?.current === true, "the sidecar says so", SOON_MS);
    expect(await followers(control)).toMatchObject([
      { name: "edge-1", connected: true, revision: control.gateway.snapshot().revision, lagMs: 0, lastError: null },
    ]);
    const parts = relay.events.slice(before).flatMap((event) => event.parts ?? []);
    // one shard of principals, one of keys
    expect(parts.map((one) => one.text.slice(0, 8))).toEqual([`[{"id":"`, `[{"id":"`]);
  });

  test("is not shown behind for good where its first report comes late", async () => {
    const { control, sidecar, relay } = await planes();
    await until(async () => (await followers(control))[0]?.current === true, "the sidecar says so", SOON_MS);
    const late = Promise.withResolvers<void>();
    const reports: string[] = [];
    relay.hold(async (path) => {
      if (path.includes("snapshot.report") && reports.push(path) === 1) await late.promise;
    });
    for (const role of ["one", "two", "three"]) await adminOf(control).roles.put.mutate({ role, permissions: [] });
    await level({ control, sidecar });
    // whatever would overtake the first has time to
    await new Promise((next) => setTimeout(next, 500));
    const overtaking = reports.length - 1;
    late.resolve();
    await new Promise((next) => setTimeout(next, 500));
    await until(async () => (await followers(control))[0]?.current === true, "the sidecar says so", SOON_MS);
    expect(overtaking).toBe(0);
  });

  test("knows no longer, within moments, a key that was revoked at the control plane", async () => {
    const { control, sidecar } = await planes();
    const { id, text } = await adminOf(control).keys.issue.mutate({ principal: "alice" });
    await until(async () => (await echo(sidecar, text)).code === "ok", "the key is taken", SOON_MS);
    await adminOf(control).keys.revoke.mutate({ id });
    await until(async () => (await echo(sidecar, text)).code === "unauthenticated", "the key is refused", SOON_MS);
  });

  test("goes on without its control plane, and starts from disk without it; what was revoked stays revoked", async () => {
    const { control, sidecar, relay } = await planes();
    const { id, text } = await adminOf(control).keys.issue.mutate({ principal: "alice" });
    await adminOf(control).keys.revoke.mutate({ id });
    await level({ control, sidecar });
    relay.cut();
    expect(await echo(sidecar, KEYS.alice)).toMatchObject({ code: "ok" });
    await until(() => readdir(join(sidecar.folder, "data/snapshot")).then((names) => names.includes("heard")), "kept");
    await sidecar.stop();
    const again = await startSidecar(control, { url: relay.url, folder: sidecar.folder });
    open.push(again.close);
    expect(await echo(again, KEYS.alice)).toMatchObject({ code: "ok" });
    expect(await echo(again, text)).toMatchObject({ code: "unauthenticated" });
    expect(again.gateway.snapshot().revision).toBe(control.gateway.snapshot().revision);
    // what happened meanwhile is followed once it is heard again
    await adminOf(control).roles.put.mutate({ role: "late", permissions: [] });
    relay.join();
    await until(() => "late" in again.gateway.snapshot().roles, "the change is there", 20_000);
  });

  test("that has heard nothing for too long refuses every call, also after a restart, and serves again when it hears", async () => {
    const { control, sidecar, relay } = await planes({}, { config: { control: { maxStaleness: "3s" } } });
    relay.cut();
    await until(async () => (await echo(sidecar, KEYS.alice)).code === "policy_unavailable", "it refuses", 20_000);
    expect((await fetch(`${sidecar.url}/readyz`)).status).toBe(503);
    await sidecar.stop();
    const wish = { url: relay.url, folder: sidecar.folder, config: { control: { maxStaleness: "3s" } } };
    const again = await startSidecar(control, wish);
    open.push(again.close);
    expect(await echo(again, KEYS.alice)).toMatchObject({ code: "policy_unavailable", executed: "no" });
    relay.join();
    await until(async () => (await echo(again, KEYS.alice)).code === "ok", "it serves again", 20_000);
  });

  test("that lost what a later snapshot builds on asks for it again", async () => {
    const { control, sidecar, relay } = await planes();
    relay.hush(true);
    await adminOf(control).roles.put.mutate({ role: "unheard", permissions: [] });
    await new Promise((next) => setTimeout(next, 300));
    relay.hush(false);
    await adminOf(control).principals.put.mutate({ principal: { id: "eve" } });
    await until(() => "unheard" in sidecar.gateway.snapshot().roles, "both are there", 20_000);
    expect(sidecar.gateway.snapshot().principals.has("eve")).toBe(true);
  });

  test("that hears nothing on its stream opens another", async () => {
    const { relay } = await planes();
    const before = relay.streams();
    relay.hush(true);
    await until(() => relay.streams() > before, "another stream", 30_000);
  }, 60_000);

  test.each([
    [
      "with another signature",
      (event: Event) => (event.kind === "snapshot" ? { ...event, signature: flipped(event.signature) } : event),
    ],
    [
      "of another text",
      (event: Event) =>
        event.kind === "snapshot" ? { ...event, text: event.text.replace('"format":1', '"format":1 ') } : event,
    ],
    [
      "signed with a key that is not pinned",
      (event: Event) => (event.kind === "snapshot" ? { ...event, keyId: "ffffffff" } : event),
    ],
    [
      "with a part that is not what its digest says",
      (event: Event) => ofParts(event, (text) => text.replace("mallory", "eve")),
    ],
    ["that lacks a part", (event: Event) => (event.kind === "snapshot" ? { ...event, parts: [] } : event)],
  ])("takes no snapshot %s: the last one stays in force", async (_, change) => {
    const { control, sidecar, relay } = await planes();
    const { revision } = sidecar.gateway.snapshot();
    relay.rewrite(change);
    await adminOf(control).principals.put.mutate({ principal: { id: "mallory", roles: ["admin"] } });
    await new Promise((next) => setTimeout(next, 700));
    expect(sidecar.gateway.snapshot().revision).toBe(revision);
    expect(await echo(sidecar, KEYS.alice)).toMatchObject({ code: "ok" });
    relay.rewrite((event) => event);
    await level({ control, sidecar }).catch(() => undefined);
    await until(() => sidecar.gateway.snapshot().principals.has("mallory"), "the true one is taken", 20_000);
  });

  test("takes no older snapshot, signed as it may be", async () => {
    const { control, sidecar, relay } = await planes();
    const { id, text } = await adminOf(control).keys.issue.mutate({ principal: "alice" });
    await level({ control, sidecar });
    const old = relay.events.findLast(({ kind }) => kind === "snapshot");
    const parts = relay.events.flatMap((event) => event.parts ?? []).map((part) => ({ kind: "part", ...part }));
    await adminOf(control).keys.revoke.mutate({ id });
    await level({ control, sidecar });
    relay.say([...parts, old]);
    await until(() => control.gateway.control.feed?.followers()[0]?.lastError !== null, "it is refused", SOON_MS);
    expect(await echo(sidecar, text)).toMatchObject({ code: "unauthenticated" });
  });

  test("that cannot put a snapshot in force says why, and the control plane shows it", async () => {
    const { control, sidecar, relay } = await planes();
    const { revision } = sidecar.gateway.snapshot();
    relay.rewrite((event) => ofParts(event, (text) => `${text} `));
    await adminOf(control).roles.put.mutate({ role: "x", permissions: [] });
    await until(async () => (await followers(control))[0]?.lastError !== null, "the reason is there", SOON_MS);
    const [shown] = await followers(control);
    expect(shown).toMatchObject({ revision, current: false, lastError: expect.stringContaining("digest") });
    expect(shown?.lagMs).toBeGreaterThan(0);
  });
});

test("the oldest of too many streams of one sidecar ends for the newest", async () => {
  const { control } = await planes();
  const { text } = await adminOf(control).keys.issue.mutate({ sidecar: "edge-7" });
  const input = encodeURIComponent(JSON.stringify({ have: null, formats: [1] }));
  const follow = async () => {
    const url = `http://${control.admin}/trpc/snapshot.follow?input=${input}`;
    const response = await fetch(url, { headers: { "x-api-key": text } });
    const state = { ended: false };
    void (async () => {
      for await (const _ of response.body!) continue;
    })().then(
      () => (state.ended = true),
      () => (state.ended = true),
    );
    return state;
  };
  const streams: { readonly ended: boolean }[] = [];
  for (let opened = 0; opened < 6; opened++) streams.push(await follow());
  await until(() => streams[0]!.ended && streams[1]!.ended, "the two oldest ended", SOON_MS);
  expect(streams.map(({ ended }) => ended)).toEqual([true, true, false, false, false, false]);
});

describe("a sidecar's key", () => {
  test("that is revoked ends its stream: what changes then is not told", async () => {
    const { control, sidecar } = await planes();
    const key = (await adminOf(control).keys.list.query()).find(({ kind }) => kind === "sidecar");
    await adminOf(control).keys.revoke.mutate({ id: key?.id ?? "" });
    await until(async () => (await followers(control))[0]?.connected === false, "it is cut off", SOON_MS);
    await adminOf(control).roles.put.mutate({ role: "secret-plan", permissions: [] });
    await new Promise((next) => setTimeout(next, 700));
    expect(sidecar.gateway.snapshot().roles).not.toHaveProperty("secret-plan");
  });

  test("opens nothing else, and no other key opens the feed", async () => {
    const { control } = await planes();
    const { text } = await adminOf(control).keys.issue.mutate({ sidecar: "edge-2" });
    const input = encodeURIComponent(JSON.stringify({ have: null, formats: [1] }));
    const follow = async (key: string) => {
      const response = await fetch(`http://${control.admin}/trpc/snapshot.follow?input=${input}`, {
        headers: { "x-api-key": key, accept: "text/event-stream" },
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let read = "";
      while (!/"kind"|serialized-error/.test(read)) read += (await reader.read()).value ?? '"kind":"none"';
      await reader.cancel();
      return read;
    };
    expect(await follow(text)).toMatch(/"kind":"(part|snapshot)"/);
    expect(await follow(KEYS.alice)).toMatch(/serialized-error[\s\S]*"forbidden"/);
    expect(await follow(keyOf("mallory"))).toMatch(/serialized-error[\s\S]*"unauthenticated"/);
    for (const path of ["keys.list", "config.show", "sidecars.list"]) {
      const response = await fetch(`http://${control.admin}/trpc/${path}`, { headers: { "x-api-key": text } });
      const json: Body = await response.json();
      expect(json.error.data.portcullis.code, path).toBe("forbidden");
    }
  });

  test("follows only in a format that both know", async () => {
    const { control } = await planes();
    const { text } = await adminOf(control).keys.issue.mutate({ sidecar: "edge-9" });
    const input = encodeURIComponent(JSON.stringify({ have: null, formats: [99] }));
    const response = await fetch(`http://${control.admin}/trpc/snapshot.follow?input=${input}`, {
      headers: { "x-api-key": text },
    });
    expect(await response.text()).toMatch(/serialized-error[\s\S]*in the formats 1/);
  });
});

describe("what travels", () => {
  test("is no command, environment, header or secret of a URL; a sidecar's own file supplies them", async () => {
    const fixture = await startFixture();
    open.push(fixture.close);
    const stdio = { command: process.execPath, args: ["secret-argument"], env: { TOKEN: "secret-environment" } };
    const { relay, sidecar } = await planes({
      servers: [
        fixtureServer(fixture),
        { name: "local", permissions: ["demo:use"], instances: [{ stdio }] },
        {
          name: "remote",
          instances: [
            {
              http: {
                url: "https://user:secret-password@mcp.example/mcp?token=secret-query",
                headers: { authorization: "Bearer secret-header" },
              },
            },
          ],
        },
      ],
    });
    const wire = JSON.stringify(relay.events);
    expect(wire).toContain("https://mcp.example/mcp");
    expect(wire).not.toContain("secret-");
    expect(wire).not.toContain(KEYS.alice);
    expect(sidecar.gateway.snapshot().servers.get("local")?.versions.get("1.0.0")?.instances).toEqual([]);
    const kept = (await readdir(join(sidecar.folder, "data/snapshot"))).filter((name) => !name.endsWith(".new"));
    for (const name of kept)
      expect(await readFile(join(sidecar.folder, "data/snapshot", name), "utf8")).not.toContain("secret-");
  });

  test("names a stdio server, which each sidecar runs from its own file, asks itself and reports", async () => {
    const server = { name: "files", version: "1.2.0", permissions: ["files:read"] };
    const instances = [{ stdio: { command: "mcp-server-filesystem", args: ["."] } }];
    const fixture = await startFixture();
    open.push(fixture.close);
    const { control, sidecar } = await planes(
      { servers: [fixtureServer(fixture), { ...server, instances: [{ stdio: { command: "not-run-here" } }] }] },
      { config: { servers: [{ name: "files", version: "1.2.0", instances }] } },
    );
    await discovered(sidecar, "files");
    const list = { key: KEYS.alice, server: "files", tool: "list_allowed_directories", arguments: {} };
    expect(await DOORS["rest"]!(sidecar, list)).toMatchObject({ code: "ok" });
    await until(
      async () =>
        (await followers(control))[0]?.servers.some(({ id, tools }) => id === "files@1.2.0" && tools > 0) ?? false,
      "it is reported",
      SOON_MS,
    );
    expect(control.gateway.upstreams.status().map(({ id }) => id)).toEqual([
      `fixture@1.0.0#${new URL(fixture.url).host}`,
    ]);
    for (const plane of [control, sidecar]) {
      const { checks } = await adminOf(plane).health.check.query();
      expect(checks.find(({ name }) => name === "server files@1.2.0")).toMatchObject({ ok: true });
    }
  }, 60_000);
});

describe("a plane alone", () => {
  test("of control carries no call: no MCP, no REST, no callTool", async () => {
    const { control } = await planes();
    for (const path of ["/mcp", "/tools", "/tools/fixture__echo/call"])
      expect((await post(`${control.url}${path}`, KEYS.alice, {})).response.status, path).toBe(404);
    const { json } = await post(`${control.url}/graphql`, KEYS.alice, {
      query: 'mutation { callTool(tool: "fixture__echo", arguments: {}) { isError } }',
    });
    expect(json.errors[0].message).toContain("mutation");
    const listed = await post(`${control.url}/graphql`, KEYS.alice, { query: "{ tools { totalCount } }" });
    expect(listed.json.data.tools.totalCount).toBeGreaterThan(0);
    expect(await refusalOf(adminOf(control).tools.callTool.mutate({ tool: "fixture__echo", arguments: {} }))).toContain(
      "invalid_request: This is a control plane",
    );
  });

  test("of policy takes no change", async () => {
    const { sidecar } = await planes();
    const admin = adminOf(sidecar);
    for (const change of [
      () => admin.keys.issue.mutate({ principal: "alice" }),
      () => admin.roles.put.mutate({ role: "x", permissions: [] }),
      () => admin.tools.approve.mutate({ tool: "fixture__echo" }),
    ])
      expect(await refusalOf(change())).toContain("invalid_request: This is a sidecar");
  });

  test("of policy starts with no grant of its own file", async () => {
    const { control } = await planes();
    for (const own of [{ principals: [{ id: "eve" }] }, { auth: { keys: [keyEntry("eve")] } }, { limits: [] }])
      await expect(startSidecar(control, { name: "edge-3", config: own })).rejects.toThrow("from its control plane");
  });

  test("of policy follows nobody over plain HTTP but on loopback, and nobody that it cannot tell", async () => {
    const { control } = await planes();
    const config = { control: { url: "http://control.example:8485" } };
    await expect(startSidecar(control, { name: "edge-4", config })).rejects.toThrow("https");
    const unpinned = join(control.folder, "edge-5.key");
    await writeFile(unpinned, `${keyOf("edge-5")}\n`);
    await expect(startSidecar(control, { name: "edge-5", folder: control.folder })).rejects.toThrow("ed25519");
  });
});

type Event = Relay["events"][number];

function ofParts(event: Event, change: (text: string) => string): Event {
  if (event.kind !== "snapshot") return event;
  return { ...event, parts: event.parts.map((part: { text: string }) => ({ ...part, text: change(part.text) })) };
}

function flipped(signature: string): string {
  const bytes = Buffer.from(signature, "base64");
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  return bytes.toString("base64");
}

test.skipIf(lacks("openssl"))(
  "over TLS a sidecar believes the authority that its file names, and no other",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "portcullis-tls-"));
    open.push(() => rm(folder, { recursive: true }));
    const made = (name: string) => {
      const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
      const words = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"];
      const names = ["-addext", "subjectAltName=IP:127.0.0.1"];
      execFileSync(requirePart("openssl"), [...words, ...names, "-keyout", key, "-out", cert], { stdio: "ignore" });
      return { cert, key };
    };
    const [tls, other] = [made("control"), made("other")];
    const control = await startControl({ tls });
    open.push(control.close);
    const url = `https://${control.admin}`;
    const sidecar = await startSidecar(control, { url, config: { control: { ca: tls.cert } } });
    open.push(sidecar.close);
    await level({ control, sidecar });
    const stopping = new AbortController();
    const wish = { name: "edge-2", url, config: { control: { ca: other.cert } }, signal: stopping.signal };
    const refused = startSidecar(control, wish).then(
      () => "it started",
      (fault: Error) => fault.message,
    );
    await new Promise((next) => setTimeout(next, 1_000));
    stopping.abort();
    expect(await refused).toBe("stopped before the first snapshot");
  },
);
