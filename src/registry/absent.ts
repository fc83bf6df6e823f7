/** What is said of an entry or a revision that is not there? What was asked for, and what is there instead. */
import { nearest } from "../nearest.ts";
import { Refusal } from "../refusal.ts";

/** `known`: the names that there are. */
export function noEntry(section: string, name: string, known: readonly string[]): Refusal {
  const meant = nearest(name, known);
  const instead = meant === undefined ? "" : ` Did you mean ${meant}?`;
  return new Refusal("invalid_request", `There is no ${name} among the ${section} that changes made.${instead}`);
}

/** A number of the log, or the revision that a record names. */
export function noRevision(to: number | string, history: readonly { readonly revision: number }[]): Refusal {
  const newest = history.at(-1)?.revision ?? 0;
  return new Refusal("invalid_request", `There is no revision ${to}: the newest is ${newest}.`);
}
