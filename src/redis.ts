/**
 * Redis, as everything here speaks to it. What surprises: the client never queues, resends or waits (its defaults hang for
 * ever while Redis is away): a command has its deadline, and one that was not answered in time may have been carried
 * out all the same, or still be. The client's own deadlines are not used: they count against Redis what held up this process.
 * All keys of one script share a hash tag, so that a Redis Cluster can run it.
 */
import { Redis } from "ioredis";
import { startDeadline } from "./deadline.ts";
import type { Clock } from "./ports.ts";

export type RedisClient = Redis;
export type Argument = string | number;
/** Rejects with whatever keeps Redis from answering in time. */
export type Script<Said> = (keys: readonly string[], args: readonly Argument[]) => Promise<Said>;

/** Connects in the background. The URL may hold a password: it is never logged. `commandMs`: of one command. */
export function dialRedis(url: string, commandMs: number, clock: Pick<Clock, "monotonicMs">): RedisClient {
  const client = new Redis(url, OPTIONS);
  // the client would print what nobody hears, addresses and all; whoever sends a command learns from its failure
  client.on("error", () => {});
  keepTime(client, commandMs, clock);
  return client;
}

function keepTime(client: Redis, commandMs: number, clock: Pick<Clock, "monotonicMs">): void {
  const send = client.sendCommand.bind(client);
  const isLost = lostAfter(Math.max(SILENT_MS - commandMs, SILENT_MS_MIN), clock);
  client.sendCommand = (command, stream) => {
    const sent = send(command, stream);
    const callOff = startDeadline(commandMs, clock, () => {
      if (command.isSettled) return;
      command.reject(new Error("Redis timed out."));
      isLost(client.stream);
    });
    command.promise.then(callOff, callOff);
    return sent;
  };
}

/** A connection that says nothing for so long after somebody gave up on it is gone, though nobody said so. */
function lostAfter(silentMs: number, clock: Pick<Clock, "monotonicMs">): (stream: Redis["stream"]) => void {
  const watched = new WeakSet<Redis["stream"]>();
  return (stream) => {
    if (watched.has(stream)) return;
    watched.add(stream);
    const callOff = startDeadline(silentMs, clock, () => stream.destroy());
    stream.once("data", () => {
      watched.delete(stream);
      callOff();
    });
  };
}

const SILENT_MS = 1000;
const SILENT_MS_MIN = 250;

/** Sent whole once, by its digest from then on. */
export function scriptOn<Said>(client: RedisClient, name: string, lua: string): Script<Said> {
  client.defineCommand(name, { lua });
  const run = Reflect.get(client, name) as (keys: number, ...args: readonly Argument[]) => Promise<Said>;
  return (keys, args) =>
    run.call(client, keys.length, ...keys, ...args).catch((cause: unknown) => {
      // it would carry all that was sent, whole records, into every log
      if (cause instanceof Error) Reflect.deleteProperty(cause, "command");
      throw cause;
    });
}

/** From INFO: what an eviction or a restart would forget, where it must not. */
export function dangersIn(info: string, what: "counts" | "records" | "changes"): readonly string[] {
  const said = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1] ?? "";
  const evicts = said("maxmemory") !== "0" && said("maxmemory_policy") !== "noeviction";
  return [
    ...(said("aof_enabled") === "1" ? [] : [`a restart forgets ${what}: set appendonly yes`]),
    ...(evicts ? [`a full memory forgets ${what}: set maxmemory-policy noeviction`] : []),
  ];
}

const OPTIONS = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  // who needs to know whether Redis is ready asks, with no more rights than the work needs
  enableReadyCheck: false,
  disableClientInfo: true,
  connectTimeout: 500,
  retryStrategy: (attempt: number) => Math.min(50 * attempt, 500),
} as const;
