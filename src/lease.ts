/**
 * Jobs for one: which of several gateways does it now? Each asks Redis for the job's lease again and again. What
 * surprises: a holder that was stopped may wake up and believe that it still holds the lease, so the lease saves work and
 * decides nothing. What fences a write of the job is in the write itself: it names what it goes on from, and where another
 * has gone on since, nothing is written.
 */
import type { Ports } from "./ports.ts";
import { scriptOn } from "./redis.ts";
import type { RedisClient } from "./redis.ts";

export type Lease = {
  /** False while another gateway has the job, or Redis does not say. */
  readonly held: () => boolean;
  /** Gives it back, so that the next need not wait for its end. */
  readonly close: () => Promise<void>;
};
type Options = {
  /** `[a-z-]+`: one lease for each. */
  readonly job: string;
  /** How long the others wait after the holder's last word, in milliseconds. */
  readonly ttlMs?: number;
};

/** Asks at once, and three times in each `ttlMs`. */
export function holdLease(
  client: RedisClient,
  { job, ttlMs = TTL_MS }: Options,
  { clock, random }: Pick<Ports, "clock" | "random">,
): Lease {
  const keys = [`${PREFIX}:${job}`];
  const holder = random.hex(16);
  const ask = scriptOn<number>(client, "portcullisLease", ASK);
  const giveBack = scriptOn<number>(client, "portcullisLeaseEnd", GIVE_BACK);
  let endsMs = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  const renew = async (): Promise<void> => {
    // counted from before it was asked: Redis may have begun to count since, never earlier
    const askedMs = clock.monotonicMs();
    const said = await ask(keys, [holder, ttlMs]).catch(() => null);
    if (closed) return;
    if (said !== null) endsMs = said === 1 ? askedMs + ttlMs * SURE : 0;
    timer = setTimeout(() => void renew(), said === null ? Math.min(AGAIN_MS, ttlMs / ASKS) : ttlMs / ASKS).unref();
  };
  void renew();
  return {
    held: () => clock.monotonicMs() < endsMs,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      endsMs = 0;
      await giveBack(keys, [holder]).catch(() => {});
    },
  };
}

const PREFIX = "portcullis:{state}:lease";
const TTL_MS = 6_000;
const ASKS = 3;
/** After no answer. */
const AGAIN_MS = 250;
/** Of its time a holder counts on so much: two clocks do not run alike. */
const SURE = 0.9;

/** A full Redis lets a script write on only if it began by taking something out: whoever makes room there holds a lease. */
const ASK = `
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('del', KEYS[1])
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`;
const GIVE_BACK = `
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
`;
