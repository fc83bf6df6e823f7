/**
 * Did Redis forget who holds places? Each gateway tells it those of its own calls when it comes back to it, but not all come
 * back at once: until they had time to, no place is given by a Redis that knows of no holder. What surprises: only
 * who was told of an earlier beginning waits; at a first start there is nothing to be told.
 */
import type { Log } from "../ports.ts";

export type Recall = {
  /** True until the others had time to tell what they hold. */
  readonly waits: () => boolean;
  /** Since when Redis knows who holds places, a text that no other beginning has, and how long that is, in milliseconds. */
  readonly began: (mark: string, agoMs: number) => void;
  readonly close: () => void;
};

/** `renew`: tells what is held here, also what was granted here meanwhile. Never rejects. */
export function createRecall(renew: () => Promise<void>, log: Log): Recall {
  let known: string | null = null;
  let waiting = false;
  let timer: NodeJS.Timeout | undefined;
  const end = async (mark: string): Promise<void> => {
    await renew();
    if (mark === known) waiting = false;
  };
  return {
    waits: () => waiting,
    began: (mark, agoMs) => {
      const isAnew = known !== null && known !== mark;
      known = mark;
      // where one is waited for already, its end is not: who waits is let go for this one
      if (!isAnew || (agoMs >= RECALL_MS && !waiting)) return;
      waiting = true;
      log.warn({ store: "redis" }, "The limit store forgot who holds places: it is told, and gives none until then.");
      clearTimeout(timer);
      // its clock may have been put back since: nobody waits longer for that
      timer = setTimeout(() => void end(mark), Math.min(RECALL_MS - agoMs, RECALL_MS)).unref();
    },
    close: () => clearTimeout(timer),
  };
}

/** A client connects again every half second and asks every fifth of one: the longest of both, with some to spare. */
const RECALL_MS = 2_000;
