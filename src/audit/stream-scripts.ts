/**
 * Where do records stand in Redis between who wrote them and who gathers them, and what is done there in one step? All keys
 * of one writer share a hash tag, so that a Redis Cluster can run the scripts that touch them; which writers there are
 * stands apart.
 */

/** Writers by the second of their last sign of life. */
export const WRITERS = "portcullis:{audit}:writers";
/** There while somebody gathers. */
export const GATHERER = "portcullis:{audit}:gatherer";

/** Of a writer, as `audit.writer` may name it. */
export type StreamKeys = {
  /** Its chains by the second of their last sign of life. */
  readonly chains: string;
  /** `bytes`: what its streams hold, which is what nobody gathered yet. */
  readonly usage: string;
  /** Batches of lines, each by the number of its last: `file` that they stand in, `lines`. */
  readonly lines: (chain: string) => string;
  /** `sequence` and `hash` of the last line taken; the same of the last one gathered (`kept`, `kept_hash`), and by whom (`keeper`). */
  readonly head: (chain: string) => string;
};

export function streamKeys(writer: string): StreamKeys {
  const own = `portcullis:{audit:${writer}}`;
  return {
    chains: `${own}:chains`,
    usage: `${own}:usage`,
    lines: (chain) => `${own}:${chain}:lines`,
    head: (chain) => `${own}:${chain}:head`,
  };
}

/** KEYS: the gatherer's. ARGV: for how many milliseconds. In this order, since a full Redis takes nothing from who only adds. */
export const GATHERING = `
redis.call('del', KEYS[1])
return redis.call('set', KEYS[1], '1', 'PX', ARGV[1])
`;

/** KEYS: a set of names by their last sign of life. ARGV: the name. */
export const TOUCH = `return redis.call('zadd', KEYS[1], redis.call('time')[1], ARGV[1])`;

/**
 * KEYS: lines, head, chains, usage. ARGV: number and hash of the line before, and of the last line; chain, file, lines; bound
 * in bytes. 1: taken, 0: does not follow, -1: full.
 */
export const ADD = `
local at = redis.call('hmget', KEYS[2], 'sequence', 'hash')
if at[1] == ARGV[3] and at[2] == ARGV[4] then return 1 end
if (at[1] or '0') ~= ARGV[1] or (at[2] or string.rep('0', 64)) ~= ARGV[2] then return 0 end
if tonumber(redis.call('hget', KEYS[4], 'bytes') or 0) + #ARGV[7] > tonumber(ARGV[8]) then return -1 end
redis.call('xadd', KEYS[1], ARGV[3] .. '-0', 'file', ARGV[6], 'lines', ARGV[7])
redis.call('hset', KEYS[2], 'sequence', ARGV[3], 'hash', ARGV[4])
redis.call('zadd', KEYS[3], redis.call('time')[1], ARGV[5])
redis.call('hincrby', KEYS[4], 'bytes', #ARGV[7])
return 1
`;

/**
 * KEYS: head, lines. ARGV: how many batches at most. How far it was gathered, and what follows: at one moment, since another gatherer
 * that goes on in between would leave a gap there.
 */
export const LOOK = `
return { redis.call('hmget', KEYS[1], 'kept', 'kept_hash', 'keeper'), redis.call('xrange', KEYS[2], '-', '+', 'COUNT', ARGV[1]) }
`;

/**
 * KEYS: head, lines, usage. ARGV: the line gone on from; number and hash of the last one copied, and by whom; the first one to
 * stay; bytes copied. 0 where another gatherer has gone on since. What is taken out goes first: a full Redis allows nothing else.
 */
export const TRIM = `
local at = redis.call('hmget', KEYS[1], 'sequence', 'kept')
if not at[1] or (at[2] or '0') ~= ARGV[1] then return 0 end
redis.call('xtrim', KEYS[2], 'MINID', ARGV[5])
redis.call('hset', KEYS[1], 'kept', ARGV[2], 'kept_hash', ARGV[3], 'keeper', ARGV[4])
redis.call('hincrby', KEYS[3], 'bytes', -ARGV[6])
return 1
`;

/** KEYS: chains, lines, head, usage. ARGV: the chain; the second before which its last sign of life was. */
export const RETIRE = `
local seen = redis.call('zscore', KEYS[1], ARGV[1])
if not seen or tonumber(seen) > tonumber(ARGV[2]) or redis.call('xlen', KEYS[2]) > 0 then return 0 end
redis.call('del', KEYS[2], KEYS[3])
redis.call('zrem', KEYS[1], ARGV[1])
if redis.call('zcard', KEYS[1]) == 0 then redis.call('del', KEYS[4]) end
return 1
`;

/** KEYS: the writers. ARGV: one of them, the second before which its last sign of life was. */
export const FORGET = `
local seen = redis.call('zscore', KEYS[1], ARGV[1])
if not seen or tonumber(seen) > tonumber(ARGV[2]) then return 0 end
return redis.call('zrem', KEYS[1], ARGV[1])
`;
