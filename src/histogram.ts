/** Durations counted in buckets, a series for each set of labels: as OpenTelemetry and Prometheus have histograms. */
export type Labels = { readonly [label: string]: string | number };
export type Histogram = {
  /** As OpenTelemetry has it, e.g. `mcp.server.operation.duration`; the unit is the second. */
  readonly name: string;
  readonly help: string;
  readonly type: "histogram";
  /** Inclusive upper bounds. */
  readonly bounds: readonly number[];
  /** `counts` has one more than there are bounds. */
  readonly samples: readonly {
    readonly labels: Labels;
    readonly counts: readonly number[];
    readonly sum: number;
    readonly count: number;
  }[];
};

/** Of each histogram; what comes after shares one series for each set of labels that is left. */
const SERIES_MAX = 2_000;

export type Series = { readonly labels: Labels; readonly counts: number[]; sum: number; count: number };
export type Meter = {
  /** `labels` is asked once; `tooMany`: for all that come after. */
  readonly series: (key: string, labels: (tooMany: boolean) => Labels) => Series;
  readonly observe: (series: Series, ms: number) => void;
  readonly read: () => Histogram;
};

export function createHistogram(name: string, help: string, bounds: readonly number[]): Meter {
  const all = new Map<string, Series>();
  const make = (labels: Labels): Series => ({
    labels,
    counts: Array.from({ length: bounds.length + 1 }, () => 0),
    sum: 0,
    count: 0,
  });
  return {
    series: (key, labels) => {
      const known = all.get(key);
      if (known !== undefined) return known;
      const tooMany = all.size >= SERIES_MAX;
      const shown = labels(tooMany);
      const under = tooMany ? JSON.stringify(shown) : key;
      const made = all.get(under) ?? make(shown);
      all.set(under, made);
      return made;
    },
    observe: (series, ms) => {
      const seconds = ms / 1000;
      let at = 0;
      while (at < bounds.length && seconds > (bounds[at] ?? 0)) at++;
      series.counts[at] = (series.counts[at] ?? 0) + 1;
      series.sum += seconds;
      series.count++;
    },
    read: () => ({
      name,
      help,
      type: "histogram",
      bounds,
      samples: [...all.values()].filter(({ count }) => count > 0),
    }),
  };
}
