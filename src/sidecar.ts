/**
 * A policy engine beside its agents: what is in force is what its control plane says. Each snapshot that arrives is
 * checked, warmed and swapped in; the last good one is on disk and serves without a control plane. What surprises:
 * what a snapshot takes away is gone before its policy is warm, and stays gone if it never will be; and a sidecar to
 * which nobody confirms what it has refuses every call, since it cannot know what was revoked.
 */
import type { InForce } from "./inforce.ts";
import { createAdopter } from "./adopter.ts";
import type { Adopter } from "./adopter.ts";
import { PolicyRefused } from "./policy/diagnostic.ts";
import type { Policies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { QUARANTINED_MAX, TOOL_CHARACTERS_MAX } from "./snapshot/follower.ts";
import type { Report } from "./snapshot/follower.ts";
import { startFollowing } from "./snapshot/follow.ts";
import type { FollowOptions } from "./snapshot/follow.ts";
import { watchFreshness } from "./snapshot/freshness.ts";
import type { Freshness } from "./snapshot/freshness.ts";
import type { Kept, LastGood } from "./snapshot/last-good.ts";
import { createKeeping } from "./snapshot/keeping.ts";
import type { Keeping } from "./snapshot/keeping.ts";
import { createRevoked } from "./snapshot/revoked.ts";
import type { Target } from "./snapshot/reach.ts";
import { overtakenBy, SealFault, textsOf, unseal } from "./snapshot/seal.ts";
import type { Text } from "./snapshot/seal.ts";
import { VERSION } from "./version.ts";

export type SidecarOptions = {
  readonly target: Target & { readonly url: string };
  readonly key: string;
  /** Public keys of the control plane. */
  readonly pins: readonly string[];
  /** Without a word of the control plane about what is in force for so long, every call is refused. */
  readonly maxStalenessMs: number;
};
export type Sidecar = {
  /** A snapshot is in force, from disk or from the control plane. */
  readonly ready: Promise<void>;
  readonly status: () => SidecarStatus;
  readonly close: () => Promise<void>;
};
export type SidecarStatus = {
  readonly revision: string | null;
  readonly connected: boolean;
  readonly stale: boolean;
  readonly lastError: string | null;
  /** Since the control plane last confirmed what is in force; null if it never did. */
  readonly silentMs: number | null;
};
type Parts = {
  readonly inForce: InForce;
  readonly policies: Pick<Policies, "warm" | "shadows">;
  /** Servers may have come or gone. */
  readonly reconcile: () => void;
  readonly lastGood: LastGood;
};

const LOOK_MS = 1_000;
const REPORT_MS = 15_000;

export async function startSidecar(parts: Parts, options: SidecarOptions, ports: Ports): Promise<Sidecar> {
  const { inForce, lastGood } = parts;
  const adopter = createAdopter(parts, ports);
  const keeping = createKeeping(lastGood, () => freshness.settled(), ports);
  const freshness: Freshness = await watchFreshness(lastGood, {
    maxMs: options.maxStalenessMs,
    kept: keeping.done,
    ports,
    changed: adopter.halt,
  });
  adopter.halt(freshness.stale());
  const { confirmed } = freshness;
  const taking = createTaking({ ...parts, keeping, adopter }, { pins: options.pins, confirmed, ports });
  await taking.resume();
  const following = startFollowing(
    {
      ...options,
      have: taking.have,
      take: taking.take,
      confirm: (revision, agoMs) => {
        const same = adopter.has(revision);
        keeping.again();
        if (same && keeping.done()) taking.well();
        if (same) confirmed(agoMs);
        return same;
      },
    },
    ports,
  );
  const stopTelling = tellServers(inForce, () => {
    const told = taking.report();
    if (told !== null && following.connected()) following.report(told);
  });
  return {
    ready: adopter.ready,
    status: () => ({
      revision: adopter.revision(),
      connected: following.connected(),
      stale: freshness.stale(),
      lastError: following.connected()
        ? (taking.fault() ?? following.lastError())
        : (following.lastError() ?? taking.fault()),
      silentMs: freshness.silentMs(),
    }),
    close: async () => {
      stopTelling();
      following.close();
      freshness.close();
      adopter.close();
      await lastGood.close();
    },
  };
}

type Taking = {
  /** What the folder holds, in force if it can be. */
  readonly resume: () => Promise<void>;
  /** The newest snapshot that was verified, whether it could be put in force or not. */
  readonly have: FollowOptions["have"];
  /** One at a time. Null for what cannot even be named. */
  readonly take: FollowOptions["take"];
  readonly report: () => Report | null;
  readonly fault: () => string | null;
  /** The newest snapshot of the control plane is in force, and on disk. */
  readonly well: () => void;
};
type TakingParts = Pick<Parts, "inForce" | "lastGood"> & { readonly keeping: Keeping; readonly adopter: Adopter };

type Trust = { readonly pins: readonly string[]; readonly confirmed: Freshness["confirmed"]; readonly ports: Ports };

function createTaking({ inForce, lastGood, keeping, adopter }: TakingParts, { pins, confirmed, ports }: Trust): Taking {
  let newest: Kept | null = null;
  let good: Kept | null = null;
  let fault: string | null = null;
  const revoked = createRevoked();
  const report = (refused: string | null = null): Report | null => {
    const revision = refused ?? adopter.revision();
    if (revision === null) return null;
    const said = { revision, accepted: refused === null, reason: fault, inForce: adopter.revision() };
    return { ...said, version: VERSION, ...ownServers(inForce) };
  };
  const put = (kept: Kept, first?: () => void): Promise<void> => keeping.during(() => putIt(kept, first));
  const putIt = async (kept: Kept, first?: () => void): Promise<void> => {
    const saved = (await adopter.narrow(kept)) ? keeping.newest(kept, good) : Promise.resolve();
    // told below, once it is in force
    saved.catch(() => undefined);
    await adopter.put(kept, first);
    good = kept;
    await saved;
    await keeping.good(kept);
  };
  const believed = (next: Kept): Kept => {
    const revived = revoked.revivedBy(next);
    if (revived !== null) throw new SealFault(`the snapshot would bring the revoked key ${revived} back: ${REVIVED}`);
    revoked.note(next);
    return next;
  };
  return {
    resume: async () => {
      const kept = await lastGood.load(pins);
      good = kept.good;
      newest = later(kept.good, kept.newest);
      for (const one of [kept.good, kept.newest]) if (one !== null) revoked.note(one);
      try {
        if (kept.good !== null) await adopter.put(kept.good);
        if (newest !== null && newest !== kept.good) await put(newest);
      } catch (cause) {
        fault = reasonOf(cause);
        ports.log.warn({ err: cause }, "a snapshot on disk cannot be put in force");
      }
    },
    have: () => newest?.manifest ?? null,
    take: async (sealed, sent, agoMs) => {
      let revision: string | null = null;
      try {
        const manifest = unseal(sealed, pins);
        ({ revision } = manifest);
        // signed as it may be, one that was overtaken would bring back what was revoked
        const overtaken = newest === null ? null : overtakenBy(manifest, newest.manifest);
        if (overtaken !== null && newest?.manifest.revision !== revision) throw new SealFault(overtaken);
        if (overtaken === null) newest = believed({ sealed, manifest, texts: textsOf(manifest, textIn(newest, sent)) });
        // what comes now is the control plane's word for what is in force from now on
        if (newest !== null) await put(newest, () => confirmed(agoMs()));
        fault = null;
        ports.log.info({ revision }, "a snapshot of the control plane is in force");
        return report();
      } catch (cause) {
        ports.log.error({ err: cause, revision }, "a snapshot was not taken: the last one stays in force");
        fault = reasonOf(cause);
        return revision === null ? null : report(adopter.has(revision) ? null : revision);
      }
    },
    report,
    fault: () => fault,
    well: () => void (fault = null),
  };
}

const REVIVED = "revoke it again, or remove data/snapshot here if that is meant";

function later(one: Kept | null, other: Kept | null): Kept | null {
  if (one === null || other === null) return one ?? other;
  return overtakenBy(other.manifest, one.manifest) === null ? other : one;
}

/** Now and then, and soon after the servers that run here say something new. */
function tellServers(inForce: InForce, tell: () => void): () => void {
  let told = "";
  const look = (): void => {
    const now = JSON.stringify(ownServers(inForce));
    if (now === told) return;
    told = now;
    tell();
  };
  const looking = setInterval(look, LOOK_MS).unref();
  const telling = setInterval(tell, REPORT_MS).unref();
  return () => {
    clearInterval(looking);
    clearInterval(telling);
  };
}

function textIn(held: Kept | null, sent: ReadonlyMap<string, string>): (digest: string) => Text | undefined {
  return (digest) => {
    const known = held?.texts.get(digest);
    if (known !== undefined) return { text: known, checked: true };
    const text = sent.get(digest);
    return text === undefined ? undefined : { text, checked: false };
  };
}

function ownServers(inForce: InForce): Pick<Report, "servers" | "quarantined"> {
  const versions = [...inForce.snapshot().servers.values()]
    .flatMap(({ versions: all }) => [...all.values()])
    .filter(({ instances }) => instances.some(({ kind }) => kind === "stdio"));
  return {
    servers: versions.map(({ server, version, state, tools }) => ({
      id: `${server}@${version}`,
      state,
      tools: tools.size,
    })),
    quarantined: versions
      .flatMap(({ tools }) => [...tools.values()])
      .filter(({ quarantined, upstreamName }) => quarantined && upstreamName.length <= TOOL_CHARACTERS_MAX)
      .slice(0, QUARANTINED_MAX)
      .map(({ server, version, upstreamName, digest }) => ({ server, version, tool: upstreamName, digest })),
  };
}

/** For the control plane's operators: no path, no secret, bounded. */
function reasonOf(cause: unknown): string {
  if (cause instanceof SealFault) return cause.message;
  if (cause instanceof PolicyRefused)
    return cause.diagnostics
      .map(({ message }) => message)
      .join("; ")
      .slice(0, 1000);
  return "it cannot be put in force, or not be written to disk: see the sidecar's log";
}
