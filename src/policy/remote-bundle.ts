/**
 * Which bundle does that server have? Fetched with its ETag, held open where the server can wait (`Prefer: wait`, as
 * OPA asks), verified before it is read. What surprises: whatever the server does, the last good one stays, over a
 * restart too; only a first start with neither is none.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Disk, Log } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { AskDocument, Reply } from "../upstream/document.ts";
import type { Bulk } from "./bulk.ts";
import { readBundleFile } from "./bundle-file.ts";
import { fault, PolicyRefused, THREAD_FAULT } from "./diagnostic.ts";
import type { VerifyKey } from "./signed-bundle.ts";
import type { Bundle, Texts } from "./sources.ts";

export type ServerTerms = {
  readonly url: string;
  readonly headers: { readonly [name: string]: string };
  readonly allowPrivate: boolean;
};
export type RemoteTerms = ServerTerms & { readonly key: VerifyKey; readonly pollMs: number };
export type Remote = {
  /** The last good one; asked for at the first call. @throws PolicyRefused where there is none */
  readonly current: () => Promise<Texts>;
  /** What `current` gave is in force: it is kept for a restart. */
  readonly accepted: () => Promise<void>;
  /** What `current` gave first cannot be put in force: the last good one, or null. */
  readonly instead: (cause: unknown) => Promise<Texts | null>;
  /** Null, or why what the server says is not what is in force. */
  readonly fault: () => string | null;
  /** Asks on, and tells of each other bundle that is good; what it throws keeps the last good one. */
  readonly follow: (changed: () => Promise<void>) => void;
  readonly close: () => void;
};
type RemotePorts = {
  readonly ask: AskDocument;
  readonly readFile: Bulk["readFile"];
  readonly disk: Pick<Disk, "mkdir" | "readFile" | "writeFile" | "rename">;
  readonly log: Pick<Log, "warn" | "info">;
};

const FIRST_MS = 10_000;
const WAIT_S = 30;
const BYTES_MAX = 8 * 1024 * 1024;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 60_000;
/** How OPA's servers say that they hold a request. */
const WAITS = "application/vnd.openpolicyagent.bundles";

type Refused = { readonly digest: string; readonly why: string };
type State = {
  good: Texts | null;
  etag: string | null;
  fault: string | null;
  /** What was sent last and could not be put in force: it is not judged again. */
  refused: Refused | null;
  closed: boolean;
  failures: number;
};

/** `dir`: where the last good one is kept. */
export function createRemote(terms: RemoteTerms, dir: string, ports: RemotePorts): Remote {
  const state: State = { good: null, etag: null, fault: null, refused: null, closed: false, failures: 0 };
  let timer: NodeJS.Timeout | undefined;
  const kept = join(dir, "remote.tar.gz");
  /** Read, and not yet in force. */
  let pending: Found | null = null;
  const first = async (): Promise<Texts> => {
    const found = await look(state, terms, { ports, waitS: 0 }).catch((cause: unknown) => {
      state.fault = reasonOf(cause);
      return null;
    });
    pending = found;
    const bundle = found?.bundle ?? (await lastGood(kept, terms, ports));
    if (bundle === null) throw new PolicyRefused([fault("bundle_unreachable", state.fault ?? "there is no bundle")]);
    return (state.good = bundle);
  };
  const next = async (changed: () => Promise<void>): Promise<number> => {
    const before = { ...state };
    let found: Found | null = null;
    try {
      found = await look(state, terms, { ports, waitS: WAIT_S });
      // an answer that comes when nobody follows any more is no bundle that was in force
      if (found === null || state.closed) return terms.pollMs;
      state.good = found.bundle;
      await changed();
      await keep(kept, dir, found.bytes, ports);
      return found.waits ? 0 : terms.pollMs;
    } catch (cause) {
      // what cannot be put in force is not asked for again, until it is another
      state.good = before.good;
      const message = reasonOf(cause);
      if (isPassing(cause)) state.etag = before.etag;
      else if (found !== null) state.refused = { digest: found.digest, why: message };
      if (state.fault !== message)
        ports.log.warn({ err: cause }, "the policy bundle: the last good one stays in force");
      state.fault = message;
      if (state.refused !== before.refused) return terms.pollMs;
      return Math.min(RETRY_MS * 2 ** state.failures++, RETRY_MS_MAX, Math.max(terms.pollMs, RETRY_MS));
    }
  };
  const follow = (changed: () => Promise<void>): void => {
    const again = async (): Promise<void> => {
      const waitMs = await next(changed);
      if (!state.closed) timer = setTimeout(() => void again(), Math.max(waitMs, 10)).unref();
    };
    timer = setTimeout(() => void again(), Math.min(terms.pollMs, RETRY_MS)).unref();
  };
  return {
    accepted: async () => {
      const found = pending;
      pending = null;
      if (found !== null) await keep(kept, dir, found.bytes, ports);
    },
    instead: async (cause) => {
      if (pending === null) return null;
      const { digest } = pending;
      pending = null;
      const bundle = await lastGood(kept, terms, ports);
      if (bundle === null) return null;
      state.fault = reasonOf(cause);
      if (isPassing(cause)) state.etag = null;
      else state.refused = { digest, why: state.fault };
      return (state.good = bundle);
    },
    current: () => (state.good === null ? first() : Promise.resolve(state.good)),
    fault: () => state.fault,
    follow,
    close: () => {
      state.closed = true;
      clearTimeout(timer);
    },
  };
}

