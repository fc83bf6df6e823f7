/**
 * Limits of one process. All that a call is charged to is weighed and then charged without a pause in between, so no
 * other call sees half of it. A counter keeps its count when the file changes its limit, as over Redis.
 */
import type { Clock } from "../ports.ts";
import type { Charge } from "./charge.ts";
import type { Counters, Taken } from "./counters.ts";
import { expiring } from "./expiring.ts";
import { bucketCount, fixedCount, logCount, wideCount } from "./meters.ts";
import type { Count, Weight } from "./meters.ts";
import type { Places } from "./places.ts";
import { meterOf, PLACE_RETRY_MS, priceOf, stateOf } from "./terms.ts";
import type { Meter } from "./terms.ts";

type Memory = { readonly clock: Pick<Clock, "monotonicMs">; readonly places: Places };
type Counter = { readonly meter: Meter; readonly count: Count; endsMs: number };
/** One charge, weighed. */
type Weighed = Weight & { readonly charge: Charge; readonly counter: Counter | null; readonly price: number };

const COUNTS = { log: logCount, wide: wideCount, fixed: fixedCount, bucket: bucketCount } as const;

export function memoryCounters({ clock, places }: Memory): Counters {
  const counters = expiring<Counter>(clock.monotonicMs);
  const weigh = (charge: Charge, nowMs: number, cost: number): Weighed => {
    const { limit, key } = charge;
    const price = priceOf(limit, cost);
    const meter = meterOf(limit);
    if (meter === "places") {
      const left = limit.limit - places.held(key);
      return { charge, counter: null, price, left, resetMs: left < 1 ? PLACE_RETRY_MS : 0 };
    }
    const known = counters.get(key);
    const counter = known?.meter === meter ? known : { meter, count: COUNTS[meter](), endsMs: 0 };
    const { left, resetMs } = counter.count.weigh({ limit, nowMs, price });
    return { charge, counter, price, left, resetMs };
  };
  const take = (weighed: readonly Weighed[], id: string, nowMs: number): readonly Taken[] => {
    const held: string[] = [];
    for (const { charge, counter, price } of weighed) {
      if (counter === null) held.push(charge.key);
      else {
        const isNew = counter.endsMs === 0;
        counter.endsMs = counter.count.charge({ limit: charge.limit, nowMs, price });
        if (isNew) counters.set(charge.key, counter);
      }
    }
    places.take(id, held);
    return weighed.map((one) => takenOf(one, "charged", one.price));
  };
  return {
    charge: (charges, { id, cost }) => {
      const nowMs = clock.monotonicMs();
      const weighed = charges.map((charge) => weigh(charge, nowMs, cost));
      return weighed.some(refuses) ? weighed.map(spared) : take(weighed, id, nowMs);
    },
    look: (charges, cost) => {
      const nowMs = clock.monotonicMs();
      const weighed = charges.map((charge) => weigh(charge, nowMs, cost));
      return weighed.some(refuses) ? weighed.map(spared) : weighed.map((one) => takenOf(one, "charged", 0));
    },
    release: (id) => void places.release(id),
    status: () => ({ store: "memory", away: false, sinceMs: null }),
    examine: async () => [],
    close: () => {},
  };
}

function refuses({ left, price }: Weighed): boolean {
  return left < price;
}

function spared(one: Weighed): Taken {
  return takenOf(one, refuses(one) ? "exhausted" : "spared", 0);
}

function takenOf({ charge: { limit }, left, resetMs }: Weighed, verdict: Taken["verdict"], price: number): Taken {
  return { verdict, state: stateOf(limit, left - price, Math.ceil(resetMs)) };
}
