/**
 * The promise: a sidecar believes what its control plane signed, in the order in which it was said, and what it confirms.
 * What was taken away stays away: when the policy that came with it cannot be loaded, and through a restart.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { configSchema } from "../src/config.ts";
import { realPorts, silent } from "../src/ports.ts";
import { openKeyring } from "../src/snapshot/keyring.ts";
import { digestOf, revisionOf } from "../src/snapshot/parts.ts";
import { publishServer, withPublished } from "../src/snapshot/published.ts";
import { seal } from "../src/snapshot/seal.ts";
import type { Manifest } from "../src/snapshot/seal.ts";
import { openLocal } from "../src/snapshot/store.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startRelay } from "./support/relay.ts";
import type { Relay, RelayedEvent } from "./support/relay.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});
const SOON_MS = 10_000;
const STALE = { control: { maxStaleness: "3s" } };

async function planes(config: object = {}) {
  const fixture = await startFixture();
  open.push(fixture.close);
  const control = await startControl({ servers: [fixtureServer(fixture)] });
  open.push(control.close);
  await discovered(control, "fixture");
  const relay = await startRelay(control.admin);
  open.push(relay.close);
  const sidecar = await startSidecar(control, { url: relay.url, config });
  open.push(sidecar.close);
  await until(() => revisionAt(sidecar) === revisionAt(control), "the same revision", SOON_MS);
  await sidecar.gateway.validators.prepare([...sidecar.gateway.snapshot().tools.values()].flat());
  return { control, relay, sidecar };
}

const revisionAt = ({ gateway }: TestGateway) => gateway.snapshot().revision;
const codeAt = async (gateway: TestGateway, key: string) =>
  (await DOORS["rest"]!(gateway, { key, tool: "echo", arguments: { text: "x" } })).code;

/** The newest snapshot, with parts as the test wants them, signed by the control plane's own key. */
async function signed(
  control: TestGateway,
  relay: Relay,
  change: (name: string, text: string) => string,
  format = 1,
): Promise<readonly RelayedEvent[]> {
  const place = { file: join(control.folder, "data/keyring.json"), given: null };
  const { snapshot: keys } = await openKeyring(place, realPorts(silent));
  const texts = new Map<string, string>();
  for (const event of relay.events)
    for (const { digest, text } of [...(event.parts ?? []), ...(event.kind === "part" ? [event] : [])])
      texts.set(digest, text);
  const last = JSON.parse(relay.events.findLast(({ kind }) => kind === "snapshot").text) as Manifest;
  const sent = last.parts.map(({ name, digest }) => ({ name, text: change(name, texts.get(digest) ?? "") }));
  const parts = sent.map(({ name, text }) => ({ name, digest: digestOf(text) }));
  const manifest = { ...last, format, revision: revisionOf(parts), issuedMs: last.issuedMs + 1, parts };
  const carried = sent.map(({ text }) => ({ digest: digestOf(text), text }));
  return [{ kind: "snapshot", parts: carried, ...seal(manifest, keys[0]) }];
}

const MALLORY = { id: "mallory", kind: "user" as const, roles: ["admin"], tenant: "default" };

const withoutPolicy = (name: string, text: string): string =>
  name === "policy" ? JSON.stringify({ key: "none", module: "AAAA", data: {} }) : text;

describe("what was taken away", () => {
  test("stays away though its policy cannot be loaded, and through a restart without the control plane", async () => {
    const { control, relay, sidecar } = await planes();
    const { id, text: key } = await adminOf(control).keys.issue.mutate({ principal: "alice" });
    await until(async () => (await codeAt(sidecar, key)) === "ok", "the key is taken", SOON_MS);
    const revoking = await signed(control, relay, (name, text) =>
      name.startsWith("keys/")
        ? JSON.stringify(
            (JSON.parse(text) as { id: string }[]).map((one) => (one.id === id ? { ...one, revokedAt: "now" } : one)),
          )
        : withoutPolicy(name, text),
    );
    relay.say(revoking);
    await until(async () => (await codeAt(sidecar, key)) === "unauthenticated", "the key is gone", SOON_MS);
    expect(await codeAt(sidecar, KEYS.alice)).toBe("ok");
    const shown = () => control.gateway.control.feed?.followers()[0];
    // neither of the two is in force there as a whole
    await until(() => shown()?.lastError !== null, "the control plane is told", SOON_MS);
    expect(shown()).toMatchObject({ revision: null, current: false });
    relay.cut();
    await until(async () => (await readdir(join(sidecar.folder, "data/snapshot"))).includes("newest.json"), "kept");
    await sidecar.stop();
    const again = await startSidecar(control, { url: relay.url, folder: sidecar.folder });
    open.push(again.close);
    expect(await codeAt(again, key)).toBe("unauthenticated");
    expect(await codeAt(again, KEYS.alice)).toBe("ok");
  });

  test("does not come back by a snapshot that was overtaken, though what is in force be the same as before it", async () => {
    const { control, relay, sidecar } = await planes();
    const before = revisionAt(sidecar);
    // one that makes mallory an administrator, which the sidecar misses, for the next one takes it back
    const given = await signed(control, relay, (name, text) =>
      name.startsWith("principals/")
        ? JSON.stringify([...(JSON.parse(text) as object[]), { ...MALLORY, id: `mallory-${name}` }])
        : text,
    );
    await adminOf(control).principals.put.mutate({ principal: MALLORY });
    await adminOf(control).principals.remove.mutate({ name: MALLORY.id });
    const after = () => JSON.parse(relay.events.findLast(({ kind }) => kind === "snapshot").text) as Manifest;
    await until(
      () => after().issuedMs > (JSON.parse(given[0].text) as Manifest).issuedMs && after().revision === before,
      "as before",
      SOON_MS,
    );
    await until(() => revisionAt(sidecar) === before, "in force as before", SOON_MS);
    relay.say(given);
    await new Promise((next) => setTimeout(next, 500));
    expect(revisionAt(sidecar)).toBe(before);
  });
});

