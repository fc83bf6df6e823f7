/**
 * Limits that several gateways share. What surprises: a command has 80 ms, one failure opens the breaker, and each limit
 * then does what its `redisDown` says. A command that timed out may still reach Redis when that wakes up: it carries its deadline, in
 * Redis's own time, and is then not counted. While Redis is away each gateway counts alone, and these counts are not added up afterwards.
 */
import type { Ports } from "../ports.ts";
import { dangersOf, dialRedis, onClosed } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import { createBlocks } from "./blocks.ts";
import { createBreaker } from "./breaker.ts";
import type { Breaker } from "./breaker.ts";
import type { Charge } from "./charge.ts";
import type { Charged, Counters, Taken } from "./counters.ts";
import { lineTo, LOOK, PREFIX } from "./line.ts";
import type { Places } from "./places.ts";
import { createRecall } from "./recall.ts";
import { LEASE_MS } from "./script.ts";
import { shareOf, stateOf } from "./terms.ts";

type Given = { readonly local: Counters; readonly places: Places };

/** `local` counts while Redis is away. The URL may hold a password: it is never logged. */
export async function redisCounters(
  { url, commandMs = COMMAND_MS }: { readonly url: string; readonly commandMs?: number | undefined },
  { local, places }: Given,
  ports: Pick<Ports, "clock" | "log">,
): Promise<Counters> {
  const client = dialRedis(url, commandMs, ports.clock);
  const recall = createRecall(() => renew(), ports.log);
  const line = lineTo({ client, commandMs, places, recall, clock: ports.clock });
  const breaker = createBreaker(line.probe, ports);
  // another Redis may come in its place, or the same without what it held: the probe tells it the places before anybody asks
  onClosed(client, breaker.trip);
  const blocks = createBlocks(ports.clock.monotonicMs);
  const renew = async (): Promise<void> => (breaker.away() ? undefined : await line.renew().catch(breaker.trip));
  const renewal = setInterval(() => void renew(), LEASE_MS / 3).unref();
  const ask = async (charges: readonly Charge[], call: Charged): Promise<readonly Taken[]> => {
    if (charges.length === 0) return [];
    if (breaker.away() || (recall.waits() && charges.some(isPlace))) return alone(local, charges, call);
    const askedMs = ports.clock.monotonicMs();
    try {
      const taken = await line.ask(charges, call);
      if (call.id !== LOOK) blocks.note(charges, taken, { cost: call.cost, askedMs });
      return taken;
    } catch {
      breaker.trip();
      return alone(local, charges, call);
    }
  };
  // a key that holds something else holds no place: the store is there
  const lost = (cause: unknown): void => void (isWrongType(cause) || breaker.trip());
  await breaker.settled(START_MS_MAX);
  return {
    charge: async (charges, call) => {
      const refusal = blocks.refusal(charges, call.cost);
      return refusal === null ? await ask(charges, call) : [refusal];
    },
    look: (charges, cost) => ask(charges, { id: LOOK, cost }),
    release: (id) => {
      // what Redis does not hear, it learns from the end of the lease
      for (const key of places.release(id)) if (!breaker.away()) client.zrem(PREFIX + key, id).catch(lost);
    },
    status: () => ({ store: "redis", away: breaker.away(), sinceMs: breaker.sinceMs() }),
    examine: () => examined(client, breaker),
    close: () => {
      clearInterval(renewal);
      recall.close();
      breaker.close();
      client.disconnect();
    },
  };
}

function isPlace({ limit }: Charge): boolean {
  return limit.kind === "concurrent";
}

function isWrongType(cause: unknown): boolean {
  return cause instanceof Error && cause.message.startsWith("WRONGTYPE");
}

/** Redis is away: each limit does what it declares, and a call that one of them refuses is not counted here either. */
async function alone(local: Counters, charges: readonly Charge[], call: Charged): Promise<readonly Taken[]> {
  const shares = charges.map(({ limit, key }) => ({ limit: shareOf(limit), key }));
  const isClosed = ({ limit }: Charge): boolean => limit.redisDown === "closed";
  if (call.id !== LOOK && !charges.some(isClosed)) return await local.charge(shares, call);
  const looked = await local.look(shares, call.cost);
  return looked.map((one, at) => {
    const { limit } = charges[at] as Charge;
    if (limit.redisDown === "closed") return { verdict: "away", state: stateOf(limit, 0, AWAY_RETRY_MS) };
    return call.id !== LOOK && one.verdict === "charged" ? { ...one, verdict: "spared" } : one;
  });
}

async function examined(client: RedisClient, breaker: Breaker): Promise<readonly string[]> {
  if (breaker.away()) return [breaker.why() ?? AWAY];
  try {
    return await dangersOf(client, "counts");
  } catch (cause) {
    if (cause instanceof Error && cause.name === "ReplyError") return ["it does not say how it is set up (INFO)"];
    breaker.trip();
    return [AWAY];
  }
}

const AWAY = "away: each limit does what it declares";
const AWAY_RETRY_MS = 1000;
/** A gateway starts without Redis, but a `closed` limit should not refuse its first calls for want of a handshake. */
const START_MS_MAX = 500;
const COMMAND_MS = 80;
