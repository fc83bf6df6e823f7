/**
 * Whose fault is a row of failures, the instance's or of whoever asks? What surprises: failures of one tenant alone say
 * nothing against an instance that has just worked for another, however many they are: it is what that tenant asks for.
 */
export type Blame = {
  /** `tenant`: null where nobody's call failed. */
  readonly failed: (tenant: string | null) => void;
  readonly worked: (tenant: string | null) => void;
  /** Whether all failures since it last worked are of one tenant, and others are served. */
  readonly isOneTenants: () => boolean;
};

/** It worked for somebody: longer ago than this says nothing of now. */
const LATELY_MS = 5_000;

export function createBlame(nowMs: () => number): Blame {
  /** Of the failures in a row: undefined where there is none, null where several are concerned. */
  let failing: string | null | undefined;
  /** The last two tenants that it worked for, the latest first. */
  let served: readonly { readonly tenant: string; readonly atMs: number }[] = [];
  return {
    failed: (tenant) => {
      failing = failing === undefined || failing === tenant ? tenant : null;
    },
    worked: (tenant) => {
      failing = undefined;
      if (tenant === null) return;
      const other = served.find((one) => one.tenant !== tenant);
      served = [{ tenant, atMs: nowMs() }, ...(other === undefined ? [] : [other])];
    },
    isOneTenants: () => {
      if (typeof failing !== "string") return false;
      const other = served.find((one) => one.tenant !== failing);
      return other !== undefined && nowMs() - other.atMs < LATELY_MS;
    },
  };
}
