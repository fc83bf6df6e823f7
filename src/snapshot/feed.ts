/**
 * Who follows, and what do they have? Each follower is sent the parts that it lacks, then the signed manifest that
 * names them all, after every snapshot; between them a sign of life. What surprises: a follower that reads slowly is
 * never behind by more than one snapshot, since what it is sent is always the newest. And what did not change is signed
 * anew for whoever begins to follow: it may come from another control plane, with what was in force there for a while.
 */
import { pinOf } from "../ed25519.ts";
import type { Snapshot } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { NamedKey } from "./keyring.ts";
import { revisionOf } from "./parts.ts";
import { FORMAT, FORMATS, seal } from "./seal.ts";
import type { Manifest, Sealed } from "./seal.ts";

export type FeedEvent =
  | ({ readonly kind: "part" } & SentPart)
  /** All its parts are in it, or were sent before it, now or earlier. */
  | ({ readonly kind: "snapshot"; readonly parts: readonly SentPart[] } & Sealed)
  | { readonly kind: "alive"; readonly revision: string };

export type SentPart = { readonly digest: string; readonly text: string };

/** What a sidecar says of the snapshot that it was sent last: in force, or why not (then the one before is). */
export type Report = {
  readonly revision: string;
  readonly accepted: boolean;
  readonly reason: string | null;
  /** What decides there now; an older sidecar does not say. */
  readonly inForce?: string | null | undefined;
  readonly version: string;
  /** The servers that it runs itself. */
  readonly servers: readonly { readonly id: string; readonly state: string; readonly tools: number }[];
  /** Their tools that wait to be accepted, at most QUARANTINED_MAX: after these come the others. */
  readonly quarantined: readonly Quarantined[];
};
export type Quarantined = {
  readonly server: string;
  readonly version: string;
  /** As the server gives it. */
  readonly tool: string;
  /** Of what it says now. */
  readonly digest: string;
};
export const QUARANTINED_MAX = 100;
export const TOOL_CHARACTERS_MAX = 256;
export type Follower = {
  readonly name: string;
  readonly connected: boolean;
  /** In force there, as far as it said; null before its first report. */
  readonly revision: string | null;
  readonly current: boolean;
  /** Milliseconds since the newest snapshot was there to be had; 0 where it is in force. */
  readonly lagMs: number;
  /** Why it did not take a snapshot, or what else is wrong there. */
  readonly lastError: string | null;
  /** RFC 3339. */
  readonly lastSeen: string;
  readonly version: string | null;
  readonly servers: Report["servers"];
};
export type FollowWish = {
  /** The revision that the follower holds, of which nothing is sent again. */
  readonly have: string | null;
  /** What it can read. */
  readonly formats: readonly number[];
  readonly signal: AbortSignal;
};
export type Feed = {
  /** Ends when the signal aborts. @throws Refusal invalid_request, overloaded */
  readonly follow: (name: string, wish: FollowWish) => AsyncGenerator<FeedEvent, void>;
  readonly report: (name: string, report: Report) => void;
  readonly followers: () => readonly Follower[];
  /** What they said last, connected or not. */
  readonly quarantined: () => readonly (Quarantined & { readonly sidecar: string })[];
  /** What sidecars pin. */
  readonly pins: readonly string[];
};
type Given = {
  readonly snapshot: () => Snapshot;
  readonly onSnapshot: (listener: () => void) => () => void;
  readonly keys: readonly [NamedKey, ...NamedKey[]];
  /** @see Store, of both */
  readonly asOfMs: () => number;
  readonly stamp: (asOfMs: number) => number;
};

const ALIVE_MS = 1_000;
/** Manifests that a follower may come back with. */
const REMEMBERED = 32;
/** More than that does not go into one event: its reader would have to hold it twice. */
const EVENT_CHARACTERS_MAX = 256 * 1024;
const FOLLOWERS_MAX = 1_000;
const STREAMS_MAX = 2_000;
/** The oldest ends for the newest: a connection whose other end died without a word would else keep its place. */
const STREAMS_PER_NAME_MAX = 4;

type Current = {
  /** Unix epoch: when it was there to be had. */
  readonly sinceMs: number;
  readonly sealed: Sealed;
  readonly manifest: Manifest;
  readonly texts: ReadonlyMap<string, () => string>;
};

