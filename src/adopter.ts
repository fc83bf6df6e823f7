/**
 * Puts a received snapshot in force: what it takes away at once, all of it once its policy is warm. What surprises: who is
 * told to halt keeps what is in force but the policy, without which every call is refused.
 */
import type { InForce } from "./inforce.ts";
import type { Policy } from "./model.ts";
import type { Policies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import type { Kept } from "./snapshot/last-good.ts";
import { narrowed } from "./snapshot/narrowed.ts";
import { createReader } from "./snapshot/received.ts";
import type { Received } from "./snapshot/received.ts";

export type Adopter = {
  /** Something is in force. */
  readonly ready: Promise<void>;
  /** In force, and whole; null where nothing is, or only what a later snapshot has left of it. */
  readonly revision: () => string | null;
  readonly has: (revision: string) => boolean;
  /** Where its policy must be warmed first, takes away what this snapshot takes away; resolves to whether it must. */
  readonly narrow: (kept: Kept) => Promise<boolean>;
  /** Resolves once it is in force; `first` is called just before. @throws PolicyRefused, SealFault */
  readonly put: (kept: Kept, first?: () => void) => Promise<void>;
  readonly halt: (halted: boolean) => void;
  /** Nothing is put in force any more. */
  readonly close: () => void;
};
type Parts = {
  readonly inForce: InForce;
  readonly policies: Pick<Policies, "warm" | "shadows">;
  readonly reconcile: () => void;
};
type Adopted = {
  readonly revision: string;
  readonly received: Received;
  readonly policy: Policy | null;
  /** What the policy was made of. */
  readonly terms: string;
  /** False where a later snapshot took something of it away already. */
  readonly whole: boolean;
};

export function createAdopter({ inForce, policies, reconcile }: Parts, { clock }: Ports): Adopter {
  const reader = createReader(clock);
  const began = Promise.withResolvers<void>();
  let adopted: Adopted | null = null;
  let halted = false;
  let closed = false;
  const adopt = (next: Adopted): void => {
    if (closed) throw new Error("The sidecar stops.");
    inForce.adopt(next.received, halted ? null : next.policy);
    adopted = next;
    reconcile();
    began.resolve();
  };
  return {
    ready: began.promise,
    revision: () => (adopted?.whole === true ? adopted.revision : null),
    has: (revision) => adopted?.whole === true && adopted.revision === revision,
    narrow: async ({ manifest, texts }) => {
      if (adopted === null) return true;
      const received = await reader.read(manifest, texts);
      if (adopted.terms === termsOf(received)) return false;
      const less = narrowed(adopted.received, received);
      if (less !== null) adopt({ ...adopted, received: less, whole: false });
      return true;
    },
    put: async ({ manifest, texts }, first = nothing) => {
      const { revision } = manifest;
      if (adopted?.whole === true && adopted.revision === revision) return first();
      const received = await reader.read(manifest, texts);
      const terms = termsOf(received);
      const policy = adopted?.terms === terms ? adopted.policy : await warm(policies, received);
      first();
      adopt({ revision, received, policy, terms, whole: true });
    },
    halt: (now) => {
      halted = now;
      if (adopted !== null && !closed) inForce.adopt(adopted.received, halted ? null : adopted.policy);
    },
    close: () => {
      closed = true;
    },
  };
}

function nothing(): void {}

/** Policies see the map of roles as data: it is loaded with them. */
function termsOf({ policy, shadows, settings }: Received): string {
  const beside = shadows.map(({ name, from, stepsMax }) => [name, from.key, stepsMax]);
  return JSON.stringify([policy?.key, settings.roles, ...beside]);
}

async function warm(policies: Parts["policies"], { policy, shadows, settings }: Received): Promise<Policy | null> {
  if (policy === null) return null;
  const [enforced, beside] = await Promise.all([
    policies.warm(policy, settings.roles),
    policies.shadows(shadows, settings.roles),
  ]);
  return { ...enforced, shadows: beside };
}
