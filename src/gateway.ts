/** Where the rooms meet, and nowhere else: what a verb is given. Built once, by start.ts. */
import type { Audit } from "./audit/record.ts";
import type { Config } from "./config.ts";
import type { Histogram } from "./histogram.ts";
import type { Identity } from "./identity/authenticate.ts";
import type { Limits } from "./limits/limit.ts";
import type { Load } from "./limits/load.ts";
import type { Policy, Snapshot } from "./model.ts";
import type { Policies } from "./policy/load.ts";
import type { ShadowState } from "./policy/shadow-tally.ts";
import type { Ports } from "./ports.ts";
import type { RequestMeter } from "./request-meter.ts";
import type { Change, ChangeState } from "./registry/changes.ts";
import type { Validators } from "./registry/validate.ts";
import type { Feed } from "./snapshot/feed.ts";
import type { Follower } from "./snapshot/follower.ts";
import type { Registrations } from "./snapshot/registrations.ts";
import type { Logged } from "./snapshot/store.ts";
import type { Redactor } from "./policy/redactor.ts";
import type { Upstreams } from "./upstream/forward.ts";

export type Gateway = {
  readonly ports: Ports;
  /** The snapshot in force; read once at a call's start. */
  readonly snapshot: () => Snapshot;
  readonly identity: Identity;
  readonly validators: Validators;
  readonly limits: Limits;
  readonly load: Load;
  readonly upstreams: Upstreams;
  readonly redactor: Redactor;
  readonly audit: Audit;
  readonly requests: RequestMeter;
  readonly control: Control;
  /** A control plane by itself carries none. */
  readonly carriesCalls: boolean;
};

/** What changes and views need besides: the state behind the snapshot. */
export type Control = {
  /** As the file says. */
  readonly config: () => Config;
  /** As changed beside the file. */
  readonly effective: () => Config;
  readonly changes: () => ChangeState;
  /** Of the last change; 0 before the first. */
  readonly changeRevision: () => number;
  /** What sidecars follow; null in a sidecar, whose state is its control plane's. */
  readonly feed: Feed | null;
  /** Whatever follows this control plane, or one that shares its store. */
  readonly sidecars: () => readonly Follower[];
  readonly registrations: Registrations;
  /** Every change, oldest first. */
  readonly history: () => readonly Logged[];
  /** One such task at a time, reloads among them: what it looked at is what it changes. Keys are revoked and tools approved beside it. */
  readonly exclusive: <Value>(task: () => Promise<Value>) => Promise<Value>;
  /** What other gateways changed by now is in force. @throws Refusal upstream_unavailable, conflict */
  readonly caughtUp: () => Promise<void>;
  /**
   * The policy that this change needs, where it needs another one than that in force. `coverage`: percent of an applied
   * policy that its tests must reach. @throws Refusal invalid_request
   */
  readonly prepare: (change: Change, coverage?: number | null) => Promise<Policy | undefined>;
  /** Policies beside that in force: texts, candidates, earlier revisions. */
  readonly policies: Pick<Policies, "load" | "textOf" | "archived" | "trace" | "rules">;
  /** Appends to the change log and puts the new snapshot in force; resolves to the change's revision. @see Store.append */
  readonly append: (change: Change, by: string, policy?: Policy) => Promise<number>;
  /** Reads the configuration file again. @throws Error with `file:line: message`; the old one stays in force */
  readonly reload: () => Promise<void>;
  /** Called after each new snapshot; returns the way to stop. */
  readonly onSnapshot: (listener: (snapshot: Snapshot) => void) => () => void;
  /** What the bundles in shadow said here since the start. */
  readonly shadows: () => readonly ShadowState[];
  readonly health: () => Promise<readonly Check[]>;
  readonly metrics: () => readonly Metric[];
};
export type Check = { readonly name: string; readonly ok: boolean; readonly detail: string };
export type Metric = Plain | Histogram;
/** Units are the last word of a name, as Prometheus has it. */
type Plain = {
  readonly name: string;
  readonly help: string;
  readonly type: "gauge" | "counter";
  readonly samples: readonly { readonly labels: { readonly [label: string]: string }; readonly value: number }[];
};