export function createFeed({ snapshot, onSnapshot, ...sealing }: Given, { clock, log }: Ports): Feed {
  const known = new Map<string, Known>();
  const sent = new Map<string, Manifest>();
  let latest: { readonly of: Snapshot; readonly current: Current } | null = null;
  const current = (begins = false): Current => {
    const of = snapshot();
    if (latest?.of !== of || begins) {
      const terms = { ...sealing, begins, nowMs: clock.nowMs() };
      latest = { of, current: sealed(of, latest?.current ?? null, terms) };
    }
    const { manifest } = latest.current;
    sent.delete(manifest.revision);
    sent.set(manifest.revision, manifest);
    if (sent.size > REMEMBERED) sent.delete(sent.keys().next().value ?? "");
    return latest.current;
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
    pins: sealing.keys.map(pinOf),
    follow: (name, wish) => {
      if (!wish.formats.some((format) => FORMATS.includes(format)))
        throw new Refusal("invalid_request", `Snapshots are served in the formats ${FORMATS.join(", ")}.`);
      if ([...known.values()].reduce((sum, { streams }) => sum + streams.length, 0) >= STREAMS_MAX)
        throw new Refusal("overloaded", "Too many sidecars follow.", { retryAfterMs: ALIVE_MS });
      return follow({ current, sent, onSnapshot, entry: () => entry(name) }, wish);
    },
    report: (name, report) => {
      const one = entry(name);
      if (!report.accepted)
        log.warn({ sidecar: name, revision: report.revision }, "a sidecar did not take the snapshot");
      one.lastError = report.reason;
      const revision = report.accepted ? report.revision : (report.inForce ?? one.report?.revision ?? "");
      one.report = { ...report, revision };
    },
    quarantined: () =>
      [...known].flatMap(([sidecar, { report }]) => (report?.quarantined ?? []).map((one) => ({ sidecar, ...one }))),
    followers: () => [...known].map(([name, one]) => followerOf(name, one, current(), clock.nowMs())),
  };
}

type Known = { streams: AbortController[]; report: Report | null; lastError: string | null; seenMs: number };
type Following = {
  /** `begins`: for one that begins to follow. */
  readonly current: (begins?: boolean) => Current;
  readonly sent: ReadonlyMap<string, Manifest>;
  readonly onSnapshot: Given["onSnapshot"];
  readonly entry: () => Known;
};

async function* follow(
  { current, sent, onSnapshot, entry }: Following,
  { have, signal }: FollowWish,
): AsyncGenerator<FeedEvent, void> {
  const one = entry();
  const own = new AbortController();
  one.streams.push(own);
  for (const older of one.streams.slice(0, -STREAMS_PER_NAME_MAX)) older.abort();
  const over = AbortSignal.any([signal, own.signal]);
  const alarm = createAlarm(onSnapshot, over);
  let held = digestsOf(sent.get(have ?? "") ?? null);
  let told: string | null = null;
  try {
    while (!over.aborted) {
      const { sealed: text, manifest, texts } = current(told === null);
      if (told === manifest.revision) yield { kind: "alive", revision: told };
      else {
        const parts: SentPart[] = [];
        let characters = 0;
        for (const { digest } of manifest.parts) {
          if (held.has(digest)) continue;
          const part = { digest, text: (texts.get(digest) as () => string)() };
          characters += part.text.length;
          if (characters > EVENT_CHARACTERS_MAX) yield { kind: "part", ...part };
          else parts.push(part);
        }
        yield { kind: "snapshot", parts, ...text };
        held = digestsOf(manifest);
        told = manifest.revision;
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

type Sealing = Pick<Given, "keys" | "asOfMs" | "stamp"> & { readonly begins: boolean; readonly nowMs: number };

/** Of a snapshot that differs in nothing that is published, the same manifest, unless somebody begins to follow. */
function sealed(of: Snapshot, before: Current | null, { keys, stamp, begins, nowMs, ...at }: Sealing): Current {
  const asOfMs = at.asOfMs();
  const parts = of.parts.filter(({ local }) => !local);
  const revision = revisionOf(parts);
  const same = before?.manifest.revision === revision;
  // only by what is known of the others' changes: one that is cut off from them says nothing new
  if (same && !(begins && asOfMs > before.manifest.issuedMs)) return before;
  const listed = parts.map(({ name, digest }) => ({ name, digest }));
  const manifest: Manifest = { format: FORMAT, revision, issuedMs: stamp(asOfMs), parts: listed };
  return {
    sinceMs: same ? before.sinceMs : nowMs,
    manifest,
    sealed: seal(manifest, keys[0]),
    texts: new Map(parts.map(({ digest, text }) => [digest, text])),
  };
}

function followerOf(
  name: string,
  { streams, report, lastError, seenMs }: Known,
  { manifest, sinceMs }: Current,
  nowMs: number,
): Follower {
  const current = report?.revision === manifest.revision;
  return {
    name,
    connected: streams.length > 0,
    revision: report === null || report.revision === "" ? null : report.revision,
    current,
    lagMs: current ? 0 : Math.max(0, Math.round(nowMs - sinceMs)),
    lastError,
    lastSeen: new Date(seenMs).toISOString(),
    version: report?.version ?? null,
    servers: report?.servers ?? [],
  };
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
