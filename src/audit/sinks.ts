/**
 * Checkpoints to places that this host's operator need not command: at least once, off the call path, for as long as it takes.
 * What surprises: of each chain only the newest waits, since it vouches for all lines before it; so a place that is away
 * costs one request per back-off, and nothing piles up.
 */
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Ports } from "../ports.ts";
import { clusterFault, nodesOf } from "../redis-url.ts";
import type { Signed } from "./checkpoint.ts";
import { NOTES } from "./segments.ts";

export type SinkTarget =
  | { readonly file: string }
  | { readonly redis: string }
  | { readonly http: string; readonly headers: Headers }
  | { readonly otlp: string; readonly headers: Headers };
type Headers = { readonly [name: string]: string };

/** Sends the text; resolves to the answer. */
export type Post = (
  url: string,
  headers: Headers,
  body: string,
) => Promise<{ readonly status: number; readonly text: () => Promise<string> }>;
export type SinkStatus = {
  /** Kind and place, without what may be a credential. */
  readonly target: string;
  /** RFC 3339, of the newest checkpoint delivered, and its chain; null before the first. */
  readonly time: string | null;
  readonly chain: string | null;
  /** Its records. */
  readonly size: number;
  /** How long one has waited without any being taken; 0 where none waits. */
  readonly waitingMs: number;
  readonly lastError: string | null;
};
export type Sinks = {
  readonly publish: (signed: Signed) => void;
  readonly status: () => readonly SinkStatus[];
  /** Gives what waits a last second. */
  readonly close: () => Promise<void>;
};
export type Sending = { readonly send: (signed: Signed) => Promise<void>; readonly close: () => void };
export type SinkOptions = {
  readonly targets: readonly SinkTarget[];
  readonly post: Post;
  readonly backoffMs?: Backoff;
};
type Backoff = { readonly first: number; readonly most: number };

const BACKOFF_MS = { first: 500, most: 60_000 } as const;
const CLOSE_MAX_MS = 1_000;
/** Chains of which a checkpoint may wait: each start has one, a fault of the disk begins another, and each sidecar has its own. */
const CHAINS_MAX = 1_000;

export async function openSinks({ targets, post, backoffMs = BACKOFF_MS }: SinkOptions, ports: Ports): Promise<Sinks> {
  const names = distinct(targets.map(placeOf));
  const all = await Promise.all(
    targets.map(async (target, at) =>
      startSink(names[at] ?? "", await senderOf(target, post, ports), { ports, backoffMs }),
    ),
  );
  return {
    publish: (signed) => all.forEach((one) => one.publish(signed)),
    status: () => all.map((one) => one.status()),
    close: async () => void (await Promise.all(all.map((one) => one.close()))),
  };
}

export function placeOf(target: SinkTarget): string {
  // the status travels over the admin API, which says no paths
  if ("file" in target) return `directory ${basename(target.file)}`;
  if ("redis" in target) return `redis ${nodesOf(target.redis).map(hostOf).join(",")}`;
  return "http" in target ? `http ${new URL(target.http).origin}` : `otlp ${new URL(target.otlp).origin}`;
}

function hostOf(url: string): string {
  return new URL(url).host;
}

/** Two places may be called the same, such as two paths of one host: the second is `… (2)`. */
function distinct(names: readonly string[]): readonly string[] {
  return names.map((name, at) => {
    const before = names.slice(0, at).filter((one) => one === name).length;
    return before === 0 ? name : `${name} (${before + 1})`;
  });
}

async function senderOf(target: SinkTarget, post: Post, ports: Ports): Promise<Sending> {
  // the client is loaded only where it is used
  if ("redis" in target) return (await import("./sink-redis.ts")).redisSink(target.redis, ports);
  const close = (): void => {};
  if ("file" in target) return { send: (signed) => keep(target.file, signed, ports), close };
  const send = async (url: string, headers: Headers, body: string): Promise<string> => {
    const { status, text } = await post(url, headers, body);
    if (status < 200 || status > 299) throw Object.assign(new Error("It took no checkpoint."), { code: status });
    return await text();
  };
  if ("http" in target) {
    const headers = { "content-type": "text/plain; charset=utf-8", ...target.headers };
    return { send: async ({ note }) => void (await send(target.http, headers, note)), close };
  }
  const headers = { "content-type": "application/json", ...target.headers };
  return { send: async (signed) => checkTaken(await send(logsUrl(target.otlp), headers, logOf(signed))), close };
}

