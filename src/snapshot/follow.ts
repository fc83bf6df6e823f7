/**
 * How does a sidecar follow its control plane? One stream of events, opened again after a pause with jitter whenever
 * it ends or falls silent; what was sent is checked, put in force, and answered for. What surprises: only the newest
 * snapshot counts. One that is overtaken while another is being warmed is never tried.
 */
import { createTRPCUntypedClient, httpLink, httpSubscriptionLink, splitLink } from "@trpc/client";
import { EventSource } from "eventsource";
import type { Ports } from "../ports.ts";
import type { FeedEvent, Report } from "./feed.ts";
import { dial, dialStream } from "./reach.ts";
import type { Target } from "./reach.ts";
import { FORMATS } from "./seal.ts";
import type { Sealed } from "./seal.ts";

export type FollowOptions = {
  readonly target: Target & { readonly url: string };
  readonly key: string;
  /** The revision whose parts are at hand. */
  readonly have: () => string | null;
  /** Never rejects: what is wrong with the snapshot is in the report. Of several in line the last is taken. */
  readonly take: (sealed: Sealed, parts: ReadonlyMap<string, string>) => Promise<Report | null>;
  /** The control plane was heard. */
  readonly heard: () => void;
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
/** Of parts that were sent before their manifest. */
const PENDING_BYTES_MAX = 256 * 1024 * 1024;

export function startFollowing(options: FollowOptions, { log, random }: Ports): Following {
  const client = clientOf(options);
  let connected = false;
  let lastError: string | null = null;
  let failures = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let end: () => void = () => {};

  const report = (told: Report): void => {
    void client.mutation("snapshot.report", told).catch((cause: unknown) => {
      log.warn({ err: cause }, "the control plane was not told what is in force");
    });
  };
  const again = (why: string): void => {
    end();
    connected = false;
    if (closed) return;
    if (lastError !== why) log.warn({ why }, "the control plane is not heard: the last snapshot stays in force");
    lastError = why;
    const pause = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(failures++, 10), BACKOFF_MAX_MS);
    timer = setTimeout(open, pause * (0.5 + random.fraction()));
  };
  const open = (): void => {
    end = listen(client, options, {
      event: () => {
        connected = true;
        lastError = null;
        failures = 0;
        options.heard();
      },
      report,
      over: again,
    });
  };
  open();
  return {
    connected: () => connected,
    lastError: () => lastError,
    report,
    close: () => {
      closed = true;
      clearTimeout(timer);
      end();
    },
  };
}

type Client = ReturnType<typeof createTRPCUntypedClient>;
type Listener = {
  readonly event: () => void;
  readonly report: (report: Report) => void;
  /** Called once. */
  readonly over: (why: string) => void;
};

/** One stream, until it ends, fails or falls silent. Returns how to leave it. */
function listen(client: Client, { have, take }: FollowOptions, { event, report, over }: Listener): () => void {
  const parts = new Map<string, string>();
  let bytes = 0;
  let left = false;
  let silence: NodeJS.Timeout | undefined;
  const leave = (): void => {
    left = true;
    clearTimeout(silence);
    subscription.unsubscribe();
  };
  const finish = (why: string): void => {
    if (!left) over(why);
  };
  const listening = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => finish("it fell silent"), SILENCE_MS);
  };
  const queue = inTurn(async (sealed: Sealed, sent: ReadonlyMap<string, string>) => {
    const told = await take(sealed, sent);
    if (left) return;
    if (told !== null) report(told);
    // what was sent after it builds on it: begin again from what is at hand
    if (told?.accepted !== true && have() !== told?.revision) finish("a snapshot of it was not right");
  });
  const hear = (said: FeedEvent): void => {
    listening();
    event();
    if (said.kind === "part") {
      bytes += said.text.length;
      if (bytes > PENDING_BYTES_MAX) return finish("it sent more than a snapshot can hold");
      parts.set(said.digest, said.text);
    } else if (said.kind === "snapshot") {
      for (const { digest, text } of said.parts) parts.set(digest, text);
      queue({ text: said.text, keyId: said.keyId, signature: said.signature }, new Map(parts));
      parts.clear();
      bytes = 0;
    }
  };
  const subscription = client.subscription(
    "snapshot.follow",
    { have: have(), formats: FORMATS },
    {
      onData: (said) => hear((said as { readonly data?: FeedEvent }).data ?? (said as FeedEvent)),
      onError: (fault) => finish(fault.data === undefined ? "it cannot be reached" : fault.message),
      onComplete: () => finish("it ended the stream"),
      onConnectionStateChange: ({ state, error }) => {
        if (state === "connecting" && error !== null && error !== undefined) finish("it cannot be reached");
      },
    },
  );
  listening();
  return leave;
}

/** One at a time; of those in line the last alone, with the parts of all. */
function inTurn(
  work: (sealed: Sealed, parts: ReadonlyMap<string, string>) => Promise<void>,
): (sealed: Sealed, parts: ReadonlyMap<string, string>) => void {
  let next: { readonly sealed: Sealed; readonly parts: ReadonlyMap<string, string> } | null = null;
  let working = false;
  const run = async (): Promise<void> => {
    working = true;
    while (next !== null) {
      const { sealed, parts } = next;
      next = null;
      await work(sealed, parts);
    }
    working = false;
  };
  return (sealed, parts) => {
    next = { sealed, parts: new Map([...(next?.parts ?? []), ...parts]) };
    if (!working) void run();
  };
}

function clientOf({ target, key }: FollowOptions): Client {
  const url = `${target.url.replace(/\/+$/, "")}/trpc`;
  const headers = { "x-api-key": key };
  const stream = dialStream(target, HEAD_MS, headers);
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
