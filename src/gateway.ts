/** Where the rooms meet, and nowhere else: what a verb is given. Built once by main (see start.ts). */
import type { Audit } from "./audit/record.ts";
import type { Identity } from "./identity/authenticate.ts";
import type { Limits } from "./limits/limit.ts";
import type { Snapshot } from "./model.ts";
import type { Ports } from "./ports.ts";
import type { Validators } from "./registry/validate.ts";
import type { Upstreams } from "./upstream/forward.ts";

export type Gateway = {
  readonly ports: Ports;
  /** The snapshot in force; read once at a call's start. */
  readonly snapshot: () => Snapshot;
  readonly identity: Identity;
  readonly validators: Validators;
  readonly limits: Limits;
  readonly upstreams: Upstreams;
  readonly audit: Audit;
};
