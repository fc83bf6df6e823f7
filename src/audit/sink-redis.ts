/**
 * Checkpoints in a Redis stream. What surprises: it asks for no more than XADD, so that whoever owns that Redis can let the
 * gateway add and never take away (`ACL SETUSER gateway … +xadd`).
 */
import type { Ports } from "../ports.ts";
import { dialRedis } from "../redis.ts";
import type { Sending } from "./sinks.ts";

export const CHECKPOINTS = "portcullis:{audit}:checkpoints";
/** Older ones are vouched for by newer ones. */
const NOTES_MAX = 100_000;
const COMMAND_MS = 5_000;

/** The URL may hold a password: it is never logged. */
export function redisSink(url: string, { clock }: Pick<Ports, "clock">): Sending {
  const client = dialRedis(url, COMMAND_MS, clock);
  return {
    send: async ({ checkpoint, note }) => {
      const fields = ["chain", checkpoint.chain, "note", note];
      await client.xadd(CHECKPOINTS, "MAXLEN", "~", NOTES_MAX, "*", ...fields);
    },
    close: () => client.disconnect(),
  };
}
