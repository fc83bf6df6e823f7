/** Gateways and control planes over one Redis, with one keyring, in front of one server. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { realPorts, silent } from "../../src/ports.ts";
import type { Ports } from "../../src/ports.ts";
import { openKeyring } from "../../src/snapshot/keyring.ts";
import { DOORS } from "./ask.ts";
import { fixtureServer, startGateway, until } from "./gateway.ts";
import type { TestGateway } from "./gateway.ts";
import { redisServer } from "./parts.ts";
import type { RedisServer } from "./parts.ts";
import { adminOf } from "./planes.ts";
import { startFixture } from "./upstreams/fixture.ts";

/** A second is promised; five times that is asserted, since test machines are slow. */
export const SOON_MS = 5_000;

export type SharedStand = { readonly redis: RedisServer; readonly open: (more?: More) => Promise<TestGateway> };
type More = {
  readonly config?: object;
  readonly folder?: string;
  readonly role?: "serve" | "control";
  readonly ports?: Partial<Ports>;
};

let made: Promise<{ readonly PORTCULLIS_KEYRING: string }> | null = null;

/** The environment of all of them, made once. */
export function keyringEnv(): Promise<{ readonly PORTCULLIS_KEYRING: string }> {
  made ??= makeKeyring();
  return made;
}

async function makeKeyring(): Promise<{ readonly PORTCULLIS_KEYRING: string }> {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-keyring-"));
  const file = join(folder, "keyring.json");
  await openKeyring({ file, given: null }, realPorts(silent));
  const text = await readFile(file, "utf8");
  await rm(folder, { recursive: true });
  return { PORTCULLIS_KEYRING: text };
}

export async function sharedStand(): Promise<SharedStand> {
  const env = await keyringEnv();
  const redis = await redisServer({ appendOnly: true });
  const fixture = await startFixture();
  onTestFinished(async () => {
    await fixture.close();
    await redis.stop();
  });
  const open: SharedStand["open"] = async ({ config = {}, folder, role = "serve", ports = {} } = {}) => {
    const servers = [fixtureServer(fixture)];
    const plane = { role, ...(folder === undefined ? {} : { folder }) };
    const gateway = await startGateway({ store: redis.url, servers, ...config }, { ...ports, plane, env });
    onTestFinished(gateway.close);
    return gateway;
  };
  return { redis, open };
}

export function echo(gateway: TestGateway, key: string): Promise<string> {
  return DOORS["rest"]!(gateway, { key, tool: "echo", arguments: { text: "x" } }).then(({ code }) => code);
}

export function soon(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  return until(holds, what, SOON_MS);
}

export function permits(role: string, permissions: readonly string[]) {
  return { role, permissions: [...permissions] };
}

/** What `doctor` says of the store. */
export async function storeCheck(gateway: TestGateway): Promise<{ readonly ok: boolean; readonly detail: string }> {
  const { checks } = await adminOf(gateway).health.check.query();
  return checks.find(({ name }) => name === "store") ?? { ok: false, detail: "" };
}
