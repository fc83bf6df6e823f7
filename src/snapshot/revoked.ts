/**
 * Which keys are known to be revoked, whatever a later snapshot says? A store that was put back to an earlier state soon has as
 * many changes again as the one that was known, and among them not those that were lost. What surprises: only parts that are new are read.
 */
import type { Key } from "../model.ts";
import type { Kept } from "./last-good.ts";

export type Revoked = {
  /** Of what is known to be revoked, a key that would be alive again; null where there is none. */
  readonly revivedBy: (next: Kept) => string | null;
  readonly note: (kept: Kept) => void;
};

export function createRevoked(): Revoked {
  const revoked = new Set<string>();
  let read: ReadonlySet<string> = new Set();
  const freshIn = (kept: Kept): readonly Key[] => {
    const fresh = kept.manifest.parts.filter(({ name, digest }) => name.startsWith("keys/") && !read.has(digest));
    return fresh.flatMap(({ digest }) => JSON.parse(kept.texts.get(digest) ?? "[]") as readonly Key[]);
  };
  return {
    revivedBy: (next) => freshIn(next).find(({ id, revokedAt }) => revokedAt === null && revoked.has(id))?.id ?? null,
    note: (kept) => {
      for (const { id, revokedAt } of freshIn(kept)) if (revokedAt !== null) revoked.add(id);
      read = new Set(kept.manifest.parts.map(({ digest }) => digest));
    },
  };
}
