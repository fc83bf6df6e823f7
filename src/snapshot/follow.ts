/**
 * How does a sidecar follow its control plane? One stream of events, opened again after a pause with jitter whenever
 * it ends or falls silent; what was sent is checked, put in force, and answered for. What surprises: only the newest
 * snapshot counts, whichever stream brought it. One that is overtaken while another is being warmed is never tried.
 */
import { createTRPCUntypedClient, httpLink, httpSubscriptionLink, splitLink } from "@trpc/client";
import { EventSource } from "eventsource";
import { stopwatch } from "../ports.ts";
import type { Ports } from "../ports.ts";
import type { FeedEvent } from "./feed.ts";
import type { Report } from "./follower.ts";
import { dial, dialStream } from "./reach.ts";
import type { Target } from "./reach.ts";
import { BEHIND, FORMATS } from "./seal.ts";
import type { Manifest, Sealed } from "./seal.ts";

export type FollowOptions = {
  readonly target: Target & { readonly url: string };
  readonly key: string;
  /** The newest snapshot that is known, whose parts are at hand. */
  readonly have: () => Manifest | null;
  /** Never rejects: what is wrong with the snapshot is in the report. One at a time; of several in line the last. */
  readonly take: (sealed: Sealed, parts: ReadonlyMap<string, string>, agoMs: () => number) => Promise<Report | null>;
  /** The control plane says that this was its newest so many milliseconds ago: true where it is in force. */
  readonly confirm: (revision: string, agoMs: number) => boolean;
};
export type Following = {
  readonly connected: () => boolean;
  /** Constant words, or the control plane's own; null while it is heard. */
  readonly lastError: () => string | null;
  readonly report: (report: Report) => void;
  readonly close: () => void;
};

const SILENCE_MS = 5_000;
const HEAD_MS = 10_000;
const BACKOFF_FIRST_MS = 200;
const BACKOFF_MAX_MS = 15_000;
/** What it lacks may be on its way, and another may answer under the same name. */
const BEHIND_MAX_MS = 5_000;
/** Of parts that were sent before their manifest. */
const PENDING_BYTES_MAX = 256 * 1024 * 1024;

export function startFollowing(options: FollowOptions, { clock, log, random }: Ports): Following {
  let heardBytes: () => void = () => {};
  const client = clientOf(options, () => heardBytes());
  let connected = false;
  let lastError: string | null = null;
  let failures = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let stream: Stream | null = null;

  const report = latest(async (told: Report) => {
    await client.mutation("snapshot.report", told).catch((cause: unknown) => {
      log.warn({ err: cause }, "the control plane was not told what is in force");
    });
  });
  const again = (why: string, pauseMaxMs = BACKOFF_MAX_MS): void => {
    stream?.leave();
    stream = null;
    connected = false;
    if (closed) return;
    if (lastError !== why) log.warn({ why }, "the control plane is not heard: the last snapshot stays in force");
    lastError = why;
    clearTimeout(timer);
    const pause = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(failures++, 10), pauseMaxMs);
    timer = setTimeout(open, pause * (0.5 + random.fraction()));
  };
  const well = (): void => {
    failures = 0;
    lastError = null;
  };
  const take = inTurn(async (sealed, parts, agoMs) => {
    const told = await options.take(sealed, parts, agoMs);
    if (closed) return;
    if (told !== null) report(told);
    if (told?.accepted === true) well();
    // what was sent after it builds on it: begin again from what is at hand
    else if (options.have()?.revision !== told?.revision) again("a snapshot of it was not right");
  });
  const open = (): void => {
    const opened = listen(client, options.have(), {
      hear: () => {
        connected = true;
      },
      alive: (revision, agoMs) => options.confirm(revision, agoMs) && well(),
      take,
      over: (why, pauseMaxMs) => stream === opened && again(why, pauseMaxMs),
      since: (agoMs) => stopwatch(clock, agoMs),
    });
    stream = opened;
    heardBytes = opened.heard;
  };
  open();
  return {
    connected: () => connected,
    lastError: () => lastError,
    report,
    close: () => {
      closed = true;
      clearTimeout(timer);
      stream?.leave();
    },
  };
}

