/**
 * Jobs for one: which of several gateways does it now? Each asks Redis for the job's lease again and again; who has it
 * holds a token, greater than those of all holdings before. What surprises: a holder that was stopped may wake up and
 * believe that it still holds the lease, so a write of the job carries its token, and `IS_HELD` in the script that writes
 * refuses an older one.
 */
import type { Ports } from "./ports.ts";
import { scriptOn } from "./redis.ts";
import type { RedisClient } from "./redis.ts";

export type Lease = {
  /** Null while another gateway has the job, or Redis does not say. */
  readonly token: () => number | null;
  /** Gives it back, so that the next need not wait for its end. */
  readonly close: () => Promise<void>;
};
type Options = {
  /** `[a-z-]+`: one lease for each. */
  readonly job: string;
  /** How long the others wait after the holder's last word, in milliseconds. */
  readonly ttlMs?: number;
  /** Called after the token became another, or none. */
  readonly onTurn?: (token: number | null) => void;
};

/** Asks at once, and three times in each `ttlMs`. */
export function holdLease(
  client: RedisClient,
  { job, ttlMs = TTL_MS, onTurn }: Options,
  { clock, random }: Pick<Ports, "clock" | "random">,
): Lease {
  const keys = [`${PREFIX}:${job}`, tokenKey(job)];
  const holder = random.hex(16);
  const ask = scriptOn<number>(client, "portcullisLease", ASK);
  const giveBack = scriptOn<number>(client, "portcullisLeaseEnd", GIVE_BACK);
  let token: number | null = null;
  let endsMs = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  const held = (): number | null => (clock.monotonicMs() < endsMs ? token : null);
  const renew = async (): Promise<void> => {
    // counted from before it was asked: Redis may have begun to count since, never earlier
    const askedMs = clock.monotonicMs();
    const before = token;
    const said = await ask(keys, [holder, ttlMs]).catch(() => null);
    if (closed) return;
    if (said === null) {
      if (held() === null) token = null;
    } else {
      token = said === 0 ? null : said;
      endsMs = askedMs + ttlMs * SURE;
    }
    if (token !== before) onTurn?.(token);
    timer = setTimeout(() => void renew(), said === null ? Math.min(AGAIN_MS, ttlMs / ASKS) : ttlMs / ASKS).unref();
  };
  void renew();
  return {
    token: held,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      endsMs = 0;
      await giveBack(keys, [holder]).catch(() => {});
    },
  };
}

/** Where the token of the newest holding stands; of one hash tag with all that the job may write. */
export function tokenKey(job: string): string {
  return `${PREFIX}:${job}:token`;
}

/** First lines of a script that writes for the job: KEYS[1] is its `tokenKey`, ARGV[1] the writer's token. */
export const IS_HELD = `
if redis.call('get', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED the lease is another gateway\\'s') end
`;

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
if holder then return tonumber(redis.call('get', KEYS[2])) or redis.call('incr', KEYS[2]) end
return redis.call('incr', KEYS[2])
`;
const GIVE_BACK = `
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
`;
