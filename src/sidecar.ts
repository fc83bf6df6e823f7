/**
 * A policy engine beside its agents: what is in force is what its control plane says. Each snapshot that arrives is
 * checked, warmed and swapped in; the last good one is on disk and serves without a control plane. What surprises:
 * what a snapshot takes away is gone before its policy is warm; and a sidecar that has heard nothing for too long refuses
 * every call, since it cannot know what was revoked.
 */
import type { InForce } from "./inforce.ts";
import type { Policy, PolicySource } from "./model.ts";
import { PolicyRefused } from "./policy/diagnostic.ts";
import type { Policies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import type { Report } from "./snapshot/feed.ts";
import { startFollowing } from "./snapshot/follow.ts";
import type { Kept, LastGood } from "./snapshot/last-good.ts";
import type { Target } from "./snapshot/reach.ts";
import { narrowed } from "./snapshot/narrowed.ts";
import { createReader } from "./snapshot/received.ts";
import type { Received } from "./snapshot/received.ts";
import { SealFault, textsOf, unseal } from "./snapshot/seal.ts";
import type { Manifest, Sealed, Text } from "./snapshot/seal.ts";
import { VERSION } from "./version.ts";

export type SidecarOptions = {
  readonly target: Target & { readonly url: string };
  readonly key: string;
  /** Public keys of the control plane. */
  readonly pins: readonly string[];
  /** Without a word of the control plane for so long, every call is refused. */
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
  /** Since the control plane was last heard. */
  readonly silentMs: number;
};
type Parts = {
  readonly inForce: InForce;
  readonly policies: Pick<Policies, "warm">;
  /** Servers may have come or gone. */
  readonly reconcile: () => void;
  readonly lastGood: LastGood;
};
type Adopted = {
  readonly manifest: Manifest;
  readonly received: Received;
  readonly policy: Policy | null;
  /** False where a later snapshot took something of it away already. */
  readonly whole: boolean;
};

const TICK_MS = 500;
const LOOK_MS = 1_000;
const REPORT_MS = 15_000;

export async function startSidecar(parts: Parts, options: SidecarOptions, ports: Ports): Promise<Sidecar> {
  const { inForce, reconcile, lastGood } = parts;
  const first = Promise.withResolvers<void>();
  const adopter = createAdopter(parts, ports);
  const freshness = await watchFreshness(lastGood, options.maxStalenessMs, {
    ports,
    changed: (stale) => {
      const now = adopter.adopted();
      if (now !== null) inForce.adopt(now.received, stale ? null : now.policy);
    },
  });
  const put = async (kept: Kept): Promise<void> => {
    await adopter.put(kept, freshness.stale);
    reconcile();
    first.resolve();
  };
  let held = await lastGood.load(options.pins);
  let fault: string | null = null;
  if (held !== null) await put(held).catch((cause: unknown) => (fault = reasonOf(cause)));
  const report = (refused: string | null = null): Report | null => {
    const revision = refused ?? adopter.adopted()?.manifest.revision;
    if (revision === undefined) return null;
    return { revision, accepted: refused === null, reason: fault, version: VERSION, servers: serversOf(inForce) };
  };
  const take = async (sealed: Sealed, sent: ReadonlyMap<string, string>): Promise<Report | null> => {
    let revision: string | null = null;
    try {
      const manifest = unseal(sealed, options.pins);
      ({ revision } = manifest);
      adopter.assertNewer(manifest);
      const kept = { sealed, manifest, texts: textsOf(manifest, textIn(held, sent)) };
      held = kept;
      if (!adopter.has(revision)) await put(kept);
      fault = await lastGood.save(kept).then(
        () => null,
        () => "it is in force, but could not be written to disk",
      );
      ports.log.info({ revision }, "a snapshot of the control plane is in force");
      return report();
    } catch (cause) {
      ports.log.error({ err: cause, revision }, "a snapshot was not taken: the last one stays in force");
      fault = reasonOf(cause);
      return revision === null ? null : report(revision);
    }
  };
  const following = startFollowing(
    { ...options, have: () => held?.manifest.revision ?? null, take, heard: freshness.heard },
    ports,
  );
  const stopTelling = tellServers(inForce, () => {
    const told = report();
    if (told !== null && following.connected()) following.report(told);
  });
  return {
    ready: first.promise,
    status: () => ({
      revision: adopter.adopted()?.manifest.revision ?? null,
      connected: following.connected(),
      stale: freshness.stale(),
      lastError: fault ?? following.lastError(),
      silentMs: freshness.silentMs(),
    }),
    close: async () => {
      stopTelling();
      following.close();
      freshness.close();
      await lastGood.close();
    },
  };
}

/** Now and then, and soon after the servers that run here say something new. */
function tellServers(inForce: InForce, tell: () => void): () => void {
  let told = "";
  const look = (): void => {
    const now = JSON.stringify(serversOf(inForce));
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

type Adopter = {
  readonly adopted: () => Adopted | null;
  /** It is in force, and whole. */
  readonly has: (revision: string) => boolean;
  /** Signed as it may be, a snapshot that was overtaken would bring back what was revoked. @throws SealFault */
  readonly assertNewer: (manifest: Manifest) => void;
  /** Checked already. @throws SealFault, PolicyRefused */
  readonly put: (kept: Kept, stale: () => boolean) => Promise<void>;
};

function createAdopter({ inForce, policies }: Parts, { clock }: Ports): Adopter {
  const reader = createReader(clock);
  let adopted: Adopted | null = null;
  const adopt = (next: Adopted, stale: boolean): void => {
    inForce.adopt(next.received, stale ? null : next.policy);
    adopted = next;
  };
  return {
    adopted: () => adopted,
    has: (revision) => adopted?.whole === true && adopted.manifest.revision === revision,
    assertNewer: ({ issuedMs }) => {
      if (adopted !== null && issuedMs < adopted.manifest.issuedMs)
        throw new SealFault("the snapshot is older than the one in force");
    },
    put: async ({ manifest, texts }, stale) => {
      const received = await reader.read(manifest, texts);
      const same = adopted !== null && isSamePolicy(adopted.received, received);
      if (adopted !== null && !same) {
        // what was taken away is gone now; what was given waits for its policy
        const less = narrowed(adopted.received, received);
        if (less !== null) adopt({ ...adopted, received: less, whole: false }, stale());
      }
      const policy = same ? (adopted as Adopted).policy : await warm(policies, received);
      adopt({ manifest, received, policy, whole: true }, stale());
    },
  };
}

function isSamePolicy(one: Received, other: Received): boolean {
  const of = ({ policy, settings }: Received): string => JSON.stringify([policy?.key, settings.roles]);
  return of(one) === of(other);
}

function warm(policies: Parts["policies"], { policy, settings }: Received): Promise<Policy | null> {
  return policy === null ? Promise.resolve(null) : policies.warm(policy satisfies PolicySource, settings.roles);
}

function serversOf(inForce: InForce): Report["servers"] {
  const versions = [...inForce.snapshot().servers.values()].flatMap(({ versions: all }) => [...all.values()]);
  return versions
    .filter(({ instances }) => instances.some(({ kind }) => kind === "stdio"))
    .map(({ server, version, state, tools }) => ({ id: `${server}@${version}`, state, tools: tools.size }));
}

/** For the control plane's operators: no path, no secret, bounded. */
function reasonOf(cause: unknown): string {
  if (cause instanceof SealFault) return cause.message;
  if (cause instanceof PolicyRefused)
    return cause.diagnostics
      .map(({ message }) => message)
      .join("; ")
      .slice(0, 1000);
  return "it cannot be put in force here: see the sidecar's log";
}

type Freshness = {
  readonly heard: () => void;
  readonly stale: () => boolean;
  readonly silentMs: () => number;
  readonly close: () => void;
};
type Watching = { readonly ports: Ports; readonly changed: (stale: boolean) => void };

/** What was heard last is on disk too: a restart makes nothing fresh. */
async function watchFreshness(lastGood: LastGood, maxMs: number, { ports, changed }: Watching): Promise<Freshness> {
  const { clock, log } = ports;
  const before = await lastGood.heardMs();
  let heardMs = clock.monotonicMs() - (before === null ? 0 : Math.max(0, clock.nowMs() - before));
  let savedMs = Number.NEGATIVE_INFINITY;
  const silentMs = (): number => clock.monotonicMs() - heardMs;
  let stale = silentMs() > maxMs;
  const look = (): void => {
    const now = silentMs() > maxMs;
    if (now === stale) return;
    stale = now;
    if (stale)
      log.error(
        { silentMs: Math.round(silentMs()) },
        "no word of the control plane for too long: every call is refused",
      );
    else log.info({}, "the control plane is heard again: calls are served");
    changed(stale);
  };
  const timer = setInterval(look, TICK_MS).unref();
  const saveEveryMs = Math.min(60_000, maxMs / 10);
  return {
    heard: () => {
      heardMs = clock.monotonicMs();
      look();
      if (heardMs - savedMs < saveEveryMs) return;
      savedMs = heardMs;
      lastGood
        .saveHeard(clock.nowMs())
        .catch((cause: unknown) => log.warn({ err: cause }, "a file could not be written"));
    },
    stale: () => stale,
    silentMs: () => Math.round(silentMs()),
    close: () => clearInterval(timer),
  };
}
