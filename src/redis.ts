/**
 * Redis, as everything here speaks to it. What surprises: the client never queues, resends or waits (its defaults hang for
 * ever while Redis is away): a command has its deadline, and one that was not answered in time may have been carried
 * out all the same, or still be. All keys of one script share a hash tag, so that a Redis Cluster can run it.
 */
import { Redis } from "ioredis";

export type RedisClient = Redis;
export type Argument = string | number;
/** Rejects with whatever keeps Redis from answering in time. */
export type Script<Said> = (keys: readonly string[], args: readonly Argument[]) => Promise<Said>;

/** Connects in the background. The URL may hold a password: it is never logged. `commandMs`: of one command. */
export function dialRedis(url: string, commandMs: number): RedisClient {
  const client = new Redis(url, { ...OPTIONS, commandTimeout: commandMs, socketTimeout: Math.max(1000, commandMs) });
  // the client would print what nobody hears, addresses and all; whoever sends a command learns from its failure
  client.on("error", () => {});
  return client;
}

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
