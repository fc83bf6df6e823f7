/** The thread that large answers are redacted in, as redactor.ts asks; one after another. */
import { parentPort } from "node:worker_threads";
import type { Obligations } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { hidingBy, type How, valuesTold } from "./redact-tree.ts";

export type Search = {
  readonly rules: Obligations["redact"];
  /** At the rules' paths, as text. */
  readonly values: readonly string[];
  /** Texts in which more of these may stand. */
  readonly told: readonly string[];
  /** What each text is. */
  readonly hows: readonly How[];
  readonly texts: readonly string[];
};
/** Those texts that are to be seen otherwise, by their place; null where there is too much to look for. */
export type Hidden = ReadonlyMap<number, string> | null;

parentPort?.on("message", (search: Search) => parentPort?.postMessage(hiddenIn(search)));

function hiddenIn({ rules, values, told, hows, texts }: Search): Hidden {
  try {
    const hide = hidingBy(rules, new Set([...values, ...valuesTold(told, rules)]));
    const hidden = new Map<number, string>();
    for (const [at, text] of texts.entries()) {
      const seen = hide(hows[at] ?? "text", text);
      if (seen !== text) hidden.set(at, seen);
    }
    return hidden;
  } catch (cause) {
    if (cause instanceof Refusal) return null;
    throw cause;
  }
}
