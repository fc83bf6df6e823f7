/**
 * Where records stand in Redis between who wrote them and who gathers them. All keys of one writer share a hash tag, so that a
 * Redis Cluster can run the scripts that touch them; which writers there are stands apart.
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

/** KEYS: a set of names by their last sign of life. ARGV: the name. */
export const TOUCH = `return redis.call('zadd', KEYS[1], redis.call('time')[1], ARGV[1])`;
