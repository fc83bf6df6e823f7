/** Which term does a JSON text hold? Numbers keep their text; of a key that occurs twice the last one counts. */
import type { Entry, Term } from "./term.ts";

/** Null if it is no JSON. JSON's own null comes as an array's only item would: callers ask for objects. */
export function parseJson(text: string): Term | null {
  try {
    return JSON.parse(text, revive) as Term;
  } catch {
    return null;
  }
}

type Source = { readonly source?: string };

function revive(_: string, value: unknown, context?: Source): Term {
  if (typeof value === "number") return { number: context?.source ?? String(value) };
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value as Term;
  return { entries: Object.entries(value) as readonly Entry[] };
}