type Found = {
  readonly bundle: Texts;
  readonly bytes: Buffer;
  readonly digest: string;
  readonly waits: boolean;
};
type Looking = { readonly ports: RemotePorts; readonly waitS: number };

/** Null where it is the same, also where that was refused. @throws Refusal, PolicyRefused */
async function look(state: State, terms: RemoteTerms, { ports, waitS }: Looking): Promise<Found | null> {
  const { key } = terms;
  const reply = await askServer(terms, ports.ask, { waitS, etag: state.etag });
  if (reply.status === 304) return heard(state);
  const etag = reply.headers["etag"];
  const digest = createHash("sha256").update(reply.body).digest("hex");
  if (digest !== state.refused?.digest) {
    const bundle = await ports.readFile(reply.body, key).catch((cause: unknown) => {
      if (!isPassing(cause)) state.refused = { digest, why: reasonOf(cause) };
      throw cause;
    });
    state.etag = typeof etag === "string" ? etag : null;
    state.refused = null;
    if (state.good === null || !isSame(bundle, state.good)) {
      heard(state);
      const waits = String(reply.headers["content-type"] ?? "").startsWith(WAITS);
      return { bundle, bytes: reply.body, digest, waits };
    }
  }
  return heard(state);
}

/** What the server has now, once. @throws Refusal, PolicyRefused, Error saying how it answered */
export async function fetchBundle(terms: ServerTerms, key: VerifyKey | null, ask: AskDocument): Promise<Bundle> {
  const { body } = await askServer(terms, ask, { waitS: 0, etag: null });
  return await readBundleFile(body, key);
}

async function askServer(
  { url, headers, allowPrivate }: ServerTerms,
  ask: AskDocument,
  { waitS, etag }: { readonly waitS: number; readonly etag: string | null },
): Promise<Reply> {
  const asked = {
    ...headers,
    accept: "application/gzip, application/octet-stream, application/vnd.openpolicyagent.bundles",
    prefer: waitS === 0 ? "modes=snapshot" : `modes=snapshot;wait=${waitS}`,
    ...(etag === null ? {} : { "if-none-match": etag }),
  };
  const timeoutMs = FIRST_MS + waitS * 1_000;
  const reply = await ask(url, { allowPrivate, timeoutMs, bytesMax: BYTES_MAX, headers: asked });
  if (reply.status === 200 || (reply.status === 304 && etag !== null)) return reply;
  throw new Error(`the bundle server answers ${reply.status}`);
}

function isSame({ data, ...files }: Texts, other: Texts): boolean {
  const textOf = ({ named, digest }: Texts["data"], more: object): string => JSON.stringify([more, named, digest]);
  const { data: otherData, ...otherFiles } = other;
  return textOf(data, files) === textOf(otherData, otherFiles);
}

/** The server was heard: what is wrong, if anything, is what was refused. */
function heard(state: State): null {
  state.failures = 0;
  state.fault = state.refused?.why ?? null;
  return null;
}

/** A gateway that had too much to do, or whose thread failed, asks for it again. */
function isPassing(cause: unknown): boolean {
  if (cause instanceof PolicyRefused) return cause.diagnostics.some(({ code }) => code === THREAD_FAULT);
  return cause instanceof Refusal && cause.code === "overloaded";
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : "it cannot be had";
}

/** Also of this it is asked whose it is. */
async function lastGood(file: string, { key }: RemoteTerms, { disk, readFile }: RemotePorts): Promise<Texts | null> {
  const bytes = await disk.readFile(file).catch(() => null);
  return bytes === null ? null : await readFile(bytes, key).catch(() => null);
}

async function keep(file: string, dir: string, bytes: Buffer, { disk, log }: RemotePorts): Promise<void> {
  try {
    await disk.mkdir(dir, { recursive: true, mode: 0o700 });
    await disk.writeFile(`${file}.tmp`, bytes, { mode: 0o600 });
    await disk.rename(`${file}.tmp`, file);
  } catch (cause) {
    log.warn({ err: cause }, "the policy bundle could not be kept for a restart");
  }
}
