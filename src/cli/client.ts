/**
 * Who is asked, and as whom? The gateway's Unix socket as the machine's owner, or `--url` with a key. What surprises:
 * PORTCULLIS_KEY counts over the socket only where a command says so (`tools call`): the owner may not call tools, a
 * principal with a key may.
 */
import { join } from "node:path";
import { TRPCClientError, createTRPCClient, httpLink, httpSubscriptionLink, splitLink } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import { EventSource } from "eventsource";
import { whyUnreadable } from "../config-expand.ts";
import type { AdminRouter } from "../doors/trpc/router.ts";
import { dataFolder } from "./folder.ts";
import { dial, dialStream } from "../snapshot/reach.ts";
import type { Target } from "../snapshot/reach.ts";
import { CommandFault, flag } from "./io.ts";
import type { Invocation } from "./io.ts";

export type Client = TRPCClient<AdminRouter>;
type Asking = { readonly deadlineMs?: number; readonly withKey?: boolean };

const DEADLINE_MS = 30_000;

/** Asks the gateway and gives its answer. @throws CommandFault if it is not there, or refuses */
export async function ask<Value>(
  invocation: Invocation,
  question: (client: Client) => Promise<Value>,
  { deadlineMs = DEADLINE_MS, withKey = false }: Asking = {},
): Promise<Value> {
  const { target, url, headers } = await placeOf(invocation, withKey);
  const link = httpLink<AdminRouter>({ url, methodOverride: "POST", headers, fetch: dial(target, deadlineMs) });
  try {
    return await question(createTRPCClient<AdminRouter>({ links: [link] }));
  } catch (thrown) {
    throw faultOf(thrown, target);
  }
}

/** How a subscription is told what comes; `onError` and `onComplete` end it. */
type Listener<Value> = {
  readonly onData: (value: Value) => void;
  readonly onError: (fault: unknown) => void;
  readonly onComplete: () => void;
  readonly onConnectionStateChange: (state: { readonly state: string; readonly error: unknown }) => void;
};
type Subscribe<Value> = (client: Client, listener: Listener<Value>) => { readonly unsubscribe: () => void };

/** Hears what the gateway says, until it ends that. @throws CommandFault if it is not there, refuses, or goes away */
export async function listen<Value>(
  invocation: Invocation,
  subscribe: Subscribe<Value>,
  hear: (value: Value) => void,
): Promise<void> {
  const { target, url, headers } = await placeOf(invocation, false);
  const stream = dialStream(target, { deadlineMs: DEADLINE_MS, headers, onBytes: () => {} });
  const eventSourceOptions = () => ({ fetch: (at: unknown, init: object) => stream(at, init) });
  const link = splitLink<AdminRouter>({
    condition: ({ type }) => type === "subscription",
    true: httpSubscriptionLink({ url, EventSource, eventSourceOptions }),
    false: httpLink({ url, headers, fetch: dial(target, DEADLINE_MS) }),
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const subscription = subscribe(createTRPCClient<AdminRouter>({ links: [link] }), {
    onData: hear,
    onError: reject,
    onComplete: resolve,
    // it would try again for ever
    onConnectionStateChange: ({ state, error }) => {
      if (state === "connecting" && error !== null && error !== undefined) reject(error);
    },
  });
  try {
    await promise;
  } catch (thrown) {
    throw faultOf(thrown, target);
  } finally {
    subscription.unsubscribe();
  }
}

async function placeOf(invocation: Invocation, withKey: boolean) {
  const target = await targetOf(invocation);
  const key = await keyOf(invocation, withKey || "url" in target);
  const base = "url" in target ? target.url.replace(/\/+$/, "") : "http://portcullis";
  const headers: { readonly [name: string]: string } = key === null ? {} : { "x-api-key": key };
  return { target, url: `${base}/trpc`, headers };
}

/** Whether the invocation names a key of its own. */
export function hasKey(invocation: Invocation): boolean {
  return flag(invocation, "key-file") !== null || flag(invocation, "url") !== null;
}

async function targetOf(invocation: Invocation): Promise<Target> {
  const url = flag(invocation, "url");
  if (url === null) return { socket: join(await dataFolder(invocation), "admin.sock") };
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw new CommandFault("--url takes an http or https URL", 2);
  return { url };
}

async function keyOf(invocation: Invocation, fromEnvironment: boolean): Promise<string | null> {
  const file = flag(invocation, "key-file");
  if (file !== null) {
    const text = await invocation.io.ports.disk.readFile(file, "utf8").catch((fault: unknown) => {
      throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
    });
    return text.trim();
  }
  const key = invocation.io.env["PORTCULLIS_KEY"];
  if (!fromEnvironment) return null;
  if (key === undefined || key === "") throw new CommandFault("set PORTCULLIS_KEY, or name a file with --key-file", 2);
  return key.trim();
}

function faultOf(thrown: unknown, target: Target): unknown {
  if (!(thrown instanceof TRPCClientError)) return thrown;
  const refusal = refusalOf(thrown.data);
  if (refusal !== null) return new CommandFault(sentence(refusal), 1, refusal);
  const code = codeOf(thrown.cause);
  const place = "socket" in target ? target.socket : target.url;
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return new CommandFault(`no gateway answers at ${place}; start one with: portcullis serve`, 1);
  }
  if (code === "EACCES") return new CommandFault(`${place} belongs to another user`, 1);
  const aborted = thrown.cause?.name === "TimeoutError" || thrown.cause?.name === "AbortError";
  return new CommandFault(
    `the gateway at ${place} ${aborted ? "did not answer in time" : "gave no answer of ours"}`,
    1,
  );
}

type Told = {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly callId?: unknown;
  readonly reasons?: unknown;
  readonly errors?: unknown;
};

function refusalOf(data: unknown): Told | null {
  const told = (data as { readonly portcullis?: Told | null } | null | undefined)?.portcullis;
  return told ?? null;
}

function sentence({ code, detail, callId, reasons, errors }: Told): string {
  const why = Array.isArray(reasons) && reasons.length > 0 ? ` (${reasons.join("; ")})` : "";
  const where = Array.isArray(errors)
    ? errors
        .map(({ pointer, message }: { pointer?: string; message?: string }) => `\n  ${pointer ?? ""}: ${message ?? ""}`)
        .join("")
    : "";
  return `${String(code)}: ${String(detail)}${why} [call ${String(callId)}]${where}`;
}

/** Node wraps what went wrong on the way in up to two errors. */
function codeOf(fault: unknown): string | undefined {
  const { code, cause } = (fault ?? {}) as { readonly code?: unknown; readonly cause?: unknown };
  return typeof code === "string" ? code : cause === undefined ? undefined : codeOf(cause);
}