/** The directory is not made: where a disk is not mounted, its empty mount point must not be taken for it. */
async function keep(directory: string, { checkpoint, note }: Signed, { disk }: Ports): Promise<void> {
  const name = checkpoint.chain.replaceAll("/", "_");
  const handle = await disk.open(join(directory, name + NOTES), "a", 0o600);
  try {
    const { size } = await handle.stat();
    await handle.appendFile(size === 0 ? note : `\n\n${note}`);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

function logsUrl(url: string): string {
  const at = new URL(url);
  if (!at.pathname.endsWith("/v1/logs")) at.pathname = `${at.pathname.replace(/\/$/, "")}/v1/logs`;
  return at.href;
}

/** A collector answers 200 also where it drops what it was sent; one that is none may say anything. */
function checkTaken(answer: string): void {
  if (answer === "") return;
  let rejected: unknown;
  try {
    const said = JSON.parse(answer) as { partialSuccess?: { rejectedLogRecords?: unknown } | null };
    rejected = said.partialSuccess?.rejectedLogRecords ?? 0;
  } catch {
    throw Object.assign(new Error("It answered no OTLP."), { code: "NOT_OTLP" });
  }
  if (Number(rejected) !== 0) throw Object.assign(new Error("It dropped the checkpoint."), { code: "REJECTED" });
}

/** 9 is INFO. */
function logOf({ checkpoint, note }: Signed): string {
  const timeUnixNano = `${Date.parse(checkpoint.time)}000000`;
  const times = { timeUnixNano, observedTimeUnixNano: timeUnixNano };
  const body = { stringValue: note };
  const record = { ...times, severityNumber: 9, severityText: "INFO", eventName: "portcullis.checkpoint", body };
  const attributes = [{ key: "service.name", value: { stringValue: "portcullis" } }];
  const scopeLogs = [{ scope: { name: "portcullis/audit", version: "1" }, logRecords: [record] }];
  return JSON.stringify({ resourceLogs: [{ resource: { attributes }, scopeLogs }] });
}

type Sink = {
  readonly status: () => SinkStatus;
  readonly publish: Sinks["publish"];
  readonly close: () => Promise<void>;
};
const NOTHING: Omit<SinkStatus, "target" | "waitingMs"> = { time: null, chain: null, size: 0, lastError: null };

function startSink(
  target: string,
  sending: Sending,
  { ports, backoffMs }: { readonly ports: Ports; readonly backoffMs: Backoff },
): Sink {
  let status = NOTHING;
  const waiting = new Map<string, Signed>();
  const nowMs = ports.clock.monotonicMs;
  let sinceMs = nowMs();
  const stop = new AbortController();
  let sends: Promise<void> | null = null;
  const sendAll = async (): Promise<void> => {
    let wait = backoffMs.first;
    for (let next = first(waiting); next !== null; next = first(waiting)) {
      try {
        await sending.send(next);
        if (waiting.get(next.checkpoint.chain) === next) waiting.delete(next.checkpoint.chain);
        const { time, chain, range } = next.checkpoint;
        status = { time, chain, size: range.size, lastError: null };
        sinceMs = nowMs();
        wait = backoffMs.first;
      } catch (cause) {
        if (status.lastError === null)
          ports.log.warn({ target, err: cause }, "a checkpoint was not taken: it is sent again");
        status = { ...status, lastError: nameOf(cause) };
        if (stop.signal.aborted) return;
        // jitter, so that a fleet does not come back as one
        await sleep(wait * (0.5 + ports.random.fraction() / 2), undefined, { signal: stop.signal }).catch(() => {});
        wait = Math.min(wait * 2, backoffMs.most);
      }
    }
  };
  return {
    status: () => ({ target, ...status, waitingMs: waiting.size === 0 ? 0 : Math.round(nowMs() - sinceMs) }),
    publish: (signed) => {
      const { chain } = signed.checkpoint;
      if (waiting.size === 0) sinceMs = nowMs();
      waiting.set(chain, signed);
      if (waiting.size > CHAINS_MAX) giveUpOne(waiting);
      sends ??= sendAll().finally(() => (sends = null));
    },
    close: async () => {
      stop.abort();
      await Promise.race([sends, sleep(CLOSE_MAX_MS, undefined, { ref: false })]);
      sending.close();
    },
  };
}

/** The oldest of whose wait the most: a sidecar with chains without end takes no other's place, nor the gateway's own. */
function giveUpOne(waiting: Map<string, Signed>): void {
  const byWriter = Map.groupBy(waiting.keys(), (chain) => chain.slice(0, chain.indexOf("/") + 1));
  // of as many, its own go last
  const [[, [oldest = ""]] = ["", []]] = [...byWriter].toSorted(
    ([a, one], [b, other]) => other.length - one.length || b.length - a.length,
  );
  waiting.delete(oldest);
}

function first(waiting: ReadonlyMap<string, Signed>): Signed | null {
  const [next = null] = waiting.values();
  return next;
}

/** What failed, without an address: the status travels over the admin API. */
function nameOf(cause: unknown): string {
  const cluster = clusterFault(cause);
  if (cluster !== null) return cluster;
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  if (typeof code === "number") return `it answered ${code}`;
  return typeof code === "string" && /^\w{2,40}$/.test(code) ? code : "it took nothing";
}
