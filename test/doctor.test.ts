/** Does `doctor` name every part that it promises to look at, and say what is wrong with it? */
import { chmod, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { freePort, lacks, redisServer } from "./support/parts.ts";

const checks = async ({ gateway }: TestGateway) =>
  Object.fromEntries((await gateway.control.health()).map(({ name, ...said }) => [name, said]));
const bad = (detail: string | RegExp) => ({ ok: false, detail: expect.stringMatching(detail) as string });

describe("without anything configured", () => {
  let gateway: TestGateway;
  beforeAll(async () => void (gateway = await startGateway()));
  afterAll(() => gateway.close());

  test("every part has its line, also those that are not there", async () => {
    expect(await checks(gateway)).toMatchObject({
      config: { ok: true },
      policy: { ok: true },
      audit: { ok: true },
      disk: { ok: true },
      store: { ok: true, detail: "whole, revision 0" },
      keyring: { ok: true },
      redis: { ok: true, detail: expect.stringContaining("none configured") as string },
      collector: { ok: true, detail: expect.stringContaining("none configured") as string },
      clock: { ok: true },
      schemas: { ok: true },
    });
  });

  test("what it keeps is nobody else's to read", async () => {
    const data = join(gateway.folder, "data");
    const files = (await readdir(data, { withFileTypes: true })).filter((entry) => entry.isFile());
    const modes = await Promise.all(
      files.map(async ({ name }) => [name, ((await stat(join(data, name))).mode & 0o777).toString(8)]),
    );
    expect(modes).toEqual(modes.map(([name]) => [name, "600"]));
    expect(modes.map(([name]) => name)).toEqual(expect.arrayContaining(["keyring.json", "portcullis.db"]));
  });

  test("a store that cannot be written is named", async () => {
    const other = new DatabaseSync(join(gateway.folder, "data/portcullis.db"));
    other.exec("BEGIN IMMEDIATE");
    expect((await checks(gateway))["store"]).toEqual(bad("locked"));
    other.close();
    expect((await checks(gateway))["store"]).toMatchObject({ ok: true });
  });

  test("a keyring that others may read, that is gone, or is another is named", async () => {
    const file = join(gateway.folder, "data/keyring.json");
    await chmod(file, 0o644);
    expect((await checks(gateway))["keyring"]).toEqual(bad("others can read it"));
    await chmod(file, 0o600);
    await rename(file, `${file}.kept`);
    expect((await checks(gateway))["keyring"]).toEqual(bad("gone"));
    const second = await startGateway();
    onTestFinished(() => second.close());
    await rename(join(second.folder, "data/keyring.json"), file);
    expect((await checks(gateway))["keyring"]).toEqual(bad("other keys"));
    await rename(`${file}.kept`, file);
    expect((await checks(gateway))["keyring"]).toMatchObject({ ok: true });
  });
});

test.skipIf(lacks("redis-server"))("a Redis that could forget counts, or is away, is named", async () => {
  const server = await redisServer();
  const client = new Redis(server.url);
  const gateway = await startGateway({ redis: server.url });
  onTestFinished(async () => {
    await gateway.close();
    await server.stop();
  });
  const redis = async () => (await checks(gateway))["redis"];
  expect(await redis()).toEqual(bad(/^a restart forgets counts: set appendonly yes$/));
  await client.config("SET", "appendonly", "yes");
  expect(await redis()).toEqual({ ok: true, detail: "counts the limits, and forgets none" });
  // no more memory than the machine has: nothing is evicted, whatever the policy
  await client.config("SET", "maxmemory-policy", "allkeys-lru");
  expect(await redis()).toMatchObject({ ok: true });
  await client.config("SET", "maxmemory", "100mb");
  expect(await redis()).toEqual(bad("maxmemory-policy noeviction"));
  await client.acl("SETUSER", "default", "-info");
  expect(await redis()).toEqual(bad("INFO"));
  client.disconnect();
  await server.stop();
  expect(await redis()).toEqual(bad("away"));
});

test("a collector that does not answer is named by its origin alone", async () => {
  const port = await freePort();
  const gateway = await startGateway({ audit: { export: [{ otlp: `http://user:secret@127.0.0.1:${port}` }] } });
  onTestFinished(() => gateway.close());
  const name = `collector http://127.0.0.1:${port}`;
  await fetch(`${gateway.url}/tools`);
  await until(async () => (await checks(gateway))[name]?.ok === false, "the collector is found to be away");
  expect(JSON.stringify(await checks(gateway))).not.toContain("secret");
});
