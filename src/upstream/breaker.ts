/**
 * Closed, open, half-open: may something be tried? A state machine without a clock or a timer of its own: of an
 * instance the probe in the background is what passes half-open, of a tool one caller's call, since nothing else can try
 * a tool. What surprises: while it is not closed only the probe's word counts; what began before says nothing of now.
 */
export type Breaker = {
  state: "closed" | "open" | "half_open";
  /** In a row. */
  failures: number;
  /** Open until then. */
  untilMs: number;
};
/** Whoever was let through says with this how it went. */
export type Pass = "call" | "probe";
/** `nothing`: it was cancelled, or failed for another reason. */
export type Verdict = "worked" | "failed" | "nothing";

export function newBreaker(): Breaker {
  return { state: "closed", failures: 0, untilMs: 0 };
}

/** Null: not now. Of the first after the pause, `probe`: nobody else passes until it has said how it went. */
export function admit(breaker: Breaker, nowMs: number): Pass | null {
  if (breaker.state === "closed") return "call";
  if (breaker.state === "half_open" || nowMs < breaker.untilMs) return null;
  breaker.state = "half_open";
  return "probe";
}

/** True where it has to be opened now, for as long as whoever asks sees fit. */
export function report(breaker: Breaker, pass: Pass, verdict: Verdict, failuresMax: number): boolean {
  if (pass === "probe" ? breaker.state !== "half_open" : breaker.state !== "closed") return false;
  if (verdict === "failed") return ++breaker.failures >= failuresMax || pass === "probe";
  if (verdict === "worked") close(breaker);
  // the pause is over, and another may try
  else if (pass === "probe") breaker.state = "open";
  return false;
}

export function open(breaker: Breaker, untilMs: number): void {
  breaker.state = "open";
  breaker.untilMs = untilMs;
}

export function close(breaker: Breaker): void {
  breaker.state = "closed";
  breaker.failures = 0;
}
