/**
 * How do calls come to Redis and back? What surprises: those that ask in one turn of the event loop travel as one command, which
 * saves both sides most of their work; each is charged by itself all the same, in the order in which they came.
 */
import type { Limit } from "../model.ts";
import type { Clock } from "../ports.ts";
import { clockOf, scriptOn } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import type { Charge } from "./charge.ts";
import type { Charged, Taken } from "./counters.ts";
import type { Places } from "./places.ts";
import type { Recall } from "./recall.ts";
import { BEGAN, CHARGE, RENEW, termsOf } from "./script.ts";
import { stateOf } from "./terms.ts";

export type Line = {
  /** @throws whatever keeps Redis from answering in time */
  readonly ask: (charges: readonly Charge[], call: Charged) => Promise<readonly Taken[]>;
  /** The places held here are held for another lease. @throws as `ask` */
  readonly renew: () => Promise<void>;
  readonly probe: () => Promise<void>;
};
type Terms = {
  readonly client: RedisClient;
  /** Of one command, in milliseconds. */
  readonly commandMs: number;
  readonly places: Places;
  readonly recall: Pick<Recall, "began">;
  readonly clock: Pick<Clock, "nowMs" | "monotonicMs">;
};
type Asked = {
  readonly charges: readonly Charge[];
  readonly call: Charged;
  readonly answer: (taken: readonly Taken[]) => void;
  readonly fail: (cause: unknown) => void;
};

/** One tag for all: the keys of one script must be in one slot of a Redis Cluster, and a limit may count for all tenants together. */
export const PREFIX = "portcullis:{limits}:";
/** In place of a call's id: nothing is charged. */
export const LOOK = "";

/** Keeps Redis's clock less ours, as of the last probe: where either jumps, charges come late, and the next probe mends it. */
export function lineTo({ client, commandMs, places, recall, clock }: Terms): Line {
  let aheadMs = Number.POSITIVE_INFINITY;
  let waiting: Asked[] = [];
  const again = inTime(commandMs, clock);
  const charge = scriptOn<readonly number[]>(client, "portcullisCharge", CHARGE);
  const time = clockOf(client, PREFIX + PROBE.key);
  const began = scriptOn<readonly [string, string]>(client, "portcullisBegan", BEGAN);
  const renewAll = scriptOn<null>(client, "portcullisRenew", RENEW);
  const send = async (asked: readonly Asked[]): Promise<void> => {
    const keys = asked.flatMap(({ charges }) => charges.map(({ key }) => PREFIX + key));
    const args = asked.flatMap(({ charges, call: { id, cost } }) => [id, cost, charges.length, ...charges.map(textOf)]);
    try {
      const said = await again(() => charge(keys, [Math.ceil(clock.nowMs() + aheadMs + commandMs), ...args]));
      let at = 0;
      for (const { charges, call, answer } of asked) {
        const taken = charges.map(({ limit }) => takenOf(limit, said, 3 * at++));
        // known before anything else happens: whoever ends the call finds it
        if (call.id !== LOOK && taken[0]?.verdict === "charged") places.take(call.id, placesOf(charges));
        answer(taken);
      }
    } catch (cause) {
      for (const { fail } of asked) fail(cause);
    }
  };
  const flush = (): void => {
    const asked = waiting;
    waiting = [];
    for (let from = 0; from < asked.length; from += CALLS_MAX) void send(asked.slice(from, from + CALLS_MAX));
  };
  const ask: Line["ask"] = (charges, call) =>
    new Promise((answer, fail) => {
      if (waiting.push({ charges, call, answer, fail }) === 1) setImmediate(flush);
    });
  const renew: Line["renew"] = async () => {
    const all = places.all();
    const sent: Promise<null>[] = [];
    // all of them now: a place that is given back meanwhile must not be taken again after that
    for (let from = 0; from < all.length; from += PLACES_MAX) {
      const some = all.slice(from, from + PLACES_MAX);
      const keys = some.map(({ key }) => PREFIX + key);
      const ids = some.map(({ id }) => id);
      sent.push(renewAll(keys, ids));
    }
    const [[mark, agoMicros]] = await Promise.all([began([PREFIX + "began"], []), ...sent]);
    recall.began(mark, Number(agoMicros) / 1000);
  };
  /** It is between its time less ours when it answered and when it was asked: where this process was held up, that says little. */
  const measure = async (): Promise<void> => {
    const askedMs = clock.nowMs();
    const [seconds = 0, micros = 0] = (await time()).map(Number);
    const redisMs = seconds * 1000 + micros / 1000;
    aheadMs = Math.min(Math.max(aheadMs, redisMs - clock.nowMs()), redisMs - askedMs);
  };
  const probe: Line["probe"] = async () => {
    await measure();
    // before anybody else may have them
    await renew();
    // a write through the same script: a Redis that is full, read-only or still loading is away too
    await ask([PROBE], { id: "probe", cost: 1 });
  };
  return { ask, renew, probe };
}

type Ask = () => Promise<readonly number[]>;

/** Asks again where this process was held up between the word and its sending: where Redis was late, the deadline came first. */
function inTime(commandMs: number, clock: Terms["clock"]): (ask: Ask) => ReturnType<Ask> {
  return async (ask) => {
    for (let left = HELD_UP_MAX; ; left--) {
      const askedMs = clock.monotonicMs();
      const said = await ask();
      if (said.length > 0) return said;
      if (left === 0 || clock.monotonicMs() - askedMs < commandMs) throw new Error("Redis was too late.");
    }
  };
}

function textOf({ limit }: Charge): string {
  return termsOf(limit);
}

const VERDICTS = ["exhausted", "charged", "spared"] as const;

function takenOf(limit: Limit, said: readonly number[], at: number): Taken {
  const [verdict = 0, left = 0, resetMicros = 0] = said.slice(at, at + 3);
  return { verdict: VERDICTS[verdict] ?? "exhausted", state: stateOf(limit, left, Math.ceil(resetMicros / 1000)) };
}

function placesOf(charges: readonly Charge[]): readonly string[] {
  return charges.filter(({ limit }) => limit.kind === "concurrent").map(({ key }) => key);
}

const PROBE: Charge = {
  key: "probe",
  limit: {
    name: "probe",
    always: false,
    key: [],
    kind: "fixed",
    limit: Number.MAX_SAFE_INTEGER,
    windowMs: 1000,
    burst: 1,
    redisDown: "closed",
    localShare: 1,
  },
};
/** Of one command: Redis does nothing else meanwhile. */
const CALLS_MAX = 64;
const PLACES_MAX = 500;
const HELD_UP_MAX = 3;