test("a snapshot of a format that it cannot read is not taken, signed as it may be", async () => {
  const { control, relay, sidecar } = await planes();
  const before = revisionAt(sidecar);
  const add = (name: string, text: string): string =>
    name.startsWith("principals/")
      ? JSON.stringify([...(JSON.parse(text) as object[]), { ...MALLORY, id: name }])
      : text;
  relay.say(await signed(control, relay, add, 9));
  await new Promise((next) => setTimeout(next, 700));
  expect(revisionAt(sidecar)).toBe(before);
  // the same in the format that it reads is taken
  relay.say(await signed(control, relay, add));
  await until(() => revisionAt(sidecar) !== before, "it is taken", SOON_MS);
});

describe("freshness", () => {
  test("is of what is in force: a sidecar that can take no newer snapshot refuses in time", async () => {
    const { control, relay, sidecar } = await planes(STALE);
    relay.rewrite((event) => (event.kind === "snapshot" ? { ...event, signature: "AAAA" } : event));
    const streams = relay.streams();
    await adminOf(control).roles.put.mutate({ role: "new", permissions: [] });
    await until(async () => (await codeAt(sidecar, KEYS.alice)) === "policy_unavailable", "it refuses", 20_000);
    // and does not ask for the same again and again
    expect(relay.streams() - streams).toBeLessThan(10);
    relay.rewrite((event) => event);
    await until(async () => (await codeAt(sidecar, KEYS.alice)) === "ok", "it serves what is true now", 40_000);
    expect(sidecar.gateway.snapshot().roles).toHaveProperty("new");
  }, 90_000);

  test.each([
    ["is missing", (file: string) => rm(file)],
    ["lies ahead", (file: string) => writeFile(file, String(Date.now() + 3_600_000))],
  ])(
    "cannot be had from a time that %s",
    async (_, change) => {
      const { control, relay, sidecar } = await planes();
      const file = join(sidecar.folder, "data/snapshot/heard");
      await until(async () => (await readFile(file, "utf8").catch(() => "")) !== "", "it is written");
      relay.cut();
      await sidecar.stop();
      await change(file);
      const again = await startSidecar(control, { url: relay.url, folder: sidecar.folder });
      open.push(again.close);
      expect(await codeAt(again, KEYS.alice)).toBe("policy_unavailable");
      relay.join();
      await until(async () => (await codeAt(again, KEYS.alice)) === "ok", "it serves", 40_000);
    },
    60_000,
  );
});