/** One at a time: of two under way the earlier might arrive last. Of those in line the last alone. */
function latest<Value>(work: (value: Value) => Promise<void>): (value: Value) => void {
  const line: Value[] = [];
  let working = false;
  const run = async (): Promise<void> => {
    working = true;
    for (let next = line.pop(); next !== undefined; next = line.pop()) {
      line.length = 0;
      await work(next);
    }
    working = false;
  };
  return (value) => {
    line.push(value);
    if (!working) void run();
  };
}

type Client = ReturnType<typeof createTRPCUntypedClient>;
type Stream = { readonly leave: () => void; readonly heard: () => void };
type Listener = {
  readonly hear: () => void;
  readonly alive: (revision: string, agoMs: number) => void;
  readonly take: Take;
  readonly over: (why: string, pauseMaxMs?: number) => void;
  /** How long ago that is, whenever it is asked. */
  readonly since: (agoMs: number) => () => number;
};

/** One stream, until it ends, fails or falls silent. */
function listen(client: Client, have: Manifest | null, { hear, alive, take, over, since }: Listener): Stream {
  const parts = new Map<string, string>();
  let bytes = 0;
  let left = false;
  let silence: NodeJS.Timeout | undefined;
  const heard = (): void => {
    clearTimeout(silence);
    if (!left) silence = setTimeout(() => over("it fell silent"), SILENCE_MS);
  };
  const on = (said: FeedEvent): void => {
    if (left) return;
    heard();
    hear();
    if (said.kind === "alive") return alive(said.revision, agoOf(said));
    if (said.kind === "behind") return over(BEHIND, BEHIND_MAX_MS);
    if (said.kind === "part") {
      bytes += said.text.length;
      if (bytes > PENDING_BYTES_MAX) return over("it sent more than a snapshot can hold");
      parts.set(said.digest, said.text);
      return;
    }
    for (const { digest, text } of said.parts) parts.set(digest, text);
    take({ text: said.text, keyId: said.keyId, signature: said.signature }, new Map(parts), since(agoOf(said)));
    parts.clear();
    bytes = 0;
  };
  const subscription = client.subscription(
    "snapshot.follow",
    { have: have?.revision ?? null, changes: have?.changes, keys: have?.keys, formats: FORMATS },
    {
      onData: (said) => on((said as { readonly data?: FeedEvent }).data ?? (said as FeedEvent)),
      onError: (fault) => over(fault.data === undefined ? "it cannot be reached" : fault.message),
      onComplete: () => over("it ended the stream"),
      onConnectionStateChange: ({ state, error }) => {
        if (state === "connecting" && error !== null && error !== undefined) over("it cannot be reached");
      },
    },
  );
  heard();
  const leave = (): void => {
    left = true;
    clearTimeout(silence);
    subscription.unsubscribe();
  };
  return { leave, heard };
}

/** An older control plane does not say. */
function agoOf({ silentMs = 0 }: { readonly silentMs?: number | null }): number {
  return silentMs ?? Number.POSITIVE_INFINITY;
}

type Take = (sealed: Sealed, parts: ReadonlyMap<string, string>, agoMs: () => number) => void;

/** One at a time; of those in line the last alone, with the parts of all. */
function inTurn(work: (...args: Parameters<Take>) => Promise<void>): Take {
  let next: {
    readonly sealed: Sealed;
    readonly parts: ReadonlyMap<string, string>;
    readonly agoMs: () => number;
  } | null = null;
  let working = false;
  const run = async (): Promise<void> => {
    working = true;
    while (next !== null) {
      const { sealed, parts, agoMs } = next;
      next = null;
      await work(sealed, parts, agoMs);
    }
    working = false;
  };
  return (sealed, parts, agoMs) => {
    next = { sealed, parts: new Map([...(next?.parts ?? []), ...parts]), agoMs };
    if (!working) void run();
  };
}

function clientOf({ target, key }: FollowOptions, onBytes: () => void): Client {
  const url = `${target.url.replace(/\/+$/, "")}/trpc`;
  const headers = { "x-api-key": key };
  const stream = dialStream(target, { deadlineMs: HEAD_MS, headers, onBytes });
  return createTRPCUntypedClient({
    links: [
      splitLink({
        condition: ({ type }) => type === "subscription",
        true: httpSubscriptionLink({
          url,
          EventSource,
          eventSourceOptions: () => ({ fetch: (at: unknown, init: object) => stream(at, init) }),
        }),
        false: httpLink({ url, headers, fetch: dial(target, HEAD_MS) }),
      }),
    ],
  });
}
