/**
 * Who follows, and what do they have? Each follower is sent the parts that it lacks, then the signed manifest that
 * names them all, after every snapshot; between them a sign of life. What surprises: a follower that reads slowly is
 * never behind by more than one snapshot, since what it is sent is always the newest. And what did not change is signed
 * anew where it stands for more changes, and for whoever begins to follow: it may come from another control plane.
 */
import { pinOf } from "../ed25519.ts";
import type { Snapshot } from "../model.ts";
import type { Clock, Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { NamedKey } from "./keyring.ts";
import { followerOf, seenHere, together } from "./follower.ts";
import type { Follower, Known, Quarantined, Report } from "./follower.ts";
import { revisionOf } from "./parts.ts";
import { BEHIND, FORMAT, FORMATS, seal } from "./seal.ts";
import type { Manifest, Sealed } from "./seal.ts";
import type { Store } from "./store.ts";

export type FeedEvent =
  | ({ readonly kind: "part" } & SentPart)
  /** All its parts are in it, or were sent before it, now or earlier. */
  | ({ readonly kind: "snapshot"; readonly parts: readonly SentPart[] } & Sealed & Heard)
  | ({ readonly kind: "alive"; readonly revision: string } & Heard)
  /** Only to a follower that said what changes it has: this control plane lacks some of them. The last event. */
  | { readonly kind: "behind" };
/** Milliseconds since this control plane heard those that it shares its store with; null for never. An older one does not say. */
type Heard = { readonly silentMs?: number | null };

export type SentPart = { readonly digest: string; readonly text: string };

export type FollowWish = {
  /** The revision that the follower holds, of which nothing is sent again. */
  readonly have: string | null;
  /** What changes it has; an older sidecar does not say. */
  readonly changes?: number | undefined;
  readonly keys?: number | undefined;
  /** What it can read. */
  readonly formats: readonly number[];
  readonly signal: AbortSignal;
};
export type Feed = {
  /** Ends when the signal aborts. @throws Refusal invalid_request, overloaded */
  readonly follow: (name: string, wish: FollowWish) => AsyncGenerator<FeedEvent, void>;
  readonly report: (name: string, report: Report) => void;
  /** With those of other control planes, as these tell of them. One for each name: who is connected, else who was seen last. */
  readonly followers: (others?: readonly Follower[]) => readonly Follower[];
  /** What they said last, connected or not. */
  readonly quarantined: () => readonly (Quarantined & { readonly sidecar: string })[];
  /** What sidecars pin. */
  readonly pins: readonly string[];
};
type Given = {
  readonly snapshot: () => Snapshot;
  readonly onSnapshot: (listener: () => void) => () => void;
  readonly keys: readonly [NamedKey, ...NamedKey[]];
  /** What changes the snapshot has. @see Manifest */
  readonly changes: () => Required<Pick<Manifest, "changes" | "keys">>;
} & Pick<Store, "plane" | "stamp" | "silentMs">;

const ALIVE_MS = 1_000;
/** Manifests that a follower may come back with. */
const REMEMBERED = 32;
/** More than that does not go into one event: its reader would have to hold it twice. */
const EVENT_CHARACTERS_MAX = 256 * 1024;
const FOLLOWERS_MAX = 1_000;
const STREAMS_MAX = 2_000;
/** The oldest ends for the newest: a connection whose other end died without a word would else keep its place. */
const STREAMS_PER_NAME_MAX = 4;

export function createFeed(given: Given, { clock, log }: Ports): Feed {
  const { onSnapshot, keys, silentMs } = given;
  const known = new Map<string, Known>();
  const sent = new Map<string, Manifest>();
  const sign = createSigning(given, clock);
  const current: Following["current"] = (begins = false) => {
    const now = sign(begins);
    const { revision } = now;
    sent.delete(revision);
    sent.set(revision, now.manifest);
    if (sent.size > REMEMBERED) sent.delete(sent.keys().next().value ?? "");
    return now;
  };
  const entry = (name: string): Known => {
    const before = known.get(name) ?? { streams: [], report: null, lastError: null, seenMs: 0 };
    known.delete(name);
    known.set(name, before);
    for (const [other, { streams }] of known)
      if (known.size > FOLLOWERS_MAX && streams.length === 0) known.delete(other);
    before.seenMs = clock.nowMs();
    return before;
  };
  return {
    pins: keys.map(pinOf),
    follow: (name, wish) => {
      if (!wish.formats.some((format) => FORMATS.includes(format)))
        throw new Refusal("invalid_request", `Snapshots are served in the formats ${FORMATS.join(", ")}.`);
      if ([...known.values()].reduce((sum, { streams }) => sum + streams.length, 0) >= STREAMS_MAX)
        throw new Refusal("overloaded", "Too many sidecars follow.", { retryAfterMs: ALIVE_MS });
      return follow({ current, sent, onSnapshot, silentMs, entry: () => entry(name) }, wish);
    },
    report: (name, report) => {
      const one = entry(name);
      if (!report.accepted)
        log.warn({ sidecar: name, revision: report.revision }, "a sidecar did not take the snapshot");
      one.lastError = report.reason;
      const inForce = report.inForce === undefined ? one.report?.revision : report.inForce;
      one.report = { ...report, revision: report.accepted ? report.revision : (inForce ?? "") };
    },
    quarantined: () =>
      [...known].flatMap(([sidecar, { report }]) => (report?.quarantined ?? []).map((one) => ({ sidecar, ...one }))),
    followers: (others = []) => {
      const nowMs = clock.nowMs();
      return together(
        [...known].map(([name, one]) => followerOf(name, one, current(), nowMs)),
        others.map((one) => seenHere(one, current(), nowMs)),
      );
    },
  };
}

type Following = {
  /** `begins`: for one that begins to follow. */
  readonly current: (begins?: boolean) => Current;
  readonly sent: ReadonlyMap<string, Manifest>;
  readonly onSnapshot: Given["onSnapshot"];
  readonly silentMs: Given["silentMs"];
  readonly entry: () => Known;
};

async function* follow(
  { current, sent, onSnapshot, silentMs, entry }: Following,
  { have, signal, ...held }: FollowWish,
): AsyncGenerator<FeedEvent, void> {
  const one = entry();
  const own = new AbortController();
  one.streams.push(own);
  for (const older of one.streams.slice(0, -STREAMS_PER_NAME_MAX)) older.abort();
  const over = AbortSignal.any([signal, own.signal]);
  const alarm = createAlarm(onSnapshot, over);
  let parts = digestsOf(sent.get(have ?? "") ?? null);
  let told: string | null = null;
  try {
    while (!over.aborted) {
      const { sealed: text, manifest, texts } = current(told === null);
      const { revision, changes = 0, keys = 0 } = manifest;
      if (changes < (held.changes ?? 0) || keys < (held.keys ?? 0)) {
        one.lastError = BEHIND;
        one.report &&= { ...one.report, revision: have ?? "" };
        return yield { kind: "behind" };
      }
      const standing = `${revision} ${changes} ${keys}`;
      if (told === standing) yield { kind: "alive", revision, silentMs: silentMs() };
      else {
        const fresh: SentPart[] = [];
        let characters = 0;
        for (const { digest } of manifest.parts) {
          if (parts.has(digest)) continue;
          const part = { digest, text: (texts.get(digest) as () => string)() };
          characters += part.text.length;
          if (characters > EVENT_CHARACTERS_MAX) yield { kind: "part", ...part };
          else fresh.push(part);
        }
        yield { kind: "snapshot", parts: fresh, ...text, silentMs: silentMs() };
        parts = digestsOf(manifest);
        told = standing;
      }
      entry();
      await alarm.rings();
    }
  } finally {
    alarm.stop();
    one.streams = one.streams.filter((stream) => stream !== own);
  }
}

function digestsOf(manifest: Manifest | null): ReadonlySet<string> {
  return new Set(manifest?.parts.map(({ digest }) => digest));
}

type Contents = {
  readonly of: Snapshot;
  readonly revision: string;
  /** What is published of it. */
  readonly parts: Snapshot["parts"];
};
type Current = Contents & {
  /** Unix epoch: when it was there to be had. */
  readonly sinceMs: number;
  readonly manifest: Manifest;
  readonly sealed: Sealed;
  readonly texts: ReadonlyMap<string, () => string>;
};

/** For whoever begins to follow, what stands is signed anew once in so long. */
const SIGNED_MS = 1_000;

/** What is in force now, signed: anew only where it is another, stands for more changes, or somebody begins to follow. */
function createSigning(given: Given, clock: Clock): (begins: boolean) => Current {
  let latest: Current | null = null;
  let signedMs = Number.NEGATIVE_INFINITY;
  let changedMs = clock.nowMs();
  given.onSnapshot(() => {
    changedMs = clock.nowMs();
  });
  return (begins) => {
    const [of, at] = [given.snapshot(), given.changes()];
    const contents = latest?.of === of ? latest : contentsOf(of);
    const same = latest?.revision === contents.revision ? latest : null;
    const isLate = begins && clock.monotonicMs() > signedMs + SIGNED_MS;
    if (same !== null && !isLate && same.manifest.changes === at.changes && same.manifest.keys === at.keys)
      return (latest = { ...same, of });
    signedMs = clock.monotonicMs();
    const { revision, parts } = contents;
    const listed = parts.map(({ name, digest }) => ({ name, digest }));
    const issuedMs = given.stamp(clock.nowMs());
    const manifest: Manifest = { format: FORMAT, revision, ...at, plane: given.plane, issuedMs, parts: listed };
    const texts = new Map(parts.map(({ digest, text }) => [digest, text]));
    const sinceMs = same?.sinceMs ?? changedMs;
    return (latest = { of, revision, parts, sinceMs, manifest, texts, sealed: seal(manifest, given.keys[0]) });
  };
}

function contentsOf(of: Snapshot): Contents {
  const parts = of.parts.filter(({ local }) => !local);
  return { of, parts, revision: revisionOf(parts) };
}

type Alarm = { readonly rings: () => Promise<void>; readonly stop: () => void };

/** Rings at once after a new snapshot or at the end, else after a while. */
function createAlarm(onSnapshot: Given["onSnapshot"], signal: AbortSignal): Alarm {
  let due = false;
  let wake: (() => void) | null = null;
  let timer: NodeJS.Timeout | undefined;
  const ring = (): void => {
    due = true;
    wake?.();
  };
  const unsubscribe = onSnapshot(ring);
  signal.addEventListener("abort", ring, { once: true });
  return {
    rings: async () => {
      timer = setTimeout(ring, ALIVE_MS);
      if (!due && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
      clearTimeout(timer);
      due = false;
      wake = null;
    },
    stop: () => {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener("abort", ring);
    },
  };
}