describe("a snapshot on disk", () => {
  const stopped = async () => {
    const { control, relay, sidecar } = await planes();
    const folder = join(sidecar.folder, "data/snapshot");
    await until(async () => (await readdir(folder)).includes("manifest.json"), "it is written");
    await sidecar.stop();
    relay.cut();
    return { control, relay, sidecar, folder };
  };
  const parts = async (folder: string) => (await readdir(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name));

  test.each([
    [
      "whose part was changed",
      async (folder: string) => {
        for (const name of await parts(folder)) {
          const text = await readFile(join(folder, name), "utf8");
          await writeFile(join(folder, name), text.replaceAll('"oscar"', '"alice"'));
        }
      },
    ],
    [
      "with another signature",
      (folder: string) => changed(folder, (text) => text.replace(/"signature":"..../, '"signature":"AAAA')),
    ],
    [
      "with another manifest",
      (folder: string) => changed(folder, (text) => text.replace('\\"issuedMs\\":', '\\"issuedMs\\":1')),
    ],
  ])(
    "%s is not believed, and is mended by the next one that comes",
    async (_, change) => {
      const { control, relay, sidecar, folder } = await stopped();
      await change(folder);
      const stopping = new AbortController();
      const wish = { url: relay.url, folder: sidecar.folder, signal: stopping.signal };
      const waiting = startSidecar(control, wish).then(
        () => "started",
        (fault: Error) => fault.message,
      );
      await new Promise((next) => setTimeout(next, 700));
      stopping.abort();
      expect(await waiting).toBe("stopped before the first snapshot");
      relay.join();
      const again = await startSidecar(control, { url: relay.url, folder: sidecar.folder });
      open.push(again.close);
      await until(
        async () =>
          (
            await Promise.all(
              (await parts(folder)).map(async (name) => digestOf(await readFile(join(folder, name), "utf8")) === name),
            )
          ).every(Boolean),
        "each part is whole",
      );
      relay.cut();
      await again.stop();
      const once = await startSidecar(control, { url: relay.url, folder: sidecar.folder });
      open.push(once.close);
      expect(await codeAt(once, KEYS.alice)).toBe("ok");
    },
    60_000,
  );

  test("a start that was told to stop before it began does not wait", async () => {
    const { control, relay, sidecar, folder } = await stopped();
    await rm(folder, { recursive: true });
    await expect(
      startSidecar(control, { url: relay.url, folder: sidecar.folder, signal: AbortSignal.abort() }),
    ).rejects.toThrow("stopped before the first snapshot");
  });
});

describe("a sidecar's own secrets", () => {
  test("go to the URL that its own file names for them, and to no other that a snapshot names", () => {
    const server = (url: string, headers = {}) => ({ name: "far", instances: [{ http: { url, headers } }] });
    const own = configSchema.parse({ servers: [server("https://far.example/mcp?token=t", { authorization: "s" })] });
    const seen = (url: string) => {
      const { servers } = configSchema.parse({ servers: [server(url)] });
      const published = servers.map(publishServer);
      const settings = {
        disclosure: "open",
        refusals: "result",
        limits: [],
        roles: {},
        auth: { jwt: [], anonymous: "off" },
      } as const;
      return withPublished(own, { settings: settings as never, principals: [], servers: published }).servers[0]
        ?.instances[0];
    };
    expect(seen("https://far.example/mcp")).toMatchObject({
      http: { url: "https://far.example/mcp?token=t", headers: { authorization: "s" } },
    });
    for (const other of ["https://evil.example/mcp", "https://far.example/other", "http://far.example/mcp"])
      expect(seen(other)).toEqual({ http: { url: other, headers: {}, allowPrivate: false }, weight: 1 });
  });
});

describe("how calls are spread", () => {
  const url = "https://far.example/mcp";
  const receive = (published: ReturnType<typeof publishServer>) => {
    const settings = { disclosure: "open", refusals: "result", limits: [], roles: {}, auth: {} };
    const [server] = withPublished(configSchema.parse({}), {
      settings: settings as never,
      principals: [],
      servers: [JSON.parse(JSON.stringify(published)) as typeof published],
    }).servers;
    return server;
  };

  test("is the same at a sidecar", () => {
    const instances = [{ http: { url, resolve: "30s" }, weight: 7 }];
    const terms = {
      balance: "least",
      concurrency: 9,
      queue: 3,
      probe: "5s",
      outlierDetection: { consecutiveErrors: 2 },
    };
    const [server] = configSchema.parse({ servers: [{ name: "far", instances, idleTimeout: "4s", ...terms }] }).servers;
    expect(server).toBeDefined();
    if (server !== undefined) expect(receive(publishServer(server))).toEqual(server);
  });

  test("is the default where the control plane is older and says nothing of it", () => {
    const { servers } = configSchema.parse({ servers: [{ name: "far", instances: [{ http: { url } }] }] });
    const { balance, concurrency, queue, outlierDetection, ...older } = publishServer(
      servers[0] as (typeof servers)[0],
    );
    const published = { ...older, instances: [{ http: { url, allowPrivate: false } }] } as never;
    expect(receive(published)).toMatchObject({
      ...{ balance, concurrency, queue, outlierDetection },
      instances: [{ weight: 1 }],
    });
  });
});

test("no two snapshots have one stamp, after a restart with a clock that was put back either", async () => {
  const { folder } = await planes().then(({ control }) => control);
  const file = join(folder, "stamps.db");
  const first = openLocal(file);
  const given = [first.stamp(1_000_000), first.stamp(1_000_000), first.stamp(999_000)];
  first.close();
  const second = openLocal(file);
  given.push(second.stamp(5), second.stamp(5));
  second.close();
  expect(given.toSorted((a, b) => a - b)).toEqual(given);
  expect(new Set(given).size).toBe(given.length);
});

async function changed(folder: string, change: (text: string) => string): Promise<void> {
  const file = join(folder, "manifest.json");
  await writeFile(file, change(await readFile(file, "utf8")));
}
