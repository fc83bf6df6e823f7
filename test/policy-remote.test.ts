/**
 * The promise: a policy may come from a server, signed, and in force within moments of its change; and whatever that
 * server does, hang, lie or be gone, the last good one stays in force, over a restart too, and `doctor` says so.
 */
import { generateKeyPairSync } from "node:crypto";
import * as disk from "node:fs/promises";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { writeBundleFile } from "../src/policy/bundle-file.ts";
import { createBulk } from "../src/policy/bulk.ts";
import { fault, PolicyRefused, THREAD_FAULT } from "../src/policy/diagnostic.ts";
import { createRemote } from "../src/policy/remote-bundle.ts";
import type { Bundle } from "../src/policy/sources.ts";
import { askDocument } from "../src/upstream/document.ts";
import { BASE_CONFIG, discovered, startGateway, until } from "./support/gateway.ts";
import { adminOf } from "./support/planes.ts";
import { caller, refusing, stands } from "./support/stand.ts";
import type { Stand } from "./support/stand.ts";

const { stand, open } = stands();
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function pair() {
  const made = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    publicKey: made.publicKey.export({ type: "spki", format: "pem" }).toString(),
    privateKey: made.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    algorithm: "ES256" as const,
    keyId: "default",
  };
}
const OWN = pair();
const OTHER = pair();
const made = (bundle: Bundle, key = OWN) => writeBundleFile(bundle, "r", key);

type Server = {
  readonly url: string;
  /** How it answers from now on. */
  serve: (reply: ServerResponse, headers: { readonly [name: string]: string | string[] | undefined }) => void;
  readonly asked: { readonly [name: string]: string | string[] | undefined }[];
};

