/**
 * The promise: with `ack: redis` a pod that is killed together with its disk loses no record of a call that it answered: the
 * control plane has them all, and its chain verifies.
 */
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { records } from "./audit-parts.ts";
import { until } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import { key, portcullis, temporaryFolder } from "./support/portcullis.ts";
import type { Portcullis } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const BIN = join(import.meta.dirname, "..", "bin/portcullis.js");
const alice = key("alice", "alice");
const WORKERS = 16;
const ON_THE_WAY_MS = 20;

type Network = { readonly url: string; readonly cut: () => void };

describe.skipIf(lacks("redis-server"))("a pod that is killed under load, and its disk with it", () => {
  test("loses no record of a call that it answered", async () => {
    const redis = await redisServer();
    onTestFinished(() => redis.stop());
    const plane = await control(redis.url);
    const network = await slowNetwork(redis.port);
    const { pod, keyId } = await sidecar(plane, network.url);
    const answered = await loadUntilKilled(pod, network);
    expect(answered.length).toBeGreaterThan(100);
    rmSync(join(pod.folder, "data"), { recursive: true });

    const gathered = join(plane.folder, "data/audit/gathered");
    const missing = async () => {
      const outcomes = new Set<unknown>();
      for (const one of await records(join(gathered, keyId)).catch(() => []))
        if (one["portcullis.record"] === "outcome") outcomes.add(one["portcullis.call.id"]);
      return answered.filter((id) => !outcomes.has(id));
    };
    await until(async () => (await missing()).length === 0, "every answered call has its outcome");
    // it is known by the id of its key, where nothing else names it; nothing went over OTLP besides
    expect(await readdir(gathered)).toEqual([keyId]);
    expect(await verify(join(gathered, keyId))).toMatchObject({ ok: true, chains: 1, elsewhere: [], tornTail: [] });
    const ids = (await records(join(gathered, keyId))).map((one) =>
      [one["portcullis.call.id"], one["portcullis.record"]].join(" "),
    );
    expect(new Set(ids).size).toBe(ids.length);
  }, 120_000);
});

/** The pod's way to Redis: what is on it for the moment is lost with the pod. */
async function slowNetwork(port: number): Promise<Network> {
  const sockets = new Set<Socket>();
  let up = true;
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const socket of [near, far]) sockets.add(socket.on("error", () => {}));
    near
      .on("data", (bytes) => setTimeout(() => up && far.write(bytes), ON_THE_WAY_MS))
      .on("close", () => far.destroy());
    far.on("data", (bytes) => near.write(bytes)).on("close", () => near.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const cut = () => {
    up = false;
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  onTestFinished(cut);
  return { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, cut };
}

async function control(redis: string): Promise<Portcullis> {
  const fixture = await startFixture();
  onTestFinished(fixture.close);
  const plane = await portcullis({
    command: ["control"],
    config: {
      redis,
      roles: { user: ["demo:use"] },
      principals: [{ id: "alice", roles: ["user"] }],
      auth: { keys: [alice.entry] },
      servers: [
        { name: "fixture", permissions: ["demo:use"], instances: [{ http: { url: fixture.url, allowPrivate: true } }] },
      ],
    },
  });
  onTestFinished(async () => void (await plane.stop()));
  return plane;
}

async function sidecar(
  plane: Portcullis,
  redis: string,
): Promise<{ readonly pod: Portcullis; readonly keyId: string }> {
  const words = ["keys", "issue", "--sidecar", "edge-1"];
  const { stdout } = await promisify(execFile)(process.execPath, [BIN, ...words], { cwd: plane.folder });
  const folder = temporaryFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "edge-1.key");
  writeFileSync(file, stdout, { mode: 0o600 });
  const admin = /http:\/\/(\S+)\/trpc/.exec(plane.output())?.[1] ?? "";
  const pod = await portcullis({
    command: ["sidecar", "--control", `http://${admin}`, "--key-file", file],
    config: { redis, audit: { ack: "redis" } },
    folder,
    tools: { key: alice.text, ids: ["fixture__echo"] },
  });
  onTestFinished(async () => void (await pod.stop()));
  return { pod, keyId: /^pc_([a-z0-9]+)_/.exec(stdout)?.[1] ?? "" };
}

/** Ids of the calls that were answered with a result. */
async function loadUntilKilled(pod: Portcullis, network: Network): Promise<readonly string[]> {
  const answered: string[] = [];
  const worker = async () => {
    for (;;) {
      const response = await call(pod).catch(() => null);
      if (response === null) return;
      // the answer is only had when it is whole
      const text = await response.text().catch(() => "");
      if (response.ok && text.includes("through")) answered.push(response.headers.get("portcullis-call-id") ?? "");
    }
  };
  const workers = Array.from({ length: WORKERS }, worker);
  await until(() => answered.length > 300, "it answers");
  process.kill(pod.pid, "SIGKILL");
  network.cut();
  await Promise.all(workers);
  return answered;
}

const call = (pod: Portcullis) =>
  fetch(`${pod.url}/tools/fixture__echo/call`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": alice.text },
    body: JSON.stringify({ arguments: { text: "through" } }),
  });
