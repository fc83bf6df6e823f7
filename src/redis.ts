/**
 * Redis, as everything here speaks to it. What surprises: the client never queues, resends or waits (its defaults hang for
 * ever while Redis is away): a command has its deadline, and one that was not answered in time may have been carried
 * out all the same, or still be. The client's own deadlines are not used: they count against Redis what held up this process.
 * All keys of one script share a hash tag, so that a Redis Cluster can run it.
 */
import { Cluster, Redis } from "ioredis";
import type { Command } from "ioredis";
import { startDeadline } from "./deadline.ts";
import type { Clock } from "./ports.ts";
import { isCluster, nodesOf } from "./redis-url.ts";

export type RedisClient = Redis | Cluster;
export type Argument = string | number;
/** Rejects with whatever keeps Redis from answering in time. */
export type Script<Said> = (keys: readonly string[], args: readonly Argument[]) => Promise<Said>;

type Keeping = Pick<Clock, "monotonicMs">;

/** Connects in the background. The URL may hold a password: it is never logged. `commandMs`: of one command. */
export function dialRedis(url: string, commandMs: number, clock: Keeping): RedisClient {
  const client = isCluster(url)
    ? dialCluster(url, commandMs, clock)
    : keptTime(new Redis(url, OPTIONS), commandMs, clock);
  // the client would print what nobody hears, addresses and all; whoever sends a command learns from its failure
  client.on("error", () => {});
  return client;
}

/**
 * A command that a node does not carry out, since its keys are elsewhere, goes there, and waits for its connection; all that
 * within its time, and little more. Any of the nodes that the URL names will do, at every attempt.
 */
function dialCluster(url: string, commandMs: number, clock: Keeping): Cluster {
  const nodes = nodesOf(url).map((node) => new URL(node));
  const { username = "", password = "" } = nodes[0] ?? {};
  const { enableOfflineQueue: _, retryStrategy, ...redisOptions } = OPTIONS;
  const credentials = { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  const cluster = new Cluster(nodes.map(addressOf), {
    ...CLUSTER_OPTIONS,
    clusterRetryStrategy: retryStrategy,
    redisOptions: { ...redisOptions, ...credentials, ...(url.startsWith("rediss") ? { tls: {} } : {}) },
  });
  cluster.on("+node", (node: Redis) => void keptTime(node, commandMs, clock));
  const send = cluster.sendCommand.bind(cluster);
  cluster.sendCommand = (command, ...more) => {
    // nobody waits for a cluster of which no node is known
    if (cluster.status !== "ready") command.reject(new Error("The Redis Cluster is away."));
    if (command.isSettled) return command.promise;
    endInTime(command, commandMs + REDIRECTED_MS, clock);
    return send(command, ...more);
  };
  return cluster;
}

function addressOf({ hostname, port }: URL): { readonly host: string; readonly port: number } {
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? 6379 : Number(port) };
}

function keptTime(client: Redis, commandMs: number, clock: Keeping): Redis {
  const send = client.sendCommand.bind(client);
  const isLost = lostAfter(Math.max(SILENT_MS - commandMs, SILENT_MS_MIN), clock);
  client.sendCommand = (command, stream) => {
    // it waited for a connection, or to be sent elsewhere, and was given up on meanwhile
    if (command.isSettled) return command.promise;
    endInTime(command, commandMs, clock, () => isLost(client.stream));
    return send(command, stream);
  };
  return client;
}

function endInTime(command: Command, ms: number, clock: Keeping, then?: () => void): void {
  const callOff = startDeadline(ms, clock, () => {
    if (command.isSettled) return;
    command.reject(new Error("Redis timed out."));
    then?.();
  });
  command.promise.then(callOff, callOff);
}

/** A connection that says nothing for so long after somebody gave up on it is gone, though nobody said so. */
function lostAfter(silentMs: number, clock: Keeping): (stream: Redis["stream"]) => void {
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
const REDIRECTED_MS = 10;

/** Told whenever a connection that was there is gone. */
export function onClosed(client: RedisClient, told: () => void): void {
  if (client instanceof Redis) client.on("close", told);
  else client.on("+node", (node: Redis) => node.once("ready", () => node.once("close", told)));
}

/** Seconds and microseconds, of whoever has the key. */
export function clockOf(client: RedisClient, key: string): () => Promise<readonly [string, string]> {
  const ask = scriptOn<readonly [string, string]>(client, "portcullisTime", "return redis.call('time')");
  return () => ask([key], []);
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

/** What an eviction or a restart would forget, where it must not: at any node that answers. Rejects where none does. */
export async function dangersOf(
  client: RedisClient,
  what: "counts" | "records" | "changes",
): Promise<readonly string[]> {
  const nodes = client instanceof Redis ? [client] : client.nodes("master");
  const dangers = nodes.map(async (node) => dangersIn(await node.info(), what));
  // the first that fails says why none did
  await (dangers.length === 0 ? Promise.reject(new Error("No node is known.")) : Promise.any(dangers)).catch(firstOf);
  const said = await Promise.allSettled(dangers);
  return [...new Set(said.flatMap((one) => (one.status === "fulfilled" ? one.value : [])))];
}

function firstOf(cause: unknown): never {
  throw cause instanceof AggregateError ? cause.errors[0] : cause;
}

function dangersIn(info: string, what: "counts" | "records" | "changes"): readonly string[] {
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

const CLUSTER_OPTIONS = {
  // of what waits for the connection to a node, which is ended in time; what waits for the cluster never gets that far
  enableOfflineQueue: true,
  enableReadyCheck: false,
  // a certificate names a host, not its address
  dnsLookup: (host: string, found: (error: null, address: string) => void) => found(null, host),
  slotsRefreshInterval: 5000,
  maxRedirections: 4,
  retryDelayOnFailover: 0,
  retryDelayOnClusterDown: 0,
  retryDelayOnTryAgain: 20,
} as const;
