/**
 * Where is an answer redacted? At once, as nearly all are; one that is large by another thread, since it takes a second to
 * look for everything in 16 MiB, for which no other call waits. What surprises: only texts go there and only those that
 * changed come back; the tree is taken apart and put together here.
 */
import type { Answer, Call, Json } from "../model.ts";
import { isScalar } from "../json.ts";
import { Refusal } from "../refusal.ts";
import type { Permit } from "./authorize.ts";
import { tooMuchToHide } from "./automaton.ts";
import { createLeash, type Leash } from "./leash.ts";
import { bodyOf, bounded, redact, withBody } from "./redact.ts";
import { blanked, type How, replaceIn, toldTexts, valuesAt } from "./redact-tree.ts";
import type { Hidden, Search } from "./redact-worker.ts";
import { createTurns, type Turns } from "./turns.ts";

export type Redactor = {
  readonly charactersHereMax: number;
  readonly leash: Leash<Search, Hidden>;
  readonly turns: Turns;
  readonly close: () => Promise<void>;
};

/** Some ten milliseconds with all patterns. */
const CHARACTERS_HERE_MAX = 128 * 1024;
/** Of one answer; and as long it may wait for its turn. */
const TIMEOUT_MS = 20_000;

export function createRedactor(charactersHereMax = CHARACTERS_HERE_MAX): Redactor {
  const leash = createLeash<Search, Hidden>({
    url: new URL("redact-worker.ts", import.meta.url),
    name: "the thread that redacts",
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  });
  return { charactersHereMax, leash, turns: createTurns(), close: leash.close };
}

/**
 * What of the answer may be seen; a promise only of a large one.
 * @throws Refusal as `redact` does, also where that thread fails, and cancelled
 */
export function redacted(redactor: Redactor, permit: Permit, answer: Answer, call: Call): Answer | Promise<Answer> {
  const { length } = permit.obligations.redact;
  const isHere = length === 0 || roomAfter(redactor.charactersHereMax, bodyOf(answer)) >= 0;
  if (isHere) return redact(permit, answer);
  const { signal } = call.asked;
  // what is taken apart is several times as large: no other is meanwhile
  const work = (): Promise<Answer> => redactElsewhere(redactor, permit, answer, signal);
  const away = { signal, gone, waitMs: TIMEOUT_MS, late: tooMuchToHide };
  return redactor.turns.take(call.principal?.tenant ?? "", work, away);
}

function gone(): Refusal {
  return new Refusal("cancelled", "The caller went away.");
}

/** What is left of so many characters; negative as soon as there are more. */
function roomAfter(room: number, value: Json): number {
  if (typeof value === "string") return room - value.length - 1;
  if (isScalar(value)) return room - 1;
  let left = room - 1;
  for (const key in value as object) {
    left = roomAfter(left - key.length, (value as { readonly [key: string]: Json })[key] as Json);
    if (left < 0) return left;
  }
  return left;
}

async function redactElsewhere(
  { leash }: Redactor,
  permit: Permit,
  answer: Answer,
  signal: AbortSignal,
): Promise<Answer> {
  const rules = permit.obligations.redact;
  const body = bodyOf(answer);
  const values = valuesAt(body, rules);
  const clean = blanked(body, rules);
  // of a tree of very many small values each walk has a turn of its own
  await turn();
  const hows: How[] = [];
  const texts: string[] = [];
  replaceIn(clean, (how, text) => {
    hows.push(how);
    texts.push(text);
    return text;
  });
  await turn();
  const search = { rules, values, told: toldTexts(body, rules), hows, texts };
  const hidden = await leash.ask(search, { timeoutMs: TIMEOUT_MS, signal }).catch(() => null);
  if (signal.aborted) throw gone();
  if (hidden === null) throw tooMuchToHide();
  await turn();
  let at = 0;
  const seen = replaceIn(clean, (_, text) => hidden.get(at++) ?? text);
  await turn();
  return bounded(permit, withBody(answer, seen));
}

function turn(): Promise<void> {
  return new Promise(setImmediate);
}