/** A server of bundles, with an ETag for each. */
async function bundleServer(): Promise<Server & { give: (bytes: Buffer) => void }> {
  const asked: Server["asked"] = [];
  const held: Server & { give: (bytes: Buffer) => void } = {
    url: "",
    asked,
    serve: (reply) => void reply.writeHead(404).end(),
    give: (bytes) => {
      const etag = `"${String(asked.length)}-${String(bytes.length)}"`;
      held.serve = (reply, headers) =>
        headers["if-none-match"] === etag
          ? void reply.writeHead(304).end()
          : void reply.writeHead(200, { etag, "content-type": "application/gzip" }).end(bytes);
    },
  };
  const server = createServer((request, reply) => {
    asked.push(request.headers);
    held.serve(reply, request.headers);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  });
  return Object.assign(held, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bundle.tar.gz` });
}

async function keyFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-key-"));
  closing.push(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "bundle.pub"), OWN.publicKey);
  return join(folder, "bundle.pub");
}

type Following = Stand & { readonly config: object };

async function follow(server: Server, more: object = {}): Promise<Following> {
  const bundle = { publicKey: await keyFile(), algorithm: "ES256", allowPrivate: true, poll: "200ms", ...more };
  const config = { policies: server.url, bundle };
  return { ...(await stand(config)), config };
}

const codes = async ({ call }: Stand): Promise<readonly string[]> => [
  (await call("odd")).code,
  (await call("even")).code,
];
const ODD_REFUSED = ["forbidden", "ok"];
const EVEN_REFUSED = ["ok", "forbidden"];

const BROKEN = { ...refusing("even"), modules: { "p.rego": "package portcullis\n\ndecision := nothing\n" } };

/** The same gateway, in the same folder. */
async function startedAgain({ gateway, config }: Following): Promise<Stand> {
  const [instance] = gateway.config.servers[0]?.instances ?? [];
  const servers = [{ name: "fixture", version: "1.0.0", instances: [instance], permissions: ["demo:use"] }];
  const again = await startGateway({ ...config, servers }, { plane: { folder: gateway.folder } });
  open.push(again.close);
  await discovered(again, "fixture");
  return { gateway: again, admin: adminOf(again), call: caller(again) };
}

async function policyCheck({ admin }: Stand) {
  return (await admin.health.check.query()).checks.find(({ name }) => name === "policy");
}

describe("a policy from a server", () => {
  test("is verified and enforced, asked for with its ETag, and in force soon after it changes", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server, { headers: { authorization: "Bearer of-bundles" } });
    expect(await codes(on)).toEqual(ODD_REFUSED);
    expect(server.asked[0]).toMatchObject({ authorization: "Bearer of-bundles", prefer: "modes=snapshot" });
    await until(() => server.asked.length >= 2, "it is asked again");
    expect(server.asked.at(-1)).toMatchObject({ prefer: "modes=snapshot;wait=30" });
    expect(server.asked.at(-1)?.["if-none-match"]).toBeDefined();
    const { revision } = on.gateway.gateway.snapshot();
    server.give(await made(refusing("even")));
    await until(() => on.gateway.gateway.snapshot().revision !== revision, "the other one is in force");
    expect(await codes(on)).toEqual(EVEN_REFUSED);
    expect(await policyCheck(on)).toMatchObject({ ok: true });
    const { config } = await on.admin.config.show.query();
    expect(JSON.stringify(config)).not.toContain("of-bundles");
    // what holds its answer back is asked at once, and nobody waits for it
    await on.gateway.reload();
    expect(await codes(on)).toEqual(EVEN_REFUSED);
  });

  test("is asked on where the configuration that would have replaced it cannot be taken", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server);
    await expect(on.gateway.rewrite({ policies: "./nowhere" })).rejects.toThrow("nowhere");
    expect(await codes(on)).toEqual(ODD_REFUSED);
    server.give(await made(refusing("even")));
    await until(async () => (await codes(on))[0] === "ok", "it is still followed", 20_000);
    expect(await codes(on)).toEqual(EVEN_REFUSED);
  });

  test("that is not good leaves the last good one in force, and doctor says why", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server);
    const good = await made(refusing("even"));
    const cut = good.subarray(0, good.length / 2);
    const bad: readonly (readonly [string, () => void, RegExp])[] = [
      ["another's signature", () => void 0, /bundle_signature/],
      ["garbage", () => server.give(Buffer.from("<html>")), /bundle_broken/],
      ["half of it", () => server.give(cut), /bundle_broken/],
      ["an error", () => (server.serve = (reply) => void reply.writeHead(500).end()), /answers 500/],
      [
        "a redirect",
        () => (server.serve = (reply) => void reply.writeHead(302, { location: "/" }).end()),
        /answers 302/,
      ],
      ["a closed connection", () => (server.serve = (reply) => void reply.destroy()), /closed the connection/],
      ["without end", () => (server.serve = endless), /larger|too large/],
    ];
    const other = await made(refusing("even"), OTHER);
    for (const [what, begin, said] of bad) {
      if (what === "another's signature") server.give(other);
      else begin();
      await until(async () => said.test((await policyCheck(on))?.detail ?? ""), what, 20_000);
      expect(await policyCheck(on)).toMatchObject({
        ok: false,
        detail: expect.stringMatching(/^the last good one/) as string,
      });
      expect(await codes(on)).toEqual(ODD_REFUSED);
    }
    // one that is signed, and does not compile
    server.give(await made(BROKEN));
    await until(async () => /p\.rego:3:/.test((await policyCheck(on))?.detail ?? ""), "it does not compile", 20_000);
    await new Promise((later) => setTimeout(later, 500));
    expect(await policyCheck(on)).toMatchObject({ ok: false });
    // a reload does not try it again
    await on.gateway.reload();
    expect(await codes(on)).toEqual(ODD_REFUSED);
    server.give(good);
    await until(async () => (await policyCheck(on))?.ok === true, "the good one", 20_000);
    await expect.poll(() => codes(on)).toEqual(EVEN_REFUSED);
  }, 120_000);

  test("that was refused stays so where the server sends it again under the same ETag", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server);
    const broken = await made(BROKEN);
    server.serve = (reply) => void reply.writeHead(200, { etag: '"same"' }).end(broken);
    await until(async () => /p\.rego:3:/.test((await policyCheck(on))?.detail ?? ""), "it does not compile", 20_000);
    const asked = server.asked.length;
    await until(() => server.asked.length >= asked + 3, "it is asked again");
    expect(await policyCheck(on)).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/p\.rego:3:/) as string,
    });
    // where the server could not be asked in between, that is said, and then the refusal again
    server.serve = (reply) => void reply.writeHead(500).end();
    await until(async () => /answers 500/.test((await policyCheck(on))?.detail ?? ""), "an error", 20_000);
    server.serve = (reply) => void reply.writeHead(200, { etag: '"same"' }).end(broken);
    await until(async () => /p\.rego:3:/.test((await policyCheck(on))?.detail ?? ""), "it is still refused", 20_000);
  }, 60_000);

  test.each([
    ["does not compile", () => made(BROKEN)],
    ["has another's signature", () => made(refusing("even"), OTHER)],
  ])(
    "that %s is judged once and warned of once, without an ETag too, and asked for as seldom as a good one",
    async (_, bad) => {
      const { publicKey } = OWN;
      const key = { publicKey, algorithm: "ES256" as const, keyId: "default", scope: "" };
      const server = await bundleServer();
      const dir = await mkdtemp(join(tmpdir(), "portcullis-remote-"));
      closing.push(() => rm(dir, { recursive: true, force: true }));
      const [good, refused] = [await made(refusing("odd")), await bad()];
      const asked: number[] = [];
      const give = (body: Buffer): void => {
        server.serve = (reply) => {
          asked.push(performance.now());
          reply.end(body);
        };
      };
      give(good);
      const warned: string[] = [];
      const bulk = createBulk(disk);
      const remote = createRemote({ url: server.url, key, headers: {}, allowPrivate: true, pollMs: 3_000 }, dir, {
        ask: askDocument,
        readFile: bulk.readFile,
        disk,
        log: { warn: (_about, message) => void warned.push(String(message)), info: () => {} },
      });
      closing.push(async () => remote.close());
      await remote.current();
      await remote.accepted();
      give(refused);
      let judged = 0;
      remote.follow(async () => {
        judged++;
        throw new PolicyRefused([fault("broken", "it does not compile")]);
      });
      await until(() => asked.length >= 4, "it is asked for twice more", 30_000);
      expect((asked[3] ?? 0) - (asked[2] ?? 0)).toBeGreaterThan(2_500);
      expect({ judged: judged <= 1, warned: warned.length }).toEqual({ judged: true, warned: 1 });
      expect(remote.fault()).not.toBeNull();
      give(good);
      await until(() => remote.fault() === null, "it is good again", 30_000);
    },
    60_000,
  );

  test("that a thread failed at is judged again, though the server says that it is the same", async () => {
    const key = { publicKey: OWN.publicKey, algorithm: "ES256" as const, keyId: "default", scope: "" };
    const server = await bundleServer();
    const dir = await mkdtemp(join(tmpdir(), "portcullis-remote-"));
    closing.push(() => rm(dir, { recursive: true, force: true }));
    const bulk = createBulk(disk);
    const failed = new PolicyRefused([fault(THREAD_FAULT, "the thread ended")]);
    let failures = 0;
    const remote = createRemote({ url: server.url, key, headers: {}, allowPrivate: true, pollMs: 50 }, dir, {
      ask: askDocument,
      readFile: (...asked) => (failures-- > 0 ? Promise.reject(failed) : bulk.readFile(...asked)),
      disk,
      log: { warn: () => {}, info: () => {} },
    });
    closing.push(async () => remote.close());
    server.give(await made(refusing("odd")));
    await remote.current();
    await remote.accepted();
    failures = 1;
    let attempts = 0;
    remote.follow(async () => {
      if (++attempts === 1) throw failed;
    });
    server.give(await made(refusing("even")));
    await until(() => attempts === 2 && remote.fault() === null, "it is in force in the end", 20_000);
    const [rule] = Object.values((await remote.current()).modules);
    expect(rule).toContain("even");
  });

  test("of a server that hangs holds nothing up: calls go on, and the next start has the last good one", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server);
    server.serve = () => {};
    const before = server.asked.length;
    await until(() => server.asked.length > before, "it hangs");
    expect(await codes(on)).toEqual(ODD_REFUSED);
    await on.gateway.stop();
    server.serve = (reply) => void reply.writeHead(503).end();
    const again = await startedAgain(on);
    expect(await codes(again)).toEqual(ODD_REFUSED);
    expect(await policyCheck(again)).toMatchObject({ ok: false });
  });

  test("that compiles no more when the gateway starts again leaves the last good one in force, and kept", async () => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    let on = await follow(server);
    const again = async (): Promise<void> => {
      await on.gateway.stop();
      on = { ...on, ...(await startedAgain(on)) };
    };
    server.give(await made(BROKEN));
    await again();
    expect(await codes(on)).toEqual(ODD_REFUSED);
    const { length } = server.asked;
    await until(() => server.asked.length > length + 1, "it is asked on, and has nothing new");
    expect(await policyCheck(on)).toMatchObject({ ok: false, detail: expect.stringMatching(/p\.rego:3:/) as string });
    // also for the next start, of which the server knows nothing
    const { serve } = server;
    server.serve = (reply) => void reply.writeHead(503).end();
    await again();
    expect(await codes(on)).toEqual(ODD_REFUSED);
    server.serve = serve;
    server.give(await made(refusing("even")));
    await until(async () => (await codes(on))[0] === "ok", "the next good one is in force", 20_000);
    expect(await codes(on)).toEqual(EVEN_REFUSED);
  }, 60_000);

  test("that never compiled is no policy: the start fails, and names the place", async () => {
    const server = await bundleServer();
    server.give(await made(BROKEN));
    await expect(follow(server)).rejects.toThrow("p.rego:3:");
  });

  test.each([
    ["managed", "managed"],
    ["a folder", BASE_CONFIG.policies],
  ])("is asked no more once a reload says %s, which is in force", async (_, policies) => {
    const server = await bundleServer();
    server.give(await made(refusing("odd")));
    const on = await follow(server);
    const polls = server.asked.length;
    await until(() => server.asked.length > polls, "it is asked");
    expect(await codes(on)).toEqual(ODD_REFUSED);
    // it answers late: what it says then is nobody's any more
    let late = (): void => {};
    server.serve = (reply, headers) => void (late = () => server.serve(reply, headers));
    const before = server.asked.length;
    await until(() => server.asked.length > before, "it is asked again");
    await on.gateway.rewrite({ policies });
    expect(await codes(on)).toEqual(["ok", "ok"]);
    server.give(await made(refusing("even")));
    late();
    const { length } = server.asked;
    await new Promise((later) => setTimeout(later, 1_500));
    expect(server.asked.length).toBe(length);
    expect(await codes(on)).toEqual(["ok", "ok"]);
    expect(await policyCheck(on)).toMatchObject({ ok: true });
    // and back, to what was in force last
    const { serve } = server;
    server.serve = (reply) => void reply.writeHead(503).end();
    await on.gateway.rewrite({});
    expect(await codes(on)).toEqual(ODD_REFUSED);
    server.serve = serve;
    await until(async () => (await codes(on))[0] === "ok", "it is asked on", 20_000);
  });

  test("that was never had is no policy: the start fails, and says so", async () => {
    const server = await bundleServer();
    await expect(follow(server)).rejects.toThrow("bundle_unreachable");
  });

  test.each<[string, object, string]>([
    ["without a key", { policies: "https://bundles.example/b.tar.gz" }, "bundle.publicKey"],
    ["in the clear", { policies: "http://bundles.example/b.tar.gz", bundle: { publicKey: "k" } }, "an https URL"],
  ])("%s is refused in the file", async (_, config, said) => {
    await expect(startGateway(config)).rejects.toThrow(said);
  });
});

const endless: Server["serve"] = (reply) => {
  reply.writeHead(200, { "content-type": "application/gzip" });
  const chunk = Buffer.alloc(256 * 1024);
  const more = (): void => {
    while (!reply.destroyed && reply.write(chunk));
    if (!reply.destroyed) reply.once("drain", more);
  };
  more();
};
