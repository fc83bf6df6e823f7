/**
 * What is in force at a sidecar, and since when is it behind? As it said itself, to this control plane or to another. What
 * surprises: whether that is current is this control plane's to say, whoever was told.
 */
/** What a sidecar says of the snapshot that it was sent last: in force, or why not (then the one before is). */
export type Report = {
  readonly revision: string;
  readonly accepted: boolean;
  readonly reason: string | null;
  /** What decides there now; an older sidecar does not say. */
  readonly inForce?: string | null | undefined;
  readonly version: string;
  /** The servers that it runs itself. */
  readonly servers: readonly { readonly id: string; readonly state: string; readonly tools: number }[];
  /** Their tools that wait to be accepted, at most QUARANTINED_MAX: after these come the others. */
  readonly quarantined: readonly Quarantined[];
};
export type Quarantined = {
  readonly server: string;
  readonly version: string;
  /** As the server gives it. */
  readonly tool: string;
  /** Of what it says now. */
  readonly digest: string;
};
export const QUARANTINED_MAX = 100;
export const TOOL_CHARACTERS_MAX = 256;
export type Follower = {
  readonly name: string;
  readonly connected: boolean;
  /** In force there, as far as it said; null before its first report. */
  readonly revision: string | null;
  readonly current: boolean;
  /** Milliseconds since the newest snapshot was there to be had; 0 where it is in force. */
  readonly lagMs: number;
  /** Why it did not take a snapshot, or what else is wrong there. */
  readonly lastError: string | null;
  /** RFC 3339. */
  readonly lastSeen: string;
  readonly version: string | null;
  readonly servers: Report["servers"];
};

/** What is known of one here. */
export type Known = { streams: AbortController[]; report: Report | null; lastError: string | null; seenMs: number };
/** What is current here. `sinceMs`: Unix epoch, when it was there to be had. */
export type Newest = { readonly revision: string; readonly sinceMs: number };

export function followerOf(
  name: string,
  { streams, report, lastError, seenMs }: Known,
  newest: Newest,
  nowMs: number,
): Follower {
  const current = report?.revision === newest.revision;
  return {
    name,
    connected: streams.length > 0,
    revision: report === null || report.revision === "" ? null : report.revision,
    current,
    lagMs: current ? 0 : Math.max(0, Math.round(nowMs - newest.sinceMs)),
    lastError,
    lastSeen: new Date(seenMs).toISOString(),
    version: report?.version ?? null,
    servers: report?.servers ?? [],
  };
}

/** Another control plane may be behind this one, or not there any more: `current` is what is current here. */
export function seenHere(one: Follower, newest: Newest, nowMs: number): Follower {
  const current = one.revision === newest.revision;
  const sinceSeenMs = one.lagMs + nowMs - Date.parse(one.lastSeen);
  const lagMs = current ? 0 : Math.max(0, Math.round(Math.min(nowMs - newest.sinceMs, sinceSeenMs)));
  return { ...one, current, lagMs };
}

export function together(own: readonly Follower[], others: readonly Follower[]): readonly Follower[] {
  const all = new Map<string, Follower>();
  for (const one of [...own, ...others]) {
    const known = all.get(one.name);
    const better =
      known === undefined || (one.connected === known.connected ? one.lastSeen > known.lastSeen : one.connected);
    if (better) all.set(one.name, one);
  }
  return [...all.values()];
}
