/**
 * Two planes: how soon a change is in force everywhere, whether a large snapshot makes a call wait, and what a sidecar
 * takes. Fifty followers are the product's own, over sockets of their own, in the process that measures; each checks
 * signature and digests and answers, and puts nothing in force. The sidecar is a real one.
 */
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createTRPCClient, httpLink } from "@trpc/client";
import { realPorts, silent } from "../../src/ports.ts";
import type { AdminRouter } from "../../src/doors/trpc/router.ts";
import { startFollowing } from "../../src/snapshot/follow.ts";
import { dial } from "../../src/snapshot/reach.ts";
import { textsOf, unseal } from "../../src/snapshot/seal.ts";
import type { Manifest } from "../../src/snapshot/seal.ts";
import { portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { startGateway } from "./gateways.ts";
import type { Bench } from "./gateways.ts";
import { middle } from "./measure.ts";
import { residentMb } from "./process.ts";
import { scaled } from "./targets.ts";
import type { Configured, Scale } from "./targets.ts";

const FOLLOWERS = 50;
const BIN = join(import.meta.dirname, "../../bin/portcullis.js");

const SMALL: Scale = { servers: 10, tools: 30, principals: 10, keys: 10 };

/** Under the shipped policy, which lets the owner of the socket change things. */
function administered(upstreamPort: number, size: Scale): Configured {
  return { ...scaled(upstreamPort, size), policies: join(import.meta.dirname, "../../policies") };
}

export async function planes({ upstream, effort }: Bench) {
  const changes = effort.quick ? 20 : 60;
  const small = await startGateway(administered(upstream.port, SMALL));
  const spread = await ended(small, spreadTo(small, changes));
  const starts = await sidecarStarts(upstream.port, effort.quick ? 2 : 4);
  const large = await startGateway(
    administered(upstream.port, { servers: 50, tools: 20, principals: 10_000, keys: 1_000 }),
    60_000,
  );
  const stall = await ended(large, stalls(large, effort.quick ? 5 : 15));
  return { followers: FOLLOWERS, changes, ...spread, ...starts, ...stall };
}

async function ended<Value>(gateway: Portcullis, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } finally {
    await gateway.stop();
  }
}

/** From the asking for a change to the follower's answer, as the control plane has it. */
async function spreadTo(control: Portcullis, changes: number) {
  const admin = adminOf(control);
  const ports = realPorts(silent);
  const acknowledged = new Map<string, number>();
  const followers = await Promise.all(
    Array.from({ length: FOLLOWERS }, async (_, at) => {
      const { text, pins } = await admin.keys.issue.mutate({ sidecar: `follower-${at}` });
      let held: { readonly manifest: Manifest; readonly texts: ReadonlyMap<string, string> } | null = null;
      return startFollowing(
        {
          target: { url: adminUrl(control) },
          key: text,
          have: () => held?.manifest ?? null,
          confirm: () => true,
          take: async (sealed, sent) => {
            const manifest = unseal(sealed, pins);
            const { revision } = manifest;
            const known = held?.texts;
            const texts = textsOf(manifest, (digest) => {
              const kept = known?.get(digest);
              return kept === undefined
                ? { text: sent.get(digest) ?? "", checked: false }
                : { text: kept, checked: true };
            });
            held = { manifest, texts };
            acknowledged.set(`${at} ${revision}`, performance.now());
            return { revision, accepted: true, reason: null, version: "bench", servers: [], quarantined: [] };
          },
        },
        ports,
      );
    }),
  );
  const all = async (): Promise<string> => {
    for (;;) {
      const { sidecars } = await admin.sidecars.list.query();
      const [first] = sidecars;
      if (sidecars.length >= FOLLOWERS && sidecars.every(({ current }) => current)) return first?.revision ?? "";
      await sleep(2);
    }
  };
  await all();
  const tookMs: number[] = [];
  const wholeMs: number[] = [];
  for (let index = 0; index < changes; index++) {
    const askedMs = performance.now();
    await admin.roles.put.mutate({ role: "moving", permissions: [`area:p${index}`] });
    const revision = await all();
    wholeMs.push(performance.now() - askedMs);
    for (let at = 0; at < FOLLOWERS; at++) tookMs.push((acknowledged.get(`${at} ${revision}`) ?? Number.NaN) - askedMs);
    await sleep(20);
  }
  for (const follower of followers) follower.close();
  return { changeToFollowerP99Ms: percentile(tookMs, 0.99), changeToAllAckedP99Ms: percentile(wholeMs, 0.99) };
}

/** A sidecar of 300 tools, from its own disk, its control plane gone. */
async function sidecarStarts(upstreamPort: number, rounds: number) {
  const control = await startGateway(administered(upstreamPort, SMALL));
  const folder = temporaryFolder();
  try {
    const words = await sidecarWords(control, folder);
    const first = await portcullis({ command: words, config: {}, folder });
    await sleep(500);
    await first.stop();
    await control.stop();
    const started = [];
    for (let round = 0; round < rounds; round++) {
      const again = await portcullis({ command: words, config: {}, folder });
      started.push({ ms: again.startMs, mb: residentMb(again.pid) });
      await again.stop();
    }
    return {
      sidecarStartMs: middle(started.map(({ ms }) => ms)),
      sidecarMb: middle(started.map(({ mb }) => mb)),
    };
  } finally {
    await control.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The longest that a question took which needs no work, while 1,000 tools and 10,000 principals changed. */
async function stalls(control: Portcullis, changes: number) {
  const folder = temporaryFolder();
  try {
    const words = await sidecarWords(control, folder);
    const sidecar = await portcullis({ command: words, config: {}, folder, readyMs: 60_000 });
    try {
      const admin = adminOf(control);
      const quietMs = await longest(sidecar, () => sleep(2_000));
      const changingMs = await longest(sidecar, async () => {
        for (let index = 0; index < changes; index++) {
          await admin.principals.put.mutate({ principal: { id: `visitor-${index}`, roles: ["caller"] } });
          await sleep(150);
        }
      });
      return { quietStallMs: quietMs, stallMs: changingMs, largeSidecarMb: residentMb(sidecar.pid) };
    } finally {
      await sidecar.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function longest({ port }: Portcullis, work: () => Promise<unknown>): Promise<number> {
  let worstMs = 0;
  const ended = new AbortController();
  const asking = (async () => {
    while (!ended.signal.aborted) {
      const fromMs = performance.now();
      await new Promise<void>((answered, failed) => {
        get({ host: "127.0.0.1", port, path: "/livez" }, (answer) => answer.resume().on("end", answered)).on(
          "error",
          failed,
        );
      });
      worstMs = Math.max(worstMs, performance.now() - fromMs);
      await sleep(1);
    }
  })();
  await work();
  ended.abort();
  await asking;
  return worstMs;
}

async function sidecarWords(control: Portcullis, folder: string): Promise<readonly string[]> {
  const file = join(folder, "sidecar.key");
  const printed = execFileSync(process.execPath, [BIN, "keys", "issue", "--sidecar", "bench"], { cwd: control.folder });
  writeFileSync(file, printed, { mode: 0o600 });
  return ["sidecar", "--control", adminUrl(control), "--key-file", file];
}

function adminUrl(control: Portcullis): string {
  return /(http:\/\/\S+)\/trpc/.exec(control.output())?.[1] ?? "";
}

function adminOf({ folder }: Portcullis) {
  const fetch = dial({ socket: join(folder, "data/admin.sock") }, 30_000);
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url: "http://portcullis/trpc", methodOverride: "POST", fetch })],
  });
}

function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? Number.NaN;
}
